"""An empty database on each engine: one for a whole file of tests, emptied before each, since making one takes long."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from listserv.store import schema
from listserv.store.db import Database, Tx
from listserv.store.upgrade import upgrade
from tests.kit.database import located


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a database that the tests of one file use one after the other."""
    folder: Path = tmp_path_factory.mktemp("database")
    server = request.getfixturevalue("server") if request.param == "postgresql" else None
    made = server.database() if server else located("sqlite:", folder)
    database = Database(made)
    upgrade(database)
    database.close()
    yield made
    if server:
        server.drop(made)


@pytest.fixture
def db(shared: str) -> Iterator[Database]:
    database = Database(shared)
    database.write_now(_empty)
    yield database
    database.close()


def _empty(tx: Tx) -> None:
    """Ids begin at 1 again."""
    for table in reversed(schema.metadata.sorted_tables):
        tx.execute(table.delete())
        if tx.dialect.name == "postgresql" and "id" in table.c:
            tx.execute(text(f"SELECT setval(pg_get_serial_sequence('{table.name}', 'id'), 1, false)"))
    if tx.dialect.name == "sqlite":
        tx.execute(text("DELETE FROM sqlite_sequence"))
