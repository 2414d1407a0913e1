"""Nobody changes a row of the consent record unseen, erasure leaves it whole, and many who append make one chain."""

import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import delete, insert, select, update

from listserv.model.consent import Step
from listserv.store import consents
from listserv.store.consents import Broken, Entry, Sound
from listserv.store.db import Database, Tx
from listserv.store.schema import consent_details, secrets
from listserv.store.schema import consents as table

NOW = datetime(2026, 11, 26, 16, 0, 0, 123456, tzinfo=UTC)
PEOPLE = ("ada@a.example", "bob@b.example", "cy@c.example", "dörte@d.example")


def entry(key: str, step: Step = Step.JOINED, number: int = 0) -> Entry:
    facts = {"by": key, "ip": "192.0.2.1", "asked": {"envelope": "", "at": "2026"}, "number": number}
    return Entry(step, "sailing@lists.example", "mail", NOW + timedelta(seconds=number), key, facts, bytes(16))


def verified(db: Database, last: int | None = None) -> Sound | Broken:
    return db.read_now(lambda tx: list(consents.verify(tx, last))[-1])


@pytest.fixture
def record(db: Database) -> Database:
    for number, key in enumerate(PEOPLE):
        db.write_now(consents.append, [entry(key, number=number)])
    return db


def test_what_was_appended_is_there_in_order_and_sound(record: Database) -> None:
    record.write_now(consents.append, [entry(PEOPLE[0], Step.LEFT, 9)])
    assert verified(record) == Sound(5)
    assert verified(record, 3) == Sound(3)
    assert verified(record, 100) == Sound(5)
    ada = record.read_now(consents.of, [PEOPLE[0]])
    assert [one.step for one in ada] == [Step.JOINED, Step.LEFT]
    assert ada[0].facts is not None
    assert ada[0].facts["ip"] == "192.0.2.1"
    assert record.read_now(consents.of, [PEOPLE[0]], "walkers@lists.example") == []


def test_an_empty_record_is_sound(db: Database) -> None:
    assert verified(db) == Sound(0)
    assert verified(db, 10) == Sound(0)


CHANGES: list[tuple[str, Any]] = [
    *(("act", "left"), ("group", "walkers@lists.example"), ("way", "shell"), ("at", NOW + timedelta(microseconds=1))),
    *(("personal", b"p" * 32), ("digest", b"d" * 32), ("key", "eve@e.example"), ("salt", b"s" * 16)),
    ("facts", {"by": "eve@e.example"}),
]


@pytest.mark.parametrize(("column", "value"), CHANGES)
@pytest.mark.parametrize("id", [1, 2, len(PEOPLE)])
def test_a_change_of_any_column_is_found_at_its_row(record: Database, id: int, column: str, value: Any) -> None:
    def tamper(tx: Tx) -> None:
        if column in table.c:
            tx.execute(update(table).where(table.c.id == id).values({column: value}))
        else:
            tx.execute(update(consent_details).where(consent_details.c.consent_id == id).values({column: value}))

    record.write_now(tamper)
    found = verified(record)
    assert isinstance(found, Broken)
    assert found.id == id


def _move(tx: Tx) -> None:
    """Bob's details stand beside Cy's row."""
    tx.execute(delete(consent_details).where(consent_details.c.consent_id == 3))
    tx.execute(update(consent_details).where(consent_details.c.consent_id == 2).values(consent_id=3))


def _swap(tx: Tx) -> None:
    for a, b in ((2, 1000), (3, 2), (1000, 3)):
        tx.execute(delete(consent_details).where(consent_details.c.consent_id == a))
        tx.execute(update(table).where(table.c.id == a).values(id=b))


TRICKS: list[Callable[[Tx], object]] = [
    _move,
    _swap,
    lambda tx: tx.execute(delete(table).where(table.c.id == 1)),
    lambda tx: tx.execute(delete(table).where(table.c.id == 3)),
    lambda tx: tx.execute(delete(table).where(table.c.id == 4)),
    lambda tx: tx.execute(delete(table)),
    lambda tx: tx.execute(delete(secrets).where(secrets.c.name == consents.HEAD)),
    lambda tx: tx.execute(
        insert(table).values(
            act="joined", group="g@g.example", way="mail", at=NOW, personal=bytes(32), digest=bytes(32)
        )
    ),
]


@pytest.mark.parametrize("trick", range(len(TRICKS)))
def test_rows_taken_out_put_in_or_moved_are_found(record: Database, trick: int) -> None:
    record.write_now(TRICKS[trick])
    assert isinstance(verified(record), Broken)


def test_erasure_takes_what_is_personal_and_leaves_the_chain_whole(record: Database) -> None:
    assert record.write_now(consents.erase, [PEOPLE[1]]) == 1
    assert verified(record) == Sound(4)
    assert record.read_now(consents.of, [PEOPLE[1]]) == []
    left = record.read_now(lambda tx: [dict(row._mapping) for row in tx.execute(select(table))])
    assert "bob" not in repr(left)
    record.write_now(consents.append, [entry(PEOPLE[1])])
    assert verified(record) == Sound(5)


def test_the_end_of_a_group_is_on_the_record_of_those_who_were_in_it(record: Database) -> None:
    record.write_now(consents.append, [entry("", Step.ENDED, 50)])
    assert [one.step for one in record.read_now(consents.of, [PEOPLE[0]])] == [Step.JOINED, Step.ENDED]
    assert record.read_now(consents.of, ["nobody@n.example"]) == []


APPEND = """
import sys
from listserv.store import consents
from listserv.store.db import Database
from tests.store.test_consents import entry
database = Database(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
for number in range(40):
    database.write_now(consents.append, [entry(f"{sys.argv[2]}-{number}@a.example", number=number)] * 3)
database.close()
"""


def test_processes_that_append_at_once_make_one_chain(db: Database, shared: str) -> None:
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", APPEND, shared, str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(3)
    ]
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        racer.communicate("\n", timeout=60)
    assert [racer.returncode for racer in racers] == [0, 0, 0]
    assert verified(db) == Sound(3 * 40 * 3)
