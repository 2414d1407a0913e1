"""One writer, one commit for all who wait, and nobody told of success before it."""

import asyncio
import sqlite3
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, bindparam, event, insert, select, text, update
from sqlalchemy.exc import IntegrityError, OperationalError, StatementError

from listserv.store import db as module
from listserv.store import schema
from listserv.store.bells import ring
from listserv.store.db import Database, Stroke, Tx, is_reachable, known, later
from tests.kit.database import NOW, located, opened
from tests.kit.patience import PATIENCE

DUMMY = {"value": b"x", "made_at": NOW}


def add(tx: Tx, name: str) -> str:
    tx.execute(insert(schema.secrets).values(name=name, **DUMMY))
    return name


def names(tx: Tx) -> list[str]:
    return sorted(tx.execute(select(schema.secrets.c.name)).scalars())


class Gate:
    """Work that keeps the writers busy until it is opened, so that what comes meanwhile waits in one group."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._open = threading.Event()
        self._busy: list[asyncio.Task[None]] = []
        self.entered = threading.Semaphore(0)

    def _work(self, tx: Tx) -> None:
        self.entered.release()
        assert self._open.wait(20)

    async def shut(self) -> None:
        """Back when every writer stands in front of it."""
        for _ in self._db._writers:
            self._busy.append(asyncio.create_task(self._db.write(self._work)))
            await asyncio.to_thread(self.entered.acquire)

    async def open(self) -> None:
        self._open.set()
        await asyncio.gather(*self._busy)


@contextmanager
def commits(db: Database) -> Iterator[list[int]]:
    """Grows with each commit."""
    seen: list[int] = []

    def one(connection: Connection) -> None:
        seen.append(len(seen))

    event.listen(db._writer, "commit", one)
    try:
        yield seen
    finally:
        event.remove(db._writer, "commit", one)


@contextmanager
def statements(db: Database) -> Iterator[list[str]]:
    """Grows with each statement of a writer."""
    seen: list[str] = []

    def one(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        seen.append(statement)

    event.listen(db._writer, "before_cursor_execute", one)
    try:
        yield seen
    finally:
        event.remove(db._writer, "before_cursor_execute", one)


async def together(db: Database, *works: Callable[[Tx], object]) -> list[object]:
    """What became of these, handed in while every writer was busy: results or exceptions."""
    gate = Gate(db)
    await gate.shut()
    waiting = [asyncio.create_task(db.write(work)) for work in works]
    await asyncio.sleep(0)  # each has put its work in line
    await gate.open()
    return list(await asyncio.gather(*waiting, return_exceptions=True))


async def test_what_waits_together_is_committed_together(db: Database) -> None:
    with commits(db) as done:
        results = await together(db, *[lambda tx, n=n: add(tx, f"n{n}") for n in range(40)])
    assert results == [f"n{n}" for n in range(40)]
    assert len(db.read_now(names)) == 40
    writers = len(db._writers)
    assert len(done) <= writers + writers  # those who stood at the gate, and a group for each


async def test_a_group_has_no_more_than_its_limit(db: Database) -> None:
    with commits(db) as done:
        pieces = 3 * module.GROUP
        await together(db, *[lambda tx, n=n: add(tx, f"n{n}") for n in range(pieces)])
        assert len(db.read_now(names)) == pieces
        assert len(done) >= len(db._writers) + 3


async def test_where_many_came_together_the_first_waits_for_the_others(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "GATHER", 5.0)
    await together(db, *[lambda tx, n=n: add(tx, f"n{n}") for n in range(4)])
    with commits(db) as done:
        first = asyncio.create_task(db.write(add, "a"))
        await asyncio.sleep(0.05)
        assert not first.done()
        await asyncio.gather(first, *(db.write(add, name) for name in ("b", "c", "d")))
    assert len(done) == 1


async def test_a_neighbour_that_fails_undoes_nobody_else(db: Database) -> None:
    def half(tx: Tx) -> None:
        add(tx, "half")
        raise ValueError("a fault of ours")

    results = await together(db, lambda tx: add(tx, "a"), half, lambda tx: add(tx, "b"))
    assert isinstance(results[1], ValueError)
    assert (results[0], results[2]) == ("a", "b")
    assert db.read_now(names) == ["a", "b"]


async def test_a_statement_that_the_database_refuses_undoes_nobody_else(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ATTEMPTS", 1)
    wrong = text("SELECT nothing FROM nowhere")
    results = await together(db, lambda tx: add(tx, "a"), lambda tx: tx.execute(wrong), lambda tx: add(tx, "b"))
    assert isinstance(results[1], Exception)
    assert db.read_now(names) == ["a", "b"]


async def test_rows_that_nobody_reads_yet_are_written_in_one_statement_before_the_commit(db: Database) -> None:
    statement = insert(schema.secrets)

    def work(tx: Tx, name: str) -> list[str]:
        later(tx, statement, {"name": name, **DUMMY})
        return names(tx)

    with statements(db) as said:
        results = await together(db, *[lambda tx, n=n: work(tx, f"n{n}") for n in range(6)])
    assert results == [[]] * 6
    assert db.read_now(names) == [f"n{n}" for n in range(6)]
    assert len([text for text in said if text.startswith("INSERT")]) == 1


async def test_rows_of_work_that_failed_are_not_written(db: Database) -> None:
    statement = insert(schema.secrets)

    def work(tx: Tx, name: str) -> None:
        later(tx, statement, {"name": name, **DUMMY})
        if name == "bad":
            raise ValueError("a fault of ours")

    results = await together(db, *[lambda tx, n=n: work(tx, n) for n in ("a", "bad", "b")])
    assert isinstance(results[1], ValueError)
    assert db.read_now(names) == ["a", "b"]


def test_rows_go_with_the_savepoint_in_which_they_were_thought_of(db: Database) -> None:
    statement = insert(schema.secrets)

    def work(tx: Tx) -> None:
        later(tx, statement, {"name": "before", **DUMMY})
        with suppress(ValueError), tx.begin_nested():
            known(tx)["x"] = 1
            later(tx, statement, {"name": "inside", **DUMMY})
            raise ValueError("a fault of ours")
        assert known(tx) == {}
        later(tx, statement, {"name": "after", **DUMMY})

    db.write_now(work)
    assert db.read_now(names) == ["after", "before"]


def test_what_is_known_ends_with_its_transaction(db: Database) -> None:
    def learn(tx: Tx) -> int:
        known(tx)["x"] = 1
        return len(known(tx))

    assert [db.write_now(learn), db.write_now(lambda tx: len(known(tx)))] == [1, 0]
    assert db.read_now(learn) == 0


async def test_a_lost_race_is_run_again_and_sees_who_won(db: Database) -> None:
    # given work that overlooks, the first time, what another transaction is about to make
    tries = []

    def ensure(tx: Tx) -> str:
        tries.append(1)
        if len(tries) > 1 and "prize" in names(tx):
            return "found"
        add(tx, "prize")
        return "made"

    # when the other one has made it
    db.write_now(add, "prize")

    # then the second try finds it
    assert await db.write(ensure) == "found"
    assert len(tries) == 2


async def test_in_a_group_a_lost_race_is_run_again_too(db: Database) -> None:
    def ensure(tx: Tx) -> str:
        return "found" if "prize" in names(tx) else add(tx, "prize")

    results = await together(db, *[ensure] * 12)
    assert sorted(map(str, results)) == ["found"] * 11 + ["prize"]


async def test_what_collides_for_ever_is_an_exception_in_the_end(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ATTEMPTS", 2)
    tries = []

    def twice(tx: Tx) -> None:
        tries.append(1)
        add(tx, "same")
        add(tx, "same")

    with pytest.raises(IntegrityError):
        await db.write(twice)
    assert len(tries) == 2
    assert db.read_now(names) == []


async def test_when_a_commit_fails_everybody_is_tried_again_alone(db: Database) -> None:
    # given a database that refuses the first commit of more than one piece of work
    refused = []
    calls: dict[str, int] = {}

    def work(tx: Tx, name: str) -> str:
        calls[name] = calls.get(name, 0) + 1
        return add(tx, name)

    def refuse(connection: Connection) -> None:
        if not refused and sum(calls.values()) > 1:
            refused.append(1)
            raise OperationalError("COMMIT", {}, Exception("disk full"))

    event.listen(db._writer, "commit", refuse)

    # when a group of six arrives
    results = await together(db, *[lambda tx, n=n: work(tx, f"n{n}") for n in range(6)])

    # then all six are there, and some were run twice
    assert refused
    assert results == [f"n{n}" for n in range(6)]
    assert db.read_now(names) == [f"n{n}" for n in range(6)]
    assert sum(calls.values()) > 6


async def test_nobody_hears_of_success_before_the_commit(db: Database) -> None:
    told: list[bool] = []
    waiting: list[asyncio.Task[str]] = []

    def look(connection: Connection) -> None:
        told.append(any(task.done() for task in waiting))

    gate = Gate(db)
    await gate.shut()
    event.listen(db._writer, "commit", look)
    waiting += [asyncio.create_task(db.write(add, f"n{n}")) for n in range(5)]
    await asyncio.sleep(0)
    await gate.open()
    await asyncio.gather(*waiting)
    assert told
    assert not told[0]


async def test_one_writer_keeps_the_order_in_which_work_was_handed_in(tmp_path: Path) -> None:
    with opened("sqlite:", tmp_path) as db:
        ran: list[int] = []
        await together(db, *[lambda tx, n=n: ran.append(n) for n in range(200)])
        assert ran == list(range(200))


async def test_who_stops_waiting_does_not_stop_the_work(db: Database) -> None:
    gate = Gate(db)
    await gate.shut()
    waiting = asyncio.create_task(db.write(add, "kept"))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await gate.open()
    while db.read_now(names) != ["kept"]:
        await asyncio.sleep(0.005)


async def test_close_finishes_what_was_handed_in(url: str, tmp_path: Path) -> None:
    with opened(url, tmp_path) as db:
        gate = Gate(db)
        await gate.shut()
        waiting = [asyncio.create_task(db.write(add, f"n{n}")) for n in range(150)]
        await asyncio.sleep(0)
        closing = asyncio.create_task(asyncio.to_thread(db.close))
        await gate.open()
        await closing
        assert [await task for task in waiting] == [f"n{n}" for n in range(150)]
    again = Database(located(url, tmp_path))
    assert len(again.read_now(names)) == 150
    again.close()


async def test_a_reader_sees_one_moment_and_disturbs_no_writer(db: Database) -> None:
    db.write_now(add, "a")

    def twice(tx: Tx) -> tuple[list[str], list[str]]:
        before = names(tx)
        db.write_now(add, "b")
        return before, names(tx)

    assert await db.read(twice) == (["a"], ["a"])
    assert db.read_now(names) == ["a", "b"]


def test_times_are_utc_and_naive_ones_are_refused(db: Database) -> None:
    naive, elsewhere = datetime(2026, 1, 1), datetime.fromisoformat("2026-01-01T00:00:00.123456+05:30")  # noqa: DTZ001
    with pytest.raises(StatementError, match="naive time"):
        db.write_now(lambda tx: tx.execute(insert(schema.secrets).values(name="n", value=b"", made_at=naive)))
    db.write_now(lambda tx: tx.execute(insert(schema.secrets).values(name="n", value=b"", made_at=elsewhere)))
    [kept] = db.read_now(lambda tx: tx.execute(select(schema.secrets.c.made_at)).scalars().all())
    assert kept == elsewhere
    assert kept.utcoffset() == timedelta(0)
    assert kept.tzinfo is UTC


def test_an_error_does_not_show_what_was_written(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ATTEMPTS", 1)
    with pytest.raises(Exception) as caught:
        db.write_now(lambda tx: tx.execute(insert(schema.secrets).values(name="n", value=b"s3cret", made_at=None)))
    assert "s3cret" not in str(caught.value)


def test_sqlite_keeps_what_it_has_committed(tmp_path: Path) -> None:
    with opened("sqlite:", tmp_path) as db:
        for pragma, value in (("journal_mode", "wal"), ("synchronous", 2), ("foreign_keys", 1)):
            look = text(f"PRAGMA {pragma}")
            assert db.write_now(lambda tx, look=look: tx.execute(look).scalar_one()) == value


def test_sqlite_waits_for_another_process_that_writes(tmp_path: Path) -> None:
    with opened("sqlite:", tmp_path) as db:
        other = sqlite3.connect(tmp_path / "listserv.db", isolation_level=None, check_same_thread=False)
        other.execute("BEGIN IMMEDIATE")
        release = threading.Timer(0.3, other.execute, ("COMMIT",))
        release.start()
        db.write_now(add, "a")
        release.join()
        other.close()
        assert db.read_now(names) == ["a"]


def test_what_cannot_be_reached_is_said_in_one_line(tmp_path: Path) -> None:
    for url in (f"sqlite:///{tmp_path}/nowhere/listserv.db", "postgresql+psycopg://nobody@127.0.0.1:1/nothing"):
        database = Database(url)
        said = is_reachable(database)
        database.close()
        assert said
        assert "\n" not in said
    with opened("sqlite:", tmp_path) as db:
        assert is_reachable(db) is None


def rung(tx: Tx, name: str) -> str:
    """Work that makes a row and rings for it."""
    ring(tx, "deliveries")
    return add(tx, name)


async def for_ever() -> None:
    await asyncio.Event().wait()


async def behind(db: Database, wake: Awaitable[None], work: Callable[[Tx], object] = names) -> asyncio.Task[object]:
    """Somebody who waits behind those who ring for deliveries."""
    waiting = asyncio.create_task(db.write_behind("deliveries", wake, work))
    await asyncio.sleep(0)
    return waiting


async def test_who_waits_behind_others_works_in_the_commit_that_rings_for_him(db: Database) -> None:
    with commits(db) as done:
        waiting = await behind(db, for_ever())
        await db.write(add, "nothing for him")
        assert not waiting.done()
        await db.write(rung, "a")
        assert await waiting == ["a", "nothing for him"]
    assert len(done) == 2


async def test_who_waits_behind_others_reads_what_they_write_only_before_the_commit(db: Database) -> None:
    def work(tx: Tx) -> None:
        later(tx, insert(schema.secrets), {"name": "late", **DUMMY})
        ring(tx, "deliveries")

    waiting = await behind(db, for_ever())
    await db.write(work)
    assert await waiting == ["late"]


async def test_who_waits_behind_others_waits_on_when_what_they_write_last_fails(db: Database) -> None:
    twice = insert(schema.secrets)

    def work(tx: Tx) -> None:
        for _ in range(2):
            later(tx, twice, {"name": "twice", **DUMMY})
        ring(tx, "deliveries")

    waiting = await behind(db, for_ever())
    with pytest.raises(IntegrityError):
        await db.write(work)
    await db.write(rung, "a")
    async with asyncio.timeout(PATIENCE):
        assert await waiting == ["a"]


async def test_who_waits_behind_others_works_by_himself_when_he_is_woken(db: Database) -> None:
    woken = asyncio.Event()

    async def wake() -> None:
        await woken.wait()

    waiting = await behind(db, wake())
    await db.write(add, "a")
    woken.set()
    assert await waiting == ["a"]
    await db.write(rung, "b")  # nobody is there any more


async def test_a_fault_of_who_waits_behind_others_is_his_alone(db: Database) -> None:
    tried: list[list[str]] = []

    def faulty(tx: Tx) -> None:
        tried.append(names(tx))
        raise ValueError("a fault of ours")

    waiting = await behind(db, for_ever(), faulty)
    assert await db.write(rung, "a") == "a"
    with pytest.raises(ValueError, match="a fault of ours"):
        await waiting
    assert db.read_now(names) == ["a"]
    assert tried == [["a"], ["a"]]


async def test_who_does_not_wait_any_more_does_nothing(db: Database) -> None:
    waiting = await behind(db, for_ever(), lambda tx: add(tx, "his"))
    waiting.cancel()
    with suppress(asyncio.CancelledError):
        await waiting
    await db.write(rung, "a")
    assert db.read_now(names) == ["a"]


def renamed(old: str, new: str) -> Stroke:
    c = schema.secrets.c
    statement = update(schema.secrets).where(c.name == bindparam("b_old")).values(name=bindparam("b_new"))
    return Stroke(lambda _dialect: (statement, {"b_old": old, "b_new": new}))


async def test_a_stroke_that_is_alone_needs_no_transaction_of_ours(db: Database) -> None:
    db.write_now(add, "a")
    with commits(db) as done, statements(db) as said:
        await db.write(renamed("a", "b"))
        assert db.read_now(names) == ["b"]
    assert (done, said) == ([], [])


async def test_a_stroke_among_others_shares_their_commit_and_sees_what_they_made(db: Database) -> None:
    with commits(db) as done:
        await together(db, lambda tx: add(tx, "a"), renamed("a", "b"), lambda tx: add(tx, "a"), renamed("b", "c"))
    assert db.read_now(names) == ["a", "c"]
    assert len(done) == 2  # the gate's own, and theirs


async def test_a_stroke_that_fails_fails_as_other_work_does(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ATTEMPTS", 2)
    for name in ("a", "b"):
        db.write_now(add, name)
    with pytest.raises(IntegrityError):
        await db.write(renamed("a", "b"))
    await db.write(renamed("a", "c"))
    assert await db.write(add, "d") == "d"
    assert db.read_now(names) == ["b", "c", "d"]


async def test_a_stroke_goes_through_when_the_connection_that_the_writer_kept_has_died(db: Database) -> None:
    await db.write(add, "a")
    kept: Any = await db.write(lambda tx: tx.connection.dbapi_connection)
    kept.close()
    await db.write(renamed("a", "b"))
    assert db.read_now(names) == ["b"]


async def test_work_goes_through_when_postgresql_has_dropped_the_connection_that_the_writer_kept(
    tmp_path: Path, server: Any
) -> None:
    with opened(server.database(), tmp_path) as db:
        process = await db.write(lambda tx: tx.execute(text("SELECT pg_backend_pid()")).scalar_one())
        db.write_now(lambda tx: tx.execute(text("SELECT pg_terminate_backend(:process)"), {"process": process}))
        assert await db.write(add, "a") == "a"
        assert db.read_now(names) == ["a"]
