"""Malformed and malicious messages against the whole daemon: refused, held or carried; nobody else notices."""

import asyncio
from pathlib import Path

from listserv.model.group import Role
from tests.endurance import loads
from tests.endurance.loads import WALKERS
from tests.kit.patience import PATIENCE
from tests.kit.process import process
from tests.kit.world import World

GROWTH = 32  # MB
PROMISED = 150  # MB in all


async def test_no_bomb_hurts_the_daemon_or_anybody_else(url: str, folder: Path) -> None:
    async with World() as world, process(url, folder, world) as there:
        there.populate(
            WALKERS,
            names={**dict.fromkeys(loads.READERS, Role.MEMBER), "ann@o.example": Role.OWNER},
            footer="Since 1920",
        )
        assert (await loads.post(there, loads.ADA, WALKERS)).startswith("250")
        await there.until_done()
        before = there.resident()
        over = asyncio.Event()
        bystander = asyncio.create_task(loads.stand_by(there, over))
        assert await loads.wrong_answers(there, loads.bombs()) == {}
        await there.until_done(60)
        assert there.resident() - before < GROWTH
        assert await loads.wrong_answers(there, loads.giants()) == {}
        await there.until_done(60)
        assert there.resident() < PROMISED
        over.set()
        noops, posts = await bystander
        assert there.tracebacks() == []
        assert world.faults == []
        # the promise is 0.1 s, which scripts/soak measures; a machine that does other things needs some air
        assert noops[len(noops) // 2] < 0.5
        assert max(noops[-1], posts[-1]) < PATIENCE
        assert (await loads.post(there, loads.ADA, WALKERS, subject="after all")).startswith("250")
        await there.until_done()
        for reader in loads.READERS:
            assert any(b"\r\nSubject: after all\r\n" in copy for copy in world.messages[reader])
