"""A next hop is slow, silent or says "later": nobody else waits for it, and nothing goes twice too soon (T34, T39)."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select

from listserv.model.group import Group
from listserv.net import relay
from listserv.net.relay import Patience
from listserv.store import schema
from tests.kit.house import House, house
from tests.kit.patience import PATIENCE
from tests.kit.process import enrol
from tests.kit.world import World

ADA, BOB = "ada@a.example", "bob@b.example"
WALKERS, OLD = "walkers@lists.example", "old@lists.example"
IN_DOUBT = timedelta(minutes=10)


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not true():
            await asyncio.sleep(0.02)


def crowd(here: House, members: int, delivery: str) -> Group:
    """A group of Ada and so many people in ten domains."""
    made = here.group(OLD, [ADA], delivery=delivery)
    here.node.db.write_now(enrol, made.id, members, datetime.now(UTC))
    return made


def tried(here: House) -> int:
    """Deliveries that wait for another try."""
    d = schema.deliveries.c
    waiting = select(func.count()).where(d.state == "due", d.tries > 0)
    return here.node.db.read_now(lambda tx: int(tx.execute(waiting).scalar_one()))


@pytest.mark.parametrize(("delivery", "members", "delay"), [("personal", 1_200, 0.02), ("bulk", 6_000, 0.2)])
async def test_new_mail_overtakes_what_was_deferred(
    url: str, folder: Path, delivery: str, members: int, delay: float
) -> None:
    async with house(url, folder, relay={"connections": 4}) as here:
        # given a post whose every copy was deferred once, and is due again
        crowd(here, members, delivery)
        here.group(WALKERS, [ADA, BOB])
        here.world.data_answer = "451 4.3.0 later"
        assert (await here.post(ADA, OLD)).startswith("250")
        await until(lambda: tried(here) == members + 1)
        here.world.data_answer = ""
        here.world.delay = delay
        here.clock.ahead += timedelta(hours=1)
        here.ring()
        await here.world.wait_for(10)

        # when there is a new one
        assert (await here.post(ADA, WALKERS, "Now!", subject="new")).startswith("250")
        await until(lambda: any(b"Subject: new" in copy for copy in here.inbox(BOB)))

        # then most of the old ones are still waiting
        assert here.world.count < members / 2
        await here.world.down()


@pytest.mark.parametrize("pipelining", [True, False])
async def test_destinations_that_say_nothing_delay_no_other(url: str, folder: Path, pipelining: bool) -> None:
    async with house(url, folder, world=World(pipelining=pipelining)) as here:
        # given ten domains, of which half never answer
        crowd(here, 300, "personal")
        here.world.mute = {f"d{number}.example" for number in range(5)}

        # when there are two posts, the second one while the first waits for them
        for number in (1, 2):
            assert (await here.post(ADA, OLD, subject=f"post {number}")).startswith("250")
            await here.world.wait_for(number * 151)

        # then all others have both, and the silent ones none
        assert {len(copies) for copies in here.world.messages.values()} == {2}
        assert {address.rpartition("@")[2] for address in here.world.messages}.isdisjoint(here.world.mute)
        await here.world.down()


@pytest.mark.parametrize("pipelining", [True, False])
async def test_who_shares_a_transaction_with_a_silent_one_shares_it_once(
    url: str, folder: Path, pipelining: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    patience = Patience(envelope=0.5)
    monkeypatch.setattr(relay, "Patience", lambda: patience)
    async with house(url, folder, world=World(pipelining=pipelining)) as here:
        # given a next hop that never answers for one of three who go in one transaction
        here.group(OLD, [ADA, "mia@mute.example", BOB], delivery="bulk")
        here.world.mute = {"mute.example"}
        assert (await here.post(ADA, OLD)).startswith("250")
        await until(lambda: tried(here) == 3)
        assert here.world.count == 0

        # when all three are tried again, and there is time enough for who answers
        object.__setattr__(patience, "envelope", 2 * PATIENCE)
        here.clock.ahead += timedelta(minutes=1)
        here.ring()

        # then he goes alone, and the others have it
        await until(lambda: here.states() == {ADA: "sent", "mia@mute.example": "taken", BOB: "sent"})
        assert here.world.count == 2
        await here.world.down()


@pytest.mark.parametrize("pipelining", [True, False])
@pytest.mark.parametrize("delivery", ["personal", "bulk"])
async def test_silence_after_the_dot_is_not_tried_again_before_ten_minutes_are_over(
    folder: Path, delivery: str, pipelining: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "Patience", lambda: Patience(final=0.3))
    async with house("sqlite:///listserv.db", folder, world=World(pipelining=pipelining)) as here:
        # given a next hop that takes the message, and never says so
        here.group(OLD, [ADA, BOB], delivery=delivery)
        here.world.hang_after_dot = True
        assert (await here.post(ADA, OLD)).startswith("250")
        await until(lambda: tried(here) == 2)
        assert here.world.count == 2
        here.world.hang_after_dot = False

        # when nine minutes and a half go by, then nobody is asked again
        await here.later(seconds=IN_DOUBT.total_seconds() - 30)
        assert here.world.count == 2
        assert set(here.states().values()) == {"due"}

        # and later, but not much later, the same message goes again
        await here.later(minutes=6)
        assert here.world.count == 4
        assert set(here.states().values()) == {"sent"}
        ids = {line for copy in here.inbox(ADA) for line in copy.split(b"\r\n") if line.startswith(b"Message-ID")}
        assert len(ids) == 1


def test_each_step_may_take_as_long_as_the_standard_says() -> None:
    """RFC 5321 §4.5.3.2; what has no number there is ours."""
    ours = Patience()
    assert (ours.greeting, ours.envelope, ours.data, ours.block, ours.final) == (300, 300, 120, 180, 600)
