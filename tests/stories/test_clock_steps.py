"""The clock is wrong for a while: mail goes on, nothing is lost or doubled, no token comes back to life (T38)."""

import asyncio
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select, update

from listserv.store import ledger, schema
from listserv.store.db import Tx
from tests.kit.house import Clock, House, house, words
from tests.kit.patience import PATIENCE

ADA, BOB, ANN = "ada@a.example", "bob@b.example", "ann@o.example"
WALKERS, SAILING = "walkers@lists.example", "sailing@lists.example"
HOUR, LONG = timedelta(hours=1), timedelta(days=400)


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not true():
            await asyncio.sleep(0.02)


def step(here: House, span: timedelta) -> None:
    here.clock.ahead += span
    here.ring()


def waiting(here: House) -> int:
    """Deliveries that were tried and wait for another try."""
    d = schema.deliveries.c
    chosen = select(func.count()).where(d.state == "due", d.tries > 0)
    return here.node.db.read_now(lambda tx: int(tx.execute(chosen).scalar_one()))


def furthest(here: House) -> timedelta:
    """How far away the latest job is."""
    latest = here.node.db.read_now(lambda tx: tx.execute(select(func.max(schema.jobs.c.due))).scalar_one())
    return latest - here.clock()


async def post(here: House, number: int) -> None:
    assert (await here.post(ADA, WALKERS, subject=f"post {number}")).startswith("250")


@pytest.mark.parametrize("span", [HOUR, -HOUR, LONG, -LONG], ids=str)
async def test_mail_goes_on_while_the_clock_steps_and_comes_back(url: str, folder: Path, span: timedelta) -> None:
    async with house(url, folder, clock=Clock(2 * LONG)) as here:
        here.group(WALKERS, [ADA, BOB])
        for number, by in enumerate((timedelta(), span, -span, -span, span)):
            step(here, by)
            await post(here, number)
            await here.world.wait_for(2 * number + 2)
            await here.quiet()  # a step forward ends leases: what is in hand then may go twice, as after a crash
        await here.quiet()
        assert {len(copies) for copies in here.world.messages.values()} == {5}
        assert [balance.missing for balance in here.node.db.read_now(ledger.balances)] == [0, 0]
        if abs(span) == HOUR:  # after 400 days a line has reached its age
            assert len([line for line in here.log() if line["action"] == "post.accepted"]) == 5


async def test_what_waits_for_another_try_does_not_wait_for_a_clock_that_was_wrong(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        # given a clock that is far ahead while a copy is deferred and every job is done
        here.group(WALKERS, [ADA])
        step(here, LONG)
        await here.idle()
        here.world.answers[ADA] = "451 4.2.0 later"
        await post(here, 1)
        await until(lambda: waiting(here) == 1)

        # when it is set right
        here.world.answers.clear()
        step(here, -LONG)

        # then the copy is on its way and the jobs are near
        await here.world.wait_for(1)
        await until(lambda: furthest(here) < timedelta(hours=25))


async def test_a_clock_that_was_wrong_for_a_moment_in_which_nobody_looked_at_it_is_noticed_too(
    url: str, folder: Path
) -> None:
    async with house(url, folder) as here:
        # given a copy that was put off, and one that was claimed, while the clock was far ahead for a second
        here.group(WALKERS, [ADA, BOB])
        here.world.answers = {ADA: "451 4.2.0 later", BOB: "451 4.2.0 later"}
        await post(here, 1)
        await until(lambda: waiting(here) == 2)
        here.world.answers.clear()
        far = here.clock() + LONG

        def astray(tx: Tx) -> None:
            d = schema.deliveries
            tx.execute(update(d).where(d.c.recipient == ADA).values(due=far))
            tx.execute(update(d).where(d.c.recipient == BOB).values(state="taken", node="gone", lease=far))

        here.node.db.write_now(astray)

        # then they are on their way when it is right
        here.ring()
        await here.world.wait_for(2)
        await here.quiet()


async def test_a_token_that_was_used_or_is_over_stays_so_when_the_clock_goes_back(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        here.group(SAILING, [ADA, BOB], owner=ANN, moderated=True)
        assert "held" in await here.post(ADA, SAILING)
        await here.quiet()
        notice = here.notice(ANN)
        await here.answer(ANN, notice, "approve")
        await here.quiet()
        step(here, -HOUR)
        await here.answer(ANN, notice, "discard")
        await here.quiet()
        assert len([copy for copy in here.inbox(BOB) if b"Subject: A walk" in copy]) == 1
        assert re.search("already|approved", words(here.notice(ANN)))
