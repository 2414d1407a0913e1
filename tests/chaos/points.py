"""System calls at which something happens to a process: strace's injection."""

import asyncio
import signal
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.kit.components import needs_strace


@dataclass(frozen=True, slots=True)
class Point:
    """What strace does to a process; `over` when the process has ended, or strace has let go of it."""

    tracer: asyncio.subprocess.Process

    async def over(self) -> None:
        await self.tracer.wait()

    async def lift(self) -> None:
        """From here on nothing happens to the process any more."""
        if self.tracer.returncode is None:
            with suppress(ProcessLookupError):
                self.tracer.send_signal(signal.SIGINT)
            await self.tracer.wait()


async def inject(pids: Sequence[int], calls: str, what: str, when: str = "", paths: Sequence[Path] = ()) -> Point:
    """`what` (error=EIO, signal=KILL …) happens to these calls of these processes and all their threads.

    when    "7" the seventh call of each thread, "3+" all from the third on, "" all
    paths   only calls on these files
    """
    command = [str(needs_strace()), "-f", "-o", "/dev/null", "-e", f"trace={calls}"]
    command += ["-e", f"inject={calls}:{what}" + (f":when={when}" if when else "")]
    for path in paths:
        command += ["-P", str(path)]
    for pid in pids:
        command += ["-p", str(pid)]
    tracer = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    assert tracer.stderr is not None
    said = b""
    for _ in pids:
        said = await asyncio.wait_for(tracer.stderr.readline(), 20)
        assert b"attached" in said or b"No such process" in said, said
    return Point(tracer)
