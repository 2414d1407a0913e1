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
from tests.chaos.kills import WIRE, children, signal_to
from tests.chaos.ledger import BOUND, Account, Tally, account, until
from tests.chaos.nursery import Nurse, Quick
from tests.chaos.points import inject

LOAD, READERS = 4, 150
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
        here.world.delay = 0.05
        pid = here.there.pid if whom == "node" else children(here)[whom]
        posting = asyncio.create_task(here.post(LOAD))
        if whom != "main process":
            await here.world.wait_for(chance.randint(1, LOAD * READERS // 2))
        calls = chance.choice(list(WIRE))
        point = await inject([pid], calls, "signal=STOP", str(chance.randint(1, 20)))
        reached = await until(lambda: stopped(pid), 3)
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


def stopped(pid: int) -> bool:
    """By a signal, or held by a tracer: `T` or `t`."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "Tt"
    except FileNotFoundError:
        return True
