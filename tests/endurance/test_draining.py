"""SIGTERM drains: nothing lost, nothing twice, gone in time.  SIGHUP under load goes on."""

import asyncio
import signal
import time
from collections import Counter
from pathlib import Path

from listserv.model.group import Role
from tests.endurance import loads
from tests.endurance.loads import ADA, READERS, WALKERS
from tests.kit.process import process
from tests.kit.world import World

MEMBERS = 400


async def test_sigterm_in_the_middle_loses_nothing_and_repeats_nothing(url: str, folder: Path) -> None:
    async with World() as world, process(url, folder, world) as there:
        there.populate(WALKERS, MEMBERS)
        world.delay = 0.05
        for number in range(2):
            assert (await loads.post(there, "m0@d0.example", WALKERS, subject=f"post {number}")).startswith("250")
        await world.wait_for(50, 20)
        began = time.monotonic()
        assert await there.stop() == 0
        assert time.monotonic() - began < 30
        assert world.count < 2 * MEMBERS  # else this test has stopped nothing
        world.delay = 0.0
        await there.start()
        await there.until_done()
    copies = Counter(
        (reader, content.partition(b"Subject: ")[2][:6])
        for reader in world.messages
        for content in world.messages[reader]
    )
    assert len(copies) == 2 * MEMBERS
    assert set(copies.values()) == {1}
    assert there.tracebacks() == []


async def test_a_client_in_data_is_served_before_the_daemon_goes(folder: Path) -> None:
    async with World() as world, process("sqlite:///listserv.db", folder, world) as there:
        there.populate(WALKERS, names=dict.fromkeys(READERS, Role.MEMBER))
        client, idle = await there.enter(), await there.enter()
        await client.begin(WALKERS)
        await client.write(loads.HEAD + b"\r\n")
        stopped = asyncio.create_task(there.stop())
        assert (await idle.reply()).startswith("421 4.3.2")
        await client.write(b"the rest\r\n.\r\n")
        assert (await client.reply()).startswith("250 2.0.0 accepted")
        assert await stopped == 0
        await there.start()
        await world.wait_for(len(READERS), 20)


async def test_sighup_under_load_goes_on(folder: Path) -> None:
    async with World() as world, process("sqlite:///listserv.db", folder, world) as there:
        there.populate(WALKERS, names=dict.fromkeys(READERS, Role.MEMBER))
        assert there.child is not None
        for number in range(20):
            if number % 4 == 0:
                there.child.send_signal(signal.SIGHUP)
            assert (await loads.post(there, ADA, WALKERS, subject=f"post {number}")).startswith("250")
        await world.wait_for(20 * len(READERS), 30)
        there.config.write_text("nonsense")
        there.child.send_signal(signal.SIGHUP)
        assert (await loads.post(there, ADA, WALKERS, subject="after")).startswith("250")
        await world.wait_for(21 * len(READERS), 30)
        assert len(there.tracebacks()) == 1  # the nonsense, in one line
        assert "not read anew" in there.tracebacks()[0]
