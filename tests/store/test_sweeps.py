"""What time removes, and what it must leave: each sweep is tried with what it may take and what still needs it."""

from datetime import timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import select

from listserv.access_log.events import member_left
from listserv.access_log.line import Way, Who
from listserv.flows import expiring
from listserv.model.post import HoldKind
from listserv.model.token import Action
from listserv.store import bounces, deliveries, holds, journal, posts, queue, schema, tokens
from listserv.store.db import Database, Tx
from tests.kit.database import NOW, count, edition, group, opened, post

OLD = NOW - timedelta(days=30)
DAY = timedelta(days=1)


def kept(tx: Tx) -> set[bytes]:
    return set(tx.execute(select(schema.messages.c.content)).scalars())


def hold(tx: Tx, group_id: int, digest: bytes, **values: Any) -> int:
    columns = {"group_id": group_id, "digest": digest, "author": "a@a.example", "reasons": [], **values}
    return holds.add(tx, HoldKind.POST, columns, OLD, NOW + DAY)


def test_a_message_goes_when_no_post_no_hold_and_no_edition_needs_it(db: Database) -> None:
    def given(tx: Tx) -> None:
        walkers = group(tx)
        posts.keep(tx, b"for nobody", OLD)
        posts.keep(tx, b"for nobody, but young", NOW)
        post(tx, walkers.id, digest=posts.keep(tx, b"for a post", OLD))
        hold(tx, walkers.id, posts.keep(tx, b"for a hold", OLD))
        edition(tx, digest=posts.keep(tx, b"for an edition", OLD))

    db.write_now(given)
    assert db.write_now(posts.sweep, NOW) == 1
    assert db.read_now(kept) >= {b"for nobody, but young", b"for a post", b"for a hold", b"for an edition"}
    assert b"for nobody" not in db.read_now(kept)


def test_the_same_bytes_are_kept_once(db: Database) -> None:
    first, second = db.write_now(posts.keep, b"same", NOW), db.write_now(posts.keep, b"same", NOW + DAY)
    assert first == second
    assert db.read_now(count, schema.messages) == 1
    assert db.read_now(posts.content, first) == b"same"
    assert db.read_now(posts.content, bytes(32)) is None


def test_a_message_that_comes_again_is_young_again(db: Database) -> None:
    # else a sweep beside the transaction that is about to refer to it would take it away
    digest = db.write_now(posts.keep, b"same", OLD)
    db.write_now(posts.keep, b"same", NOW)
    assert db.write_now(posts.sweep, NOW - expiring.YOUNG) == 0
    assert db.read_now(posts.content, digest) == b"same"


def test_on_postgresql_a_sweep_leaves_what_another_transaction_is_about_to_need(server: Any, tmp_path: Path) -> None:
    made = server.database()
    with opened(made, tmp_path) as db:
        walkers = db.write_now(group)
        db.write_now(posts.keep, b"same", OLD)

        def work(tx: Tx) -> None:
            digest = posts.keep(tx, b"same", NOW)
            other = db._writer.connect()
            other.exec_driver_sql("SET lock_timeout = '100ms'")
            try:
                posts.sweep(other, NOW - expiring.YOUNG)
                other.commit()
            except Exception:  # it waits for us, as it should
                other.rollback()
            finally:
                other.close()
            post(tx, walkers.id, digest=digest)

        db.write_now(work)
        db.write_now(posts.sweep, NOW - expiring.YOUNG)
        assert db.read_now(kept) >= {b"same"}
    server.drop(made)


def test_only_finished_posts_let_go_of_their_bytes(db: Database) -> None:
    def given(tx: Tx) -> None:
        walkers = group(tx)
        for state in ("held", "due", "taken", "done", "rejected", "discarded", "expired"):
            for at in (OLD, NOW):
                post(tx, walkers.id, state=state, done_at=at)

    db.write_now(given)
    assert db.write_now(posts.forget_content, NOW - DAY) == 4
    c = schema.posts.c
    gone = db.read_now(
        lambda tx: {tuple(row) for row in tx.execute(select(c.state, c.done_at).where(c.digest.is_(None)))}
    )
    assert gone == {(state, OLD) for state in ("done", "rejected", "discarded", "expired")}


def test_an_ended_hold_goes_with_its_tokens_when_it_cannot_be_undone(db: Database) -> None:
    def given(tx: Tx) -> None:
        walkers = group(tx)
        digest = posts.keep(tx, b"x", OLD)
        for n, author in enumerate(("open", "old", "new"), 1):
            id = hold(tx, walkers.id, digest, author=author)
            fixed = {"expires_at": None, "group_id": walkers.id, "hold_id": id}
            tokens.add(tx, bytes([n]) * 32, Action.DECIDE, "ann@a.example", {}, OLD, **fixed)

    db.write_now(given)
    for id, at in ((2, OLD), (3, NOW)):
        assert db.write_now(holds.decide, id, holds.HoldState.OPEN, holds.HoldState.REJECTED, "ann", at)
    assert db.write_now(holds.forget, NOW - DAY) == 1
    assert [held is not None for held in db.read_now(holds.some, [1, 2, 3])] == [True, False, True]
    left = [db.read_now(tokens.find, bytes([n]) * 32) is not None for n in (1, 2, 3)]
    assert left == [True, False, True]


def test_ended_deliveries_go_and_their_editions_after_them(db: Database) -> None:
    # given three old editions: all ended, one still waiting, one in hand; and a young one without deliveries
    ended = db.write_now(edition, ["a@a.example", "b@b.example"], OLD)
    rows = db.write_now(queue.claim, schema.deliveries, "node", NOW, 9)
    db.write_now(queue.settle, schema.deliveries, rows[0].id, 1, state="sent", done_at=OLD)
    db.write_now(queue.settle, schema.deliveries, rows[1].id, 1, state="failed", done_at=OLD)
    taken = db.write_now(edition, ["c@c.example"], OLD)
    db.write_now(queue.claim, schema.deliveries, "node", NOW, 9)
    waiting = db.write_now(edition, ["d@d.example"], OLD)
    young = db.write_now(edition, [], NOW)

    # when they are swept twice
    assert db.write_now(deliveries.sweep, NOW - DAY, NOW) == 2
    assert db.write_now(deliveries.sweep, NOW - DAY, NOW) == 0

    # then only the first has gone
    left = db.read_now(lambda tx: set(tx.execute(select(schema.editions.c.id)).scalars()))
    assert left == {taken, waiting, young}
    assert ended not in left


def test_the_edition_of_a_post_that_is_still_handed_out_stays(db: Database) -> None:
    # a node that died between the edition and its first delivery, and was away for weeks
    walkers = db.write_now(group, members=["a@a.example"])
    mine = db.write_now(post, walkers.id, state="taken")
    made = db.write_now(edition, [], OLD, post_id=mine, group_id=walkers.id)
    db.write_now(posts.move, mine, edition_id=made)
    db.write_now(deliveries.sweep, NOW - DAY, NOW)
    assert db.read_now(count, schema.editions, id=made) == 1
    db.write_now(posts.move, mine, state="done")
    db.write_now(deliveries.sweep, NOW - DAY, NOW)
    assert db.read_now(count, schema.editions, id=made) == 0


def test_a_sweep_takes_no_more_than_its_limit(db: Database) -> None:
    db.write_now(edition, [f"m{n}@a.example" for n in range(5)], OLD)
    for row in db.write_now(queue.claim, schema.deliveries, "node", NOW, 9):
        db.write_now(queue.settle, schema.deliveries, row.id, 1, state="sent", done_at=OLD)
    assert [db.write_now(deliveries.sweep, NOW, NOW, 2) for _ in range(4)] == [2, 2, 1, 0]
    assert db.read_now(count, schema.editions) == 0


def test_what_was_seen_is_known_for_its_time(db: Database) -> None:
    walkers, runners = db.write_now(group), db.write_now(group, "runners@lists.example")
    key = bytes(range(32))
    db.write_now(posts.remember, walkers.id, key, "accepted as post 1 " + "x" * 300, OLD)
    assert str(db.read_now(posts.seen_before, walkers.id, key)).startswith("accepted as post 1")
    assert db.read_now(posts.seen_before, runners.id, key) is None
    assert db.write_now(posts.forget_seen, OLD + expiring.SEEN_FOR, expiring.SEEN_FOR) == 0
    assert db.write_now(posts.forget_seen, NOW, expiring.SEEN_FOR) == 1
    assert db.read_now(posts.seen_before, walkers.id, key) is None
    assert timedelta(days=7) <= expiring.SEEN_FOR


def test_tokens_expire_and_are_forgotten_long_after(db: Database) -> None:
    for n, (made_at, expires_at) in enumerate([(OLD, NOW), (OLD, None), (OLD, NOW + DAY), (NOW, NOW + DAY)]):
        db.write_now(tokens.add, bytes([n]) * 32, Action.JOIN, "a@a.example", {}, made_at, expires_at=expires_at)
    assert db.write_now(tokens.redeem, bytes([3]) * 32, NOW)
    assert db.write_now(tokens.expire, NOW) == 1
    assert db.write_now(tokens.expire, NOW) == 0
    assert db.write_now(tokens.sweep, NOW - DAY) == 1
    states = [token.state if (token := db.read_now(tokens.find, bytes([n]) * 32)) else "gone" for n in range(4)]
    assert states == ["gone", "open", "open", "used"]


def test_bounces_and_events_are_forgotten_by_their_age(db: Database) -> None:
    walkers = db.write_now(group, members=["a@a.example"])
    for at in (OLD, NOW):
        db.write_now(bounces.add, 1, walkers.id, at, "5.1.1", "no such mailbox", "<1@a.example>")
        db.write_now(journal.note, "<1@a.example>", at, "accepted")
    assert db.write_now(bounces.sweep, NOW) == 1
    assert db.write_now(journal.forget_events, NOW) == 1
    assert db.read_now(bounces.any_since, 1, OLD)
    assert not db.read_now(bounces.any_since, 1, NOW)


def test_a_line_waits_for_the_node_that_wrote_it_until_it_is_in_the_file(db: Database) -> None:
    for node, member in (("one", "a"), ("two", "b"), ("one", "c")):
        line = member_left(NOW, Who(Way.SHELL, node), group="g@lists.example", member=f"{member}@x.example")
        db.write_now(journal.write, line)
    mine = db.read_now(journal.pending, "one", 9)
    assert [id for id, _ in mine] == [1, 3]
    assert ["a@x.example" in text for _, text in mine] == [True, False]
    assert db.read_now(journal.pending, "one", 1) == mine[:1]
    db.write_now(journal.written, [1])
    assert db.read_now(journal.pending, "one", 9) == mine[1:]
    assert len(db.read_now(journal.pending, "two", 9)) == 1


def test_aggregates_add_up_over_days_and_groups(db: Database) -> None:
    for group_id in (7, 7, None):
        db.write_now(journal.count, NOW.date(), group_id, "accepted", 2)
    db.write_now(journal.count, OLD.date(), 7, "accepted")
    db.write_now(journal.count, OLD.date(), 7, "held")
    assert db.read_now(journal.counted, "accepted") == 7
    assert db.read_now(count, schema.counts) == 4
