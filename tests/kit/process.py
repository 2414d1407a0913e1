"""The real daemon as a child process, seen from outside: its door, its memory, its processor time, its words.

    async with process(url, tmp_path, world) as there:
        there.populate("walkers@lists.example", 100_000)
        client = await there.enter()
        assert (await client.send(content)).startswith("250")
        assert there.resident() < 150

Its door is a unix socket in the folder, so that no two tests want the same port.
"""

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import String, cast, func, insert, literal, select

from listserv.model.group import Group, Kind, Mode, Policy, Role
from listserv.store import accounts, groups, schema
from listserv.store.db import Database, Tx
from listserv.store.upgrade import upgrade
from tests.kit.house import _address as address
from tests.kit.patience import PATIENCE
from tests.kit.world import World
from tests.net.listening import Client

T = TypeVar("T")
ROOT = Path(__file__).parent.parent.parent
HZ = os.sysconf("SC_CLK_TCK")


@dataclass
class Process:
    """A daemon, or its folder while none runs.  Its standard error is the file `stderr`."""

    folder: Path
    url: str
    config: Path
    arguments: tuple[str, ...] = ()  # in front of Python: `prlimit`, `unshare` …
    role: str = "all"
    child: asyncio.subprocess.Process | None = None
    clients: list[Client] = field(default_factory=list)

    @property
    def stderr(self) -> Path:
        return self.folder / "stderr"

    async def start(self, seconds: float = PATIENCE) -> None:
        """Until it says that it is ready; an AssertionError with its last words when it never does."""
        with self.stderr.open("ab") as stderr:
            self.child = await asyncio.create_subprocess_exec(
                *self.arguments, sys.executable, "-m", "listserv", "--config", str(self.config),
                "run", "--role", self.role,
                stdout=asyncio.subprocess.PIPE, stderr=stderr, cwd=ROOT, env=environment(),
            )  # fmt: skip
        assert self.child.stdout is not None
        said = await asyncio.wait_for(self.child.stdout.readline(), seconds)
        assert said.startswith(b"ready"), self.stderr.read_text()

    async def stop(self, seconds: float = 40.0) -> int:
        """SIGTERM; its exit code."""
        assert self.child is not None
        if self.child.returncode is None:
            self.child.terminate()
        return await asyncio.wait_for(self.child.wait(), seconds)

    @property
    def pid(self) -> int:
        assert self.child is not None
        return self.child.pid

    @property
    def is_running(self) -> bool:
        return self.child is not None and self.child.returncode is None

    async def connect(self) -> Client:
        client = Client(*await asyncio.open_unix_connection(str(self.folder / "smtp")))
        self.clients.append(client)
        return client

    async def enter(self) -> Client:
        client = await self.connect()
        assert (await client.reply()).startswith("220 ")
        return client

    async def post(self, author: str, to: str, content: bytes) -> str:
        """The last reply of a session, refusals included; `content` ends with CRLF and has its dots doubled."""
        client = await self.enter()
        try:
            await client.say("EHLO outside.example")
            for command in (f"MAIL FROM:<{author}>", f"RCPT TO:<{to}>", "DATA"):
                answer = await client.say(command)
                if answer[:1] not in "23":
                    return answer
            await client.write(content + b".\r\n")
            return await client.reply()
        finally:
            client.close()

    def resident(self, which: str = "VmHWM") -> float:
        """Megabytes of memory: the peak so far, or VmRSS now."""
        found = re.search(rf"{which}:\s+(\d+)", Path(f"/proc/{self.pid}/status").read_text())
        assert found
        return int(found[1]) / 1024

    def forget_peak(self) -> None:
        """VmHWM begins anew (proc(5), clear_refs)."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    def cpu_seconds(self) -> float:
        """Processor time of the daemon so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / HZ

    def tracebacks(self) -> list[str]:
        """Lines of its log that say that our own code failed."""
        return [line for line in self.stderr.read_text().splitlines() if "Traceback" in line or " ERROR " in line]

    def work(self, work: Callable[..., T], *arguments: Any) -> T:
        """A transaction beside the daemon, as the command line has them."""
        database = Database(self.url)
        try:
            return database.write_now(work, *arguments)
        finally:
            database.close()

    def populate(self, group: str, members: int = 0, names: Mapping[str, Role] | None = None, **policy: Any) -> None:
        """A group of `members` people, made in bulk: m0@d0.example, m1@d1.example … (ten domains), and some by name."""
        self.work(_populate, group, members, names or {}, policy)

    def states(self) -> dict[str, int]:
        """How many deliveries are in each state."""
        return self.work(_states)

    async def until_done(self, seconds: float = PATIENCE) -> None:
        """Back when no post and no delivery waits or is under way."""
        database = Database(self.url)
        try:
            async with asyncio.timeout(seconds):
                while await database.read(_waiting):
                    await asyncio.sleep(0.05)
        finally:
            database.close()


@asynccontextmanager
async def process(
    url: str,
    folder: Path,
    world: World,
    *,
    arguments: tuple[str, ...] = (),
    role: str = "all",
    start: bool = True,
    **changes: Mapping[str, Any],
) -> AsyncIterator[Process]:
    """A daemon on this database and folder; `changes` are sections of its configuration."""
    url = url.replace("sqlite:///listserv.db", f"sqlite:///{folder}/listserv.db")
    sections: dict[str, dict[str, Any]] = {
        "site": {"hostname": "lists.example", "domains": ["lists.example"]},
        "database": {"url": url},
        "smtp": {"listen": [f"unix:{folder}/smtp"], "authenticate": False},
        "http": {"listen": []},
        "relay": {"host": world.host, "port": world.port, "tls": "none"},
    }
    for name, section in changes.items():
        sections[name] = {**sections.get(name, {}), **section}
    config = folder / ("listserv.toml" if role == "all" else f"{role}.toml")
    config.write_text(toml(sections))
    database = Database(url)
    upgrade(database)
    database.close()
    there = Process(folder, url, config, arguments, role)
    try:
        if start:
            await there.start()
        yield there
    finally:
        for client in there.clients:
            client.close()
        if there.is_running:
            await there.stop()


def environment() -> dict[str, str]:
    """Ours without what would configure the daemon."""
    return {name: value for name, value in os.environ.items() if not name.startswith("LISTSERV_")}


def toml(sections: Mapping[str, Mapping[str, Any]]) -> str:
    """Strings, numbers, booleans and lists of strings, in which Python and TOML differ little."""
    lines = []
    for name, section in sections.items():
        lines.append(f"[{name}]")
        for key, value in section.items():
            written = str(value).lower() if isinstance(value, bool) else repr(value).replace("'", '"')
            lines.append(f"{key} = {written}")
    return "\n".join(lines) + "\n"


def _populate(tx: Tx, address_: str, members: int, names: Mapping[str, Role], policy: Mapping[str, Any]) -> Group:
    now = datetime.now(UTC)
    group = groups.add(tx, address_, Kind.DISCUSSION, Policy(**policy), now)
    for name, role in names.items():
        mailbox = accounts.ensure(tx, address(name), now, proven=True)
        mode = Mode.EACH if role is Role.MEMBER else Mode.NONE
        accounts.subscribe(tx, group.id, mailbox.id, now, "test", role=role, mode=mode)
    if members:
        enrol(tx, group.id, members, now)
    return group


def enrol(tx: Tx, group_id: int, members: int, now: datetime) -> None:
    """People by the hundred thousand: a row each in three tables, by one statement each."""
    a, m = schema.accounts.c, schema.mailboxes.c
    before = [tx.execute(select(func.coalesce(func.max(id), 0))).scalar_one() for id in (a.id, m.id)]
    numbers = select(literal(1).label("number")).cte("numbers", recursive=True)
    numbers = numbers.union_all(select(numbers.c.number + 1).where(numbers.c.number < members))
    moment = literal(now, a.made_at.type)
    tx.execute(insert(schema.accounts).from_select(["made_at"], select(moment).select_from(numbers)))
    number = a.id - before[0] - 1
    domain = "d" + cast(number % 10, String) + ".example"
    address_ = "m" + cast(number, String) + "@" + domain
    people = select(a.id, address_, address_, domain, moment).where(a.id > before[0])
    tx.execute(insert(schema.mailboxes).from_select(["account_id", "address", "key", "domain", "proven_at"], people))
    place = [literal(value) for value in (group_id, Role.MEMBER.value, Mode.EACH.value, False, "test")]
    joined = select(m.id, moment, *place).where(m.id > before[1]).order_by(m.id)
    columns = ["mailbox_id", "joined_at", "group_id", "role", "mode", "moderated", "how"]
    tx.execute(insert(schema.subscriptions).from_select(columns, joined))


def _states(tx: Tx) -> dict[str, int]:
    state = schema.deliveries.c.state
    counted = select(state, func.count()).group_by(state)
    return {row[0]: row[1] for row in tx.execute(counted)}


def _waiting(tx: Tx) -> bool:
    return any(
        tx.execute(select(table.c.id).where(table.c.state.in_(("due", "taken"))).limit(1)).first()
        for table in (schema.posts, schema.deliveries)
    )
