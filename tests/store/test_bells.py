"""A commit is heard: in the process, in others beside SQLite's file, through PostgreSQL; what is rolled back is not."""

import asyncio
import os
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import psycopg
import pytest

from listserv.store import bells
from listserv.store.bells import ring
from listserv.store.db import Database
from tests.kit.database import located, opened
from tests.kit.engines import Postgres
from tests.kit.patience import PATIENCE


class Ear:
    """What one process hears."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self._any = asyncio.Event()

    def __call__(self, rung: Collection[str]) -> None:
        self.heard.extend(sorted(rung))
        self._any.set()

    async def hears(self, name: str, seconds: float = PATIENCE) -> None:
        async with asyncio.timeout(seconds):
            while name not in self.heard:
                self._any.clear()
                await self._any.wait()


@asynccontextmanager
async def listening(url: str, folder: Path) -> AsyncIterator[tuple[Database, Ear]]:
    """A process of its own, as far as bells go, that listens by now."""
    db, ear = Database(located(url, folder)), Ear()
    task = asyncio.create_task(db.listen(ear))
    try:
        await ear.hears("posts") if url.startswith("postgresql") else await asyncio.sleep(0)
        ear.heard.clear()
        yield db, ear
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        db.close()


async def test_a_commit_is_heard_by_everybody_once_and_a_rollback_by_nobody(url: str, tmp_path: Path) -> None:
    def fail(tx: bells.Connection) -> None:
        ring(tx, "posts")
        raise ValueError("a fault of ours")

    with opened(url, tmp_path) as shell:
        async with listening(url, tmp_path) as (here, near), listening(url, tmp_path) as (_, far):
            with pytest.raises(ValueError, match="ours"):
                await here.write(fail)
            await here.write(ring, "deliveries")
            await asyncio.gather(near.hears("deliveries"), far.hears("deliveries"))
            shell.write_now(ring, "journal")  # as the command line does
            await asyncio.gather(near.hears("journal"), far.hears("journal"))
            assert near.heard == far.heard == ["deliveries", "journal"]


async def test_who_shares_a_commit_shares_the_bell(url: str, tmp_path: Path) -> None:
    with opened(url, tmp_path):
        async with listening(url, tmp_path) as (here, near), listening(url, tmp_path) as (_, far):
            await asyncio.gather(*(here.write(ring, name) for name in ("posts", "posts", "jobs") * 20))
            await asyncio.gather(far.hears("jobs"), far.hears("posts"), near.hears("jobs"))
            assert len(far.heard) < 60


async def test_a_pipe_that_nobody_reads_is_removed_and_a_full_one_harms_nobody(tmp_path: Path) -> None:
    with opened("sqlite:", tmp_path) as db:
        async with listening("sqlite:", tmp_path) as (_, ear):
            folder = tmp_path / "listserv.db-bells"
            dead, full = folder / "1-dead", folder / "2-full"
            for pipe in (dead, full):
                os.mkfifo(pipe)
            deaf = os.open(full, os.O_RDWR | os.O_NONBLOCK)
            with suppress(BlockingIOError):
                while os.write(deaf, b"x" * 4096):
                    pass
            db.write_now(ring, "posts")
            await ear.hears("posts")
            assert not dead.exists()
            assert full.exists()
            os.close(deaf)
            assert folder.stat().st_mode & 0o777 == 0o700
        assert sorted(folder.iterdir()) == [full]  # who leaves takes its own away


async def test_a_lost_connection_is_made_anew_and_everything_is_looked_at(
    server: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bells, "AGAIN_AFTER", 0.05)
    url = server.database()
    with opened(url, tmp_path) as db:
        async with listening(url, tmp_path) as (_, ear):
            with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as operator:
                operator.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%%'", prepare=False
                )
            await ear.hears("jobs")
            assert set(ear.heard) == bells.NAMES
            ear.heard.clear()
            db.write_now(ring, "deliveries")
            await ear.hears("deliveries")
    server.drop(url)
