"""What our own code failed on: counted, set aside, kept, shown, let go again or given up."""

from datetime import timedelta

from sqlalchemy import select

from listserv.access_log.line import Way
from listserv.flows import delivering, distributing, expiring, operating, setting_aside
from listserv.flows.operating import Done, Unknown
from listserv.flows.site import Act
from listserv.store import aside, deliveries, editions, posts, queue, schema, waiting
from listserv.store.db import Database, Tx
from tests.kit.database import NOW, edition, group, post
from tests.kit.site import site

LATER = NOW + timedelta(days=200)


def act(tx: Tx, at: object = NOW) -> Act:
    return Act(tx, site(), at, site().who(Way.SHELL))  # type: ignore[arg-type]


def failing(db: Database, times: int) -> list[bool]:
    """A post on which our code fails so often: whether it was aside then."""
    at, found = NOW, []
    for _ in range(times):
        at += timedelta(minutes=1)
        claimed = db.write_now(distributing.claim_post, "node", at)
        assert claimed is not None
        found.append(db.write_now(setting_aside.post_failed, claimed, "Traceback\n\nValueError: a\0b\udc80", at))
    return found


def test_a_post_is_aside_after_three_faults_and_nobody_claims_it(db: Database) -> None:
    id = db.write_now(lambda tx: post(tx, group(tx).id))
    assert failing(db, 3) == [False, False, True]
    assert db.write_now(distributing.claim_post, "node", LATER) is None
    found = db.read_now(aside.post, id)
    assert found is not None
    assert (found.faults, found.fault) == (3, "Traceback\n\nValueError: a\ufffdb?")
    [shown] = db.read_now(lambda tx: list(waiting.listed(tx, "aside")))
    assert (shown.id, shown.recipient, shown.reply) == (
        f"p{id}",
        "walkers@lists.example",
        "our own code failed on it: ValueError: a\ufffdb?",
    )
    assert db.read_now(aside.count) == 1


def test_time_takes_nothing_that_is_aside(db: Database) -> None:
    id = db.write_now(lambda tx: post(tx, group(tx).id))
    failing(db, 3)
    db.write_now(lambda tx: expiring.forget(act(tx, LATER)))
    digest = db.read_now(posts.get, id).digest
    assert db.read_now(posts.content, digest) is not None


def test_a_claim_that_came_too_late_counts_for_nothing(db: Database) -> None:
    db.write_now(lambda tx: post(tx, group(tx).id))
    claimed = db.write_now(distributing.claim_post, "node", NOW)
    assert claimed is not None
    db.write_now(queue.give_back, schema.posts, "node", NOW)
    assert not any(db.write_now(setting_aside.post_failed, claimed, "x", NOW) for _ in range(4))
    assert db.read_now(lambda tx: tx.execute(select(schema.posts.c.faults)).scalar_one()) == 0


def test_a_retried_post_is_due_and_has_three_more_tries(db: Database) -> None:
    id = db.write_now(lambda tx: post(tx, group(tx).id))
    failing(db, 3)
    assert db.write_now(lambda tx: operating.retry_post(act(tx), id)) == Done(f"p{id}")
    assert db.write_now(lambda tx: operating.retry_post(act(tx), id)) == Unknown(f"p{id}")
    assert failing(db, 3) == [False, False, True]
    assert db.write_now(lambda tx: operating.drop_post(act(tx), id)) == Done(f"p{id}")
    assert db.read_now(posts.get, id).state == "dropped"


def test_an_edition_is_aside_with_all_that_wait_and_not_with_what_is_on_its_way(db: Database) -> None:
    id = db.write_now(edition, ["ada@a.example", "bob@b.example", "cy@c.example", "dan@d.example"])
    ada, bob = db.write_now(delivering.claim_deliveries, "node", NOW, 2)
    fail = setting_aside.edition_failed
    assert [db.write_now(fail, id, [bob.id], "KeyError: 'x'", NOW, whole=True) for _ in range(3)] == [
        False,
        False,
        True,
    ]
    assert db.read_now(queue.size, schema.deliveries) == {"taken": 1, "aside": 3}
    db.write_now(deliveries.settle, [deliveries.Settled([ada.id], ada.tries, "sent", NOW, "250")], NOW)
    assert db.read_now(aside.fault_of, bob.id) == "KeyError: 'x'"
    assert db.read_now(editions.load, id, "lists.example") is not None  # a notice keeps its words meanwhile

    assert db.write_now(lambda tx: operating.retry(act(tx), bob.id)) == Done(bob.id)
    assert db.read_now(queue.size, schema.deliveries) == {"sent": 1, "due": 1, "aside": 2}
    assert not db.write_now(fail, id, [bob.id], "again", NOW, whole=True)
    assert db.write_now(lambda tx: operating.drop(act(tx), bob.id)) == Done(bob.id)
