"""What our own code fails on is set aside, everybody else's mail goes on, and once mended it goes its way."""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest
from sqlalchemy import func, select

from listserv.model.group import Role
from listserv.store.aside import count
from listserv.store.schema import posts
from listserv.workers.recorder import UNRECORDED
from tests.endurance.loads import ADA, READERS, WALKERS
from tests.kit.house import mail, read
from tests.kit.patience import PATIENCE
from tests.kit.poison import KINDS, infected
from tests.kit.process import ROOT, Process, process
from tests.kit.world import World

CONNECTIONS = 20  # [relay] connections, where nothing is said


def shell(there: Process, *arguments: str) -> str:
    command = [sys.executable, "-m", "listserv", "--config", str(there.config), *arguments]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT, env=environment).stdout


async def revive(there: Process) -> None:
    """As a supervisor does."""
    while True:
        assert there.child is not None
        await there.child.wait()
        await there.start()


async def insist(there: Process, subject: str, **fields: str) -> float:
    """Seconds until somebody said 250."""
    letter, began = mail(ADA, WALKERS, subject=subject, **fields), time.monotonic()
    while True:
        try:
            answer = await there.post(ADA, WALKERS, letter)
        except (OSError, AssertionError):  # nobody there, or not for long
            answer = ""
        if answer.startswith("250"):
            return time.monotonic() - began
        assert answer == "", answer
        await asyncio.sleep(0.05)


def arrived(world: World) -> Counter[tuple[str, str]]:
    """(subject, recipient) → copies."""
    return Counter(
        (str(read(content)["Subject"]), recipient)
        for recipient, contents in world.messages.items()
        for content in contents
    )


async def arrive(world: World, subjects: Iterable[str]) -> None:
    """Back when everybody has each of them."""
    wanted = {(subject, reader) for subject in subjects for reader in READERS}
    async with asyncio.timeout(PATIENCE):
        while not wanted <= arrived(world).keys():
            await asyncio.sleep(0.05)


async def aside(there: Process, number: int) -> list[dict[str, str]]:
    """What is set aside, once it is so many."""
    async with asyncio.timeout(150):
        while there.work(count) < number:
            await asyncio.sleep(0.1)
    return list(json.loads(shell(there, "queue", "list", "--state", "aside", "--json")))


@pytest.mark.timeout(300)
async def test_poison_is_set_aside_and_everybody_else_has_his_mail(
    url: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", infected(folder / "poison"))
    async with World() as world, process(url, folder, world) as there:
        there.populate(WALKERS, names=dict.fromkeys(READERS, Role.MEMBER), footer="Since 1920")
        supervisor = asyncio.create_task(revive(there))

        # when posts come on which our code fails in every way there is, and ordinary ones between them
        slowest = 0.0
        for number, kind in enumerate(KINDS):
            assert await insist(there, kind, **{"X-Poison-Print": kind}) < 20
            slowest = max(slowest, await insist(there, f"ordinary {number}"))

        # then all of them are aside with the reason why, and the others have arrived
        found = await aside(there, len(KINDS))
        await arrive(world, [f"ordinary {number}" for number in range(len(KINDS))])
        supervisor.cancel()
        assert slowest < 5.0  # the promise is 1 s; one of them crashed the daemon, and a machine may be busy
        assert [each["recipient"] for each in found] == [WALKERS] * len(KINDS)
        told = "\n".join(shell(there, "queue", "show", str(each["id"])) for each in found)
        for sign in ("ValueError: poison", "RecursionError", "MemoryError", "SIGSEGV", "SIGPROF", "in loops"):
            assert sign in told
        status = json.loads(shell(there, "queue", "status", "--json"))
        assert status["aside"] == len(KINDS)
        assert status["conservation"]["posts"]["missing"] == 0
        await there.stop()

        # and when our code is mended and they are tried again, they arrive, once each
        monkeypatch.delenv("PYTHONPATH")
        await there.start()
        await asyncio.to_thread(shell, there, "queue", "retry", *(str(each["id"]) for each in found))
        await arrive(world, KINDS)
        await there.until_done()
        copies = arrived(world)
        assert {copies[kind, reader] for kind in KINDS for reader in READERS} == {1}
        # the one that crashed the daemon may have had others sent twice: what was in flight, and what was not recorded
        assert len(copies) == 2 * len(KINDS) * len(READERS)
        assert copies.total() - len(copies) <= CONNECTIONS + UNRECORDED
        assert json.loads(shell(there, "queue", "list", "--json")) == []


@pytest.mark.parametrize("lines", [1, 400], ids=["small", "large"])
async def test_while_something_takes_long_others_are_distributed(
    url: str, folder: Path, monkeypatch: pytest.MonkeyPatch, lines: int
) -> None:
    monkeypatch.setenv("PYTHONPATH", infected(folder / "poison"))
    async with World() as world, process(url, folder, world) as there:
        there.populate(WALKERS, names=dict.fromkeys(READERS, Role.MEMBER), footer="Since 1920")

        # given a post whose rendering ends only when it has had its two seconds of processor time
        endless = mail(ADA, WALKERS, "\n".join(["x" * 70] * lines), subject="endless", **{"X-Poison-Print": "loops"})
        assert (await there.post(ADA, WALKERS, endless)).startswith("250")

        # when an ordinary one comes behind it, then all have it before that
        assert (await there.post(ADA, WALKERS, mail(ADA, WALKERS, subject="ordinary"))).startswith("250")
        await arrive(world, ["ordinary"])
        assert not there.work(lambda tx: tx.execute(select(func.max(posts.c.faults))).scalar_one())


@pytest.mark.timeout(300)
async def test_a_message_that_cannot_be_read_is_refused_and_the_listener_lives(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", infected(folder / "poison"))
    async with World() as world, process("sqlite:///listserv.db", folder, world) as there:
        there.populate(WALKERS, names=dict.fromkeys(READERS, Role.MEMBER))
        # a small message is read beside the loop, in a limited time; a large one in a process of its own
        large = "\n".join(["x" * 70] * 1500)
        for kind, text in (("raises", "small"), ("crashes", large)):
            letter = mail(ADA, WALKERS, text, subject=kind, **{"X-Poison-Read": kind})
            answers = [(await there.post(ADA, WALKERS, letter))[:9] for _ in range(3)]
            assert answers == ["451 4.3.0", "451 4.3.0", "554 5.6.0"], kind
        assert (await there.post(ADA, WALKERS, mail(ADA, WALKERS, subject="ordinary"))).startswith("250")
        await world.wait_for(len(READERS), 20)
        assert there.is_running
