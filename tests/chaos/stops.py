"""SIGSTOP for longer than a lease: others take the work over, and then the one who was stopped goes on.

Each stop is at the N-th call of a system call, of a delivery process beside another one, of the main process, or of a
whole node while a second one works on the same database.  Nobody is dead, so nothing is given back: leases alone
say whose work it is.
"""

import asyncio
import random
import signal
from contextlib import AsyncExitStack
from pathlib import Path

from listserv.store.queue import LEASE
from tests.chaos.kills import WIRE, everyone, measured, signal_to
from tests.chaos.ledger import BOUND, Account, Tally, account, until
from tests.chaos.nursery import Nurse, Quick
from tests.chaos.points import inject

LOAD, READERS = 4, 150
FIRST = 20  # calls after the attack begins, at most
BEYOND = 12.0  # seconds after the lease has run out: others learn of it within 10
WHOM = ("delivery process 1", "main process", "node")


async def one(nurse: Nurse, url: str, folder: Path, whom: str, seed: int) -> Tally:
    """Stopped at a point, for longer than its lease; the letters that came meanwhile are there as well."""
    chance = random.Random(seed)
    processes = 1 if whom == "node" else 2
    async with (
        account(nurse, url, folder, members=READERS, workers={"processes": processes}) as here,
        AsyncExitStack() as stack,
    ):
        await here.there.start(300)
        if whom == "node":
            stack.push_async_callback(_stop, await second(here))
        pid = here.there.pid if whom == "node" else everyone(here)[whom]
        often = (await measured(here, {whom: [pid]}, 1, 1))[whom]
        here.world.delay = 0.05
        posting = asyncio.create_task(here.post(LOAD))
        if whom != "main process":
            await here.world.wait_for(here.world.count + chance.randint(1, LOAD * READERS // 2))
        call = chance.choice([call for call in WIRE if call in often])
        when = str(chance.randint(1, min(FIRST, often[call])))
        point = await inject([pid], call, "signal=STOP", when, record=here.there.folder / "calls")
        reached = await until(point.happened, 20)
        signal_to(pid, signal.SIGSTOP)  # strace wakes whom it lets go
        await point.lift()
        signal_to(pid, signal.SIGSTOP)
        here.world.delay = 0.0
        await asyncio.sleep(LEASE.total_seconds() + BEYOND)
        signal_to(pid, signal.SIGCONT)
        await posting
        await here.look()
        here.harmed(1, BOUND)
        return here.tally(1, reached)


async def second(here: Account) -> Quick:
    """Another node on this database, which only delivers: it has a folder and a name of its own."""
    folder = here.there.folder / "second"
    folder.mkdir()
    config = folder / "listserv.toml"
    config.write_text(here.there.config.read_text().replace(f"unix:{here.there.folder}/smtp", f"unix:{folder}/smtp"))
    there = Quick(folder, here.there.url, config, nurse=here.there.nurse)
    await there.start(300)
    return there


async def _stop(there: Quick) -> None:
    await there.stop()
