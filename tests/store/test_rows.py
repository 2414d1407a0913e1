"""What is said past SQLAlchemy is what SQLAlchemy would have said, and comes back as it would have read it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import bindparam, insert, literal, select, text, update
from sqlalchemy.exc import IntegrityError, OperationalError, ProgrammingError

from listserv.model.group import Kind
from listserv.store import rows, schema
from listserv.store.db import Database, Tx
from listserv.store.dialects import Upsert
from tests.kit.database import NOW, opened

GROUP = {"address": "walkers@lists.example", "kind": Kind.DISCUSSION, "policy": {"title": "Wälder"}, "made_at": NOW}
ADD = insert(schema.groups)
FIND = select(*schema.groups.c, literal(7).label("seven")).where(schema.groups.c.address == bindparam("address"))
RAISE = (
    update(schema.groups)
    .where(schema.groups.c.address == bindparam("named"))
    .values(last_number=schema.groups.c.last_number + 1)
)


@pytest.fixture
def db(url: str, tmp_path: Path) -> Iterator[Database]:
    with opened(url, tmp_path) as database:
        yield database


def test_rows_of_all_kinds_of_columns_come_back_as_they_went(db: Database) -> None:
    others = [{**GROUP, "address": f"{name}@lists.example"} for name in ("runners", "riders")]

    def work(tx: Tx) -> None:
        rows.append(tx, ADD, [GROUP])
        rows.append(tx, ADD, others)
        rows.append(tx, RAISE, [{"named": GROUP["address"]}, {"named": GROUP["address"]}])
        mine = rows.first(tx, FIND, {"address": GROUP["address"]})
        assert mine is not None
        theirs = tx.execute(FIND, {"address": GROUP["address"]}).one()
        assert tuple(mine) == tuple(theirs)
        assert (mine.policy, mine.made_at, mine.last_number, mine.seven) == (GROUP["policy"], NOW, 2, 7)
        assert rows.first(tx, FIND, {"address": "nobody"}) is None

    db.write_now(work)
    assert db.read_now(lambda tx: rows.first(tx, FIND, {"address": "riders@lists.example"})) is not None


def test_faults_are_those_that_everybody_else_catches(db: Database) -> None:
    with pytest.raises(IntegrityError):
        db.write_now(lambda tx: rows.append(tx, ADD, [GROUP, GROUP]))
    with pytest.raises((OperationalError, ProgrammingError)) as said:
        db.read_now(lambda tx: rows.first(tx, select(text("no_such_column")), {}))
    assert not said.value.connection_invalidated
    assert db.read_now(lambda tx: tx.execute(select(literal(1))).scalar_one()) == 1


def test_what_is_inserted_or_added_up_is_the_same_statement_for_both(db: Database) -> None:
    def add_up(insert):  # type: ignore[no-untyped-def]
        made = insert(schema.counts)
        key = [schema.counts.c.day, schema.counts.c.group_id, schema.counts.c.what]
        return made.on_conflict_do_update(index_elements=key, set_={"number": made.excluded.number + bindparam("more")})

    count = Upsert(add_up)
    row = {"day": NOW.date(), "group_id": 0, "what": "accepted", "number": 1, "more": 10}
    for _ in range(2):
        db.write_now(lambda tx: rows.append(tx, count(tx), [row]))
    assert db.read_now(lambda tx: tx.execute(select(schema.counts.c.number)).scalar_one()) == 11
