"""The disk fails: full, at any write or altogether; fsync with EIO; suddenly read-only; no log folder.

Whatever fails, senders hear 4xx, what had its 250 stays, and when the disk is well again all goes on by itself.  An
error of fsync comes from strace, to the daemon where it has SQLite, else to PostgreSQL.
"""

import asyncio
import random
import shutil
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from pathlib import Path

from tests.chaos.kills import TRIES, Progress, measured
from tests.chaos.ledger import BOUND, PATIENT, Account, Tally, account, until
from tests.chaos.nursery import Nurse
from tests.chaos.points import inject, lives
from tests.chaos.volume import Volume, volume
from tests.kit import postgres
from tests.kit.postgres import Postgres

LOAD = 5
MEGABYTES = {"sqlite": 32, "postgresql": 128}
ROOM = 300_000  # octets that are left at most on a disk that is about to be full
LARGEST = 10_000  # [smtp] max_message_bytes: below twice as much room mail is refused before anything is written
FAULTS = (("fdatasync,fsync", "error=EIO"), ("pwrite64", "error=ENOSPC"), ("pwrite64", "error=EIO"))
LOADS = 6  # at most for a fault; two when it happens in time
SMALL_SITE = {"smtp": {"max_message_bytes": LARGEST}}

Harm = Callable[[Account, "Disk", random.Random], Awaitable[bool]]


class Disk:
    """Where the data is: the small disk, and the server that has the database on it."""

    def __init__(self, volume: Volume | None, server: Postgres | None) -> None:
        self.volume = volume
        self.server = server

    def writers(self, here: Account) -> list[int]:
        """Who writes the database."""
        return self.server.pids() if self.server else [here.there.pid]

    async def mend(self) -> None:
        """PostgreSQL does not start again by itself when it could not recover, and may find that out late."""
        if self.server is None:
            return
        async with asyncio.timeout(PATIENT):
            while not await asyncio.to_thread(self.server.answers):
                if not any(map(lives, self.server.pids()[:1])):
                    await asyncio.to_thread(self.server.restart)
                await asyncio.sleep(0.1)


async def faults(
    nurse: Nurse,
    url: str,
    folder: Path,
    points: int,
    server: Postgres | None = None,
    seed: int = 1,
    progress: Progress = lambda _: None,
) -> Tally:
    """System calls that fail once, or for a while, until `points` have failed."""
    chance, tried, reached = random.Random(seed), 0, 0
    async with account(nurse, url, folder) as here:
        await here.there.start(300)
        disk = Disk(None, server)
        often = dict((await measured(here, {"writers": disk.writers(here)}, 2, LOAD))["writers"])
        while reached < points and tried < TRIES * points:
            hit = await _fail(here, disk, chance, often)
            tried, reached = tried + 1, reached + hit
            progress(hit)
        await here.look()
        if reached < points:
            here.broken.append(f"{reached} of {points} points were reached in {tried} tries")
        return here.tally(tried, reached)


async def _fail(here: Account, disk: Disk, chance: random.Random, often: dict[str, int]) -> bool:
    """Whether a call has failed; where none was made so often, the next point comes sooner."""
    calls, error = chance.choice(FAULTS)
    first = chance.randint(1, max(often.get(call, 1) for call in calls.split(",")))
    when = str(first) if chance.random() < 0.5 else f"{first}+"
    point = await inject(disk.writers(here), calls, error, when, record=here.there.folder / "calls")
    for load in range(LOADS):
        await here.post(LOAD)
        if load and point.happened():
            break
    await point.lift()
    if not here.there.is_running:
        here.broken.append(f"{calls} with {error} was the end of the daemon")
        await here.there.start(300)
    await disk.mend()
    await here.settle()
    here.harmed(1, BOUND)
    if not point.happened():
        often.update(dict.fromkeys(calls.split(","), max(1, first - 1)))
    return point.happened()


async def matrix(
    nurse: Nurse,
    engine: str,
    folder: Path,
    points: int,
    harm: Harm,
    seed: int = 1,
    progress: Progress = lambda _: None,
) -> Tally:
    """The same harm again and again, to a small disk with everything on it."""
    chance, reached = random.Random(seed), 0
    with volume(folder, MEGABYTES[engine], "loop,errors=remount-ro") as small:
        data = small.path / "data"
        data.mkdir()
        folder.chmod(0o711)  # PostgreSQL runs as somebody else
        server = postgres.running(str(small.path), "--wal-segsize=1") if engine == "postgresql" else nullcontext()
        with server as running:
            url = running.database() if running else "sqlite:///listserv.db"
            async with account(nurse, url, folder, data, **SMALL_SITE) as here:
                await here.there.start(300)
                disk = Disk(small, running)
                for _ in range(points):
                    await here.post(LOAD)
                    reached += await harm(here, disk, chance)
                    await here.look()
                    here.harmed(1, BOUND)
                    progress(1)
                return here.tally(points, reached)


async def full(here: Account, disk: Disk, chance: random.Random) -> bool:
    """Until a letter is refused; whether one was."""
    assert disk.volume
    before = sum(here.refusals.values())
    await asyncio.to_thread(disk.volume.fill, chance.randint(0, ROOM))
    for _ in range(60):
        await here.post(LOAD)
        if here.waiting:
            break
    await asyncio.to_thread(disk.volume.fill)
    await here.post(LOAD)
    disk.volume.empty()
    await disk.mend()
    return sum(here.refusals.values()) > before


async def read_only(here: Account, disk: Disk, chance: random.Random) -> bool:
    """As ext4 does on an error of its own: nothing can be written until the disk is mounted again."""
    assert disk.volume
    assert here.there.child
    before = sum(here.refusals.values())
    posting = asyncio.create_task(here.post(LOAD))
    await asyncio.sleep(chance.uniform(0.0, 0.2))
    disk.volume.fail()
    await posting
    await here.post(LOAD)
    here.there.child.kill()
    await here.there.child.wait()
    await here.ended(1, BOUND)
    if disk.server:
        await asyncio.to_thread(disk.server.kill)
    await asyncio.to_thread(disk.volume.remount)
    await disk.mend()
    await here.there.start(300)
    return sum(here.refusals.values()) > before


async def without_log_folder(here: Account, disk: Disk, chance: random.Random) -> bool:
    """Gone, and made anew; then a file stands in its place: mail goes on, and its lines wait."""
    log = here.data / "log"
    await here.look()
    here.unlogged |= set(here.taken)
    shutil.rmtree(log)
    await here.post(LOAD)
    made = await until(log.is_dir)
    await here.look()
    here.unlogged |= set(here.taken)
    shutil.rmtree(log)
    log.write_text("in the way")
    await here.post(LOAD)
    went_on = not here.waiting
    await here.settle()
    log.unlink()
    return made and went_on
