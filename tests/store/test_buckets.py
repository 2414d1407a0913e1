"""Budgets: so much at once, one more each time, and two who come at once are counted one after the other."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

from listserv.store import buckets
from listserv.store.buckets import Budget
from listserv.store.db import Database

NOW = datetime(2026, 11, 26, 16, tzinfo=UTC)
THREE = Budget(3, timedelta(minutes=10))
NAME, OTHER = b"n" * 32, b"o" * 32


def spend(db: Database, minutes: float = 0, name: bytes = NAME) -> bool:
    return db.write_now(buckets.spend, name, THREE, NOW + timedelta(minutes=minutes))


def test_a_burst_and_then_one_each_time(db: Database) -> None:
    assert [spend(db) for _ in range(5)] == [True] * 3 + [False] * 2
    assert spend(db, name=OTHER)
    assert not spend(db, 9.9)
    assert spend(db, 10.1)
    assert not spend(db, 19.9)
    assert [spend(db, 1000) for _ in range(4)] == [True] * 3 + [False]


def test_a_clock_that_goes_back_gives_nothing(db: Database) -> None:
    assert [spend(db, -minutes) for minutes in range(4)] == [True] * 3 + [False]


def test_looking_costs_nothing(db: Database) -> None:
    assert all(db.write_now(buckets.left, NAME, Budget(1, timedelta(days=1)), NOW) for _ in range(5))
    assert db.write_now(buckets.spend, NAME, Budget(1, timedelta(days=1)), NOW)
    assert not db.write_now(buckets.left, NAME, Budget(1, timedelta(days=1)), NOW)


def test_of_many_at_once_only_the_burst_passes(db: Database) -> None:
    with ThreadPoolExecutor(8) as threads:
        done = list(threads.map(lambda _: spend(db), range(16)))
    assert sum(done) == 3


def test_what_has_drained_is_swept(db: Database) -> None:
    spend(db)
    assert db.write_now(buckets.sweep, NOW) == 0
    assert db.write_now(buckets.sweep, NOW + timedelta(seconds=1)) == 1
