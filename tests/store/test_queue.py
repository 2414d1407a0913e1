"""The line of the crash table that all queues share: claim, settle, lease."""

import itertools
import re
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import event, text

from listserv.store import deliveries, jobs, queue, schema
from listserv.store.db import Database, Tx
from listserv.store.queue import LEASE
from tests.kit.database import NOW, count, edition, fill, opened

DELIVERIES = schema.deliveries
LATER = NOW + LEASE


def claim(db: Database, node: str, limit: int = 100, now: Any = NOW, **options: Any) -> list[Any]:
    return list(db.write_now(queue.claim, DELIVERIES, node, now, limit, **options))


def test_a_lease_runs_out_and_the_late_node_is_ignored(db: Database) -> None:
    # given a delivery that a node has claimed and lost from sight
    db.write_now(edition, ["ada@a.example"])
    [late] = claim(db, "late")

    # when its lease runs out and another node claims the same row
    assert db.write_now(queue.reclaim, DELIVERIES, LATER) == 1
    [claimed] = claim(db, "other", now=LATER)
    assert claimed.id == late.id
    assert claimed.tries == 2

    # then the late node's outcome changes nothing, nor does its wish to keep the row, and the other's counts
    assert not db.write_now(queue.settle, DELIVERIES, late.id, late.tries, state="failed", done_at=LATER)
    db.write_now(queue.renew, DELIVERIES, "late", [late.id], LATER + LEASE)
    assert db.read_now(queue.next_lapse, DELIVERIES) == LATER + LEASE
    assert db.write_now(queue.settle, DELIVERIES, claimed.id, claimed.tries, state="sent", done_at=LATER)
    assert db.read_now(queue.size, DELIVERIES) == {"sent": 1}


def test_a_claim_ends_once(db: Database) -> None:
    db.write_now(edition, ["ada@a.example"])
    [mine] = claim(db, "node")
    assert db.write_now(queue.settle, DELIVERIES, mine.id, mine.tries, state="sent")
    assert not db.write_now(queue.settle, DELIVERIES, mine.id, mine.tries, state="failed")
    assert db.read_now(queue.size, DELIVERIES) == {"sent": 1}


def test_those_who_have_waited_longest_are_claimed_first(db: Database) -> None:
    for minutes in (3, 1, 2, 1):
        db.write_now(edition, [f"m{minutes}@a.example"], NOW - timedelta(minutes=minutes))
    claimed = claim(db, "node", 3)
    assert [row.recipient[:2] for row in claimed] == ["m3", "m2", "m1"]
    assert [row.due for row in claimed] == sorted(row.due for row in claimed)
    assert [row.recipient[:2] for row in claim(db, "node", 3)] == ["m1"]


def test_nothing_is_claimed_before_its_time(db: Database) -> None:
    db.write_now(edition, ["ada@a.example"], NOW + timedelta(microseconds=1))
    db.write_now(edition, ["bob@b.example"])
    assert [row.recipient for row in claim(db, "node")] == ["bob@b.example"]


def test_a_claim_knows_its_row_as_it_is_now(db: Database) -> None:
    db.write_now(edition, ["ada@a.example"])
    [row] = claim(db, "node")
    assert (row.state, row.node, row.tries, row.lease) == ("taken", "node", 1, NOW + LEASE)


def test_a_living_node_keeps_what_it_has_in_hand(db: Database) -> None:
    db.write_now(edition, ["ada@a.example", "bob@b.example"])
    ada, bob = claim(db, "node")
    db.write_now(queue.renew, DELIVERIES, "node", [ada.id], NOW + timedelta(seconds=7))
    db.write_now(queue.renew, DELIVERIES, "node", [], NOW + timedelta(seconds=7))
    assert db.read_now(queue.next_lapse, DELIVERIES) == bob.lease <= LATER
    assert db.write_now(queue.reclaim, DELIVERIES, LATER) == 1
    assert db.read_now(queue.next_lapse, DELIVERIES) == NOW + timedelta(seconds=7) + LEASE
    assert [row.id for row in claim(db, "other", now=LATER)] == [bob.id]
    assert db.write_now(queue.settle, DELIVERIES, ada.id, ada.tries, state="sent")


def test_at_its_start_a_node_gives_back_its_own_and_nobody_elses(db: Database) -> None:
    db.write_now(edition, ["ada@a.example", "bob@b.example"])
    [mine] = claim(db, "node", 1)
    claim(db, "other", 1)
    assert db.write_now(queue.give_back, DELIVERIES, "node", NOW) == 1
    [again] = claim(db, "node")
    assert (again.id, again.tries) == (mine.id, 2)


def test_a_process_gives_back_its_own_and_a_node_what_all_its_processes_had(db: Database) -> None:
    db.write_now(edition, [f"m{n}@a.example" for n in range(6)])
    for claimant in ("node", "node/1", "node/2", "node/12", "node-2/1", "other"):
        claim(db, claimant, 1)
    assert db.write_now(queue.give_back, DELIVERIES, "node/1", NOW) == 1
    assert db.write_now(queue.give_back, DELIVERIES, "node", NOW, below=True) == 3
    assert db.read_now(queue.size, DELIVERIES) == {"due": 4, "taken": 2}


def test_the_next_due_row_and_the_next_lapse_say_how_long_one_may_sleep(db: Database) -> None:
    assert db.read_now(queue.next_due, DELIVERIES) is db.read_now(queue.next_lapse, DELIVERIES) is None
    db.write_now(edition, ["ada@a.example"], NOW + timedelta(minutes=5))
    db.write_now(edition, ["bob@b.example"], NOW - timedelta(minutes=5))
    assert db.read_now(queue.next_due, DELIVERIES) == NOW - timedelta(minutes=5)
    claim(db, "node", 1)
    assert db.read_now(queue.next_due, DELIVERIES) == NOW + timedelta(minutes=5)
    assert db.read_now(queue.next_lapse, DELIVERIES) == NOW + LEASE


def test_what_is_done_is_in_nobodys_way(db: Database) -> None:
    db.write_now(edition, ["ada@a.example"])
    [mine] = claim(db, "node")
    db.write_now(queue.settle, DELIVERIES, mine.id, mine.tries, state="failed", done_at=NOW)
    assert claim(db, "node", now=LATER) == []
    assert db.write_now(queue.reclaim, DELIVERIES, LATER) + db.write_now(queue.give_back, DELIVERIES, "node", NOW) == 0


@pytest.mark.parametrize(("number", "longer"), [(0, True), (2, True), (3, False), (4, False)])
def test_the_queue_is_longer_than_a_number_or_not(db: Database, number: int, longer: bool) -> None:
    db.write_now(edition, [f"m{n}@a.example" for n in range(4)])
    claim(db, "node", 1)
    assert db.read_now(queue.longer_than, DELIVERIES, number) is longer


def test_jobs_keep_their_time_and_can_be_hurried(db: Database) -> None:
    db.write_now(jobs.ensure, ["b", "a"], NOW + LEASE)
    db.write_now(jobs.ensure, ["a", "b", "c"], NOW + 2 * LEASE)
    db.write_now(jobs.hurry, "b", NOW)
    db.write_now(jobs.hurry, "c", NOW + 3 * LEASE)
    rows = db.write_now(queue.claim, schema.jobs, "node", NOW + 2 * LEASE, 9)
    assert [(row.name, row.due) for row in rows] == [("b", NOW), ("a", NOW + LEASE), ("c", NOW + 2 * LEASE)]
    db.write_now(jobs.hurry, "a", NOW)
    assert db.read_now(count, schema.jobs, state="taken") == 3


@pytest.mark.parametrize("analysed", [False, True])
def test_many_nodes_claim_side_by_side_and_no_row_goes_twice(url: str, tmp_path: Path, analysed: bool) -> None:
    # given 600 deliveries, and four nodes with connections of their own
    nodes, limit, rows = 4, 7, 600
    with opened(url, tmp_path) as db:
        db.write_now(edition, [f"m{n}@d{n % 9}.example" for n in range(rows)])
        if analysed:
            db.write_now(lambda tx: tx.execute(text("ANALYZE")))
        start = threading.Barrier(nodes)

        def node(name: str) -> list[int]:
            taken: list[int] = []
            start.wait()
            while claimed := claim(db, name, limit):
                assert len(claimed) <= limit
                taken += [row.id for row in claimed]
            return taken

        # when they claim as fast as they can
        with ThreadPoolExecutor(nodes) as pool:
            shares = list(pool.map(node, [f"node{n}" for n in range(nodes)]))

        # then each row has gone to one of them
        times = Counter(id for share in shares for id in share)
        assert len(times) == rows
        assert set(times.values()) == {1}
        assert db.read_now(count, DELIVERIES, tries=1) == rows


def test_on_postgresql_a_claim_steps_over_what_another_is_about_to_claim(tmp_path: Path, server: Any) -> None:
    made = server.database()
    with opened(made, tmp_path) as db:
        db.write_now(edition, [f"m{n}@a.example" for n in range(5)])

        def inside(tx: Tx) -> tuple[list[str], list[str]]:
            mine = queue.claim(tx, DELIVERIES, "one", NOW, 3)
            others = claim(db, "two", 3)  # would wait for ever if it did not step over
            return [row.recipient for row in mine], [row.recipient for row in others]

        assert db.write_now(inside) == (
            ["m0@a.example", "m1@a.example", "m2@a.example"],
            ["m3@a.example", "m4@a.example"],
        )
    server.drop(made)


WORKS = {
    "claim": lambda tx: queue.claim(tx, DELIVERIES, "node", NOW, 10),
    "turns": lambda tx: deliveries.claim(tx, "node", NOW, 10, 1, ["d1.example"]),
    "longer_than": lambda tx: queue.longer_than(tx, DELIVERIES, 20),
    "next_due": lambda tx: queue.next_due(tx, DELIVERIES),
    "next_lapse": lambda tx: queue.next_lapse(tx, DELIVERIES),
    "reclaim": lambda tx: queue.reclaim(tx, DELIVERIES, NOW),
    "give_back": lambda tx: queue.give_back(tx, DELIVERIES, "node/1", NOW),
    "give_back of all": lambda tx: queue.give_back(tx, DELIVERIES, "node", NOW, below=True),
}


@pytest.mark.parametrize("analysed", [False, True])
def test_fifty_thousand_finished_rows_are_not_read_to_find_the_few_that_wait(
    url: str, tmp_path: Path, analysed: bool
) -> None:
    with opened(url, tmp_path) as db:
        db.write_now(_fifty_thousand)
        if analysed:
            db.write_now(lambda tx: tx.execute(text("ANALYZE")))
        plans = {name: db.write_now(_plans, work) for name, work in WORKS.items()}
    scans = {name: plan for name, plan in plans.items() if _reads_the_table(plan)}
    assert scans == {}
    assert all("ix_deliveries_" in plan for plan in plans.values())


def _fifty_thousand(tx: Tx) -> None:
    """Delivered long ago, but for thirty that wait and three in hand."""
    id = edition(tx)
    many = text(
        "INSERT INTO deliveries (edition_id, recipient, destination, state, due, made_at)"
        " WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 50000)"
        " SELECT e.id, 'm' || i, 'd.example', 'sent', e.made_at, e.made_at FROM n, editions AS e"
    )
    tx.execute(many)
    fixed = {"edition_id": id, "destination": "d.example", "due": NOW, "made_at": NOW}
    fill(tx, DELIVERIES, ({"recipient": f"due{n}@d.example", "state": "due", **fixed} for n in range(30)))
    taken = {"state": "taken", "lease": NOW, "node": "node"}
    fill(tx, DELIVERIES, ({"recipient": f"taken{n}@d.example", **taken, **fixed} for n in range(3)))


def _plans(tx: Tx, work: Any) -> str:
    """How the database means to do each statement of this work, which is not done."""
    statements: list[tuple[str, Any]] = []

    def note(connection: Any, cursor: Any, statement: str, parameters: Any, context: Any, many: bool) -> None:
        statements.append((statement, parameters))

    event.listen(tx, "before_cursor_execute", note)
    try:
        with tx.begin_nested() as savepoint:
            work(tx)
            savepoint.rollback()
    finally:
        event.remove(tx, "before_cursor_execute", note)
    asked = [(s, p) for s, p in statements if s.startswith(("SELECT", "UPDATE", "WITH"))]
    assert asked
    return "\n".join(" ".join(map(str, row)) for s, p in asked for row in _explained(tx, s, p))


def _explained(tx: Tx, statement: str, parameters: Any) -> Any:
    """PostgreSQL's generic plan: what a statement gets that runs again and again."""
    if tx.dialect.name == "sqlite":
        return tx.exec_driver_sql("EXPLAIN QUERY PLAN " + statement, parameters)
    names = re.findall(r"%\((\w+)\)s", statement)
    numbers = itertools.count(1)
    values = ", ".join(["%s"] * len(names))
    with psycopg.ClientCursor(tx.connection.driver_connection) as cursor:
        cursor.execute("SET LOCAL plan_cache_mode = force_generic_plan")
        cursor.execute("PREPARE tried AS " + re.sub(r"%\(\w+\)s", lambda _: f"${next(numbers)}", statement))
        execute = f"EXPLAIN EXECUTE tried({values})" if names else "EXPLAIN EXECUTE tried"
        plan = cursor.execute(execute, [parameters[name] for name in names]).fetchall()
        cursor.execute("DEALLOCATE tried")
        return plan


def _reads_the_table(plan: str) -> bool:
    return any(
        "Seq Scan on deliveries" in line or ("SCAN deliveries" in line and "INDEX ix_" not in line)
        for line in plan.splitlines()
    )
