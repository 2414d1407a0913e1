"""Power cuts: everything stops at once, and what only memory held is gone.

Data, log and database are on a small disk of their own.  While letters come and go all processes are stopped, the
disk is copied as it is, and everything is killed; the copy takes the disk's place, and a new daemon begins on it.
"""

import asyncio
import random
import signal
from contextlib import nullcontext
from pathlib import Path

from tests.chaos.kills import TRIES, Progress, everyone, rest, signal_to
from tests.chaos.ledger import BOUND, UNRECORDED, Account, Tally, account, until
from tests.chaos.nursery import Nurse
from tests.chaos.points import lives
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
    """Until so many cuts were reached: those in which the unsynced file was lost as well, and so had to be."""
    chance, tried, reached = random.Random(seed), 0, 0
    with volume(folder, MEGABYTES) as disk:
        data = disk.path / "data"
        data.mkdir()
        folder.chmod(0o711)  # PostgreSQL runs as somebody else
        server = postgres.running(str(disk.path), "--wal-segsize=1") if engine == "postgresql" else nullcontext()
        with server as running:
            url = running.database() if running else "sqlite:///listserv.db"
            async with account(nurse, url, folder, data, workers={"processes": processes}) as here:
                disk.sync()
                while reached < points and tried < TRIES * points:
                    await here.there.start(300)
                    hit = await _cut(here, disk, running, chance, processes)
                    tried, reached = tried + 1, reached + hit
                    progress(hit)
                    if tried % RESTED == 0:
                        await rest(here)
                await rest(here)
                if reached < points:
                    here.broken.append(f"{reached} of {points} cuts were reached in {tried} tries")
                return here.tally(tried, reached)


async def _cut(here: Account, disk: Volume, server: Postgres | None, chance: random.Random, processes: int) -> bool:
    """Whether it was one."""
    unsynced = here.data / f"{UNSYNCED}-{len(here.lives)}"
    unsynced.write_text("not yet on the disk")
    posting = [asyncio.create_task(here.post(LOAD))]
    await asyncio.sleep(chance.uniform(FIRST_SECONDS, LONGEST_SECONDS))
    everybody = {here.there.pid, *everyone(here).values(), *(server.pids() if server else ())}
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
