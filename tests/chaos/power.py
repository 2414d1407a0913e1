"""Power cuts: everything stops at once, and what only memory held is gone.

Data, log and database are on a small disk of their own.  While letters come and go all processes are stopped, the
disk is copied as it is, and everything is killed; the copy takes the disk's place, and a new daemon begins on it.
"""

import asyncio
import os
import random
import signal
from contextlib import nullcontext
from pathlib import Path

from tests.chaos.kills import Progress, children, lives, signal_to
from tests.chaos.ledger import BOUND, UNRECORDED, Account, Tally, account, until
from tests.chaos.nursery import Nurse
from tests.chaos.volume import Volume, volume
from tests.kit import postgres
from tests.kit.postgres import Postgres

LOAD = 8
MEGABYTES = 128
FIRST_SECONDS, LONGEST_SECONDS = 0.05, 1.2  # after the first letter of a life
RESTED = 5
UNSYNCED = "unsynced"  # a file that nobody has synced: it shows that the cut is one


async def matrix(
    nurse: Nurse,
    engine: str,
    folder: Path,
    points: int,
    processes: int = 1,
    seed: int = 1,
    progress: Progress = lambda _: None,
) -> Tally:
    """So many cuts; `reached` are those in which the unsynced file was lost as well, and so had to be."""
    chance, reached = random.Random(seed), 0
    with volume(folder, MEGABYTES) as disk:
        data = disk.path / "data"
        data.mkdir()
        folder.chmod(0o711)  # PostgreSQL runs as somebody else
        server = postgres.running(str(disk.path), "--wal-segsize=1") if engine == "postgresql" else nullcontext()
        with server as running:
            url = running.database() if running else "sqlite:///listserv.db"
            async with account(nurse, url, folder, data, workers={"processes": processes}) as here:
                os.sync()
                for point in range(1, points + 1):
                    await here.there.start(300)
                    reached += await _cut(here, disk, running, chance, processes)
                    progress(1)
                    if point % RESTED == 0 or point == points:
                        await here.there.start(300)
                        await here.look()
                        await here.there.stop()
                return here.tally(points, reached)


async def _cut(here: Account, disk: Volume, server: Postgres | None, chance: random.Random, processes: int) -> bool:
    """Whether it was one."""
    unsynced = here.data / f"{UNSYNCED}-{len(here.lives)}"
    unsynced.write_text("not yet on the disk")
    posting = [asyncio.create_task(here.post(LOAD))]
    await asyncio.sleep(chance.uniform(FIRST_SECONDS, LONGEST_SECONDS))
    everybody = [
        here.there.pid,
        *(children(here).values() if processes > 1 else ()),
        *(server.pids() if server else ()),
    ]
    for pid in everybody:
        signal_to(pid, signal.SIGSTOP)
    await asyncio.sleep(0.05)  # what has been said is heard
    copy = await asyncio.to_thread(disk.cut_power)
    for pid in everybody:
        signal_to(pid, signal.SIGKILL)
    assert here.there.child is not None
    await here.there.child.wait()
    await asyncio.gather(*posting)
    await here.ended(1, BOUND + UNRECORDED * (processes - 1))
    gone = await until(lambda: not any(map(lives, everybody)))
    assert gone, "they do not die"
    await asyncio.to_thread(disk.replace, copy)
    if server:
        await asyncio.to_thread(server.restart)
    return not unsynced.exists() or not unsynced.read_text()
