"""Both accounts balance, whatever time and operators do; and they say so when something has gone."""

from datetime import timedelta

from sqlalchemy import delete, select, text, update

from listserv.access_log.line import Way
from listserv.flows import expiring, governing
from listserv.flows.site import Act
from listserv.store import deliveries, journal, ledger, posts, schema
from listserv.store.db import Database, Tx
from tests.kit.database import NOW, edition, group, post
from tests.kit.site import site

STATES = ("held", "due", "taken", "done", "rejected", "discarded", "expired", "aside")
LATER = NOW + timedelta(days=200)


def filled(tx: Tx) -> int:
    """A group with one post in each state, a discarded one without a row, and four copies; its id."""
    walkers = group(tx, members=["ada@a.example", "bob@b.example"])
    for state in STATES:
        post(tx, walkers.id, state=state, done_at=None if state in ledger.OPEN else NOW)
    ledger.discarded(tx, NOW.date(), walkers.id)
    first = edition(tx, kind="post", group_id=walkers.id)
    deliveries.fan_out(tx, first, walkers.id, 0, 1000, NOW)
    edition(tx, ["cy@c.example", "dan@d.example"])
    c = schema.deliveries.c
    tx.execute(update(schema.deliveries).where(c.recipient == "bob@b.example").values(state="sent", done_at=NOW))
    tx.execute(update(schema.deliveries).where(c.recipient == "dan@d.example").values(state="failed", done_at=NOW))
    return walkers.id


def test_everything_has_its_place(db: Database) -> None:
    db.write_now(filled)
    of_posts, of_copies = db.read_now(ledger.balances)
    assert of_posts.entered == 9
    assert of_posts.places == {
        "under_way": 2,
        "distributed": 1,
        "held": 1,
        "rejected": 1,
        "discarded": 2,
        "expired": 1,
        "aside": 1,
    }
    assert of_copies.entered == 4
    assert of_copies.places == {"under_way": 2, "delivered": 1, "failed": 1}
    assert (of_posts.missing, of_copies.missing) == (0, 0)


def test_what_time_removes_stays_in_the_account(db: Database) -> None:
    db.write_now(filled)
    assert db.write_now(lambda tx: expiring.forget(Act(tx, site(), LATER, site().who(Way.CLOCK))))
    left = set(db.read_now(lambda tx: tx.execute(select(schema.posts.c.state)).scalars().all()))
    assert left == set(ledger.OPEN)
    of_posts, of_copies = db.read_now(ledger.balances)
    assert (of_posts.missing, of_copies.missing) == (0, 0)
    assert of_posts.places["distributed"] == 1
    assert of_copies.places == {"under_way": 2, "delivered": 1, "failed": 1}


def test_a_deleted_group_drops_what_was_held_or_under_way(db: Database) -> None:
    def deleted(tx: Tx) -> object:
        id = filled(tx)
        walkers = governing.groups.get(tx, id)
        return governing.delete(Act(tx, site(), NOW, site().who(Way.SHELL)), walkers, drop=True)

    db.write_now(deleted)
    of_posts, of_copies = db.read_now(ledger.balances)
    assert of_posts.places == {"distributed": 1, "rejected": 1, "discarded": 2, "expired": 1, "dropped": 4}
    assert of_copies.places == {"under_way": 1, "delivered": 1, "failed": 1, "dropped": 1}
    assert (of_posts.missing, of_copies.missing) == (0, 0)


def test_a_row_that_vanishes_is_missed(db: Database) -> None:
    db.write_now(filled)
    db.write_now(lambda tx: tx.execute(delete(schema.posts).where(schema.posts.c.state == "held")))
    db.write_now(lambda tx: tx.execute(delete(schema.deliveries).where(schema.deliveries.c.state == "due")))
    of_posts, of_copies = db.read_now(ledger.balances)
    assert (of_posts.missing, of_copies.missing) == (1, 2)


def test_a_database_from_before_the_accounts_begins_in_balance(db: Database) -> None:
    # what the migration does
    from importlib import import_module

    opening = import_module("listserv.store.migrations.versions.0004_set_aside").OPENING

    walkers = db.write_now(filled)

    def before(tx: Tx) -> None:
        tx.execute(delete(schema.counts))
        journal.count(tx, NOW.date(), walkers, "accepted", 100)  # posts that went long ago
        for what, expression in opening.items():
            number = int(tx.execute(text(expression)).scalar_one())
            journal.count(tx, NOW.date(), None, what, number)

    db.write_now(before)
    assert [each.missing for each in db.read_now(ledger.balances)] == [0, 0]
    db.write_now(lambda tx: posts.forget(tx, LATER, LATER))
    assert [each.missing for each in db.read_now(ledger.balances)] == [0, 0]
