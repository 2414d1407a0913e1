"""Memory of the daemon: under 150 MB with 100,000 members, while it distributes and while many upload large messages.

The same with fifty clients, and for longer: scripts/soak.
"""

import asyncio
from pathlib import Path

from listserv.model.group import Role
from tests.endurance import loads
from tests.kit.process import process
from tests.kit.world import World

PROMISED = 150  # MB


async def test_a_hundred_thousand_members_fit_into_the_memory(url: str, folder: Path) -> None:
    async with World() as world, process(url, folder, world) as there:
        there.populate(loads.WALKERS, 100_000)
        there.populate(loads.LARGE, names=dict.fromkeys(loads.READERS, Role.MEMBER))
        assert (await loads.post(there, "m1@d1.example", loads.WALKERS)).startswith("250")
        await world.wait_for(1000)
        assert there.resident() < PROMISED
        replies = await loads.uploads(there, 8, loads.LIMIT - 10_000)
        assert [reply[:3] for reply in replies] == ["250"] * 8
        assert there.resident() < PROMISED
        assert there.child is not None
        there.child.kill()  # the other 99,000 copies are for another test
        await there.child.wait()


async def test_large_messages_are_distributed_one_after_the_other(url: str, folder: Path) -> None:
    async with World() as world, process(url, folder, world) as there:
        there.populate(loads.LARGE, names=dict.fromkeys(loads.READERS, Role.MEMBER))
        await loads.uploads(there, 10, loads.LIMIT - 10_000)
        async with asyncio.timeout(60):
            await there.until_done(60)
        assert world.count == 10 * len(loads.READERS)
        assert there.resident() < PROMISED
