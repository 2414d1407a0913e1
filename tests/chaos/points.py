"""System calls at which something happens to a process: strace's injection; and how often it makes them."""

import asyncio
import os
import re
import signal
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.kit.components import needs_strace
from tests.kit.patience import PATIENCE

STUCK_SECONDS = 3.0
NOWHERE = Path("/dev/null")
_CALL = re.compile(rb"^(\d+) +(\w+)\(", re.MULTILINE)
_HAPPENED = re.compile(rb"\(INJECTED\)|--- SIGSTOP ")


@dataclass(frozen=True, slots=True)
class Point:
    """What strace does to processes; `over` when they have ended, or strace has let go of them."""

    tracer: asyncio.subprocess.Process
    pids: Sequence[int]
    record: Path

    async def over(self) -> None:
        """strace itself may wait for ever for threads of a dead process that wait for strace: then it is killed."""
        while not await self._ended(STUCK_SECONDS):
            if not any(map(lives, self.pids)) and not await self._ended(STUCK_SECONDS):
                self._signal(signal.SIGKILL)

    async def lift(self) -> None:
        """From here on nothing happens to the processes any more."""
        self._signal(signal.SIGINT)
        if not await self._ended(PATIENCE):
            self._signal(signal.SIGKILL)
            await self.tracer.wait()

    async def _ended(self, seconds: float) -> bool:
        with suppress(TimeoutError):
            await asyncio.wait_for(self.tracer.wait(), seconds)
            return True
        return False

    def _signal(self, number: signal.Signals) -> None:
        """asyncio's own way may take the exit code from asyncio."""
        if self.tracer.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self.tracer.pid, number)

    def happened(self) -> bool:
        """Whether an error was injected, or the process stopped, as far as the record is written."""
        return _HAPPENED.search(self.record.read_bytes()) is not None

    def counted(self) -> dict[str, int]:
        """System call → how often the thread made it that made it most often."""
        most: Counter[str] = Counter()
        for (_, call), times in Counter(_CALL.findall(self.record.read_bytes())).items():
            most[call.decode()] = max(most[call.decode()], times)
        return dict(most)


async def inject(
    pids: Sequence[int],
    calls: str,
    what: str,
    when: str = "",
    *,
    record: Path = NOWHERE,
) -> Point:
    """`what` (error=EIO, signal=KILL …) happens to these calls of these processes and all their threads.

    when    "7" the seventh call of each thread, "3+" all from the third on, "" all
    record  what the calls were and how they went
    """
    when = f":when={when}" if when else ""
    return await _trace(pids, calls, record, "-e", f"inject={calls}:{what}{when}")


async def count(pids: Sequence[int], calls: str, record: Path) -> Point:
    """Nothing happens; the record says which calls were made, until `lift`."""
    return await _trace(pids, calls, record)


async def _trace(pids: Sequence[int], calls: str, record: Path, *inject: str) -> Point:
    command = [str(needs_strace()), "-f", "-o", str(record), "-e", f"trace={calls}", *inject]
    for pid in pids:
        command += ["-p", str(pid)]
    tracer = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    assert tracer.stderr is not None
    said = b""
    for _ in pids:
        said = await asyncio.wait_for(tracer.stderr.readline(), 60)
        assert b"attach" in said, (
            said
        )  # a server may end one of its processes meanwhile, which is not there or not ours then
    return Point(tracer, pids, record)


def lives(pid: int) -> bool:
    """A zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
