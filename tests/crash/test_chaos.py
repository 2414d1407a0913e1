"""A small slice of `scripts/chaos` (docs/reliability.md): a few points of each kind that needs no disk of its own."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.chaos import kills
from tests.chaos.nursery import Nurse, nursery
from tests.kit.components import needs_strace


@pytest.fixture
async def nurse() -> AsyncIterator[Nurse]:
    needs_strace()
    async with nursery() as made:
        yield made


@pytest.mark.parametrize("processes", [1, 2])
async def test_killed_at_system_calls_it_loses_nothing(url: str, folder: Path, nurse: Nurse, processes: int) -> None:
    tally = await kills.matrix(nurse, url, folder, 3, processes, seed=1)
    assert tally.broken == ()
    assert tally.lost == 0
    assert tally.letters >= kills.LOAD
