"""Several processes of one node: they share the work, die together, and what dies alone is started again."""

import asyncio
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.endurance import loads
from tests.endurance.loads import WALKERS
from tests.kit.house import mail
from tests.kit.patience import PATIENCE
from tests.kit.process import Process, process
from tests.kit.world import World

MEMBERS = 300
TWO = {"processes": 2}


def children(there: Process) -> dict[str, int]:
    """Name → pid, as the parent has written it down."""
    said = json.loads((there.folder / "processes.json").read_text())
    return {child["name"]: child["pid"] for child in said}


def lives(pid: int) -> bool:
    """A zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def until(true: Callable[[], bool], seconds: float = PATIENCE) -> None:
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0.02)


async def post(there: Process, number: int = 1) -> None:
    assert (await loads.post(there, "m0@d0.example", WALKERS, subject=f"post {number}")).startswith("250")


async def test_two_processes_share_the_copies_and_keep_to_the_connections_of_one(url: str, folder: Path) -> None:
    relay = {"connections": 5}
    async with World() as world, process(url, folder, world, workers=TWO, relay=relay) as there:
        there.populate(WALKERS, MEMBERS)
        world.delay = 0.01
        await post(there)
        await until(lambda: world.count >= MEMBERS, 40)
        await there.until_done()
        assert {len(copies) for copies in world.messages.values()} == {1}
        assert world.peak <= 5
        assert len(children(there)) == 3
        assert there.tracebacks() == []
        assert await there.stop() == 0
    assert not (folder / "processes.json").exists()


@pytest.mark.parametrize("name", ["main process", "delivery process 2"])
async def test_what_dies_is_started_again_and_nobody_misses_anything(url: str, folder: Path, name: str) -> None:
    async with World() as world, process(url, folder, world, workers=TWO) as there:
        there.populate(WALKERS, MEMBERS)
        world.delay = 0.01
        await post(there)
        await world.wait_for(30, 20)
        before = children(there)
        os.kill(before[name], signal.SIGKILL)
        await until(lambda: children(there)[name] not in (0, before[name]))
        await until(lambda: len(world.messages) == MEMBERS, 15)  # at once: no lease has to run out
        await there.until_done()
        assert world.count - MEMBERS <= 20 + 16
        assert f"the {name} ({before[name]}) ended by SIGKILL" in there.stderr.read_text()
        assert {pid for other, pid in children(there).items() if other != name} < set(before.values())
        assert await there.stop() == 0


async def test_with_their_parent_the_children_end_at_once_and_the_next_run_goes_on(url: str, folder: Path) -> None:
    async with World() as world, process(url, folder, world, workers={"processes": 3}) as there:
        there.populate(WALKERS, MEMBERS)
        world.delay = 0.02
        await post(there)
        await world.wait_for(30, 20)
        before = children(there)
        assert there.child is not None
        there.child.kill()
        await there.child.wait()
        await until(lambda: not any(map(lives, before.values())), 5)

        # when fewer processes are started, the dead slots' copies are under way all the same, and at once
        there.config.write_text(there.config.read_text().replace("processes = 3", "processes = 1"))
        world.delay = 0.0
        await there.start()
        await until(lambda: len(world.messages) == MEMBERS, 15)
        await there.until_done()
        assert world.count - MEMBERS <= 20 + 3 * 16


async def test_sighup_reaches_all_and_sigterm_drains_all(folder: Path) -> None:
    async with World() as world, process("sqlite:///listserv.db", folder, world, workers=TWO) as there:
        there.populate(WALKERS, MEMBERS)
        world.delay = 0.02
        await post(there)
        await world.wait_for(30, 20)
        os.kill(there.pid, signal.SIGHUP)
        await until(lambda: there.stderr.read_text().count("are read anew") == 3)
        assert await there.stop() == 0
        assert {len(copies) for copies in world.messages.values()} == {1}
        assert there.states().get("taken", 0) == 0


async def test_a_child_that_cannot_begin_ends_the_start_with_its_reason(folder: Path) -> None:
    async with World() as world:
        taken = {"listen": [f"{world.host}:{world.port}"]}
        relay = {"port": 2525}
        async with process(
            "sqlite:///listserv.db", folder, world, workers=TWO, smtp=taken, relay=relay, start=False
        ) as there:
            with pytest.raises(AssertionError):
                await there.start()
            assert there.child is not None
            assert await there.child.wait() == 1
            assert "[smtp] listen: cannot listen on" in there.stderr.read_text()


async def test_two_daemons_of_several_processes_do_not_share_a_folder(folder: Path) -> None:
    async with World() as world, process("sqlite:///listserv.db", folder, world, workers=TWO) as there:
        second = Process(folder, there.url, there.config)
        with pytest.raises(AssertionError, match="another listserv daemon runs"):
            await second.start(60)
        there.populate(WALKERS, 3)
        assert (await there.post("m0@d0.example", WALKERS, mail("m0@d0.example", WALKERS))).startswith("250")
        await world.wait_for(3, 20)
