"""When outcomes are written down, and who waits for it."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from listserv.store import deliveries, schema
from listserv.store.db import Database
from listserv.store.deliveries import Delivery, Settled
from listserv.workers import recorder as module
from listserv.workers.recorder import UNRECORDED, WAITING_SHARE, Recorder
from tests.kit.database import NOW, Stopped, count, edition, opened
from tests.kit.patience import PATIENCE
from tests.kit.site import site

LINES = 20
CROWD = int(LINES * WAITING_SHARE)


@dataclass
class Rig:
    """A recorder, what is in hand, and lines that finish it."""

    db: Database
    recorder: Recorder
    recorded: list[int]
    hand: list[Delivery]
    lines: list[asyncio.Future[None]] = field(default_factory=list)

    async def finish(self, copies: int, in_one: int = 1) -> None:
        """So many lines finish a copy each, or `in_one` transaction as many; they may have to wait."""
        for _ in range(copies // in_one):
            some, self.hand = self.hand[:in_one], self.hand[in_one:]
            settled = Settled([each.id for each in some], some[0].tries, "sent", NOW, f"250 {some[0].id}")
            if turn := self.recorder.finish([settled]):
                self.lines.append(turn)
        for _ in range(5):
            await asyncio.sleep(0)

    @property
    def waiting(self) -> int:
        return sum(not line.done() for line in self.lines)

    async def all(self) -> None:
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(*self.lines)


@pytest.fixture
def db(url: str, tmp_path: Path) -> Iterator[Database]:
    with opened(url, tmp_path) as database:
        yield database


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """No time is ever over."""
    monkeypatch.setattr(module, "RECORD_AFTER", 3600.0)
    monkeypatch.setattr(module, "WAIT_AT_MOST", 3600.0)


@asynccontextmanager
async def rig(db: Database, lines: int = LINES) -> AsyncIterator[Rig]:
    db.write_now(edition, [f"m{n}@a.example" for n in range(200)])
    hand = db.write_now(deliveries.claim, "node", NOW, 200)
    recorded: list[int] = []
    recorder = Recorder(db, site(), lambda: NOW, recorded.extend, lambda: lines)
    running = asyncio.create_task(recorder.run())
    try:
        yield Rig(db, recorder, recorded, hand)
    finally:
        running.cancel()
        await recorder.flush()
    assert db.read_now(count, schema.deliveries, state="sent") == len(recorded)


@pytest.mark.usefixtures("patient")
async def test_a_commit_waits_until_several_lines_wait_for_it(db: Database) -> None:
    async with rig(db) as here:
        async with Stopped(db):
            await here.finish(UNRECORDED)
            assert here.waiting == 0
            await here.finish(CROWD - 1)
            assert here.waiting == CROWD - 1
            await here.finish(1)
        await here.all()
        assert len(here.recorded) == UNRECORDED + CROWD


@pytest.mark.usefixtures("patient")
async def test_who_came_while_others_were_written_takes_their_places(db: Database) -> None:
    async with rig(db) as here:
        async with Stopped(db):
            await here.finish(UNRECORDED + CROWD)
            await here.finish(LINES - CROWD)
            assert here.waiting == LINES
        await here.all()
        assert len(here.recorded) == UNRECORDED + CROWD
        async with Stopped(db):
            await here.finish(UNRECORDED)
            assert here.waiting == LINES - CROWD
        await here.all()


@pytest.mark.usefixtures("patient")
async def test_a_line_that_is_alone_waits_for_nobody(db: Database) -> None:
    async with rig(db, lines=1) as here:
        await here.finish(UNRECORDED)
        async with asyncio.timeout(PATIENCE):
            while len(here.recorded) < UNRECORDED:
                await asyncio.sleep(0.001)


@pytest.mark.parametrize(("copies", "in_one"), [(1, 1), (UNRECORDED + 1, 1), (50, 50)])
async def test_nobody_waits_for_long_where_few_come(db: Database, copies: int, in_one: int) -> None:
    async with rig(db) as here:
        await here.finish(copies, in_one)
        async with asyncio.timeout(PATIENCE):
            while len(here.recorded) < copies:
                await asyncio.sleep(0.001)
        await here.all()


async def test_an_outcome_on_which_our_own_code_fails_keeps_nobody_else_from_being_recorded(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given a refusal that cannot be charged to anybody, and one that cannot even be stored by PostgreSQL
    charged = list[int]()

    def refused(_act: object, id: int, reply: str) -> None:
        if "poison" in reply:
            raise ValueError(reply)
        charged.append(id)

    monkeypatch.setattr(module.delivering.bouncing, "refused_on_the_wire", refused)
    async with rig(db) as here:
        replies = ["550 5.1.1 gone", "550 poison", "550 \0 poison", "550 5.1.1 gone"]
        some = here.hand[: len(replies)]
        for delivery, reply in zip(some, replies, strict=True):
            here.recorder.finish([Settled([delivery.id], delivery.tries, "failed", NOW, reply)])
        async with asyncio.timeout(PATIENCE):
            while len(here.recorded) < len(replies):
                await asyncio.sleep(0.01)
        assert db.read_now(count, schema.deliveries, state="failed") == len(replies)
        assert set(charged) == {some[0].id, some[3].id}
        here.recorded.clear()
