"""kill -9 at the N-th call of a system call, in whichever thread makes it: of the only process, or of one of several.

Each life of a daemon begins on what the one before has left, takes letters, and ends at its point.  With several
processes one life has several points: each child has its own, and at the end their parent is killed.
"""

import asyncio
import json
import os
import random
import signal
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from listserv import supervisor
from listserv.roles import Role
from tests.chaos.ledger import BOUND, LINES, PATIENT, UNRECORDED, Account, Tally, account, until
from tests.chaos.nursery import Nurse
from tests.chaos.points import Point, count, inject, lives

DISK = ("fdatasync", "fsync", "pwrite64")
WIRE = (
    "sendto",
    "sendmsg",
    "recvfrom",
    "recvmsg",
    "read",
    "write",
)  # uvloop has the last two, asyncio and libpq the others
ONLY = "daemon"
LOAD = 6  # letters at once
LOADS = 6  # at most in a life; two when nobody kills it
FEWEST = 2  # what a thread does once in a life it may not do in the next
RESTED = 40  # points between two looks at everything
AT_START = 8  # one point in so many lies between the first instruction and “ready”
TRIES = 3  # for each point, until enough were reached

Progress = Callable[[int], None]
Calls = Mapping[str, int]  # system call → how often its busiest thread makes it


@dataclass(frozen=True, slots=True)
class Reach:
    """A life in which nobody comes to harm: points are drawn from what its processes do."""

    start: float  # seconds from the first instruction to “ready”
    calls: Mapping[str, Calls]  # by process


async def matrix(
    nurse: Nurse,
    url: str,
    folder: Path,
    points: int,
    processes: int = 1,
    seed: int = 1,
    progress: Progress = lambda _: None,
    reach: Reach | None = None,
) -> Tally:
    """Kills until `points` were reached; without `reach` it is measured first."""
    chance, tried, reached = random.Random(seed), 0, 0
    async with account(nurse, url, folder, workers={"processes": processes}) as here:
        rested, life = 0, _life_of_one if processes == 1 else _life_of_several
        reach = reach or await _measured(here)
        while reached < points and tried < TRIES * points:
            more, hit = await life(here, chance, reach)
            tried, reached = tried + more, reached + hit
            progress(hit)
            if reached - rested >= RESTED:
                rested = reached
                await rest(here)
        await rest(here)
        if reached < points:
            here.broken.append(f"{reached} of {points} points were reached in {tried} tries")
        return here.tally(tried, reached)


async def rest(here: Account) -> None:
    """A daemon that nobody harms: it mends everything."""
    await here.there.start(PATIENT)
    await here.look()
    await here.there.stop()


async def _measured(here: Account) -> Reach:
    """The second life: the first makes what is made once."""
    await here.there.start(PATIENT)
    await here.there.stop()
    began = time.monotonic()
    await here.there.start(PATIENT)
    start = time.monotonic() - began
    found = await measured(here, {name: [pid] for name, pid in everyone(here).items()}, 2)
    await here.there.stop()
    return Reach(start, found)


async def measured(
    here: Account, whom: Mapping[str, Sequence[int]], loads: int, letters: int = LOAD
) -> dict[str, Calls]:
    """What these processes (name → pids) do meanwhile."""
    calls = ",".join(DISK + WIRE)
    points = [await count(pids, calls, here.there.folder / f"calls of {name}") for name, pids in whom.items()]
    for _ in range(loads):
        await here.post(letters)
    await here.settle()
    for point in points:
        await point.lift()
    return dict(zip(whom, (_often(point.counted()) for point in points), strict=True))


def _often(calls: Calls) -> Calls:
    return {call: times for call, times in calls.items() if times >= FEWEST}


async def _life_of_one(here: Account, chance: random.Random, reach: Reach) -> tuple[int, int]:
    """Points tried and reached.  Who survives all loads is killed at their end."""
    if chance.randrange(AT_START) == 0:
        return 1, await _stillborn(here, chance, reach)
    await here.there.start(PATIENT)
    pid = here.there.pid
    point = await _aim(pid, chance, reach.calls[ONLY])
    await _work_until(here, lambda: not lives(pid), point.over())
    reached = not lives(pid)
    await _end(here, BOUND)
    await point.over()
    return 1, reached


async def _stillborn(here: Account, chance: random.Random, reach: Reach) -> int:
    """Killed while it starts: what it was to repair is for the next one."""
    starting = asyncio.create_task(here.there.start(PATIENT))
    await until(lambda: here.there.is_running)
    await asyncio.sleep(chance.uniform(0.0, reach.start))
    await _end(here, BOUND)
    with suppress(AssertionError):
        await starting
        return 0
    return 1


async def _life_of_several(here: Account, chance: random.Random, reach: Reach) -> tuple[int, int]:
    """Each child has a point, and is started again by its parent, whose end is the last point."""
    await here.there.start(PATIENT)
    before = children(here)
    points = [await _aim(pid, chance, reach.calls[name]) for name, pid in before.items()]
    await _work_until(
        here,
        lambda: not any(map(lives, before.values())),
        asyncio.gather(*(point.over() for point in points)),
    )
    dead = [name for name, pid in before.items() if not lives(pid)]
    for point in points:
        await point.lift()
    await _open(here)
    posting = asyncio.create_task(here.post(LOAD))
    await asyncio.sleep(chance.uniform(0.0, 0.15))
    every = list(children(here).values())
    one = LINES - LINES // 2 + UNRECORDED  # what one delivery process may repeat
    await _end(here, BOUND + UNRECORDED + one * len(dead), 1 + len(dead), every)
    await posting
    return len(before) + 1, len(dead) + 1


async def _work_until(here: Account, dead: Callable[[], bool], over: Awaitable[object]) -> None:
    """Letters, until all points are reached: then `over` is there as well."""
    ending = asyncio.ensure_future(over)
    for load in range(LOADS):
        await _open(here, dead)
        if dead():
            break
        await here.post(LOAD)
        if load:
            quiet = asyncio.ensure_future(_quiet(here))
            await asyncio.wait((ending, quiet), return_when=asyncio.FIRST_COMPLETED)
            quiet.cancel()
            await asyncio.gather(quiet, return_exceptions=True)
    ending.cancel()
    await asyncio.gather(ending, return_exceptions=True)


async def _open(here: Account, dead: Callable[[], bool] = lambda: False) -> None:
    """Back when it takes letters, after a while if it is being started again; or when nobody is there who would."""
    async with asyncio.timeout(PATIENT):
        while not dead() and not await _answers(here):
            await asyncio.sleep(0.02)


async def _end(here: Account, bound: int, deaths: int = 1, children: list[int] | None = None) -> None:
    """kill -9, if it is not dead yet; back when all that it has sent is there."""
    child = here.there.child
    assert child is not None
    child.kill()
    await child.wait()
    assert await until(lambda: not any(map(lives, children or []))), "children outlive their parent"
    await here.ended(deaths, bound)


async def _aim(pid: int, chance: random.Random, calls: Calls) -> Point:
    """A call that this process makes, and the how manieth of them."""
    call = chance.choice(sorted(calls))
    return await inject([pid], call, "signal=KILL", str(chance.randint(1, calls[call])))


def _kept(here: Account) -> Path:
    """Where the parent writes down its children."""
    return supervisor.file(here.data, Role.ALL)


def everyone(here: Account) -> dict[str, int]:
    """Name → pid of those that work: the children, or the only one."""
    return children(here) if _kept(here).exists() else {ONLY: here.there.pid}


def children(here: Account) -> dict[str, int]:
    """Name → pid, as their parent has written it down."""
    return {one["name"]: one["pid"] for one in json.loads(_kept(here).read_text())}


def signal_to(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


async def _answers(here: Account) -> bool:
    with suppress(OSError, AssertionError):
        (await here.there.enter()).close()
        return True
    return False


async def _quiet(here: Account) -> None:
    with suppress(TimeoutError):
        await here.there.until_done(5)
