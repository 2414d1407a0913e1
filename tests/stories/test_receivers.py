"""Several processes of one node take mail: at the same doors, within the same limits; no death of one is felt."""

import asyncio
import os
import re
import signal
from pathlib import Path

from tests.kit.house import mail
from tests.kit.process import Process, process
from tests.kit.world import World
from tests.net.listening import Client
from tests.stories.test_processes import children, until

TWO = {"receivers": 2}
WALKERS = "walkers@lists.example"
ADA = "m0@d0.example"


def port(there: Process) -> int:
    """Of its first door; there is one line for it, whatever the number of processes."""
    [found] = re.findall(r"listening: smtp 127\.0\.0\.1:(\d+)", there.stderr.read_text())
    return int(found)


async def connect(there: Process) -> Client:
    client = Client(*await asyncio.open_connection("127.0.0.1", port(there)))
    there.clients.append(client)
    return client


def sockets(pid: int) -> int:
    """How many it has open."""
    found = 0
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found += str(entry.readlink()).startswith("socket:")
        except FileNotFoundError:  # closed meanwhile
            continue
    return found


async def test_posts_come_in_by_both_and_go_out_once(url: str, folder: Path) -> None:
    async with World() as world, process(url, folder, world, workers=TWO) as there:
        there.populate(WALKERS, 3)
        here = children(there)
        assert list(here) == ["main process", "receiving process 2"]

        # given that each of them has somebody inside: who stands still lets in nobody
        for name, other in (("main process", "receiving process 2"), ("receiving process 2", "main process")):
            os.kill(here[other], signal.SIGSTOP)
            before = sockets(here[name])
            await there.enter()
            assert sockets(here[name]) > before  # one, and what the database may open meanwhile
            os.kill(here[other], signal.SIGCONT)

        # when many post at once
        posts = [mail(ADA, WALKERS, subject=f"post {number}") for number in range(20)]
        replies = await asyncio.gather(*(there.post(ADA, WALKERS, post) for post in posts))
        assert {reply[:4] for reply in replies} == {"250 "}
        numbers = {int(re.findall(r"accepted as post (\d+)", reply)[0]) for reply in replies}
        assert numbers == set(range(1, 21))

        # then everybody gets each of them once, and the log has a line for each
        await until(lambda: world.count >= 60)
        await there.until_done()
        assert {len(copies) for copies in world.messages.values()} == {20}
        assert there.tracebacks() == []
        assert await there.stop() == 0
    lines = "".join(file.read_text() for file in (folder / "log").glob("access-*.log"))
    assert lines.count('"post.accepted"') == 20


async def test_limits_on_connections_hold_over_all_of_them(folder: Path) -> None:
    door = {"listen": ["127.0.0.1:0"], "max_connections_per_address": 3}
    async with World() as world, process("sqlite:///listserv.db", folder, world, workers=TWO, smtp=door) as there:
        here = children(there)

        # given three from one address in one process, while the other stands still
        os.kill(here["main process"], signal.SIGSTOP)
        guests = [await connect(there) for _ in range(3)]
        assert {(await guest.reply())[:4] for guest in guests} == {"220 "}
        os.kill(here["main process"], signal.SIGCONT)

        # then the other one lets in nobody from there, until one of them has gone
        os.kill(here["receiving process 2"], signal.SIGSTOP)
        assert (await (await connect(there)).reply()).startswith("421 4.7.0 ")
        os.kill(here["receiving process 2"], signal.SIGCONT)
        assert (await guests[0].say("QUIT")).startswith("221 ")
        assert await guests[0].ended()
        os.kill(here["receiving process 2"], signal.SIGSTOP)
        assert (await (await connect(there)).reply()).startswith("220 ")
        os.kill(here["receiving process 2"], signal.SIGCONT)

        # and who died takes his guests out of the count
        os.kill(here["receiving process 2"], signal.SIGKILL)
        await until(lambda: children(there)["receiving process 2"] not in (0, here["receiving process 2"]))
        again = children(there)["receiving process 2"]
        await until(lambda: there.stderr.read_text().count("starts again") == 1)
        os.kill(here["main process"], signal.SIGSTOP)
        entered = [await (await connect(there)).reply() for _ in range(2)]
        os.kill(here["main process"], signal.SIGCONT)
        assert {reply[:4] for reply in entered} == {"220 "}
        assert again == children(there)["receiving process 2"]
        assert await there.stop() == 0


async def test_who_waits_at_the_door_is_let_in_though_everybody_behind_it_has_died(folder: Path) -> None:
    async with World() as world, process("sqlite:///listserv.db", folder, world, workers=TWO) as there:
        there.populate(WALKERS, 1)
        before = children(there)
        for pid in before.values():
            os.kill(pid, signal.SIGSTOP)
        waiting = [await there.connect() for _ in range(5)]
        for pid in before.values():
            os.kill(pid, signal.SIGKILL)
        assert {(await guest.reply())[:4] for guest in waiting} == {"220 "}
        assert (await there.post(ADA, WALKERS, mail(ADA, WALKERS))).startswith("250 ")
        assert await there.stop() == 0


async def test_sighup_reaches_all_and_after_sigterm_nobody_is_let_in_while_some_are_served(folder: Path) -> None:
    everything = {"receivers": 2, "processes": 2}
    async with World() as world, process("sqlite:///listserv.db", folder, world, workers=everything) as there:
        there.populate(WALKERS, 1)
        assert len(children(there)) == 4
        os.kill(there.pid, signal.SIGHUP)
        await until(lambda: there.stderr.read_text().count("are read anew") == 4)
        guest = await there.enter()
        await guest.say("EHLO outside.example")
        for command in (f"MAIL FROM:<{ADA}>", f"RCPT TO:<{WALKERS}>", "DATA"):
            assert (await guest.say(command))[:1] in "23"
        ending = asyncio.create_task(there.stop())
        await until(lambda: not (folder / "smtp").exists())
        await guest.write(mail(ADA, WALKERS) + b".\r\n")
        assert (await guest.reply()).startswith("250 ")
        assert await ending == 0
        assert there.tracebacks() == []


async def test_role_smtp_has_as_many_beside_another_daemon_that_delivers(folder: Path) -> None:
    smtp, delivery = ({"workers": workers} for workers in (TWO, {"processes": 2}))
    async with (
        World() as world,
        process("sqlite:///listserv.db", folder, world, role="smtp", **smtp) as there,
        process("sqlite:///listserv.db", folder, world, role="delivery", **delivery),
    ):
        there.populate(WALKERS, 1)
        assert (await there.post(ADA, WALKERS, mail(ADA, WALKERS))).startswith("250 ")
        await until(lambda: world.count == 1)
        kept = {path.name for path in folder.glob("processes*.json")}
        assert kept == {"processes-smtp.json", "processes-delivery.json"}
