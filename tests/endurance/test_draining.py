"""SIGTERM drains: nothing lost, nothing twice, gone in time.  SIGHUP under load drops nobody and no line of the log."""

import asyncio
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from itertools import count
from pathlib import Path

from listserv.access_log.journal import Journal
from listserv.model.group import Role
from tests.endurance import loads
from tests.endurance.loads import ADA, READERS, WALKERS
from tests.kit.patience import PATIENCE
from tests.kit.process import Process, process
from tests.kit.world import World

MEMBERS = 400
SENDERS, LETTERS = 4, 10


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not true():
            await asyncio.sleep(0.02)


def copies(world: World) -> Counter[tuple[str, str]]:
    """(reader, subject) → how often."""
    found: Counter[tuple[str, str]] = Counter()
    for reader, contents in world.messages.items():
        found.update(
            (reader, content.partition(b"\r\nSubject: ")[2].partition(b"\r\n")[0].decode()) for content in contents
        )
    return found


def logged(there: Process) -> int:
    """Posts that have their line in the access log."""
    journal = Journal(there.folder / "log/access.log", retention_days=90)
    return len(list(journal.search(action="post.accepted")))


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
    assert len(copies(world)) == 2 * MEMBERS
    assert set(copies(world).values()) == {1}
    assert there.tracebacks() == []


async def test_sigterm_while_letters_come_in_keeps_those_that_had_a_250_and_takes_no_more(
    url: str, folder: Path
) -> None:
    async with World() as world, process(url, folder, world, workers={"processes": 2}) as there:
        # given senders who go on until they are told to come again
        there.populate(WALKERS, names=dict.fromkeys(READERS, Role.MEMBER))
        taken: set[str] = set()

        async def send(sender: int) -> None:
            for number in count():
                try:
                    answer = await loads.post(there, ADA, WALKERS, subject=f"post {sender} {number}")
                except (OSError, AssertionError, EOFError):  # nobody opens, or only to say 421
                    return
                if not answer.startswith("250"):
                    assert answer[:1] in ("4", "")
                    return
                taken.add(f"post {sender} {number}")

        sending = [asyncio.create_task(send(sender)) for sender in range(SENDERS)]
        await until(lambda: len(taken) >= LETTERS)

        # when it is told to stop
        began = time.monotonic()
        assert await there.stop() == 0
        assert time.monotonic() - began < 30
        await asyncio.gather(*sending)

        # then what had its 250 arrives once, and has its line
        await there.start()
        await there.until_done()
        assert copies(world) == {(reader, subject): 1 for reader in READERS for subject in taken}
        await until(lambda: logged(there) == len(taken))
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


async def test_sighup_under_load_drops_nobody_and_no_line_and_a_broken_file_changes_nothing(
    url: str, folder: Path
) -> None:
    async with World() as world, process(url, folder, world) as there:
        # given a client who is idle, one in the middle of a letter, and senders
        there.populate(WALKERS, names=dict.fromkeys(READERS, Role.MEMBER))
        idle, talking = await there.enter(), await there.enter()
        await talking.begin(WALKERS)
        await talking.write(loads.HEAD + b"\r\n")
        good = there.config.read_text()

        async def send(sender: int) -> list[str]:
            numbers = range(LETTERS)
            return [await loads.post(there, ADA, WALKERS, subject=f"post {sender} {number}") for number in numbers]

        async def hang_up(says: str, times: int = 1) -> None:
            assert there.child is not None
            there.child.send_signal(signal.SIGHUP)
            await until(lambda: there.stderr.read_text().count(says) == times)

        sending = asyncio.gather(*map(send, range(SENDERS)))

        # when the configuration is read anew, again and again, and then is broken
        for number in range(1, 6):
            there.config.write_text(good.replace("[smtp]", f"[smtp]\nmax_message_bytes = 5432{number}"))
            await hang_up("are read anew", number)
        there.config.write_text("nonsense")
        await hang_up("not read anew")

        # and what needs a restart is said, but changes nothing
        there.config.write_text(good.replace("[smtp]", '[dkim]\nselector = "other"\n[smtp]\nmax_message_bytes = 54325'))
        await hang_up("in force after a restart only: [dkim] selector")

        # then everybody has been served, by what the last good one says
        assert {answer[:9] for answers in await sending for answer in answers} == {"250 2.0.0"}
        await talking.write(b"the rest\r\n.\r\n")
        assert (await talking.reply()).startswith("250 2.0.0 accepted")
        assert (await idle.say("NOOP")).startswith("250")
        assert "SIZE 54325" in await (await there.enter()).say("EHLO client.example")
        await world.wait_for((SENDERS * LETTERS + 1) * len(READERS))
        assert set(copies(world).values()) == {1}
        await until(lambda: logged(there) == SENDERS * LETTERS + 1)
        assert len(there.tracebacks()) == 1  # the nonsense, in one line
        assert f"not read anew: {there.config}" in there.tracebacks()[0]


def test_what_waits_without_end_does_not_keep_a_process_that_is_to_go() -> None:
    """As a thread in libpq does, while the server is stopped."""
    program = "import threading; from listserv.process import end_within; end_within(0.1)\n"
    program += "threading.Thread(target=threading.Event().wait).start()"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 1
    assert done.stderr == "something did not end within 0.1 s and is given up\n"
