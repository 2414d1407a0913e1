"""A small slice of `scripts/chaos` (docs/reliability.md): a few points of each kind that needs no disk of its own."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.chaos import disk, kills
from tests.chaos.nursery import Nurse, nursery
from tests.kit.components import needs_strace


@pytest.fixture
async def nurse() -> AsyncIterator[Nurse]:
    needs_strace()
    async with nursery() as made:
        yield made


@pytest.mark.parametrize("processes", [1, 2])
async def test_killed_at_system_calls_it_loses_nothing(url: str, folder: Path, nurse: Nurse, processes: int) -> None:
    tally = await kills.matrix(nurse, url, folder, 2, processes, seed=1)
    assert tally.broken == ()
    assert tally.lost == 0
    assert tally.letters >= kills.LOAD


async def test_a_disk_whose_writes_and_syncs_fail_costs_time_and_nothing_else(folder: Path, nurse: Nurse) -> None:
    tally = await disk.faults(nurse, "sqlite:///listserv.db", folder, 1, seed=2)  # the third fsync of a thread says EIO
    assert tally.broken == ()
    assert tally.lost == 0
