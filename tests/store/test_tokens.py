"""A token is redeemed by exactly one of those who come with it."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from listserv.model.post import HoldKind
from listserv.model.token import Action
from listserv.store import holds, tokens
from listserv.store.db import Database, Tx
from listserv.store.holds import HoldState
from tests.kit.database import NOW, group

TOKEN = bytes(range(32))
SOON = NOW + timedelta(hours=1)


def issue(tx: Tx, actor: str = "ada@a.example", action: Action = Action.JOIN, digest: bytes = TOKEN) -> None:
    tokens.add(tx, digest, action, actor, {"page": 1}, NOW, expires_at=SOON)


async def test_of_many_who_come_at_once_one_redeems(db: Database) -> None:
    db.write_now(issue)
    redeemed = await asyncio.gather(*(db.write(tokens.redeem, TOKEN, NOW) for _ in range(30)))
    assert sorted(redeemed) == [False] * 29 + [True]


def test_of_many_nodes_one_redeems_and_one_decides(db: Database) -> None:
    # given a token and a hold, and four nodes with connections of their own
    db.write_now(issue)
    values = {"group_id": db.write_now(group).id, "author": "a@a.example", "reasons": []}
    hold = db.write_now(holds.add, HoldKind.POST, values, NOW, SOON)
    nodes = [Database(db.url.render_as_string(hide_password=False)) for _ in range(4)]
    start = threading.Barrier(4)

    def node(one: Database) -> tuple[bool, bool]:
        start.wait()
        redeemed = one.write_now(tokens.redeem, TOKEN, NOW)
        return redeemed, one.write_now(holds.decide, hold, HoldState.OPEN, HoldState.APPROVED, "ann", NOW)

    # when all come at once
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(node, nodes))
    for one in nodes:
        one.close()

    # then each was done once
    assert sum(redeemed for redeemed, _ in results) == 1
    assert sum(decided for _, decided in results) == 1


def test_what_fails_with_the_token_leaves_it_unused(db: Database) -> None:
    db.write_now(issue)

    def fails(tx: Tx) -> None:
        assert tokens.redeem(tx, TOKEN, NOW)
        raise ValueError("the effect did not come about")

    with pytest.raises(ValueError, match="effect"):
        db.write_now(fails)
    assert db.write_now(tokens.redeem, TOKEN, NOW)


def test_a_token_says_what_it_stands_for_and_when_it_was_used(db: Database) -> None:
    db.write_now(issue)
    db.write_now(tokens.redeem, TOKEN, NOW)
    token = db.read_now(tokens.find, TOKEN)
    assert token is not None
    assert (token.action, token.actor, token.doc, token.state) == (Action.JOIN, "ada@a.example", {"page": 1}, "used")
    assert (token.made_at, token.expires_at, token.used_at) == (NOW, SOON, NOW)
    assert db.read_now(tokens.find, bytes(32)) is None


@pytest.mark.parametrize("late", [timedelta(0), timedelta(days=1)])
def test_an_old_token_opens_nothing_even_before_it_is_marked(db: Database, late: timedelta) -> None:
    db.write_now(issue)
    assert not db.write_now(tokens.redeem, TOKEN, SOON + late)
    assert db.write_now(tokens.redeem, TOKEN, SOON - timedelta(microseconds=1))


def test_a_door_that_was_shut_stays_shut_and_a_used_one_stays_used(db: Database) -> None:
    db.write_now(issue)
    db.write_now(tokens.decline, TOKEN)
    assert not db.write_now(tokens.redeem, TOKEN, NOW)
    db.write_now(issue, digest=bytes(32))
    db.write_now(tokens.redeem, bytes(32), NOW)
    db.write_now(tokens.decline, bytes(32))
    used = db.read_now(tokens.find, bytes(32))
    assert used is not None
    assert used.state == "used"


def test_what_a_mailbox_was_sent_lately_is_counted(db: Database) -> None:
    for n, action in enumerate([Action.JOIN, Action.LEAVE, Action.DECIDE]):
        db.write_now(issue, action=action, digest=bytes([n]) * 32)
    db.write_now(issue, "bob@b.example", digest=TOKEN)
    db.write_now(tokens.redeem, bytes(32), NOW)
    assert not db.read_now(tokens.unanswered_since, "ada@a.example", NOW, Action.JOIN)
    assert db.read_now(tokens.unanswered_since, "ada@a.example", NOW, Action.LEAVE)
    assert not db.read_now(tokens.unanswered_since, "ada@a.example", NOW, Action.LEAVE, group_id=1)
    assert not db.read_now(tokens.unanswered_since, "ada@a.example", SOON, Action.LEAVE)
    db.write_now(tokens.decline, bytes([1]) * 32)
    assert db.read_now(tokens.unanswered_since, "ada@a.example", NOW, Action.LEAVE)
    sent = db.read_now(tokens.sent_since, "ada@a.example", NOW, [Action.JOIN, Action.LEAVE])
    assert {(token.action, token.state) for token in sent} == {(Action.JOIN, "used"), (Action.LEAVE, "declined")}
