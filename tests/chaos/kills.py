"""kill -9 at the N-th call of a system call, in whichever thread makes it: of the only process, or of one of several.

Each life of a daemon begins on what the one before has left, takes letters, and ends at its point.  With several
processes one life has several points: each child has its own, and at the end their parent is killed.
"""

import asyncio
import json
import os
import random
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tests.chaos.ledger import BOUND, LINES, UNRECORDED, Account, Tally, account, until
from tests.chaos.nursery import Nurse
from tests.chaos.points import Point, inject

DISK = {"fdatasync": 8, "pwrite64": 70}  # calls to choose from, and how many of them a life has about
WIRE = {"sendto,sendmsg": 40, "recvfrom,recvmsg": 40}
LOG = {"fdatasync": 3, "write": 8}
LOAD = 6  # letters at once; twice in a life
RESTED = 40  # points between two looks at everything
AT_START = 8  # one point in so many lies between the first instruction and “ready”
START_SECONDS = 0.12

Progress = Callable[[int], None]


async def matrix(
    nurse: Nurse,
    url: str,
    folder: Path,
    points: int,
    processes: int = 1,
    seed: int = 1,
    progress: Progress = lambda _: None,
) -> Tally:
    """Kills until `points` were tried."""
    chance, tried, reached = random.Random(seed), 0, 0
    async with account(nurse, url, folder, workers={"processes": processes}) as here:
        rested = 0
        while tried < points:
            life = _life_of_one if processes == 1 else _life_of_several
            more, hit = await life(here, chance)
            tried, reached = tried + more, reached + hit
            progress(more)
            if tried - rested >= RESTED or tried >= points:
                rested = tried
                await rest(here)
        return here.tally(tried, reached)


async def rest(here: Account) -> None:
    """A daemon that nobody harms: it mends everything."""
    await here.there.start(300)
    await here.look()
    await here.there.stop()


async def _life_of_one(here: Account, chance: random.Random) -> tuple[int, int]:
    """Points tried and reached.  Who survives the load is killed at its end."""
    if chance.randrange(AT_START) == 0:
        return 1, await _stillborn(here, chance)
    await here.there.start(300)
    point = await _aim(here, here.there.pid, chance)
    await here.post(LOAD)
    await here.post(LOAD)
    await _first(point.over(), _quiet(here))
    reached = not here.there.is_running
    await _end(here, BOUND)
    await point.over()
    return 1, reached


async def _stillborn(here: Account, chance: random.Random) -> int:
    """Killed while it starts: what it was to repair is for the next one."""
    starting = asyncio.create_task(here.there.start(300))
    await asyncio.sleep(chance.uniform(0.01, START_SECONDS))
    await until(lambda: here.there.is_running)
    await _end(here, BOUND)
    with suppress(AssertionError):
        await starting
        return 0
    return 1


async def _life_of_several(here: Account, chance: random.Random) -> tuple[int, int]:
    """Each child has a point, and is started again by its parent, whose end is the last point."""
    await here.there.start(300)
    before = children(here)
    points = [await _aim(here, pid, chance, only=name) for name, pid in before.items()]
    await here.post(LOAD)
    await here.post(LOAD)
    await _first(asyncio.gather(*(point.over() for point in points)), _quiet(here))
    dead = [name for name, pid in before.items() if not lives(pid)]
    for point in points:
        await point.lift()
    async with asyncio.timeout(60):
        while not await _answers(here):
            await asyncio.sleep(0.02)
    posting = asyncio.create_task(here.post(LOAD))
    await asyncio.sleep(chance.uniform(0.0, 0.15))
    every = list(children(here).values())
    one = LINES - LINES // 2 + UNRECORDED  # what one delivery process may repeat
    await _end(here, BOUND + UNRECORDED + one * len(dead), 1 + len(dead), every)
    await posting
    return len(before) + 1, len(dead) + 1


async def _end(here: Account, bound: int, deaths: int = 1, children: list[int] | None = None) -> None:
    """kill -9, if it is not dead yet; back when all that it has sent is there."""
    child = here.there.child
    assert child is not None
    child.kill()
    await child.wait()
    assert await until(lambda: not any(map(lives, children or [])), 10), "children outlive their parent"
    await here.ended(deaths, bound)


async def _aim(here: Account, pid: int, chance: random.Random, only: str = "") -> Point:
    """A call that this process makes, and the how manieth of them."""
    sqlite = here.there.url.startswith("sqlite")
    reach = {**WIRE, **(DISK if sqlite else LOG)}
    if only.startswith("delivery"):
        reach = {**WIRE, **(DISK if sqlite else {})}
    calls = chance.choice(list(reach))
    number = chance.randint(1, max(1, reach[calls] // (2 if only else 1)))
    return await inject([pid], calls, "signal=KILL", str(number))


def children(here: Account) -> dict[str, int]:
    """Name → pid, as their parent has written it down."""
    return {one["name"]: one["pid"] for one in json.loads((here.data / "processes.json").read_text())}


def lives(pid: int) -> bool:
    """A zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def signal_to(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


async def _answers(here: Account) -> bool:
    with suppress(OSError, AssertionError):
        (await here.there.enter()).close()
        return True
    return False


async def _first(*waits) -> None:  # type: ignore[no-untyped-def]
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _quiet(here: Account) -> None:
    with suppress(TimeoutError):
        await here.there.until_done(5)
