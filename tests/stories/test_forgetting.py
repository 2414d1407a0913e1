"""What is kept about people: tokens nowhere but in the mail, and nothing about strangers when its time is over."""

import re
from pathlib import Path

import pytest
from sqlalchemy import select

from listserv.mail import tag
from listserv.store import schema, secrets
from listserv.store import tokens as store
from tests.kit import traces
from tests.kit.house import House, house, mail

ANN = "ann@a.example"
BEN = "ben@b.example"
MEMBER = "mia@m.example"
SAILING = "sailing@lists.example"
STRANGERS = ("eve", "fay", "gus", "hal", "ivy", "kim")
RECORDS = ("posts", "holds", "tokens", "events", "deliveries", "editions", "journal", "bounces", "messages", "seen")


def tokens(here: House) -> set[str]:
    """Every token that stands in a notice which waits to be sent."""
    e = schema.editions.c
    waiting = here.node.db.read_now(lambda tx: [bytes(row.fields) for row in tx.execute(select(e.fields))])
    return {token.decode() for fields in waiting for token in re.findall(rb"-confirm\+([a-z2-7]{26})@", fields)}


@pytest.mark.parametrize("answer", ["550 5.1.1 no such mailbox", ""])
async def test_a_token_stands_in_its_mail_and_in_no_record_of_it(url: str, folder: Path, answer: str) -> None:
    # given a post that waits, and notices of it to two admins
    async with house(url, folder) as here:
        group = here.group(SAILING, [MEMBER], owner=ANN, moderated=True)
        here.admin(group, BEN)
        here.node.db.write_now(secrets.ensure, secrets.PAUSED, b"1", here.clock())
        await here.post(MEMBER, SAILING, subject="Regatta")
        issued = tokens(here)
        assert len(issued) == 2

        # when one of them cannot be delivered, the other is answered, and the answer comes once more
        here.world.answers[ANN] = answer
        here.node.db.write_now(secrets.remove, secrets.PAUSED)
        await here.quiet()
        for _ in range(2):
            assert (await here.answer(BEN, here.notice(BEN), "approve")).startswith("250")
            await here.quiet()
        assert any(line["action"] == "hold.approved" for line in here.log())
        assert any(line["action"] == "bounce.reported" for line in here.log()) is bool(answer)

        # then no token, nor the Message-ID made of it, is in any row or line but the mail itself
        logs = here.node.settings.access_log.path.parent
        assert traces.files(logs, "hold.approved")
        for token in issued | tokens(here):
            assert traces.columns(here.node.db, token) == set()
            assert [path for path in traces.files(logs, token) if not path.name.startswith("listserv.db")] == []
            assert here.node.db.read_now(store.find, tag.digest(token)) is not None

        # and when the mail has gone, nowhere
        await here.later(days=8)
        for token in issued:
            assert traces.columns(here.node.db, token) == set()


async def test_of_strangers_nothing_is_left_when_its_time_is_over(url: str, folder: Path) -> None:
    # given what six strangers do, each by another door
    eve, fay, gus, hal, ivy, kim = (f"{name}@stranger.example" for name in STRANGERS)
    async with house(url, folder) as here:
        group = here.group(SAILING, [MEMBER], owner=ANN, posting="anyone", moderated=True)
        await here.post(eve, SAILING, subject="Nobody decides on this")
        await here.post(fay, SAILING, subject="This is rejected")
        await here.quiet()
        assert (await here.answer(ANN, here.notice(ANN), "reject")).startswith("250")
        await here.post(gus, "sailing-owner@lists.example")
        await here.post(hal, "sailing-subscribe@lists.example")
        await here.post(ivy, "sailing-help@lists.example")
        await here.post(kim, "postmaster@lists.example")
        here.world.answers[gus] = "452 4.2.2 mailbox full"
        await here.post(gus, "sailing-help@lists.example")
        await here.quiet()
        known = {name: traces.columns(here.node.db, f"{name}@stranger", RECORDS) for name in STRANGERS}
        assert all(known.values()), known
        assert "posts.envelope" in traces.columns(here.node.db, "127.0.0.1", RECORDS)

        # when a year has gone and another one
        for _ in range(2):
            await here.later(days=400)

        # then their addresses and where they came from are in no record, and the members are still members
        left = {text: traces.columns(here.node.db, text, RECORDS) for text in (*STRANGERS, "stranger", "127.0.0.1")}
        assert {text: where for text, where in left.items() if where} == {}
        assert here.members(group) == [MEMBER]
        assert here.held() == []


async def test_a_post_and_its_hold_are_known_while_they_may_be_traced_or_taken_back(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        here.group(SAILING, [MEMBER], owner=ANN, moderated=True)
        await here.send(MEMBER, SAILING, mail(MEMBER, SAILING, Message_ID="<regatta@m.example>"))
        await here.quiet()
        await here.answer(ANN, here.notice(ANN), "discard")
        await here.later(days=6)
        assert {"posts.message_id", "events.message_id"} <= traces.columns(here.node.db, "regatta@m.example")
        await here.later(days=7)
        assert (await here.answer(ANN, here.notice(ANN), "undo")).startswith("250")
        await here.quiet()
        assert len(here.held()) == 1
