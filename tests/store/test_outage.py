"""What the database says of itself is an outage; what it says of a value or a row is a fault of ours."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import insert, select, text

from listserv.store import schema
from listserv.store.db import Database, Tx
from listserv.store.engines import UnsafeDatabase
from listserv.store.outage import is_outage
from tests.kit.database import opened
from tests.kit.postgres import Postgres


@pytest.fixture
def db(url: str, tmp_path: Path) -> Iterator[Database]:
    with opened(url, tmp_path) as database:
        yield database


def loses_its_connection(tx: Tx) -> None:
    driver = tx.connection.dbapi_connection
    assert driver is not None
    driver.close()
    tx.execute(select(1))


def goes_on_after_it(tx: Tx) -> None:
    """As who has caught the fault and asks again."""
    if tx.dialect.name == "postgresql":
        with pytest.raises(Exception, match="connection"):
            loses_its_connection(tx)
    loses_its_connection(tx)


def has_no_table(tx: Tx) -> None:
    tx.execute(text("SELECT * FROM nowhere"))


def breaks_a_rule(tx: Tx) -> None:
    tx.execute(insert(schema.editions).values(kind="notice", style="verp"))


def cannot_be_written(tx: Tx) -> None:
    tx.execute(text("SELECT :word"), {"word": "\ud800"})


def finds_nothing(tx: Tx) -> None:
    tx.execute(select(schema.groups.c.id)).scalar_one()


@pytest.mark.parametrize("work", [loses_its_connection, goes_on_after_it, has_no_table])
def test_what_would_fail_with_anything_else_too_is_an_outage(db: Database, work: Callable[[Tx], None]) -> None:
    for way in (db.read_now, db.write_now):
        with pytest.raises(Exception) as fault:
            way(work)
        assert is_outage(fault.value), repr(fault.value)


@pytest.mark.parametrize("work", [breaks_a_rule, cannot_be_written, finds_nothing])
def test_what_fails_for_what_it_was_given_is_a_fault(db: Database, work: Callable[[Tx], None]) -> None:
    for way in (db.read_now, db.write_now):
        with pytest.raises(Exception) as fault:
            way(work)
        assert not is_outage(fault.value), repr(fault.value)


@pytest.mark.parametrize("value", ["a\0b", "9" * 30])
def test_a_value_that_postgresql_refuses_is_a_fault(server: Postgres, value: str) -> None:
    db = Database(server.database())
    with pytest.raises(Exception) as fault:
        db.read_now(lambda tx: tx.execute(text("SELECT CAST(CAST(:value AS text) AS integer)"), {"value": value}))
    db.close()
    assert not is_outage(fault.value)


def test_a_machine_without_room_and_a_server_that_forgets_are_outages() -> None:
    assert is_outage(OSError(28, "No space left on device"))
    assert is_outage(TimeoutError())
    assert is_outage(UnsafeDatabase("fsync = off"))
    assert not is_outage(ValueError("poison"))
