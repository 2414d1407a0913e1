"""Daemons without the half second that Python takes to read their code: a process that has read it forks them.

    with ward() as channel:
        async with nursing(channel) as nurse:
            child = await nurse.bear(config, stderr, "run")     # as asyncio's Process: pid, stdout, wait, kill …

What is forked is what `listserv --config CONFIG run`, or another command, is after its imports: no thread, no loop, no
file is open before.
"""

import asyncio
import faulthandler
import gc
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.kit.process import ROOT, Process, environment

PACKET = 4096


@dataclass
class Born:
    """A daemon, as far as its caller needs to know asyncio's subprocess.Process."""

    pid: int
    stdout: asyncio.StreamReader
    over: asyncio.Future[int]

    @property
    def returncode(self) -> int | None:
        return self.over.result() if self.over.done() else None

    async def wait(self) -> int:
        return await asyncio.shield(self.over)

    def kill(self) -> None:
        self._signal(signal.SIGKILL)

    def terminate(self) -> None:
        self._signal(signal.SIGTERM)

    def _signal(self, number: int) -> None:
        if not self.over.done():
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)


@dataclass
class Nurse:
    """The other end of the process that forks."""

    channel: socket.socket
    births: asyncio.Queue[tuple[int, asyncio.Future[int]]] = field(default_factory=asyncio.Queue)
    overs: dict[int, asyncio.Future[int]] = field(default_factory=dict)
    one_by_one: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def bear(self, config: Path, stderr: Path, *arguments: str) -> Born:
        ours, theirs = os.pipe()
        asked = json.dumps([str(stderr), "--config", str(config), *arguments]).encode()
        async with self.one_by_one:
            socket.send_fds(self.channel, [asked], [theirs])
            os.close(theirs)
            pid, over = await self.births.get()
        loop = asyncio.get_running_loop()
        stdout = asyncio.StreamReader()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stdout), os.fdopen(ours, "rb"))
        return Born(pid, stdout, over)

    def hear(self) -> None:
        pid, code = json.loads(self.channel.recv(PACKET) or "[0, 0]")
        if code is None:
            self.overs[pid] = asyncio.get_running_loop().create_future()
            self.births.put_nowait((pid, self.overs[pid]))
        elif pid in self.overs:
            self.overs.pop(pid).set_result(code)


@dataclass
class Quick(Process):
    """A daemon that is forked."""

    nurse: Nurse | None = None

    async def start(self, seconds: float = 60.0) -> None:
        assert self.nurse is not None
        born = await self.nurse.bear(self.config, self.stderr, "run")
        self.child = born  # type: ignore[assignment]
        said = await asyncio.wait_for(born.stdout.readline(), seconds)
        assert said.startswith(b"ready"), self.stderr.read_text()[-3000:]

    async def shell(self, *arguments: str) -> str:
        """What a command beside the daemon prints."""
        assert self.nurse is not None
        born = await self.nurse.bear(self.config, self.stderr, *arguments)
        said = await born.stdout.read()
        assert await born.wait() == 0, self.stderr.read_text()[-3000:]
        return said.decode()


@contextmanager
def ward() -> Iterator[socket.socket]:
    """The process that forks, by its channel; at its end every daemon that was forked is killed."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    command = [sys.executable, "-m", "tests.chaos.nursery", str(theirs.fileno())]
    started = subprocess.Popen(command, pass_fds=[theirs.fileno()], cwd=ROOT, env=environment())
    theirs.close()
    try:
        yield ours
    finally:
        ours.close()
        started.wait()


@asynccontextmanager
async def nursing(channel: socket.socket) -> AsyncIterator[Nurse]:
    """In this event loop."""
    nurse, loop = Nurse(channel), asyncio.get_running_loop()
    loop.add_reader(channel, nurse.hear)
    try:
        yield nurse
    finally:
        loop.remove_reader(channel)


def main(channel: socket.socket) -> None:
    """Forks when it is asked to, and says who was born and who died, until nobody asks any more."""
    _read_code()
    woken, waker = socket.socketpair()
    for end in (woken, waker):
        end.setblocking(False)
    signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    children: set[int] = set()
    ends = [channel, woken]
    import select

    while True:
        readable, _, _ = select.select(ends, [], [])
        if woken in readable:
            woken.recv(PACKET)
            _bury(channel, children)
        if channel in readable:
            asked, fds, _, _ = socket.recv_fds(channel, PACKET, 1)
            if not asked:
                break
            children.add(_fork(channel, [woken, waker], fds[0], *json.loads(asked)))
    for pid in children:
        os.kill(pid, signal.SIGKILL)


def _fork(channel: socket.socket, others: list[socket.socket], stdout: int, stderr: str, *arguments: str) -> int:
    pid = os.fork()
    if pid:
        os.close(stdout)
        channel.send(json.dumps([pid, None]).encode())
        return pid
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGCHLD, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL if number == signal.SIGCHLD else signal.default_int_handler)
    for end in (channel, *others):
        end.close()
    os.dup2(stdout, 1)
    os.close(stdout)
    os.dup2(os.open(stderr, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644), 2)
    faulthandler.register(signal.SIGUSR2)  # what hangs says where
    code = 1
    try:
        _listserv(list(arguments))
    except SystemExit as over:
        code = int(over.code or 0)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _bury(channel: socket.socket, children: set[int]) -> None:
    for pid in list(children):
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            children.discard(pid)
            channel.send(json.dumps([pid, os.waitstatus_to_exitcode(status)]).encode())


def _listserv(arguments: list[str]) -> None:
    from listserv.cli.main import main as command

    command(arguments)


def _read_code() -> None:
    """All that a daemon imports, and what both drivers import late."""
    import importlib

    for name in (
        "listserv.cli.running", "listserv.daemon", "listserv.supervisor", "listserv.node", "listserv.store.upgrade",
        "listserv.cli.queue", "sqlalchemy.dialects.sqlite.pysqlite", "sqlalchemy.dialects.postgresql.psycopg",
        "psycopg_binary", "uvloop",
    ):  # fmt: skip
        with suppress(ImportError):
            importlib.import_module(name)
    gc.freeze()


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])))
