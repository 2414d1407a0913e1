"""A post goes through: taken, numbered, rewritten, signed, delivered to each member."""

import asyncio
import re
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from listserv.store import groups, journal, schema
from listserv.store.db import Tx
from listserv.workers import distributor, reception
from tests.kit.house import house, mail, read

WALKERS = "walkers@lists.example"


async def test_a_post_reaches_every_member(url: str, folder: Path) -> None:
    # given a group of three: Bob's mailbox is full, Cy's is gone
    async with house(url, folder) as here:
        here.group(WALKERS, ["ada@a.example", "bob@b.example", "cy@c.example"])
        here.world.answers["bob@b.example"] = "452 4.2.2 mailbox full"
        here.world.answers["cy@c.example"] = "550 5.1.1 no such mailbox"

        # when Ada posts
        reply = await here.post("ada@a.example", WALKERS)

        # then the wire says yes, and each delivery ends as its far side said
        assert reply.startswith("250 2.0.0 accepted as post 1")
        await here.quiet()
        assert here.states() == {"ada@a.example": "sent", "bob@b.example": "due", "cy@c.example": "failed"}
        copy = here.notice("ada@a.example")
        assert copy.endswith(b"Shall we walk?\r\n")
        assert read(copy)["From"] == "ada@a.example"


async def test_posts_of_one_moment_have_numbers_without_a_gap_and_the_same_one_twice_is_one(
    url: str, folder: Path
) -> None:
    async with house(url, folder) as here:
        here.group(WALKERS, ["ada@a.example"])
        letters = [mail("ada@a.example", WALKERS, f"text {n}", f"post {n}") for n in range(20)]

        # when twenty posts come at once, three of them from two servers
        replies = await asyncio.gather(*(here.send("ada@a.example", WALKERS, one) for one in letters + letters[:3]))

        # then twenty are numbered, distributed, counted and logged, and three are known already
        assert {reply[:9] for reply in replies} == {"250 2.0.0"}
        assert sum("known already" in reply for reply in replies) == 3
        numbers = {int(number[1]) for reply in replies if (number := re.search(r"post (\d+)", reply))}
        assert numbers == set(range(1, 21))
        await here.quiet()
        assert len(here.inbox("ada@a.example")) == 20
        assert here.node.db.read_now(journal.counted, "accepted") == 20
        assert sorted(line["post"] for line in here.log() if line["action"] == "post.accepted") == list(range(1, 21))


async def test_a_group_that_has_just_gone_takes_nothing_more(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        group = here.group(WALKERS, ["ada@a.example"])
        assert (await here.post("ada@a.example", WALKERS)).startswith("250")
        here.node.db.write_now(groups.remove, group.id)
        assert (await here.post("ada@a.example", WALKERS, subject="too late")).startswith("550 5.1.1")


async def test_while_many_posts_come_in_taking_them_goes_first(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributor, "YIELD", 1.0)
    monkeypatch.setattr(reception, "WINDOW", 1.0)  # of a machine as slow as may be

    def done(tx: Tx) -> int:
        p = schema.posts.c
        return len(tx.execute(select(p.id).where(p.state == "done")).all())

    async with house("sqlite:///listserv.db", folder) as here:
        here.group(WALKERS, ["ada@a.example"])
        letters = [mail("ada@a.example", WALKERS, f"text {n}", f"post {n}") for n in range(40)]
        await asyncio.gather(*(here.send("ada@a.example", WALKERS, one) for one in letters))
        assert here.node.db.read_now(done) < 20
        monkeypatch.setattr(distributor, "PATIENCE", timedelta())  # they have waited long enough
        await here.quiet()
        assert here.node.db.read_now(done) == 40
