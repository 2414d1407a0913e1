"""What `scripts/soak` does: the loads of this folder at their full size, and a table of what came of them."""

import argparse
import asyncio
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from listserv.model.group import Role
from tests.endurance import loads
from tests.endurance.loads import ADA, LARGE, READERS, WALKERS
from tests.kit.process import Process, process
from tests.kit.world import World

MEMORY = 150.0  # MB
SMALL_DISK = "24m"


class Table:
    """Rows as they are measured; `broken` counts the promises that were not kept."""

    def __init__(self) -> None:
        self.broken = 0

    def row(self, what: str, measured: float, promised: float | None = None, unit: str = "") -> None:
        """`promised` is the most that it may be; None: only told."""
        kept = promised is None or measured <= promised
        self.broken += not kept
        limit = "" if promised is None else f"<= {promised:g} {unit}"
        print(f"{what:<58} {measured:>10.1f} {unit:<4} {limit:<14} {'' if kept else 'BROKEN'}".rstrip(), flush=True)


@asynccontextmanager
async def site(url: str, **options: object) -> AsyncIterator[tuple[Process, World]]:
    with tempfile.TemporaryDirectory(prefix="listserv-soak-") as folder:
        async with World() as world, process(url, Path(folder), world, **options) as there:  # type: ignore[arg-type]
            yield there, world


async def under_load(table: Table, url: str, members: int, clients: int) -> None:
    """A post to everybody, fifty uploads at once in the middle of it, and bombs."""
    async with site(url) as (there, world):
        table.row("memory at the start", there.resident(), MEMORY, "MB")
        there.populate(WALKERS, members, dict.fromkeys(READERS, Role.MEMBER))
        there.populate(LARGE, names=dict.fromkeys(READERS, Role.MEMBER))
        began = time.monotonic()
        assert (await loads.post(there, ADA, WALKERS, subject="to everybody")).startswith("250")
        await world.wait_for(min(members, 1000), 60)
        table.row("memory while it distributes", there.resident(), MEMORY, "MB")
        uploading = time.monotonic()
        replies = Counter(reply[:3] for reply in await loads.uploads(there, clients, loads.LIMIT - 10_000))
        table.row(f"{clients} uploads of 10 MB, seconds", time.monotonic() - uploading, None, "s")
        table.row("uploads that were not taken", clients - replies["250"], 0)
        table.row("memory with the uploads", there.resident(), MEMORY, "MB")
        copies = members + len(READERS) * (1 + clients)
        await world.wait_for(copies, 60 + copies / 100)
        table.row("copies a second", copies / (time.monotonic() - began))
        await there.until_done(60)
        table.row("memory when all is delivered", there.resident(), MEMORY, "MB")
        table.row("copies too many", world.count - copies, 0)
        table.row("lines of the log that say our code failed", len(there.tracebacks()), 0)


async def bombs(table: Table, url: str) -> None:
    async with site(url) as (there, world):
        there.populate(WALKERS, names=dict.fromkeys(READERS, Role.MEMBER), footer="Since 1920")
        assert (await loads.post(there, ADA, WALKERS)).startswith("250")
        await there.until_done()
        before, over = there.resident(), asyncio.Event()
        bystander = asyncio.create_task(loads.stand_by(there, over))
        wrong = await loads.wrong_answers(there, loads.bombs())
        over.set()
        noops, posts = await bystander
        table.row(f"bombs with a wrong answer {sorted(wrong)}", len(wrong), 0)
        await there.until_done(60)
        table.row("memory that the bombs took", there.resident() - before, 32, "MB")
        table.row("somebody else's slowest command", 1000 * noops[-1], 1000, "ms")
        table.row("somebody else's slowest post", 1000 * posts[-1], 2000, "ms")
        table.row("faults on the wire", len(world.faults), 0)


async def small_disk(table: Table) -> None:
    """A disk of a few MB, seen by the daemon alone, is filled and emptied again."""
    mount = f'mv "$0"/* "$0.seed" && mount -t tmpfs -o size={SMALL_DISK} none "$0" && mv "$0.seed"/* "$0" && exec "$@"'
    with tempfile.TemporaryDirectory(prefix="listserv-disk-") as disk:
        seed = Path(f"{disk}.seed")
        seed.mkdir()
        there_too = ("unshare", "-m", "sh", "-c", mount, disk)
        limits = {"smtp": {"max_message_bytes": 100_000}, "site": {"data_dir": disk}}
        changes = {name: dict(section) for name, section in limits.items()}
        async with site(f"sqlite:///{disk}/listserv.db", arguments=there_too, start=False, **changes) as (there, world):
            there.populate(WALKERS, names=dict.fromkeys(READERS, Role.MEMBER))
            await there.start()
            seed.rmdir()
            filler = Path(f"/proc/{there.pid}/root{disk}/filler")
            taken = 0
            for number in range(60):
                if number == 20:
                    await asyncio.to_thread(fill, filler)
                if number == 40:
                    filler.unlink()
                answer = await loads.post(there, ADA, WALKERS, subject=f"post {number}")
                taken += answer.startswith("250")
                table.broken += answer[:1] == "5"
                await asyncio.sleep(0.3)
            table.row("posts taken on a disk that was full for a while", taken)
            table.row("posts refused for ever, or taken while it was full", max(0, taken - 45), 0)
            await world.wait_for(taken * len(READERS), 60)
            table.row("copies lost or too many", abs(world.count - taken * len(READERS)), 0)


def fill(path: Path) -> None:
    """Until there is no space left."""
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"\0" * 4096)
        except OSError:
            return


async def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/soak")
    parser.add_argument("--members", type=int, default=100_000)
    parser.add_argument("--uploads", type=int, default=50)
    parser.add_argument("--url", default="sqlite:///listserv.db", help="an empty database; the default is SQLite")
    asked = parser.parse_args()
    table = Table()
    runs: list[Callable[[], Awaitable[None]]] = [lambda: under_load(table, asked.url, asked.members, asked.uploads)]
    if asked.url.startswith("sqlite"):
        runs.append(lambda: bombs(table, asked.url))
        if os.geteuid() == 0 and shutil.which("unshare"):
            runs.append(lambda: small_disk(table))
    for run in runs:
        await run()
    return 1 if table.broken else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
