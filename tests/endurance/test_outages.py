"""Disk full, database down: 4xx meanwhile, nothing acknowledged is lost, no busy loop, and it heals by itself."""

import asyncio
import resource
from pathlib import Path

from listserv.model.group import Role
from tests.endurance import loads
from tests.endurance.loads import ADA, READERS, WALKERS
from tests.kit.patience import PATIENCE
from tests.kit.postgres import Postgres
from tests.kit.process import Process, process
from tests.kit.world import World


async def post(there: Process, number: int) -> str:
    return await loads.post(there, ADA, WALKERS, subject=f"post {number}")


async def until_taken(there: Process, number: int, seconds: float = PATIENCE) -> None:
    """As a sender's own queue does: again and again until somebody says 250."""
    async with asyncio.timeout(seconds):
        while not (await post(there, number)).startswith("250"):
            await asyncio.sleep(0.2)


async def arrived(world: World, subjects: int) -> None:
    """Every post, once, at every reader."""
    await world.wait_for(subjects * len(READERS), 30)
    for reader in READERS:
        for number in range(subjects):
            line = b"\r\nSubject: post %d\r\n" % number
            assert sum(line in copy for copy in world.messages[reader]) == 1


def limit_files(there: Process, octets: int) -> None:
    """No file of the daemon may grow beyond: to it the disk is full."""
    hard = resource.prlimit(there.pid, resource.RLIMIT_FSIZE)[1]
    resource.prlimit(there.pid, resource.RLIMIT_FSIZE, (octets, hard))


async def test_a_full_disk_is_a_matter_of_time(folder: Path) -> None:
    async with World() as world, process("sqlite:///listserv.db", folder, world) as there:
        there.populate(WALKERS, names=dict.fromkeys(READERS, Role.MEMBER))
        await until_taken(there, 0)
        await there.until_done()
        limit_files(there, 4096)
        before = there.cpu_seconds()
        answers = [await post(there, 1) for _ in range(5)]
        assert {answer[:5] for answer in answers} <= {"451 4", "452 4"}
        await asyncio.sleep(3.0)
        assert there.cpu_seconds() - before < 2.5
        limit_files(there, resource.RLIM_INFINITY)
        await until_taken(there, 1)
        await until_taken(there, 2)
        await arrived(world, 3)


async def test_a_database_that_is_gone_comes_back(server: Postgres, folder: Path) -> None:
    url = server.database()
    async with World() as world, process(url, folder, world) as there:
        there.populate(WALKERS, names=dict.fromkeys(READERS, Role.MEMBER))
        for number in range(3):
            await until_taken(there, number)
        await there.until_done()  # a claim whose answer the crash has swallowed would wait for its lease
        server.ctl("-m", "immediate", "stop")
        try:
            before = there.cpu_seconds()
            assert {(await post(there, 3))[:5] for _ in range(3)} <= {"451 4", "421 4", "452 4"}
            await asyncio.sleep(3.0)
            assert there.cpu_seconds() - before < 2.5
            assert there.is_running
        finally:
            server.start()
        await until_taken(there, 3)
        await until_taken(there, 4)
        await there.until_done()
        await arrived(world, 5)
