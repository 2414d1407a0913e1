"""A shell for every test, with keys that are made once."""

from pathlib import Path

import pytest

from listserv import keyring
from tests.cli.shell import Shell


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys") / "dkim"
    keyring.open(folder, ["lists.example", "other.example"], "ls1")
    return folder


@pytest.fixture
def shell(folder: Path, keys: Path) -> Shell:
    return Shell.at(folder, "sqlite:///listserv.db", keys)


@pytest.fixture
def shells(folder: Path, keys: Path, url: str) -> Shell:
    """The same once on SQLite and once on PostgreSQL."""
    return Shell.at(folder, url, keys)
