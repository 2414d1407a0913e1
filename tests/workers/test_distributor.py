"""The distributor in a whole house: which failures are charged to a post, and whom they hold up."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert

from listserv.flows import setting_aside
from listserv.store import aside, schema
from listserv.store.db import Tx
from listserv.workers import distributor as module
from listserv.workers import loop
from listserv.workers.cell import Overrun
from tests.kit.database import count
from tests.kit.house import house
from tests.kit.patience import PATIENCE

ADA, WALKERS = "ada@a.example", "walkers@lists.example"
STEPS = ["load", "hand_out"]


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setting_aside, "AGAIN", timedelta(seconds=0.1))
    monkeypatch.setattr(loop, "AFTER_A_FAULT", 0.1)


def refused(tx: Tx) -> None:
    """By the database, for what is in it."""
    tx.execute(insert(schema.editions).values(kind="notice", style="verp"))


def cut_off(tx: Tx) -> None:
    """In the middle of it."""
    driver = tx.connection.dbapi_connection
    assert driver is not None
    driver.close()
    tx.execute(insert(schema.editions).values(kind="notice", style="verp"))


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not true():
            await asyncio.sleep(0.02)


def fails(monkeypatch: pytest.MonkeyPatch, step: str, fails_by: Callable[[Tx], None], times: int) -> list[str]:
    """That step of posts that have `poison` in them, so often; each time is written down."""
    sound, failed = getattr(module.distributing, step), list[str]()

    def broken(tx: Tx, *given: Any, **named: Any) -> Any:
        if len(failed) < times and any("poison" in str(getattr(each, "message_id", each)) for each in given):
            failed.append(step)
            fails_by(tx)
        return sound(tx, *given, **named)

    monkeypatch.setattr(module.distributing, step, broken)
    return failed


@pytest.mark.parametrize("step", STEPS)
async def test_a_post_that_the_database_refuses_is_set_aside_and_holds_up_nobody(
    url: str, folder: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    fails(monkeypatch, step, refused, 1000)
    async with house(url, folder) as here:
        here.group(WALKERS, [ADA])
        assert (await here.post(ADA, WALKERS, **{"Message-ID": "<poison@a.example>"})).startswith("250")
        assert (await here.post(ADA, WALKERS, subject="good")).startswith("250")
        await here.world.wait_for(1)
        await until(lambda: here.node.db.read_now(aside.count) == 1)
        (post,) = here.node.db.read_now(lambda tx: list(aside.all_posts(tx)))
        assert post.message_id == "<poison@a.example>"
        assert "IntegrityError" in post.fault


async def test_a_post_that_takes_too_long_beside_the_loop_is_rendered_apart_and_is_no_poison(
    url: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given a machine on which nothing is fast enough
    def overrun(*_: object) -> None:
        raise Overrun

    async with house(url, folder) as here:
        here.group(WALKERS, [ADA])
        monkeypatch.setattr(module, "guarded", overrun)
        assert (await here.post(ADA, WALKERS)).startswith("250")
        await here.world.wait_for(1)
        await here.quiet()
        assert here.node.db.read_now(count, schema.posts, faults=0) == 1


@pytest.mark.parametrize("step", STEPS)
async def test_outages_are_not_charged_to_a_post_however_many_there_are(
    url: str, folder: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    failed = fails(monkeypatch, step, cut_off, 25)
    async with house(url, folder) as here:
        here.group(WALKERS, [ADA])
        assert (await here.post(ADA, WALKERS, **{"Message-ID": "<poison@a.example>"})).startswith("250")
        while here.node.db.read_now(count, schema.editions) == 0:
            here.clock.ahead += timedelta(seconds=25)  # leases
            here.ring()
            await asyncio.sleep(0.05)
        await here.world.wait_for(1)
        await here.quiet()
        assert len(failed) == 25
        assert here.node.db.read_now(aside.count) == 0
        assert {len(copies) for copies in here.world.messages.values()} == {1}
