"""kill -9 at each line of the crash table (store/queue.py), while 60 posts go to 40 members.

Each case names the line it breaks.  The promise: every post that got its 250 reaches everybody and has its line
in the access log; what goes twice is at most what was in flight and 16 copies more; nothing else is lost.
"""

import asyncio
import json
import re
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import aiosmtplib
import pytest

from listserv.access_log.journal import Journal
from listserv.model.address import parse
from listserv.model.group import Group, Kind, Mode, Policy, Role
from listserv.store import accounts, groups, ledger
from listserv.store.db import Database, Tx
from listserv.store.upgrade import upgrade
from tests.kit.house import mail, read
from tests.kit.patience import PATIENCE
from tests.kit.world import World

POSTS, MEMBERS = 60, 40
LINES = 5  # connections to the relay
UNRECORDED = 16
GROUP = "walkers@lists.example"
ADMIN = "ann@a.example"

OPEN = [  # (line of the table, point)
    ("posts: before the commit", "take:before:13"),
    ("posts: after it, before the 250", "take:after:13"),
    ("posts: claimed", "claim_post:after:9"),
    ("posts: edition not yet saved", "hand_out:before:9"),
    ("posts: edition saved, first chunk there", "hand_out:after:9"),
    ("fan-out: chunk not there", "go_on:before:9"),
    ("fan-out: chunk there", "go_on:after:9"),
    ("fan-out: not yet finished", "go_on:before:10"),
    ("deliveries: claimed, nothing sent", "claim_deliveries:after:9"),
    ("deliveries: sent, outcome not written", "record:before:20"),
    ("deliveries: outcome written", "record:after:20"),
    ("journal: appended, rows still there", "written:before:2"),
    ("journal: rows gone", "written:after:2"),
    ("jobs: not done", "run_one:before:2"),
    ("jobs: done", "run_one:after:2"),
]

SHARED = [  # the same, with two delivery processes: one of all dies, or all die
    ("posts: after the commit, before the 250", "take:after:13"),
    ("posts: edition saved", "hand_out:after:9"),
    ("fan-out: chunk there", "go_on:after:9"),
    ("deliveries: claimed, nothing sent", "claim_deliveries:after:5"),
    ("deliveries: sent, outcome not written", "record:before:10"),
    ("deliveries: outcome written", "record:after:10"),
    ("posts: before the commit", "take:before:13:all"),
    ("deliveries: sent, outcome not written", "record:before:10:all"),
]


class Server:
    """The daemon as a child process, started again when it has died."""

    def __init__(self, folder: Path, url: str, world: World, processes: int) -> None:
        self.config = folder / "listserv.toml"
        self.port = 0
        self.child: asyncio.subprocess.Process | None = None
        self.config.write_text(
            f'[site]\nhostname = "lists.example"\ndomains = ["lists.example"]\n[database]\nurl = "{url}"\n'
            f'[smtp]\nauthenticate = false\nlisten = ["unix:{folder}/smtp"]\n[http]\nlisten = []\n'
            f'[relay]\nhost = "{world.host}"\nport = {world.port}\ntls = "none"\nconnections = {LINES}\n'
            f"[workers]\nprocesses = {processes}\n"
        )
        self.socket = f"{folder}/smtp"

    async def start(self, point: str = "") -> None:
        self.child = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.kit.doomed",
            str(self.config),
            *([point] if point else []),
            stdout=asyncio.subprocess.PIPE,
        )
        assert self.child.stdout is not None
        async with asyncio.timeout(30):
            await self.child.stdout.readline()

    @property
    def is_dead(self) -> bool:
        return self.child is None or self.child.returncode is not None

    async def died(self) -> None:
        assert self.child is not None
        assert await self.child.wait() == -9

    async def stop(self) -> None:
        if not self.is_dead:
            assert self.child is not None
            self.child.terminate()
            assert await self.child.wait() == 0

    async def send(self, mail_from: str, rcpt_to: str, content: bytes) -> str:
        client = aiosmtplib.SMTP(socket_path=self.socket, local_hostname="out.example", start_tls=False)
        await client.connect()
        try:
            await client.sendmail(mail_from, [rcpt_to], content)
            return "250"
        finally:
            client.close()

    async def insist(self, mail_from: str, rcpt_to: str, content: bytes) -> None:
        """As a sender's own queue does: until somebody says 250."""
        while True:
            try:
                await self.send(mail_from, rcpt_to, content)
                return
            except (OSError, aiosmtplib.SMTPException):
                await asyncio.sleep(0.05)


@asynccontextmanager
async def killed(
    point: str, url: str, folder: Path, *, moderated: bool = False, processes: int = 1
) -> AsyncIterator[tuple[Server, World]]:
    """A server with its group, doomed to die at this point; started again, once, when all of it has."""
    async with World() as world:
        server = Server(folder, url, world, processes)
        database = _database(url, folder)
        upgrade(database)
        database.write_now(_group, moderated)
        database.close()
        await server.start(point)
        whole = processes == 1 or point.endswith(":all")
        revived = asyncio.create_task(_revive(server) if whole else until((folder / "died").exists, 60))
        try:
            yield server, world
            await asyncio.wait_for(revived, 30)
        finally:
            revived.cancel()
            await server.stop()


def _database(url: str, folder: Path) -> Database:
    return Database(url if url.startswith("postgresql") else f"sqlite:///{folder}/listserv.db")


async def _revive(server: Server) -> None:
    await server.died()
    await server.start()


def _group(tx: Tx, moderated: bool) -> Group:
    now = datetime.now(UTC)
    group = groups.add(tx, GROUP, Kind.DISCUSSION, Policy(moderated=moderated), now)
    for address, role in [(ADMIN, Role.OWNER), *((f"m{n}@d{n % 5}.example", Role.MEMBER) for n in range(MEMBERS))]:
        known = parse(address)
        assert known is not None
        mailbox = accounts.ensure(tx, known, now, proven=True)
        mode = Mode.NONE if role is Role.OWNER else Mode.EACH
        accounts.subscribe(tx, group.id, mailbox.id, now, "test", role=role, mode=mode)
    return group


def arrived(world: World) -> Counter[tuple[str, str]]:
    """(subject, recipient) → copies."""
    return Counter(
        (re.search(rb"\r\nSubject: (.*?)\r\n", content)[1].decode(), recipient)  # type: ignore[index]
        for recipient, contents in world.messages.items()
        for content in contents
    )


@pytest.mark.parametrize(("line", "point"), OPEN, ids=[point for _, point in OPEN])
async def test_nothing_that_got_its_250_is_lost(url: str, folder: Path, line: str, point: str) -> None:
    await _send_and_see(url, folder, point, 1)


@pytest.mark.parametrize(("line", "point"), SHARED, ids=[point for _, point in SHARED])
async def test_nothing_is_lost_when_one_of_several_processes_dies_or_all(
    url: str, folder: Path, line: str, point: str
) -> None:
    await _send_and_see(url, folder, point, 2)


async def _send_and_see(url: str, folder: Path, point: str, processes: int) -> None:
    """60 posts go to 40 members while somebody dies; then everybody has each of them, and hardly anybody twice."""
    async with killed(point, url, folder, processes=processes) as (server, world):
        letters = [mail("m1@d1.example", GROUP, f"text {n}", f"post {n}") for n in range(POSTS)]
        lanes = [letters[lane::6] for lane in range(6)]

        async def send(lane: list[bytes]) -> None:
            for letter in lane:
                await server.insist("m1@d1.example", GROUP, letter)

        await asyncio.gather(*map(send, lanes))
        await until(lambda: world.count >= POSTS * MEMBERS and len(arrived(world)) == POSTS * MEMBERS, 60)
        await until(lambda: server.child is not None and lines(folder) >= POSTS)
    copies = arrived(world)
    assert len(copies) == POSTS * MEMBERS
    assert copies.total() - len(copies) <= LINES + UNRECORDED * (2 if point.endswith(":all") else 1)
    log = Journal(folder / "log/access.log", retention_days=90)
    logged = Counter(entry["message_id"] for entry in log.search(action="post.accepted"))
    assert len(logged) == POSTS
    assert set(logged.values()) == {1}
    assert missing(url, folder) == [0, 0]


def missing(url: str, folder: Path) -> list[int]:
    """Of posts and of copies, as the accounts have it that all processes keep together."""
    database = _database(url, folder)
    try:
        return [account.missing for account in database.read_now(ledger.balances)]
    finally:
        database.close()


def lines(folder: Path) -> int:
    texts = [text for file in (folder / "log").glob("access-*.log") for text in file.read_text().splitlines()]
    return sum(json.loads(text)["action"] == "post.accepted" for text in texts)


async def until(true: Callable[[], bool], seconds: float = PATIENCE) -> None:
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0.1)


@pytest.mark.parametrize("point", ["take:before:2", "take:after:2"])
async def test_a_token_and_what_it_does_are_one_transaction(url: str, folder: Path, point: str) -> None:
    # tokens: not redeemed, or redeemed with its effect
    async with killed(point, url, folder, moderated=True) as (server, world):
        await server.insist("m1@d1.example", GROUP, mail("m1@d1.example", GROUP, subject="held"))
        await world.wait_for(1, 20)
        await until(lambda: ADMIN in world.messages)
        notice = read(world.messages[ADMIN][0])
        to = str(notice["Reply-To"])
        await server.insist(ADMIN, to, mail(ADMIN, to, "approve", "Re: held"))
        await until(lambda: sum(subject == "held" for subject, _ in arrived(world)) == MEMBERS)
    assert all(number == 1 for (subject, _), number in arrived(world).items() if subject == "held")
