"""The database and the program agree about the schema, or the program does not run."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import CheckConstraint, inspect, select, text

from listserv.model.consent import Step
from listserv.model.token import Action
from listserv.store import accounts, consents, schema, tokens
from listserv.store import upgrade as upgrading
from listserv.store.consents import Entry
from listserv.store.db import Database, Tx
from listserv.store.upgrade import MIGRATIONS, NewerDatabase, upgrade, version
from tests.kit.database import located
from tests.kit.postgres import Postgres

THEN = datetime(2026, 11, 20, 12, tzinfo=UTC)
LATER = THEN + timedelta(days=7)
UPGRADE = """
import sys
from listserv.store.db import Database
from listserv.store.upgrade import upgrade
import alembic.command
database = Database(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
upgrade(database)
database.close()
"""

# Upgrades again and again, and is killed at each statement in turn, and last at the commit; prints how often.
KILLED = """
import os, signal, sys
from sqlalchemy import event
from listserv.store.db import Database
from listserv.store.upgrade import _migrate
import alembic.command
url, step = sys.argv[1], int(sys.argv[2])

def upgrade(left):
    def die(*_):
        nonlocal left
        left -= 1
        if left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)
    database = Database(url)
    for name in ("before_cursor_execute", "commit"):
        event.listen(database._writer, name, die)
    database.write_now(_migrate)
    os._exit(0)

points = 1
while True:
    child = os.fork() or upgrade(points)
    if os.waitpid(child, 0)[1] != signal.SIGKILL:
        break
    points += step
print(points - 1)
"""


def test_the_newest_migration_is_the_version_of_the_schema() -> None:
    assert ScriptDirectory(str(MIGRATIONS)).get_heads() == [schema.VERSION]


def test_the_migrations_make_what_the_schema_says(db: Database) -> None:
    def differences(tx: Tx) -> list[object]:
        # Alembic reads an empty string as a default of SQLite wrongly; both engines run the same migrations.
        defaults = tx.dialect.name == "postgresql"
        context = MigrationContext.configure(tx, opts={"compare_type": True, "compare_server_default": defaults})
        return list(compare_metadata(context, schema.metadata))

    assert db.read_now(differences) == []
    assert db.read_now(version) == schema.VERSION


def test_the_partial_indexes_are_partial_and_deleting_reaches_as_far_as_the_schema_says(db: Database) -> None:
    # what alembic's comparison does not look at
    def look(tx: Tx) -> tuple[set[str], set[tuple[str, str, str | None]]]:
        seen = inspect(tx)
        partial = {
            str(index["name"])
            for table in seen.get_table_names()
            for index in seen.get_indexes(table)
            if any(str(value) for key, value in index.get("dialect_options", {}).items() if key.endswith("_where"))
        }
        keys = {
            (table, key["constrained_columns"][0], key["options"].get("ondelete"))
            for table in seen.get_table_names()
            for key in seen.get_foreign_keys(table)
        }
        return partial, keys

    partial, keys = db.read_now(look)
    tables = schema.metadata.sorted_tables
    indexes = [index for table in tables for index in table.indexes]
    assert partial == {i.name for i in indexes if i.dialect_options["sqlite"]["where"] is not None}
    assert partial == {i.name for i in indexes if i.dialect_options["postgresql"]["where"] is not None}
    assert partial >= {
        f"ix_{queue}_{what}" for queue in ("posts", "deliveries", "jobs") for what in ("waiting", "taken")
    }
    assert keys == {(t.name, key.parent.name, key.ondelete) for t in tables for key in t.foreign_keys}
    assert not [c for t in tables for c in t.constraints if isinstance(c, CheckConstraint)]


def test_an_upgrade_of_what_is_up_to_date_changes_nothing(db: Database) -> None:
    assert upgrade(db) == schema.VERSION
    assert upgrade(db) == schema.VERSION


def test_a_database_of_a_newer_program_is_refused_and_left_alone(db: Database) -> None:
    db.write_now(lambda tx: tx.execute(text("UPDATE alembic_version SET version_num = '9999'")))
    try:
        with pytest.raises(NewerDatabase, match=f"version 9999, this program knows up to {schema.VERSION}"):
            upgrade(db)
        assert db.read_now(version) == "9999"
    finally:
        back = text(f"UPDATE alembic_version SET version_num = '{schema.VERSION}'")
        db.write_now(lambda tx: tx.execute(back))


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
def test_two_processes_upgrade_at_once_and_both_go_on(
    engine: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    # given a database without any table, and two processes that have everything loaded
    url = located("sqlite:", tmp_path)
    if engine == "postgresql":
        url = _empty_database(request.getfixturevalue("server"))
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", UPGRADE, url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == "ready\n"

    # when they are let loose
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("\n")
        racer.stdin.flush()
    said = [racer.communicate(timeout=30)[1] for racer in racers]

    # then neither of them has failed, and the schema is there
    assert [racer.returncode for racer in racers] == [0, 0], said
    database = Database(url)
    tables = database.read_now(lambda tx: inspect(tx).get_table_names())
    assert database.read_now(version) == schema.VERSION
    database.close()
    assert set(tables) == {table.name for table in schema.metadata.sorted_tables} | {"alembic_version"}


def _empty_database(server: Postgres, name: str = "raced") -> str:
    with psycopg.connect(f"host=127.0.0.1 port={server.port} user=postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    return server.url(name)


OLD = """
INSERT INTO accounts (id, name, made_at) VALUES (1, 'Ada', '2026-11-01 10:00:00+00:00');
INSERT INTO mailboxes (id, account_id, address, key, domain, proven_at)
    VALUES (1, 1, 'Ada@a.example', 'ada@a.example', 'a.example', '2026-11-01 10:00:00+00:00');
INSERT INTO groups (id, address, kind, policy, made_at)
    VALUES (1, 'walkers@lists.example', 'discussion', '{"title": "Walkers"}', '2026-11-01 10:00:00+00:00');
INSERT INTO subscriptions (id, group_id, mailbox_id, role, mode, moderated, joined_at, how)
    VALUES (1, 1, 1, 'owner', 'each', false, '2026-11-01 10:00:00+00:00', 'asked by mail');
INSERT INTO holds (id, kind, group_id, author, reasons, state, since, expires_at)
    VALUES (1, 'join', 1, 'bob@b.example', '["an admin decides"]', 'open',
            '2026-11-01 10:00:00+00:00', '2026-12-01 10:00:00+00:00');
"""


def _old_database(url: str) -> Database:
    """Of the first version, with people, a group, a hold, and an open question of the old kind."""
    database = Database(url)
    config = upgrading._config()

    def begin(tx: Tx) -> None:
        config.attributes["connection"] = tx
        command.upgrade(config, "0001")
        for statement in OLD.split(";\n"):
            if statement.strip():
                tx.exec_driver_sql(statement.strip().replace("%", "%%"))
        tokens.add(tx, b"t" * 32, Action.JOIN, "bob@b.example", {"address": "bob@b.example"}, THEN, expires_at=LATER)

    database.write_now(begin)
    assert database.read_now(version) == "0001"
    return database


def _assert_all_is_there(database: Database) -> None:
    """As it was, with the defaults of what is new; and the new tables work."""
    assert database.read_now(version) == schema.VERSION
    ada = database.read_now(accounts.member, 1, "ada@a.example")
    assert ada is not None
    assert (ada.address, ada.name, ada.role, ada.mode) == ("Ada@a.example", "Ada", "owner", "each")
    s, h = schema.subscriptions.c, schema.holds.c
    wishes = database.read_now(lambda tx: tx.execute(select(s.own_posts, s.copies, s.visible)).one())
    assert tuple(wishes) == (True, True, False)
    assert database.read_now(lambda tx: tx.execute(select(h.waits_for)).scalar_one()) == "admins"
    assert database.write_now(tokens.redeem, b"t" * 32, THEN)
    entry = Entry(Step.LEFT, "walkers@lists.example", "mail", THEN, "ada@a.example", {}, bytes(16))
    database.write_now(consents.append, [entry])
    assert database.read_now(lambda tx: list(consents.verify(tx))) == [consents.Sound(1)]
    database.close()


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
def test_what_0001_knew_is_there_after_the_upgrade(engine: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    server: Postgres | None = request.getfixturevalue("server") if engine == "postgresql" else None
    database = _old_database(_empty_database(server, "old") if server else located("sqlite:", tmp_path))
    assert upgrade(database) == "0001"
    _assert_all_is_there(database)


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
def test_an_upgrade_that_is_killed_at_every_statement_is_taken_up_again(
    engine: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    server: Postgres | None = request.getfixturevalue("server") if engine == "postgresql" else None
    url = _empty_database(server, "killed") if server else located("sqlite:", tmp_path)
    _old_database(url).close()
    assert _killed(url, step=3 if server else 1) >= 20
    _assert_all_is_there(Database(url))


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
def test_a_first_start_that_is_killed_is_taken_up_again(
    engine: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    server: Postgres | None = request.getfixturevalue("server") if engine == "postgresql" else None
    url = _empty_database(server, "stillborn") if server else located("sqlite:", tmp_path)
    assert _killed(url, step=13) >= 80
    database = Database(url)
    assert upgrade(database) == schema.VERSION
    tables = database.read_now(lambda tx: inspect(tx).get_table_names())
    assert set(tables) == {table.name for table in schema.metadata.sorted_tables} | {"alembic_version"}
    database.close()


def _killed(url: str, step: int) -> int:
    """At which statement it was killed last, before one went through; a statement in `step` was tried."""
    done = subprocess.run(
        [sys.executable, "-c", KILLED, url, str(step)], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stderr == ""
    return int(done.stdout)
