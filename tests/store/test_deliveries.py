"""Fan-out by chunks and its cursor, and outcomes of claims that are no longer ours."""

from collections import Counter
from collections.abc import Iterable
from datetime import datetime, timedelta

import pytest
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from listserv.flows import distributing
from listserv.model.group import Mode
from listserv.store import accounts, deliveries, posts, queue, schema
from listserv.store.db import Database, Tx
from listserv.store.deliveries import Settled
from listserv.store.posts import Post
from tests.kit.database import NOW, count, edition, group, post

PEOPLE = [f"m{n}@d{n % 3}.example" for n in range(10)]
LATER = NOW + timedelta(minutes=1)


def recipients(tx: Tx) -> list[str]:
    return sorted(tx.execute(select(schema.deliveries.c.recipient)).scalars())


def test_fan_out_makes_one_delivery_for_each_who_gets_posts(db: Database) -> None:
    # given ten members, one of whom reads no mail
    walkers = db.write_now(group, members=PEOPLE)
    quiet = db.read_now(accounts.member, walkers.id, PEOPLE[3])
    assert quiet is not None
    db.write_now(accounts.change, quiet.subscription_id, mode=Mode.NONE.value)
    id = db.write_now(edition, group_id=walkers.id)

    # when it goes out four subscriptions at a time
    cursor, more, chunks = 0, True, 0
    while more:
        cursor, more = db.write_now(deliveries.fan_out, id, walkers.id, cursor, 4, NOW)
        chunks += 1

    # then everybody else has one, due now, with the domain it goes to
    assert chunks == 3
    assert db.read_now(recipients) == sorted(set(PEOPLE) - {PEOPLE[3]})
    rows = db.write_now(queue.claim, schema.deliveries, "node", NOW, 100)
    assert all(row.destination == row.recipient.partition("@")[2] and row.made_at == NOW for row in rows)


def given_a_post_on_its_way(db: Database, members: int) -> tuple[Post, int]:
    """A claimed post with its edition, as the distributor has it before it fans out."""
    walkers = db.write_now(group, members=PEOPLE[:members])
    id = db.write_now(post, walkers.id, number=1)
    claimed = db.write_now(distributing.claim_post, "node", NOW)
    assert claimed is not None
    made = db.write_now(edition, post_id=id, group_id=walkers.id, kind="post")
    db.write_now(posts.move, id, edition_id=made)
    return claimed, made


def test_after_the_last_chunk_a_second_run_makes_no_copy_twice(db: Database) -> None:
    # given a post whose only chunk is there, but whose worker died before it could say so
    claimed, made = given_a_post_on_its_way(db, 5)
    assert db.write_now(distributing.fan_out, claimed, made, NOW) is False
    db.write_now(queue.give_back, schema.posts, "node", NOW)

    # when the next one takes it up
    again = db.write_now(distributing.claim_post, "node", NOW)
    assert again is not None
    assert db.write_now(distributing.fan_out, again, made, LATER) is False

    # then everybody has one copy, as it was made first
    assert db.read_now(recipients) == sorted(PEOPLE[:5])
    assert db.read_now(count, schema.deliveries, made_at=NOW) == 5


def test_a_chunk_and_its_cursor_are_one(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    # given chunks of two, and a worker that dies inside its second
    monkeypatch.setattr(distributing, "CHUNK", 2)
    claimed, made = given_a_post_on_its_way(db, 5)
    assert db.write_now(distributing.fan_out, claimed, made, NOW) is True

    def dying(tx: Tx) -> None:
        distributing.fan_out(tx, claimed, made, NOW)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        db.write_now(dying)
    assert db.read_now(count, schema.deliveries) == 2

    # when it goes on
    while db.write_now(distributing.fan_out, claimed, made, NOW):
        pass

    # then nobody is left out and nobody has two
    assert db.read_now(recipients) == sorted(PEOPLE[:5])


def test_a_post_that_is_no_longer_ours_is_not_fanned_out(db: Database) -> None:
    claimed, made = given_a_post_on_its_way(db, 5)
    db.write_now(queue.give_back, schema.posts, "node", NOW)
    db.write_now(distributing.claim_post, "other", NOW)
    assert db.write_now(distributing.fan_out, claimed, made, NOW) is None
    assert db.read_now(count, schema.deliveries) == 0


def test_an_edition_goes_to_an_address_once(db: Database) -> None:
    id = db.write_now(edition, ["a@a.example"])
    with pytest.raises(IntegrityError):
        db.write_now(deliveries.address_to, id, [(None, "a@a.example")], NOW)


def test_outcomes_are_written_for_the_claims_that_own_their_rows(db: Database) -> None:
    # given three deliveries in hand, one of which another node has taken over meanwhile
    db.write_now(edition, ["a@a.example", "b@b.example", "c@c.example"])
    mine = db.write_now(deliveries.claim, "node", NOW, 3)
    db.write_now(queue.reclaim, schema.deliveries, NOW + queue.LEASE)
    [theirs] = db.write_now(queue.claim, schema.deliveries, "other", NOW + queue.LEASE, 1)
    assert theirs.id == mine[0].id
    db.write_now(queue.claim, schema.deliveries, "node", NOW + queue.LEASE, 2)

    # when the outcomes of both claims of ours come
    said = "250 2.0.0 ok" + "!" * 600
    old = [Settled([d.id], d.tries, "sent", LATER, said) for d in mine]
    new = [Settled([d.id], d.tries + 1, "due" if d is mine[1] else "sent", LATER, said) for d in mine[1:]]
    db.write_now(deliveries.settle, [*old, *new], LATER)

    # then only the newer claims have ended
    c = schema.deliveries.c
    rows = db.read_now(lambda tx: tx.execute(select(c.state, c.node, c.done_at, c.reply).order_by(c.id)).all())
    assert [row.state for row in rows] == ["taken", "due", "sent"]
    assert [row.node for row in rows] == ["other", None, None]
    assert [row.done_at for row in rows] == [None, None, LATER]
    assert rows[2].reply == said[:500]


@pytest.mark.parametrize("replies", [1, 20], ids=["alike", "each its own"])
def test_many_outcomes_are_written_and_none_for_a_claim_that_was_lost(db: Database, replies: int) -> None:
    # given twenty in hand, half of which another node has taken over meanwhile
    db.write_now(edition, [f"m{n}@a.example" for n in range(20)])
    mine = db.write_now(deliveries.claim, "node", NOW, 20)
    db.write_now(queue.reclaim, schema.deliveries, NOW + queue.LEASE)
    theirs = db.write_now(deliveries.claim, "other", NOW + queue.LEASE, 10)

    # when all outcomes come, also those of claims that are lost
    ended = [Settled([d.id], d.tries, "sent", LATER, f"250 ok {n % replies}") for n, d in enumerate(mine)]
    db.write_now(deliveries.settle, ended, LATER)
    assert db.read_now(count, schema.deliveries, state="sent") == 0
    ended = [Settled([d.id], d.tries, "sent", LATER, f"250 ok {n % replies}") for n, d in enumerate(theirs)]
    db.write_now(deliveries.settle, ended, LATER)

    # then those of the newer claims count, each with its reply
    c = schema.deliveries.c
    done = select(c.id, c.reply, c.done_at, c.node).where(c.state == "sent").order_by(c.id)
    rows = [tuple(row) for row in db.read_now(lambda tx: tx.execute(done).all())]
    assert rows == [(d.id, f"250 ok {n % replies}", LATER, None) for n, d in enumerate(theirs)]


def claimed(db: Database, limit: int, after: int = 0, avoid: Iterable[str] = (), now: datetime = NOW) -> list[str]:
    return [d.recipient for d in db.write_now(deliveries.claim, "node", now, limit, after, list(avoid))]


def test_a_small_edition_does_not_wait_behind_a_big_one(db: Database) -> None:
    db.write_now(edition, [f"big{n}@a.example" for n in range(500)])
    db.write_now(edition, [f"small{n}@a.example" for n in range(30)], LATER)
    first = claimed(db, 100, now=LATER)
    assert Counter(name[:3] for name in first) == {"big": 50, "sma": 30}
    assert claimed(db, 100, now=LATER) == [f"big{n}@a.example" for n in range(50, 150)]


def test_more_editions_than_fit_into_a_claim_take_turns(db: Database) -> None:
    ids = [db.write_now(edition, [f"m{n}.{e}@a.example" for n in range(50)]) for e in range(6)]
    taken: Counter[int] = Counter()
    last = 0
    for _ in range(6):
        batch = db.write_now(deliveries.claim, "node", NOW, 40, last)
        taken.update(d.edition_id for d in batch)
        last = batch[-1].edition_id
    assert set(taken) == set(ids)
    assert min(taken.values()) >= 16
    while batch := db.write_now(deliveries.claim, "node", NOW, 40, last):
        taken.update(d.edition_id for d in batch)
    assert taken == dict.fromkeys(ids, 50)


def test_a_crowd_of_notices_is_claimed_together(db: Database) -> None:
    for number in range(20):
        db.write_now(edition, [f"m{number}@a.example"])
    assert claimed(db, 100) == [f"m{number}@a.example" for number in range(20)]


def test_what_was_tried_before_gets_a_quarter_while_there_is_new_mail_and_all_when_there_is_none(db: Database) -> None:
    # given a hundred that were deferred, due again now, and a new post
    db.write_now(edition, [f"old{n}@a.example" for n in range(100)])
    db.write_now(queue.claim, schema.deliveries, "node", NOW, 100)
    db.write_now(queue.give_back, schema.deliveries, "node", NOW)
    db.write_now(edition, [f"new{n}@b.example" for n in range(60)], LATER)

    # then they share a claim
    assert Counter(name[:3] for name in claimed(db, 40, now=LATER)) == {"old": 10, "new": 30}
    assert Counter(name[:3] for name in claimed(db, 40, now=LATER)) == {"old": 10, "new": 30}
    assert claimed(db, 40, now=LATER) == [f"old{n}@a.example" for n in range(20, 60)]


def test_what_is_to_be_avoided_or_not_yet_due_is_not_claimed(db: Database) -> None:
    db.write_now(edition, ["ada@a.example"], NOW + timedelta(microseconds=1))
    db.write_now(edition, ["bob@b.example", "cy@c.example"])
    assert claimed(db, 9, avoid=["b.example", "x.example"]) == ["cy@c.example"]
    assert claimed(db, 9) == ["bob@b.example"]
    assert claimed(db, 9) == []


def test_what_waits_can_be_hurried_and_what_ended_cannot(db: Database) -> None:
    db.write_now(edition, ["a@a.example", "b@b.example"], NOW)
    db.write_now(edition, ["c@c.example", "d@d.example"], LATER)
    [sent] = db.write_now(queue.claim, schema.deliveries, "node", NOW, 1)
    db.write_now(queue.settle, schema.deliveries, sent.id, sent.tries, state="sent", done_at=NOW)
    assert db.write_now(deliveries.hurry, NOW) == 2
    assert len(db.write_now(queue.claim, schema.deliveries, "node", NOW, 9)) == 3


def test_the_operator_drops_what_waits_or_failed_only(db: Database) -> None:
    db.write_now(edition, ["a@a.example", "b@b.example"])
    [taken] = db.write_now(queue.claim, schema.deliveries, "node", NOW, 1)
    assert not db.write_now(deliveries.drop, taken.id, NOW)
    assert db.write_now(deliveries.drop, taken.id + 1, NOW)
    assert not db.write_now(deliveries.drop, taken.id + 1, NOW)
    db.write_now(queue.settle, schema.deliveries, taken.id, taken.tries, state="failed", done_at=NOW)
    assert db.write_now(deliveries.drop, taken.id, NOW)
    assert db.read_now(queue.size, schema.deliveries) == {"dropped": 2}
