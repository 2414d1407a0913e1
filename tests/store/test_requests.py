"""What waits to be asked: whose turn it is, and what goes when a question is over."""

from datetime import UTC, datetime, timedelta

import pytest

from listserv.model.group import DEFAULTS, Kind
from listserv.model.token import Action
from listserv.store import groups, requests, tokens
from listserv.store.db import Database, Tx

NOW = datetime(2026, 11, 26, 16, tzinfo=UTC)
DAY = timedelta(days=1)
WEEK = timedelta(days=7)
ADA, BOB, CY = "ada@a.example", "bob@b.example", "cy@c.example"


@pytest.fixture
def walkers(db: Database) -> int:
    return db.write_now(groups.add, "walkers@lists.example", Kind.DISCUSSION, DEFAULTS, NOW).id


def ask(tx: Tx, key: str, group_id: int, at: datetime, token: bytes | None = None) -> int:
    """One wish, named by the mail with this token; the token is made with it."""
    request = requests.add(tx, key, Action.JOIN, group_id, {}, at)
    if token is not None:
        tokens.add(tx, token, Action.ASK, key, {}, at, expires_at=at + WEEK, group_id=group_id)
        requests.name(tx, [request.id], token)
    return request.id


def left(db: Database, *keys: str) -> list[int]:
    return [len(db.read_now(requests.open_of, key)) for key in keys]


def test_whose_question_is_open_or_new_is_not_asked(db: Database, walkers: int) -> None:
    other = db.write_now(groups.add, "sailors@lists.example", Kind.DISCUSSION, DEFAULTS, NOW).id
    for number, key in enumerate((ADA, BOB, CY)):
        db.write_now(ask, key, other, NOW + number * timedelta(seconds=1))
    db.write_now(ask, BOB, walkers, NOW, b"b" * 32)

    def turn(at: datetime, limit: int = 9) -> list[str]:
        return db.read_now(requests.waiting, at, DAY, limit)

    assert turn(NOW) == [ADA, CY]
    assert turn(NOW, 1) == [ADA]
    db.write_now(tokens.redeem, b"b" * 32, NOW)
    assert turn(NOW + DAY - timedelta(seconds=1)) == [ADA, CY]
    assert turn(NOW + DAY + timedelta(seconds=1)) == [ADA, BOB, CY]


def test_a_question_that_lapses_takes_what_waits_behind_it_along(db: Database, walkers: int) -> None:
    for key in (ADA, BOB):
        db.write_now(ask, key, walkers, NOW, key.encode().ljust(32))
        db.write_now(requests.add, key, Action.LEAVE, walkers, {}, NOW)
    db.write_now(tokens.redeem, BOB.encode().ljust(32), NOW)
    late = NOW + WEEK
    db.write_now(tokens.expire, late)
    assert db.write_now(requests.lapse, late - timedelta(days=30)) == 3
    assert left(db, ADA, BOB) == [0, 1], "Bob has said yes: what waits is asked next"


def test_what_named_a_group_that_is_gone_does_not_stay_for_ever(db: Database, walkers: int) -> None:
    other = db.write_now(groups.add, "sailors@lists.example", Kind.DISCUSSION, DEFAULTS, NOW).id

    def both(tx: Tx) -> None:
        second = requests.add(tx, ADA, Action.JOIN, other, {}, NOW)
        ask(tx, ADA, walkers, NOW, b"a" * 32)
        requests.name(tx, [second.id], b"a" * 32)

    db.write_now(both)
    db.write_now(groups.remove, walkers)
    assert left(db, ADA) == [1]
    db.write_now(requests.lapse, NOW)
    assert left(db, ADA) == [0]


def test_all_rights_of_a_mailbox_end_on_request(db: Database, walkers: int) -> None:
    for number, key in enumerate((ADA, ADA, BOB)):
        db.write_now(ask, key, walkers, NOW, bytes([number]) * 32)
    assert db.write_now(tokens.end_all, [ADA, CY]) == 2
    assert left(db, ADA, BOB) == [0, 1]
    assert not db.write_now(tokens.redeem, bytes([0]) * 32, NOW)
    assert db.write_now(tokens.redeem, bytes([2]) * 32, NOW)


def test_what_was_settled_otherwise_cannot_be_confirmed_and_the_rest_of_the_question_can(
    db: Database, walkers: int
) -> None:
    other = db.write_now(groups.add, "sailors@lists.example", Kind.DISCUSSION, DEFAULTS, NOW).id

    def both(tx: Tx) -> None:
        ask(tx, ADA, walkers, NOW, b"a" * 32)
        second = requests.add(tx, ADA, Action.JOIN, other, {}, NOW)
        requests.name(tx, [second.id], b"a" * 32)
        tokens.add(tx, b"i" * 32, Action.INVITE, ADA, {}, NOW, expires_at=NOW + WEEK, group_id=walkers)

    db.write_now(both)
    db.write_now(tokens.end, ADA, walkers, [Action.JOIN, Action.INVITE])
    assert [each.group_id for each in db.read_now(requests.named_by, b"a" * 32)] == [other]
    assert not db.write_now(tokens.redeem, b"i" * 32, NOW)
    db.write_now(tokens.end, ADA, other, [Action.JOIN])
    assert not db.write_now(tokens.redeem, b"a" * 32, NOW), "nothing is left that it asks"
