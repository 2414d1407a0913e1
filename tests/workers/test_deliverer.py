"""The deliverer between a real database and a relay on loopback: what it claims, repeats, gives back and drops."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from listserv.flows.delivering import LADDER, Printed
from listserv.model.group import Group
from listserv.net.content import Budget
from listserv.net.relay import Relay, Smarthost, Source, Tls
from listserv.store import accounts, aside, deliveries, queue, restored, schema, secrets
from listserv.store import editions as stored
from listserv.store.db import Database, Tx
from listserv.workers import deliverer as module
from listserv.workers import editions, hand
from listserv.workers.deliverer import Deliverer, _Line
from listserv.workers.recorder import UNRECORDED
from tests.kit.database import Stopped, count, edition, group, opened
from tests.kit.house import Clock
from tests.kit.patience import PATIENCE
from tests.kit.site import site
from tests.kit.world import World

LINES = 4


@dataclass
class Rig:
    """A deliverer with everything it touches."""

    db: Database
    world: World
    worker: Deliverer
    clock: Clock
    reached: list[tuple[int, int]]  # how far the database had come with a claim, and how many copies had gone

    def given(self, people: int, **values: object) -> list[str]:
        """An edition for so many, due now: their addresses."""
        to = [f"m{n}@d{n % 7}.example" for n in range(people)]
        self.db.write_now(edition, to, self.clock(), **values)
        return to

    def states(self) -> dict[str, int]:
        return self.db.read_now(queue.size, schema.deliveries)

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        running = asyncio.create_task(self.worker.run())
        try:
            yield
        finally:
            self.worker.stop()
            async with asyncio.timeout(10):
                await running

    async def until(self, true: Callable[[], bool], seconds: float = PATIENCE) -> None:
        async with asyncio.timeout(seconds):
            while not true():
                await asyncio.sleep(0.01)

    async def done(self, seconds: float = PATIENCE) -> None:
        """Back when nothing is due now and nothing is in hand."""

        def over() -> bool:
            d = schema.deliveries
            busy = queue.is_taken(d) | (queue.is_due(d) & (d.c.due <= self.clock()))
            return self.db.read_now(lambda tx: tx.execute(select(d.c.id).where(busy).limit(1)).first()) is None

        await self.until(over, seconds)


@pytest.fixture
def db(url: str, tmp_path: Path) -> Iterator[Database]:
    with opened(url, tmp_path) as database:
        yield database


@asynccontextmanager
async def rig(db: Database, lines: int = LINES) -> AsyncIterator[Rig]:
    async with World() as world:
        relay = Relay(Smarthost(world.host, world.port, Tls.NONE, connections=lines))
        clock = Clock()
        reached: list[tuple[int, int]] = []

        def reach(number: int) -> None:
            reached.append((number, world.count))

        try:
            worker = Deliverer(db, site(), relay, {}, lines, clock, Budget(16_000_000), reach)
            yield Rig(db, world, worker, clock, reached)
        finally:
            await relay.close(1.0)


async def test_each_claim_takes_the_database_further_and_that_is_known_before_anything_goes(db: Database) -> None:
    async with rig(db) as here, here.at_work():
        for sent in (0, 3):
            here.given(3)
            here.worker.bell.ring()
            await here.done()
            assert here.world.count == sent + 3
            assert here.reached[-1][1] in range(sent, sent + 3)
        numbers = [number for number, _ in here.reached]
        assert here.reached[0][1] == 0
        assert numbers == sorted(set(numbers))
        assert numbers[-1] == db.read_now(restored.come_to)


async def test_every_delivery_is_sent_once_and_ends_as_its_far_side_said(db: Database) -> None:
    async with rig(db) as here:
        to = here.given(120)
        here.world.answers[to[3]] = "452 4.2.2 mailbox full"
        here.world.answers[to[4]] = "550 5.1.1 no such mailbox"
        async with here.at_work():
            await here.done()
        assert here.states() == {"sent": 118, "due": 1, "failed": 1}
        assert {len(copies) for copies in here.world.messages.values()} == {1}
        assert here.world.peak <= LINES
        d = schema.deliveries.c
        said = select(d.recipient, d.tries, d.reply, d.due, d.done_at).where(d.recipient.in_(to[3:5])).order_by(d.id)
        full, gone = db.read_now(lambda tx: tx.execute(said).all())
        assert (full.tries, full.done_at) == (1, None)
        assert "mailbox full" in full.reply
        assert LADDER[0] * 0.7 < full.due - here.clock() < LADDER[0] * 1.3
        assert "no such mailbox" in gone.reply
        assert gone.done_at is not None


async def test_while_the_database_is_slow_no_more_goes_out_than_a_crash_may_repeat(db: Database) -> None:
    # given a hundred in hand, at a relay that takes its time
    async with rig(db) as here:
        here.given(100)
        here.world.delay = 0.02
        async with here.at_work():
            await here.until(lambda: here.world.count > 0)

            # when the database takes nothing any more
            async with Stopped(db):
                recorded = db.read_now(count, schema.deliveries, state="sent")
                most = recorded + LINES + UNRECORDED
                await here.until(lambda: here.world.count >= most)
                await asyncio.sleep(0.3)

                # then the lines stand still when what is in flight and sixteen more are not written down
                assert db.read_now(count, schema.deliveries, state="sent") == recorded
                assert here.world.count == most

            # and go on when it does
            await here.done()
        assert here.states() == {"sent": 100}
        assert here.world.count == 100


async def test_the_lines_wait_for_a_slow_database_and_not_for_each_other(db: Database) -> None:
    # given copies that go fifty in a transaction, more than there are places among the unrecorded
    async with rig(db) as here:
        here.given(600, style="bulk")
        here.world.delay = 0.02
        async with here.at_work():
            await here.until(lambda: here.world.count > 0)

            # when all lines have to wait for a while
            async with Stopped(db):
                await here.until(lambda: len(here.world.envelopes) >= LINES)
                await asyncio.sleep(0.2)

            # then they all go on after it
            await here.done(5)
        assert here.states() == {"sent": 600}


async def test_the_next_are_claimed_when_those_in_hand_are_recorded(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given a deliverer that no clock wakes, and transactions that take all it has in hand at once
    monkeypatch.setattr(module, "DOZE", 10 * PATIENCE)
    async with rig(db) as here:
        monkeypatch.setattr(hand, "MOST", 200)
        here.given(1500, style="bulk")

        # then it goes on until nothing is left
        async with here.at_work():
            await here.done()
        assert here.states() == {"sent": 1500}


async def test_while_the_relay_cannot_be_reached_nothing_is_tried_in_vain(
    db: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # given a relay that is down, and fifty to send
    monkeypatch.setattr(module, "REST_FIRST", 3.0)
    async with rig(db) as here:
        await here.world.down()
        here.given(50)
        with caplog.at_level(logging.WARNING, "listserv.deliverer"):
            async with here.at_work():
                # when the worker has found out
                await here.until(lambda: here.states() == {"due": 50} and bool(caplog.records))

                # then those that were under way count as tried, and no others
                tried = db.read_now(count, schema.deliveries, tries=1)
                assert 1 <= tried <= LINES
                assert db.read_now(count, schema.deliveries, tries=0) == 50 - tried
                assert len(caplog.records) == 1

                # and when it is up again, and those that were tried are due, all go out
                await here.world.up()
                here.clock.ahead += 2 * LADDER[0]
                here.worker.bell.ring()
                await here.until(lambda: here.states() == {"sent": 50})
        assert here.world.count == 50


async def test_what_is_not_begun_goes_back_when_the_worker_stops(db: Database) -> None:
    async with rig(db) as here:
        here.given(100)
        here.world.delay = 0.02
        async with here.at_work():
            await here.until(lambda: here.world.count >= 5)
        states = here.states()
        assert set(states) == {"sent", "due"}
        assert states["sent"] == here.world.count < 100
        d = schema.deliveries
        left = select(d.c.tries, d.c.lease, d.c.node).where(queue.is_due(d)).distinct()
        assert [tuple(row) for row in db.read_now(lambda tx: tx.execute(left).all())] == [(0, None, None)]
        assert db.read_now(lambda tx: max(tx.execute(select(d.c.due).where(queue.is_due(d))).scalars())) <= here.clock()


LARGE = b"x" * (editions.SMALL + 1)


async def test_what_has_no_room_goes_back_while_the_relay_cannot_be_reached(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given two editions that are too big to be on their way together, and a relay that is down
    monkeypatch.setattr(editions, "MOVING_BYTES", len(LARGE))
    monkeypatch.setattr(module, "REST_FIRST", 2.0)
    async with rig(db) as here:
        await here.world.down()
        here.given(50, before=LARGE)
        here.given(50, before=LARGE)
        async with here.at_work():
            await here.until(lambda: here.states() == {"due": 100})

            # then both go out when it is up again
            await here.world.up()
            here.clock.ahead += 2 * LADDER[0]
            here.worker.bell.ring()
            await here.until(lambda: here.states() == {"sent": 100})


async def test_what_has_no_room_goes_back_when_the_worker_stops(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(editions, "MOVING_BYTES", len(LARGE))
    async with rig(db) as here:
        here.given(50, before=LARGE)
        here.given(50, before=LARGE)
        here.world.delay = 0.02
        async with here.at_work():
            await here.until(lambda: here.world.count >= 5)
        assert set(here.states()) == {"sent", "due"}


async def test_a_large_one_that_is_stuck_stops_no_small_ones(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    # given a large edition whose destination is silent, and another large one, which has no room beside it
    monkeypatch.setattr(editions, "MOVING_BYTES", len(LARGE))
    async with rig(db) as here:
        here.world.mute.add("silent.example")
        here.db.write_now(edition, ["ada@silent.example"], here.clock(), before=LARGE)
        async with here.at_work():
            await here.until(lambda: here.world.visits > 0)
            here.given(3, before=LARGE)
            here.worker.bell.ring()

            # when small ones come later, then they go out at once
            to = here.given(7)
            await here.until(lambda: all(each in here.world.messages for each in to), 30)
            await here.world.down()


async def test_an_edition_that_has_gone_is_dropped_and_stops_nobody(db: Database) -> None:
    async with rig(db) as here:
        gone = [f"gone{n}@d.example" for n in range(20)]
        db.write_now(edition, gone, here.clock(), digest=bytes(32))
        here.given(20)
        async with here.at_work():
            await here.done()
        assert here.states() == {"dropped": 20, "sent": 20}
        d = schema.deliveries.c
        why = db.read_now(lambda tx: set(tx.execute(select(d.reply).where(d.state == "dropped")).scalars()))
        assert why == {"its message has gone"}
        assert not set(here.world.messages) & set(gone)


async def test_while_the_queue_is_paused_nothing_goes_out(db: Database) -> None:
    async with rig(db) as here:
        here.given(3)
        db.write_now(secrets.ensure, secrets.PAUSED, b"1", here.clock())
        async with here.at_work():
            await asyncio.sleep(0.2)
            assert here.states() == {"due": 3}
            db.write_now(secrets.remove, secrets.PAUSED)
            here.worker.bell.ring()
            await here.done()
        assert here.states() == {"sent": 3}


async def test_a_mailbox_that_is_not_there_is_charged_and_one_that_is_full_is_not(db: Database) -> None:
    async with rig(db) as here:
        walkers: Group = db.write_now(group, members=["ada@a.example", "bob@b.example"])
        id = db.write_now(edition, [], here.clock(), kind="post", style="personal", group_id=walkers.id)
        db.write_now(deliveries.fan_out, id, walkers.id, 0, 9, here.clock())
        here.world.answers |= {"ada@a.example": "550 5.1.1 no such mailbox", "bob@b.example": "552 5.2.2 mailbox full"}
        async with here.at_work():
            await here.done()
        assert here.states() == {"failed": 2}
        boxes = [db.read_now(accounts.mailbox, key) for key in ("ada@a.example", "bob@b.example")]
        assert [box.bounces for box in boxes if box] == [1, 0]


@pytest.mark.parametrize("step", ["prepare", "stamp"])
async def test_an_edition_that_fails_in_our_own_code_three_times_is_set_aside_alone(
    db: Database, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    sound = getattr(module.delivering, step)

    def broken(site: object, edition: object, *others: object) -> object:
        if b"poison" in (edition.edition if isinstance(edition, Printed) else edition).fields:  # type: ignore[attr-defined]
            raise ValueError("poison")
        return sound(site, edition, *others)

    monkeypatch.setattr(module.delivering, step, broken)
    async with rig(db) as here:
        here.given(3, fields=b"Subject: poison\r\n")
        async with here.at_work():
            for _ in range(3):
                others = here.given(2)
                await here.done()
                assert all(here.world.messages.pop(each) for each in others)
                here.clock.ahead += LADDER[2]
                here.worker.bell.ring()
            await here.until(lambda: here.states() == {"aside": 3, "sent": 6})
        assert db.read_now(aside.fault_of, 1).endswith("ValueError: poison\n")


async def test_an_outage_while_an_edition_is_loaded_is_charged_to_nobody(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given a database whose connection is lost whenever that edition is loaded, more often than a fault is forgiven
    sound, lost = stored.load_small, list[int]()

    def cut_off(tx: Tx, id: int, *others: Any) -> object:
        if id == 1 and len(lost) < 5:
            lost.append(id)
            driver = tx.connection.dbapi_connection
            assert driver is not None
            driver.close()
        return sound(tx, id, *others)

    monkeypatch.setattr(stored, "load_small", cut_off)
    async with rig(db) as here:
        here.given(3)
        async with here.at_work():
            for lapsed in range(1, 6):
                await here.until(lambda times=lapsed: len(lost) == times and not here.worker._hand.ids)
                assert here.states() == {"taken": 3}
                here.clock.ahead += 2 * queue.LEASE
                db.write_now(queue.reclaim, schema.deliveries, here.clock())
                here.worker.bell.ring()

            # then its copies go when it is over, and at once
            await here.until(lambda: here.states() == {"sent": 3})
        assert db.read_now(aside.fault_of, 1) == ""


async def test_a_copy_on_which_a_line_fails_three_times_is_set_aside(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with rig(db, lines=1) as here:
        sound = here.worker._relay.work

        async def broken(source: Source) -> None:
            while isinstance(source, _Line) and (copy := source.take()):
                if b"poison" in copy.head:
                    raise ValueError("poison")
                if turn := source.ended(copy, await here.worker._relay.send(copy)):
                    await turn
            await sound(source)

        monkeypatch.setattr(here.worker._relay, "work", broken)
        here.given(1, fields=b"Subject: poison\r\n")
        async with here.at_work():
            for tries in range(1, 4):
                here.given(2)
                here.worker.bell.ring()
                await here.until(lambda sent=2 * tries: here.states().get("sent") == sent)
                here.clock.ahead += 2 * queue.LEASE
                db.write_now(queue.reclaim, schema.deliveries, here.clock())
                here.worker.bell.ring()
            await here.until(lambda: here.states() == {"aside": 1, "sent": 6})
        assert not here.worker._hand.ids


async def test_who_stood_still_for_longer_than_its_lease_begins_nothing_that_others_have_taken(db: Database) -> None:
    async with rig(db) as here:
        to = here.given(100)
        here.world.delay = 0.02
        async with here.at_work():
            await here.world.wait_for(5)

            # when it wakes, another node has everything
            here.clock.ahead += 2 * queue.LEASE
            here.db.write_now(_take_over, here.clock)
            over = set(here.world.messages)
            await here.until(lambda: not here.worker._turns.waiting)
            await here.until(lambda: not here.worker._turns.under_way)
            assert len(set(here.world.messages) - over) <= 2 * LINES

            # and what the other one does not do is done here
            here.world.delay = 0.0
            here.db.write_now(queue.give_back, schema.deliveries, "other", here.clock())
            here.worker.bell.ring()
            await here.done()
        assert set(here.world.messages) == set(to)
        assert here.world.count - len(to) <= 2 * LINES + UNRECORDED


def _take_over(tx: Tx, clock: Clock) -> None:
    queue.reclaim(tx, schema.deliveries, clock())
    queue.claim(tx, schema.deliveries, "other", clock(), 1000)
