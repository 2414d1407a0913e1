"""One parent for the several processes of a node: it starts them, starts again what dies, and ends them together.

    part = supervise(parts, file, ready, end)  # returns in each child, with its part; in the parent when all is over

The parent has no event loop, no threads and no connection to the database: it forks, waits, and passes signals on.
Children notice its end in two ways, whichever comes first: the kernel kills them (PR_SET_PDEATHSIG, Linux), and the
channel that they share with it is closed.  What they had in hand then comes back at the next start.

What happened to whom stands in `processes.json` in `data_dir` (`processes-ROLE.json` where it has not all roles), where
`listserv check` reads it.
"""

import asyncio
import ctypes
import gc
import logging
import os
import selectors
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from listserv.daemon import GRACE
from listserv.roles import Part, Role

READY = b"ready"
BACK_OFF = (0.0, 1.0, 2.0, 5.0, 10.0, 30.0)  # seconds before a process that died so often in a row starts again
STEADY = 60.0  # seconds after which a process that dies is no longer one that died just now
FLAPPING = 3  # deaths within …
WITHIN = 600.0  # … so many seconds are worth an alarm
PATIENCE = GRACE + 5.0  # seconds for a process that was told to stop

_PR_SET_PDEATHSIG = 1  # prctl(2)

log = logging.getLogger("listserv")


class NeverReady(Exception):
    """A process ended before all were ready for the first time; it has said why."""


@dataclass(slots=True)
class Child:
    """One process.  `channel` is the parent's end; `deaths` are the times, by the wall clock, at which it died."""

    part: Part
    pid: int = 0
    channel: socket.socket | None = None
    is_ready: bool = False
    started: float = 0.0  # monotonic
    again_at: float | None = None  # monotonic
    in_a_row: int = 0
    deaths: deque[float] = field(default_factory=lambda: deque(maxlen=FLAPPING))
    last: str = ""  # how it died


@dataclass(frozen=True, slots=True)
class Kept:
    """What `processes.json` says of one process."""

    name: str
    pid: int
    deaths: tuple[float, ...] = ()
    last: str = ""

    def flaps(self, now: float) -> bool:
        """It has died so often lately that somebody should look."""
        return len(self.deaths) == FLAPPING and now - self.deaths[0] <= WITHIN


@dataclass(frozen=True, slots=True)
class Place:
    """Where a child stands: its part, and its end of the channel to its parent."""

    part: Part
    channel: socket.socket

    def say_ready(self) -> None:
        with suppress(OSError):  # the parent has gone, and we go too
            self.channel.send(READY)

    def watch(self) -> None:
        """From now on the end of the parent is the end of this process, at once: nobody works on unseen."""
        asyncio.get_running_loop().add_reader(self.channel, self._follow)

    def _follow(self) -> None:
        if not self.channel.recv(1):
            os._exit(1)


def file(data_dir: Path, role: Role) -> Path:
    """Where it is written down what happens to the processes of this role."""
    return data_dir / ("processes.json" if role is Role.ALL else f"processes-{role}.json")


def supervise(
    parts: Sequence[Part], file: Path, ready: Callable[[], None], end: Callable[[], None] = lambda: None
) -> Place | None:
    """In a child: where it stands.  In the parent, after SIGTERM or SIGINT and the end of all children: None.

    `ready` is called once, in the parent, and so is `end`, when it is told to stop.  Raises NeverReady there when a
    child cannot begin.
    """
    gc.collect()
    gc.freeze()  # what is here now stays shared between parent and children
    parent = Parent([Child(part) for part in parts], file, ready, end)
    with parent.signals():
        return parent.run()


def kept(data_dir: Path) -> list[Kept]:
    """What running parents have written down; nothing of one when it has not, or it cannot be read."""
    found: list[Kept] = []
    for role in Role:
        with suppress(OSError, msgspec.MsgspecError):
            found += msgspec.json.decode(file(data_dir, role).read_bytes(), type=list[Kept])
    return found


class Parent:
    """The loop of the one who waits."""

    def __init__(
        self, children: Sequence[Child], file: Path, ready: Callable[[], None], end: Callable[[], None]
    ) -> None:
        self._children = children
        self._file = file
        self._ready = ready
        self._end = end
        self._pid = os.getpid()
        self._was_ready = False
        self._ends: float | None = None  # monotonic: when those who are still here are killed
        self._selector = selectors.DefaultSelector()
        self._woken, self._waker = socket.socketpair()

    @contextmanager
    def signals(self) -> Iterator[None]:
        """Signals wake the loop and do nothing else; a child has them back as they were."""
        for end in (self._woken, self._waker):
            end.setblocking(False)
        numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
        before = [(number, signal.signal(number, _nothing)) for number in numbers]
        wakeup = signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(wakeup)
            for number, handler in before:
                signal.signal(number, handler)

    def run(self) -> Place | None:
        self._selector.register(self._woken, selectors.EVENT_READ)
        for child in self._children:
            if place := self._start(child):
                return place
        try:
            while any(child.pid for child in self._children) or self._ends is None:
                for key, _ in self._selector.select(self._patience()):
                    if key.fileobj is self._woken:
                        self._obey(self._woken.recv(4096))
                    else:
                        self._hear(key.data)
                self._reap()
                for child in self._due():
                    if place := self._start(child):
                        return place
        finally:
            if os.getpid() == self._pid:
                self._file.unlink(missing_ok=True)
        return None

    def _start(self, child: Child) -> Place | None:
        """A new process; in it, its place."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            ours.close()
            self._leave_to_parent()
            return Place(child.part, theirs)
        theirs.close()
        ours.setblocking(False)
        child.pid, child.channel, child.is_ready = pid, ours, False
        child.started, child.again_at = time.monotonic(), None
        self._selector.register(ours, selectors.EVENT_READ, child)
        self._write_down()
        return None

    def _leave_to_parent(self) -> None:
        """In a new child: nothing of the parent's is ours, and we do not outlive it."""
        _die_with(self._pid)
        self._selector.close()
        for end in (self._woken, self._waker):
            end.close()
        for sibling in self._children:
            if sibling.channel:
                sibling.channel.close()

    def _patience(self) -> float | None:
        """Seconds until somebody is to be started or killed; None: nobody."""
        moments = [child.again_at for child in self._children if child.again_at is not None]
        if self._ends is not None:
            moments.append(self._ends)
        return max(0.0, min(moments) - time.monotonic()) if moments else None

    def _obey(self, numbers: bytes) -> None:
        if {signal.SIGTERM, signal.SIGINT} & set(numbers):
            self._stop()
        elif signal.SIGHUP in numbers:
            self._tell(signal.SIGHUP)

    def _stop(self) -> None:
        if self._ends is None:
            self._ends = time.monotonic() + PATIENCE
            self._end()
        self._tell(signal.SIGTERM)

    def _tell(self, number: int) -> None:
        for child in self._children:
            if child.pid:
                with suppress(ProcessLookupError):  # it has just died, and nobody has taken its number yet
                    os.kill(child.pid, number)

    def _hear(self, child: Child) -> None:
        assert child.channel is not None
        if child.channel.recv(64) != READY:  # its end has closed: it is dying
            self._selector.unregister(child.channel)
            child.channel.close()
            child.channel = None
            return
        child.is_ready = True
        if not self._was_ready and all(one.is_ready for one in self._children):
            self._was_ready = True
            self._ready()

    def _reap(self) -> None:
        if self._ends is not None and time.monotonic() >= self._ends:
            log.error("some processes did not stop within %.0f s and are killed", PATIENCE)
            self._tell(signal.SIGKILL)
            self._ends = time.monotonic() + PATIENCE
        for child in self._children:
            if not child.pid:
                continue
            pid, status = os.waitpid(child.pid, os.WNOHANG)
            if pid:
                self._died(child, os.waitstatus_to_exitcode(status))

    def _died(self, child: Child, code: int) -> None:
        pid, child.pid = child.pid, 0
        if child.channel:
            self._selector.unregister(child.channel)
            child.channel.close()
            child.channel = None
        if self._ends is not None:
            return
        if not self._was_ready:
            self._stop()
            self._wait_for_all()
            raise NeverReady(f"the {child.part} could not begin")
        child.last = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
        child.deaths.append(time.time())
        steady = time.monotonic() - child.started > STEADY
        child.in_a_row = 0 if steady else child.in_a_row + 1
        wait = BACK_OFF[min(child.in_a_row, len(BACK_OFF) - 1)]
        child.again_at = time.monotonic() + wait
        log.error("the %s (%d) ended %s; it starts again in %.0f s", child.part, pid, child.last, wait)
        self._write_down()

    def _wait_for_all(self) -> None:
        for child in self._children:
            if child.pid:
                os.waitpid(child.pid, 0)
                child.pid = 0

    def _due(self) -> list[Child]:
        now = time.monotonic()
        if self._ends is not None:
            return []
        return [child for child in self._children if child.again_at is not None and child.again_at <= now]

    def _write_down(self) -> None:
        """For `listserv check`; that it cannot be written is no reason to stop."""
        said = [Kept(str(child.part), child.pid, tuple(child.deaths), child.last) for child in self._children]
        fresh = self._file.with_suffix(".new")
        with suppress(OSError):
            fresh.write_bytes(msgspec.json.encode(said))
            fresh.replace(self._file)


def _die_with(parent: int) -> None:
    """Linux kills us when our parent ends; if it has ended before we could ask for that, we go now."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _nothing(_number: int, _frame: object) -> None:
    """A handler, so that the signal is caught; the byte in the wake-up channel says which it was."""
