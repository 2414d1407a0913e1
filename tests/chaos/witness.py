"""An honest client beside a flood: NOOP after NOOP and now and then a post, each timed, from a process of its own.

    async with witness(host, port, pid, folder) as he:
        since = time.monotonic()
        ...                                   # what is done to the daemon meanwhile
        seen = he.saw(since)                  # how long his commands took, and what his posts were answered

A machine that does other things makes everybody wait.  So of each command is known too how long the witness himself,
and the one of the daemon's threads that had to wait longest, waited for a processor, and how much of it the main thread
used before it answered (/proc/PID/task/*/schedstat): what is charged to the daemon is the time without the waiting.
"""

import asyncio
import json
import os
import socket
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tests.kit.house import mail
from tests.kit.process import ROOT, environment

NAME = "127.0.0.2"  # where he comes from: no flood does
AUTHOR, GROUP = "ada@a.example", "walkers@lists.example"
PAUSE = 0.01  # seconds between two commands
POSTS_AFTER = 40  # commands: fewer than [Limits] max_idle_commands


class Sample(NamedTuple):
    """One command or post of his; times in seconds."""

    at: float  # monotonic
    answer: str  # its first three digits, "" when the connection had ended
    is_post: bool
    took: float
    waited: float  # for a processor, a thread of the daemon's and he
    used: float  # of a processor, by the daemon's main thread


@dataclass(frozen=True, slots=True)
class Seen:
    """What a witness saw, times in seconds and without the waiting for a processor."""

    noops: Sequence[float]  # in rising order
    on_the_clock: float  # the slowest, with the waiting
    used: Sequence[float]  # of a processor by the main thread, before it answered each, in rising order
    posts: Sequence[float]
    answers: Counter[str]  # of what was no 250

    @property
    def slowest(self) -> float:
        return self.noops[-1] if self.noops else 0.0

    @property
    def p99(self) -> float:
        return self.noops[len(self.noops) * 99 // 100] if self.noops else 0.0


@dataclass(frozen=True, slots=True)
class Witness:
    notes: Path

    async def saw(self, since: float) -> Seen:
        """All that he has begun since then; waits for the end of what he does now."""
        now = time.monotonic()
        while not (lines := self.notes.read_text().splitlines()) or json.loads(lines[-1])[0] < now:
            await asyncio.sleep(PAUSE)
        samples = [each for each in (Sample(*json.loads(line)) for line in lines) if each.at >= since]
        noops = [each for each in samples if not each.is_post]
        return Seen(
            sorted(max(0.0, each.took - each.waited) for each in noops),
            max((each.took for each in noops), default=0.0),
            sorted(each.used for each in noops),
            sorted(each.took for each in samples if each.is_post),
            Counter(each.answer for each in samples if each.answer != "250"),
        )


@asynccontextmanager
async def witness(host: str, port: int, pid: int, folder: Path) -> AsyncIterator[Witness]:
    """At work until the end; `pid` is the process whose door it is."""
    notes = folder / "witness"
    notes.touch()
    command = [sys.executable, "-m", "tests.chaos.witness", host, str(port), str(pid), str(notes)]
    child = await asyncio.create_subprocess_exec(*command, cwd=ROOT, env=environment(), stdout=asyncio.subprocess.PIPE)
    assert child.stdout
    try:
        await asyncio.wait_for(child.stdout.readline(), 60)
        yield Witness(notes)
    finally:
        with suppress(ProcessLookupError):
            child.terminate()
        await child.wait()


class _Client:
    """Speaks and waits, with a socket that blocks."""

    def __init__(self, host: str, port: int) -> None:
        self._where = (host, port)
        self._posts = 0
        self._enter()

    def _enter(self) -> None:
        parent = os.getppid()
        while os.getppid() == parent:
            with suppress(OSError):
                self._socket = socket.create_connection(self._where, source_address=(NAME, 0), timeout=120)
                self._file = self._socket.makefile("rb")
                if self._reply() == "220" and self.say(b"EHLO honest.example\r\n") == "250":
                    return
            time.sleep(PAUSE)

    def say(self, octets: bytes) -> str:
        """The code of the reply; "" when the connection had ended: then there is a new one."""
        try:
            self._socket.sendall(octets)
            code = self._reply()
        except OSError:
            code = ""
        if not code:
            self._enter()
        return code

    def post(self) -> str:
        """The code of its last reply."""
        self._posts += 1
        text = mail(AUTHOR, GROUP, "from an honest client", f"honest {self._posts}")
        code = ""
        said = [f"MAIL FROM:<{AUTHOR}>\r\n".encode(), f"RCPT TO:<{GROUP}>\r\n".encode(), b"DATA\r\n", text + b".\r\n"]
        for octets in said:
            code = self.say(octets)
            if code not in ("250", "354"):
                self.say(b"RSET\r\n")
                return code
        return code

    def _reply(self) -> str:
        while line := self._file.readline():
            if line[3:4] != b"-":
                return line[:3].decode()
        return ""


def main(host: str, port: int, pid: int, notes: Path) -> None:
    client = _Client(host, port)
    print("ready", flush=True)
    with notes.open("a", buffering=1) as file:
        number, parent = 0, os.getppid()
        while os.getppid() == parent:
            number += 1
            is_post = number % POSTS_AFTER == 0
            before, ours, began = _schedule(pid), _waited(f"/proc/{os.getpid()}"), time.monotonic()
            answer = client.post() if is_post else client.say(b"NOOP\r\n")
            took, after = time.monotonic() - began, _schedule(pid)
            waited = max((after[thread][1] - before[thread][1] for thread in before.keys() & after.keys()), default=0)
            waited += _waited(f"/proc/{os.getpid()}") - ours
            used = after[pid][0] - before[pid][0] if pid in before and pid in after else 0
            sample = Sample(began, answer, is_post, took, waited / 1e9, used / 1e9)
            file.write(json.dumps(sample) + "\n")
            time.sleep(PAUSE)


def _schedule(pid: int) -> dict[int, tuple[int, int]]:
    """Of each thread: nanoseconds that it used, and waited for, a processor so far."""
    threads = {}
    with suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208 - a Path for each would be measured too
            with suppress(OSError):
                threads[int(thread)] = _numbers(f"/proc/{pid}/task/{thread}")
    return threads


def _waited(process: str) -> int:
    return _numbers(process)[1]


def _numbers(folder: str) -> tuple[int, int]:
    with open(f"{folder}/schedstat", encoding="ascii") as file:  # noqa: PTH123 - likewise
        used, waited, _ = file.read().split()
    return int(used), int(waited)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
