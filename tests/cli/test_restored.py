"""Yesterday's database in the place of today's: what waited in it is sent to nobody until the operator says so."""

import asyncio
import json
import logging
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from listserv.node import Node
from listserv.roles import Role
from listserv.settings import Settings
from listserv.store import deliveries, queue, schema
from tests.cli.shell import Shell
from tests.kit.house import DOMAIN, Clock, House, house, mail, read, sections, serving
from tests.kit.patience import PATIENCE
from tests.kit.process import Process, process
from tests.kit.world import World

ADA = "ada@a.example"
BOB = "bob@b.example"
WALKERS = f"walkers@{DOMAIN}"


class Backups:
    """Copies of a database that nobody uses, made as an operator makes them."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder, self.url = folder, url
        self.made: list[str] = []

    def take(self) -> None:
        self.made.append(self._copied(self.url, f"_copy{len(self.made)}"))

    def restore(self) -> str:
        """In the place of the one in use; where it is: on PostgreSQL, elsewhere."""
        if self.url.startswith("postgresql"):
            self.made.append(self._copied(self.made[0], f"_again{len(self.made)}"))
            return self.made[-1]
        for suffix in ("-wal", "-shm"):
            (self.folder / f"listserv.db{suffix}").unlink(missing_ok=True)
        shutil.copy(self.made[0], self.folder / "listserv.db")
        return self.url

    def drop(self) -> None:
        for made in self.made:
            if made.startswith("postgresql"):
                self._say(f"DROP DATABASE IF EXISTS {made.rpartition('/')[2]} WITH (FORCE)")

    def _copied(self, url: str, suffix: str) -> str:
        if url.startswith("postgresql"):
            name = url.rpartition("/")[2]
            self._say(f"CREATE DATABASE {name}{suffix} TEMPLATE {name}")
            return f"{url}{suffix}"
        assert not (self.folder / "listserv.db-wal").exists()
        return str(shutil.copy(self.folder / "listserv.db", self.folder / f"backup{suffix}"))

    def _say(self, statement: str) -> None:
        server = self.url.replace("postgresql+psycopg", "postgresql").rpartition("/")[0]
        with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
            connection.execute(statement)  # type: ignore[call-overload]


@pytest.fixture
def backups(folder: Path, url: str) -> Iterator[Backups]:
    made = Backups(folder, url)
    yield made
    made.drop()


async def until_due(node: Node, number: int) -> None:
    """All posts are handed out, and so many deliveries are due, none in hand."""

    def is_so() -> bool:
        posts = node.db.read_now(queue.size, schema.posts)
        found = node.db.read_now(queue.size, schema.deliveries)
        return set(posts) <= {"done"} and found.get("due", 0) == number and not found.get("taken", 0)

    async with asyncio.timeout(PATIENCE):
        while not is_so():
            await asyncio.sleep(0.01)


async def wait_in(url: str, folder: Path, world: World, backups: Backups) -> None:
    """Two copies wait in the backup, because the relay is down; then it comes up, and they go."""
    async with house(url, folder, world=world) as here:
        here.group(WALKERS, [ADA, BOB])
        await world.down()
        await here.post(ADA, WALKERS, subject="Then")
        await until_due(here.node, 2)
    backups.take()
    async with house(url, folder, world=world, clock=soon()) as here:
        await world.wait_for(2)
        await here.quiet()


def soon() -> Clock:
    """However long the daemon rested because the relay was down, it would send now."""
    return Clock(timedelta(minutes=2))


def subjects(world: World) -> dict[str, list[str]]:
    return {to: [str(read(content)["Subject"]) for content in contents] for to, contents in world.messages.items()}


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]


def at(shell: Shell, url: str) -> None:
    """The operator names this database in the configuration."""
    path = Path(shell.config)
    path.write_text(path.read_text().replace(f'url = "{named(shell)}"', f'url = "{url}"'))


def named(shell: Shell) -> str:
    return Settings.load(Path(shell.config), {}).database.url.replace(f"{shell.folder}/", "")


def checked(shell: Shell) -> dict[str, Any]:
    said = json.loads(shell.run("check", "--no-dns", "--json").stdout)
    return {each["what"]: each for each in said}


async def test_what_waited_in_a_restored_database_is_held_until_the_operator_has_dropped_it_and_resumes(
    url: str, folder: Path, keys: Path, backups: Backups, caplog: pytest.LogCaptureFixture
) -> None:
    world, shell = World(), Shell.at(folder, url, keys)
    await wait_in(url, folder, world, backups)
    async with house(url, folder, world=world, clock=Clock(timedelta(days=30))):  # that it is old is no matter
        assert "restored" not in checked(shell)
    assert errors(caplog) == []
    assert shell.json("queue", "status")["paused"] is False
    assert "held here" in shell.fails("queue", "list", "--restored")[0]
    assert "held here" in shell.fails("queue", "drop", "--restored")[0]

    # when the backup is restored
    old = backups.restore()
    at(shell, old)
    async with house(old, folder, world=world, clock=soon()) as here:
        # then mail is taken, and nothing is sent
        assert (await here.post(BOB, WALKERS, subject="Now")).startswith("250")
        await until_due(here.node, 4)
        [error] = errors(caplog)
        assert "2 copies may have been sent since" in error
        assert "listserv queue resume" in error
        assert shell.json("queue", "status")["paused"] is True
        assert "2 copies may have been sent" in shell.ok("queue", "status")
        assert "2 copies may have been sent" in checked(shell)["restored"]["detail"]
        listed = shell.json("queue", "list", "--restored")
        assert sorted(each["recipient"] for each in listed) == [ADA, BOB]
        assert len(shell.json("queue", "list")) == 4
        assert [line["way"] for line in here.log() if line["action"] == "delivery.paused"] == ["clock"]
        assert world.count == 2

    # nor after another start
    async with house(old, folder, world=world, clock=soon()) as here:
        assert len(errors(caplog)) == 2
        assert shell.ok("queue", "drop", "--restored").startswith("2 deliveries are dropped")
        assert shell.ok("queue", "drop", "--restored").startswith("0 deliveries are dropped")
        assert "0 copies may have been sent" in checked(shell)["restored"]["detail"]
        assert world.count == 2

        # when the operator resumes, then the new mail goes
        shell.ok("queue", "resume")
        await world.wait_for(4)
        await here.quiet()
        assert "restored" not in checked(shell)
        assert checked(shell)["conservation of copies"]["status"] == "ok"
        assert [line["member"] for line in shell.log("delivery.dropped")] == [each["recipient"] for each in listed]
    assert subjects(world) == {ADA: ["Then", "Now"], BOB: ["Then", "Now"]}

    # and the next start is like any other, until the same backup is restored once more
    async with house(old, folder, world=world, clock=soon()) as here:
        assert shell.json("queue", "status")["paused"] is False
        await here.post(BOB, WALKERS, subject="Later")
        await world.wait_for(6)
        await here.quiet()
    again = backups.restore()
    at(shell, again)
    async with house(again, folder, world=world, clock=soon()) as here:
        assert shell.json("queue", "status")["paused"] is True
        assert world.count == 6


async def test_a_post_that_was_not_handed_out_then_counts_with_its_copies(
    url: str, folder: Path, keys: Path, backups: Backups, caplog: pytest.LogCaptureFixture
) -> None:
    shell = Shell.at(folder, url, keys)
    async with World() as world:
        settings = Settings.default(folder, sections(url, {"relay": {"host": world.host, "port": world.port}}))
        node = Node.open(settings)
        async with serving(node, Role.SMTP) as daemon:
            here = House(node, daemon, world, Clock())
            here.group(WALKERS, [ADA, BOB])
            await here.post(ADA, WALKERS)
        backups.take()
        async with serving(Node.open(settings)):
            await world.wait_for(2)
    old = backups.restore()
    at(shell, old)
    async with house(old, folder, world=world, clock=soon()) as here:
        await until_due(here.node, 2)
        assert "0 copies and 1 post not yet handed out may" in caplog.text
        assert shell.ok("queue", "drop", "--restored").startswith("2 deliveries are dropped")
        shell.ok("queue", "resume")
        await here.post(ADA, WALKERS, subject="Now")
        await world.wait_for(4)
        assert subjects(world) == {ADA: ["A walk", "Now"], BOB: ["A walk", "Now"]}


async def test_whoever_has_paused_it_himself_before_the_start_is_told_as_well(
    url: str, folder: Path, keys: Path, backups: Backups
) -> None:
    world, shell = World(), Shell.at(folder, url, keys)
    await wait_in(url, folder, world, backups)
    old = backups.restore()
    at(shell, old)
    shell.ok("queue", "pause")
    async with house(old, folder, world=world, clock=soon()):
        assert "2 copies may have been sent" in checked(shell)["restored"]["detail"]
        shell.ok("queue", "resume")  # without dropping them: they go once more
        await world.wait_for(4)


async def test_a_new_database_in_an_old_folder_begins_at_once(
    url: str, folder: Path, backups: Backups, caplog: pytest.LogCaptureFixture
) -> None:
    async with house(url, folder):  # and nothing waits in it
        pass
    backups.take()
    async with house(url, folder) as here:
        here.group(WALKERS, [ADA, BOB])
        await here.post(ADA, WALKERS)
        await here.world.wait_for(2)
        await here.quiet()
    new = backups.restore()
    async with house(new, folder) as here:
        here.group(WALKERS, [ADA, BOB])
        await here.world.down()
        await here.post(ADA, WALKERS)
        await until_due(here.node, 2)
    async with house(new, folder, clock=soon()) as here:  # now something waits, and has not been sent
        await here.world.wait_for(2)
        await here.quiet()
    assert errors(caplog) == []


async def test_several_processes_hold_it_as_one_does(url: str, folder: Path, backups: Backups) -> None:
    workers = {"processes": 2}
    async with World() as world, process(url, folder, world, start=False, workers=workers) as there:
        there.populate(WALKERS, 2)
        await world.down()
        await there.start()
        assert (await there.post(ADA, WALKERS, mail("m0@d0.example", WALKERS))).startswith("250")
        await until_states(there, {"due": 2})
        await there.stop()
        there.work(deliveries.hurry, datetime.now(UTC))
        backups.take()
        await world.up()
        await there.start()
        await world.wait_for(2)
        await there.until_done()
        await there.stop()
        assert there.tracebacks() == []
        old = backups.restore()
    async with World() as world, process(old, folder, world, workers=workers) as there:
        assert (await there.post(ADA, WALKERS, mail("m1@d1.example", WALKERS))).startswith("250")
        await until_states(there, {"due": 4})
        assert world.count == 0
        [error] = there.tracebacks()
        assert "2 copies may have been sent since" in error


async def until_states(there: Process, states: dict[str, int]) -> None:
    async with asyncio.timeout(PATIENCE):
        while there.states() != states:
            await asyncio.sleep(0.05)
