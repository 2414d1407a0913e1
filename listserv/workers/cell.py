"""A cell: a process of our own for work that may not be trusted to end, limited in time and memory, killed at will.

What is done in it is a pure function on other people's bytes: reading a large message, rendering what failed once.
It begins with the first work, ends when there was none for a while, and holds nothing: no socket, no database, no key.
Whatever becomes of the work, the daemon goes on; how it failed is said by `Poison`, with a traceback.

`guarded` is the same for small work beside the event loop: a limit of processor time, and no process.

Sources: setrlimit(2) (RLIMIT_AS), setitimer(2) (ITIMER_PROF).
"""

import asyncio
import contextlib
import faulthandler
import gc
import os
import pickle
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from functools import cache
from types import FrameType
from typing import IO, Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

CPU = 2.0  # seconds of processor time for one piece of work in a cell
AT_ONCE = 0.05  # seconds of processor time for one piece of work beside the loop; the worst that we know takes 0.01
WALL = 300.0  # seconds on the clock, without which a process that waits for ever would stay: pure work never waits
MEMORY = 256 * 1024 * 1024  # octets that one piece of work may take besides what the process began with
IDLE = 60.0  # seconds without work after which the process ends
SHOWN = 8_000  # characters of what the process said last


class Poison(Exception):
    """Our own code failed on these bytes; its text is a traceback, or says what killed the process."""


class Overrun(BaseException):
    """More processor time than `guarded` gives: no `except Exception` on the way keeps it."""


class Cell:
    """One process at most, one piece of work at a time; who comes meanwhile waits."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._words: IO[bytes] | None = None  # its standard error
        self._ends: asyncio.TimerHandle | None = None

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What `work`, a function of a module, returns; Poison when it raises, dies, or takes more than its limits."""
        async with self._turn:
            if self._ends:
                self._ends.cancel()
            limit = asyncio.get_running_loop().call_later(WALL, self.kill)
            exchange = asyncio.ensure_future(asyncio.to_thread(self._exchange, (work, args, kwargs)))
            try:
                good, result = await asyncio.shield(exchange)
            except asyncio.CancelledError:  # nobody wants it any more; the next one finds everything in order
                self.kill()
                await asyncio.wait([exchange])
                raise
            finally:
                limit.cancel()
            self._ends = asyncio.get_running_loop().call_later(IDLE, self.kill)
        if not good:
            raise Poison(result)
        answer: T = result
        return answer

    def kill(self) -> None:
        """The process is gone; there is another one when there is work."""
        if self._process:
            self._process.kill()

    def close(self) -> None:
        """At the end of the daemon."""
        if self._ends:
            self._ends.cancel()
        self.kill()
        self._bury()

    def _exchange(self, asked: object) -> tuple[bool, Any]:
        """Beside the event loop: hand it over and wait.  False: the result is the text of a fault."""
        process = self._living()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            pickle.dump(asked, process.stdin, protocol=5)
            process.stdin.flush()
            answer: tuple[bool, Any] = pickle.load(process.stdout)  # noqa: S301 - by our own code, over our own pipe
        except (OSError, EOFError, pickle.UnpicklingError):
            return False, self._bury()
        return answer

    def _living(self) -> subprocess.Popen[bytes]:
        if self._process and self._process.poll() is not None:
            self._bury()
        if self._process is None:
            self._words = tempfile.TemporaryFile()  # noqa: SIM115 - closed when the process is buried
            command = [sys.executable, "-m", "listserv.workers.cell"]
            pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": self._words}
            self._process = subprocess.Popen(command, start_new_session=True, **pipes)  # noqa: S603 - our own program
        return self._process

    def _bury(self) -> str:
        """How it ended, and its last words."""
        process, words = self._process, self._words
        self._process = self._words = None
        if process is None or words is None:
            return ""
        process.kill()
        code = process.wait()
        for pipe in (process.stdin, process.stdout):
            with contextlib.suppress(OSError):
                if pipe:
                    pipe.close()
        words.seek(0)
        last = words.read().decode("utf-8", "replace")[-SHOWN:]
        words.close()
        return f"the process that worked on it {_ended(code)}\n{last}".strip()


def guarded(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What `work` returns, in this thread; Overrun when it takes more than AT_ONCE of processor time.

    Only the main thread can be interrupted; elsewhere the work is simply done.  The timer counts what other threads
    take too, so it rings again until this one has taken so much.  Nothing but the work is ever interrupted, not even
    the lines here that end the timer; and no garbage is collected meanwhile, which would run what others have left to
    be run then.
    """
    if threading.current_thread() is not threading.main_thread():
        return work(*args, **kwargs)
    _watch()
    collects = gc.isenabled()
    gc.disable()
    _guards.append((sys._getframe(), time.thread_time()))
    signal.setitimer(signal.ITIMER_PROF, AT_ONCE, AT_ONCE / 5)
    try:
        return work(*args, **kwargs)
    finally:
        _guards.pop()
        signal.setitimer(signal.ITIMER_PROF, 0)
        if collects:
            gc.enable()


_guards: list[tuple[FrameType, float]] = []  # those of `guarded` that are under way, and when each began


@cache
def _watch() -> None:
    """From now on the timer interrupts what is guarded, and nothing else."""
    signal.signal(signal.SIGPROF, _over)


def _over(_number: int, frame: FrameType | None) -> None:
    if _guards:
        guard, began = _guards[-1]
        if frame is not guard and time.thread_time() - began >= AT_ONCE:
            raise Overrun


def _ended(code: int) -> str:
    if code >= 0:
        return f"ended with {code}"
    name = signal.Signals(-code).name
    why = {"SIGPROF": f": more than {CPU:g} s of processor time", "SIGKILL": ": it was killed"}
    return f"died of {name}{why.get(name, '')}"


def main() -> None:
    """The process: asks for work on standard input until that ends."""
    for number in (signal.SIGINT, signal.SIGTERM):  # for the daemon, which ends us when it has drained
        signal.signal(number, signal.SIG_IGN)
    faulthandler.enable()
    faulthandler.register(signal.SIGPROF, chain=True)
    asked, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what prints does not speak for us
    while True:
        try:
            work, args, kwargs = pickle.load(asked)  # noqa: S301 - by our own code, over our own pipe
        except EOFError:
            return
        _limit()
        answer = _done(work, args, kwargs)
        signal.setitimer(signal.ITIMER_PROF, 0)
        pickle.dump(answer, answers, protocol=5)
        answers.flush()


def _limit() -> None:
    """From here on, for this piece of work.  A sandbox may forbid the one of memory: its supervisor sees to that."""
    signal.setitimer(signal.ITIMER_PROF, CPU)
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123 - nothing here is worth a Path
        pages = int(file.read().split()[0])
    with contextlib.suppress(OSError, ValueError):
        limit = pages * resource.getpagesize() + MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))


def _done(work: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[bool, Any]:
    try:
        return True, work(*args, **kwargs)
    except BaseException:  # whatever it was, the daemon says what becomes of it
        return False, traceback.format_exc(limit=-30)


if __name__ == "__main__":
    main()
