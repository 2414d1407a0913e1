"""The pages on loopback over a database of their own, with one group; and a client that says what a test wants."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import select

from listserv.flows.site import Site
from listserv.mail.tag import Tagger
from listserv.model.address import parse
from listserv.model.group import Group, Kind, Policy
from listserv.settings import Listen, TcpPort
from listserv.store import accounts, groups, journal, schema
from listserv.store.db import Database, Tx
from listserv.texts import Texts
from listserv.web.app import create_app
from listserv.web.server import Pages

NOW = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
GROUP = "walkers@lists.example"
ANYWHERE = TcpPort("127.0.0.1", 0)
FORM = "application/x-www-form-urlencoded"
ONE_CLICK = b"List-Unsubscribe=One-Click"


@dataclass(frozen=True)
class Answer:
    status: int
    fields: list[tuple[str, str]]  # names in lower case
    body: str

    def __getitem__(self, name: str) -> str:
        """The field that is there once, or ""."""
        found = [value for known, value in self.fields if known == name.lower()]
        assert len(found) <= 1, f"{name} is there {len(found)} times"
        return found[0] if found else ""


@dataclass
class Place:
    db: Database
    site: Site
    pages: Pages
    group: Group
    links: dict[str, str]  # address of a member → path of the one-click page

    @property
    def port(self) -> int:
        door = self.pages.bound[0]
        assert isinstance(door, TcpPort)
        return door.port

    async def ask(self, method: str, path: str, body: bytes = b"", kind: str = FORM, *fields: str) -> Answer:
        """One request on a connection of its own; `kind` is the Content-Type, "" for none."""
        lines = [f"{method} {path} HTTP/1.1", "Host: lists.example", "Connection: close", *fields]
        if body or method == "POST":
            lines += [f"Content-Length: {len(body)}", *([f"Content-Type: {kind}"] if kind else [])]
        return answer(await self.say("\r\n".join([*lines, "", ""]).encode() + body))

    async def click(self, address: str) -> Answer:
        """What a mail reader does for its user (RFC 8058 §3.2)."""
        return await self.ask("POST", self.links[address], ONE_CLICK)

    async def say(self, octets: bytes) -> bytes:
        """Everything that comes back until the server closes."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(octets)
        async with asyncio.timeout(15):
            heard = await reader.read()
        writer.close()
        return heard

    def members(self) -> set[str]:
        return self.db.read_now(lambda tx: {member.key for member in accounts.members(tx, self.group.id)})

    def written_to(self) -> list[str]:
        """Whom we have sent mail."""
        addresses = select(schema.deliveries.c.recipient).order_by(schema.deliveries.c.id)
        return self.db.read_now(lambda tx: list(tx.execute(addresses).scalars()))

    def logged(self) -> list[dict[str, Any]]:
        """The lines of the access log, oldest first."""
        lines = self.db.read_now(journal.pending, self.site.node, 10_000)
        return [json.loads(line) for _, line in lines]


def answer(heard: bytes) -> Answer:
    head, _, body = heard.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    assert first.startswith("HTTP/1.1 "), heard
    fields = [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]
    return Answer(int(first.split()[1]), fields, body.decode())


@asynccontextmanager
async def serving(
    folder: Path, members: Sequence[str] = ("ada@a.example",), listen: Sequence[Listen] = (ANYWHERE,), **limits: Any
) -> AsyncIterator[Place]:
    """A group of these members, and its pages."""
    db = Database(f"sqlite:///{folder / 'listserv.db'}")
    db.write_now(schema.metadata.create_all)
    site = Site(
        name="Example Groups", hostname="lists.example", url="http://127.0.0.1", domains=frozenset({"lists.example"}),
        operators=(), max_message_bytes=10_000_000, node="here", texts=Texts(), tags=Tagger((b"0123456789abcdef",)),
        chance=os.urandom,
    )  # fmt: skip
    pages = Pages(create_app(site, db, lambda: NOW), listen, **limits)
    try:
        group, ids = db.write_now(_people, members)
        links = {each: f"/leave/{group.address}/{site.tags.leave(group.id, id)}" for each, id in ids.items()}
        await pages.start()
        door = pages.bound[0]
        yield Place(db, replace(site, url=f"http://{door}"), pages, group, links)
    finally:
        await pages.stop(5.0)
        db.close()


def _people(tx: Tx, members: Sequence[str]) -> tuple[Group, dict[str, int]]:
    group = groups.add(tx, GROUP, Kind.DISCUSSION, Policy(title="The <Walkers>"), NOW)
    ids = {}
    for each in members:
        address = parse(each)
        assert address is not None
        mailbox = accounts.ensure(tx, address, NOW, proven=True)
        accounts.subscribe(tx, group.id, mailbox.id, NOW, "recorded")
        ids[each] = mailbox.id
    return group, ids
