"""A database on each engine."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from listserv.store.db import Database
from tests.kit.database import opened


@pytest.fixture
def db(url: str, tmp_path: Path) -> Iterator[Database]:
    with opened(url, tmp_path) as database:
        yield database
