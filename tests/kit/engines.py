"""Fixtures: every story runs on SQLite and on PostgreSQL."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit import postgres
from tests.kit.postgres import Postgres


@pytest.fixture(scope="session")
def server() -> Iterator[Postgres]:
    with postgres.running() as running:
        yield running


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param == "sqlite":
        yield "sqlite:///listserv.db"
        return
    server: Postgres = request.getfixturevalue("server")
    made = server.database()
    yield made
    server.drop(made)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path
