"""kill -9 at the N-th call of a system call, in whichever thread of the daemon makes it (strace's injection)."""

import asyncio
import random
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.ledger import BOUND, Account, account
from tests.kit.process import Process

REACH = {"fdatasync": 40, "pwrite64": 200, "sendto,sendmsg": 80, "recvfrom,recvmsg": 120}  # calls to choose from
LOAD = 6  # letters for each point
RESTED = 25  # points between two looks at everything


@dataclass
class Tally:
    """What came of it."""

    tried: int = 0
    reached: int = 0
    letters: int = 0
    lost: int = 0
    twice: int = 0
    most: int = 0
    broken: tuple[str, ...] = ()

    def include(self, other: "Tally") -> None:
        for name in ("tried", "reached", "letters", "lost", "twice"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.most = max(self.most, other.most)
        self.broken += other.broken

    def add(self, account: Account) -> None:
        self.letters += len(account.taken)
        self.lost += len(account.lost)
        self.twice += account.twice
        self.most = max(self.most, account.most)
        self.broken += tuple(account.broken)

    @property
    def kept(self) -> bool:
        return not self.lost and not self.broken and self.most <= BOUND


async def arm(there: Process, calls: str, number: int) -> asyncio.subprocess.Process:
    """From here on the N-th of these calls in one of its threads is the end of the daemon."""
    inject = f"inject={calls}:signal=KILL:when={number}"
    command = ["strace", "-f", "-o", "/dev/null", "-e", f"trace={calls}", "-e", inject, "-p", str(there.pid)]
    tracer = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
    assert tracer.stderr is not None
    said = await asyncio.wait_for(tracer.stderr.readline(), 20)
    assert b"attached" in said, said
    return tracer


async def matrix(url: str, folder: Path, points: int, seed: int = 1, **changes: object) -> Tally:
    """Each point: what the one before left is repaired, new letters come, and somewhere on the way the daemon dies."""
    chance, tally, crashes = random.Random(seed), Tally(), 0
    async with account(url, folder, **changes) as here:  # type: ignore[arg-type]
        waiting: list[str] = []
        for point in range(points):
            calls = chance.choice(list(REACH))
            died, waiting = await strike(here, waiting, calls, chance.randint(1, REACH[calls]))
            tally.tried += 1
            tally.reached += died
            crashes += 1
            if (point + 1) % RESTED == 0 or point + 1 == points:
                await rest(here, waiting, crashes)
                waiting, crashes = [], 0
        tally.add(here)
    return tally


async def strike(here: Account, waiting: list[str], calls: str, number: int) -> tuple[bool, list[str]]:
    """Whether it died of its point, and the letters that have no 250.  Who survives the load is killed at its end."""
    await here.there.start(300)
    tracer = await arm(here.there, calls, number)
    left = [each for each in waiting if not await here.again(each)]
    for _ in range(2):
        left += await here.post(LOAD)
    assert here.there.child is not None
    over = [asyncio.create_task(each) for each in (here.there.child.wait(), _quiet(here.there))]
    await asyncio.wait(over, return_when=asyncio.FIRST_COMPLETED)
    for task in over:
        task.cancel()
    died = not here.there.is_running
    if not died:
        here.there.child.kill()
    await here.there.child.wait()
    await tracer.wait()
    return died, left


async def _quiet(there: Process) -> None:
    with suppress(TimeoutError):
        await there.until_done(5)


async def rest(here: Account, waiting: list[str], crashes: int) -> None:
    """A daemon that nobody harms: it mends everything."""
    await here.there.start(300)
    await here.insist(waiting)
    await here.close(max(crashes, 1))
    await here.there.stop()
