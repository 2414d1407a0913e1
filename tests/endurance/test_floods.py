"""A slice of `scripts/chaos floods` (docs/reliability.md): for a moment, many of them at the same time.

How long somebody else waits is measured there.  Here only the processor time counts that the daemon used before it
answered him: a machine that does other things does not add to it.
"""

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.chaos import floods
from tests.chaos.attackers import Caps
from tests.chaos.floods import COMMANDS, CROWDS, SIZES, SLOW, Flood, together

MOMENT = 1.0  # seconds
WITH_ROOM, WITHOUT = Caps(idle=1), Caps(idle=1, connections=60, per_address=20)


@pytest.mark.parametrize(
    ("chosen", "caps"),
    [
        pytest.param([together(*SLOW[:5], clients=5)], WITH_ROOM, id="slow-clients"),
        pytest.param([together(*SIZES, *COMMANDS, clients=2)], WITH_ROOM, id="sizes-and-commands"),
        pytest.param(CROWDS, WITHOUT, id="crowds"),
    ],
)
async def test_no_flood_does_harm(url: str, folder: Path, chosen: Sequence[Flood], caps: Caps) -> None:
    async with floods.ground(url, folder, caps) as here:
        for flood in chosen:
            result = await here.under(flood, MOMENT / len(chosen))
            assert (flood.name, result.wrong) == (flood.name, ())
            assert result.seen.used[len(result.seen.used) * 9 // 10] < floods.SLOWEST
