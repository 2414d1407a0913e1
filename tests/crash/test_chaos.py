"""A small slice of `scripts/chaos` (docs/reliability.md): a few points of each kind that needs no disk of its own."""

import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.chaos import disk, kills, relays
from tests.chaos.kills import Reach
from tests.chaos.nursery import Nurse, nursing, ward
from tests.kit.components import needs_strace


@pytest.fixture(scope="module")
def channel() -> Iterator[socket.socket]:
    needs_strace()
    with ward() as made:
        yield made


@pytest.fixture
async def nurse(channel: socket.socket) -> AsyncIterator[Nurse]:
    async with nursing(channel) as made:
        yield made


def reach(url: str) -> Reach:
    """What every process does, whatever its event loop: measuring it takes longer than this slice."""
    calls = {"fdatasync": 4} if url.startswith("sqlite") else {"sendto": 50}
    return Reach(0.2, dict.fromkeys(("daemon", "main process", "delivery process 1", "delivery process 2"), calls))


@pytest.mark.parametrize("processes", [1, 2])
async def test_killed_at_system_calls_it_loses_nothing(url: str, folder: Path, nurse: Nurse, processes: int) -> None:
    tally = await kills.matrix(nurse, url, folder, 2, processes, seed=1, reach=reach(url))
    assert tally.broken == ()
    assert tally.lost == 0
    assert tally.letters >= kills.LOAD


async def test_a_disk_whose_writes_and_syncs_fail_costs_time_and_nothing_else(folder: Path, nurse: Nurse) -> None:
    tally = await disk.faults(nurse, "sqlite:///listserv.db", folder, 1, seed=2)  # the third fsync of a thread says EIO
    assert tally.broken == ()
    assert tally.lost == 0


async def test_a_relay_that_does_it_wrong_costs_time_and_nothing_else(folder: Path, nurse: Nurse) -> None:
    tally = await relays.matrix(nurse, "sqlite:///listserv.db", folder, 2, seed=1)
    assert tally.broken == ()
    assert (tally.reached, tally.lost, tally.twice) == (3, 0, 0)
