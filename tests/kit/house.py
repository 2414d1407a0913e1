"""A whole server on loopback, in this process, with the outside world around it.

    async with house(url, tmp_path) as here:
        here.group("walkers@lists.example", ["ada@a.example", "bob@b.example"])
        reply = await here.post("ada@a.example", "walkers@lists.example")
        await here.quiet()
        assert "ada@a.example" in here.world.messages

SMTP in and out, the database and the clock's jobs are the real ones; the clock can be put forward.

Authors are not checked, unless the story has a name server of its own:

    with nameserver() as dns:
        dns.zone('a.example TXT "v=spf1 ip4:127.0.0.1 -all"')
        async with house(url, tmp_path, dns=dns) as here:
            await here.post("ada@a.example", "walkers@lists.example", ip="127.0.0.2")  # from another address
"""

import asyncio
import re
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import default
from email.utils import format_datetime, make_msgid
from functools import cache
from pathlib import Path
from typing import Any

import aiosmtplib
import dkim
from sqlalchemy import func, select

from listserv import roles
from listserv.access_log.line import Way
from listserv.daemon import Daemon
from listserv.flows import reading, receiving
from listserv.flows.site import Act
from listserv.mail.signature import dns_record, load_key, new_key
from listserv.model.account import Member
from listserv.model.address import Address, parse
from listserv.model.envelope import DmarcPolicy, Envelope, Evidence, Peer, Proof
from listserv.model.group import DEFAULTS, Group, Kind, Mode, Policy, Role
from listserv.node import Node
from listserv.settings import Settings
from listserv.store import accounts, bells, groups, holds, queue, schema
from listserv.store.db import Tx
from listserv.store.holds import Held
from tests.kit.nameserver import Nameserver
from tests.kit.patience import PATIENCE
from tests.kit.world import World

DOMAIN = "lists.example"


@dataclass
class Clock:
    """The real time, put forward by what a story says."""

    ahead: timedelta = field(default_factory=timedelta)

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


@dataclass
class House:
    """What a story does and sees.  Everything it says about groups and people goes through the product's own acts."""

    node: Node
    daemon: Daemon
    world: World
    clock: Clock
    numbers: Iterable[int] = field(default_factory=lambda: iter(range(1, 10_000_000)))

    @property
    def port(self) -> int:
        assert self.daemon.listener is not None
        bound = self.daemon.listener.bound[0]
        assert isinstance(bound, tuple)
        return bound[1]

    def group(self, address: str, members: Iterable[str] = (), owner: str = "owner@o.example", **policy: Any) -> Group:
        """A group with an owner (by role only) and members who get each post."""

        def made(tx: Tx) -> Group:
            decided = {key: type(getattr(DEFAULTS, key))(value) for key, value in policy.items()}
            group = groups.add(tx, address, Kind.DISCUSSION, Policy(**decided), self.clock())
            owner_mailbox = accounts.ensure(tx, _address(owner), self.clock(), proven=True)
            accounts.subscribe(tx, group.id, owner_mailbox.id, self.clock(), "kit", role=Role.OWNER, mode=Mode.NONE)
            for member in members:
                mailbox = accounts.ensure(tx, _address(member), self.clock(), proven=True)
                known = accounts.member_by_id(tx, group.id, mailbox.id)
                if known:
                    accounts.change(tx, known.subscription_id, mode=Mode.EACH.value)
                else:
                    accounts.subscribe(tx, group.id, mailbox.id, self.clock(), "kit")
            return group

        return self.node.db.write_now(made)

    def admin(self, group: Group, address: str, role: Role = Role.MODERATOR) -> None:
        """One more who may decide."""

        def made(tx: Tx) -> None:
            mailbox = accounts.ensure(tx, _address(address), self.clock(), proven=True)
            accounts.subscribe(tx, group.id, mailbox.id, self.clock(), "kit", role=role, mode=Mode.NONE)

        self.node.db.write_now(made)

    def act(self, tx: Tx) -> Act:
        return Act(tx, self.node.site, self.clock(), self.node.site.who(Way.SHELL))

    async def send(
        self, mail_from: str, rcpt_to: str | list[str], content: bytes, *, ip: str = "127.0.0.1", helo: str = ""
    ) -> str:
        """The last reply of the dialogue, refusals included: `250 2.0.0 accepted …`; `ip` is where it comes from."""
        client = aiosmtplib.SMTP(
            hostname="127.0.0.1",
            port=self.port,
            local_hostname=helo or "out.example",
            start_tls=False,
            source_address=(ip, 0),
        )
        await client.connect()
        try:
            await client.ehlo()
            await client.mail(mail_from)
            refused = []
            for recipient in [rcpt_to] if isinstance(rcpt_to, str) else rcpt_to:
                try:
                    await client.rcpt(recipient)
                except aiosmtplib.SMTPResponseException as fault:
                    refused.append(f"{fault.code} {fault.message}")
            if refused and len(refused) == (1 if isinstance(rcpt_to, str) else len(rcpt_to)):
                return refused[0]
            reply = await client.data(content)
            return f"{reply.code} {reply.message}"
        except aiosmtplib.SMTPResponseException as fault:
            return f"{fault.code} {fault.message}"
        finally:
            client.close()

    async def post(
        self,
        author: str,
        to: str,
        text: str = "Shall we walk?",
        subject: str = "A walk",
        *,
        ip: str = "127.0.0.1",
        **fields: str,
    ) -> str:
        return await self.send(author, to, mail(author, to, text, subject, **fields), ip=ip)

    async def answer(self, author: str, notice: bytes, text: str, **fields: str) -> str:
        """A reply as a mail program makes it: to Reply-To, with In-Reply-To, the notice quoted below."""
        said = read(notice)
        to = str(said["Reply-To"] or said["From"])
        to = re.search(r"[^\s<>]+@[^\s<>]+", to)[0]  # type: ignore[index]
        quoted = "\n".join(f"> {line}" for line in words(notice).splitlines())
        body = f"{text}\n\nOn Sunday, 22 November 2026 at 10:02, {said['From']} wrote:\n{quoted}\n"
        fields = {"In-Reply-To": str(said["Message-ID"]), "References": str(said["Message-ID"]), **fields}
        return await self.post(author, to, body, f"Re: {said['Subject']}", **fields)

    async def hand_in(self, to: str | list[str], content: bytes, evidence: Evidence) -> str:
        """The reply to a message that came with this evidence about its author, whatever the DNS would say."""
        recipients = (to,) if isinstance(to, str) else tuple(to)
        peer = Peer("192.0.2.1", "out.example")
        envelope = Envelope("x@x.example", recipients, peer, self.clock(), evidence=evidence)
        said = reading.read(content, envelope, DOMAIN)
        replies = await self.node.db.write(receiving.take, self.node.site, envelope, said)
        self.ring()
        return str(replies[0])

    def ring(self) -> None:
        """There may be work."""
        self.daemon._heard(bells.NAMES)

    async def quiet(self, timeout: float = PATIENCE) -> None:
        """Back when nothing is due now: no post, no delivery, no line of the access log."""
        async with asyncio.timeout(timeout):
            while await self.node.db.read(self._busy):
                await asyncio.sleep(0.01)

    def _busy(self, tx: Tx) -> bool:
        now = self.clock()
        for table in (schema.posts, schema.deliveries):
            waiting = select(table.c.id).where((queue.is_due(table) & (table.c.due <= now)) | queue.is_taken(table))
            if tx.execute(waiting.limit(1)).first():
                return True
        return bool(tx.execute(select(func.count()).select_from(schema.journal)).scalar_one())

    async def later(self, **span: float) -> None:
        """Time goes by; the jobs that fall due are done."""
        self.clock.ahead += timedelta(**span)
        self.ring()
        await self.idle()

    async def idle(self, timeout: float = PATIENCE) -> None:
        """Back when no job is due any more either."""
        async with asyncio.timeout(timeout):
            while await self.node.db.read(self._job_due):
                await asyncio.sleep(0.01)
        await self.quiet()

    def _job_due(self, tx: Tx) -> bool:
        jobs = schema.jobs.c
        waiting = select(jobs.id).where(jobs.state == "due", jobs.due <= self.clock())
        return tx.execute(waiting.limit(1)).first() is not None

    def states(self) -> dict[str, str]:
        """Recipient → state of the last delivery to it."""
        d = schema.deliveries.c
        chosen = select(d.recipient, d.state).order_by(d.id)
        return dict(self.node.db.read_now(lambda tx: [tuple(row) for row in tx.execute(chosen)]))

    def evidence(self) -> Evidence:
        """What was found about the author of the newest post, as it is kept with it."""
        newest = select(schema.posts.c.envelope).order_by(schema.posts.c.id.desc()).limit(1)
        kept = self.node.db.read_now(lambda tx: tx.execute(newest).scalar_one())["evidence"]
        return Evidence(Proof(kept["proof"]), DmarcPolicy(kept["dmarc_policy"]), kept["results"], tuple(kept["why"]))

    def held(self) -> list[Held]:
        return self.node.db.read_now(holds.waiting)

    def log(self) -> list[Mapping[str, Any]]:
        """The access log, read from its files."""
        return list(self.node.journal.search())

    def members(self, group: Group) -> list[str]:
        """Addresses that get each post."""
        everybody = self.node.db.read_now(lambda tx: list(accounts.members(tx, group.id)))
        return [member.address for member in everybody if member.mode is Mode.EACH]

    def member(self, group: Group, address: str) -> Member | None:
        return self.node.db.read_now(accounts.member, group.id, address)

    def inbox(self, address: str) -> list[bytes]:
        return self.world.messages.get(address, [])

    def notice(self, address: str) -> bytes:
        """The newest mail to this address."""
        return self.inbox(address)[-1]


@asynccontextmanager
async def house(
    url: str,
    folder: Path,
    clock: Clock | None = None,
    world: World | None = None,
    *,
    dns: Nameserver | None = None,
    **changes: Mapping[str, Any],
) -> AsyncIterator[House]:
    """A server on this database and folder; `changes` are sections of the settings; with `dns`, authors are checked."""
    clock = clock or Clock()
    if dns is not None:
        changes["smtp"] = {"authenticate": True, **changes.get("smtp", {})}
        changes["dns"] = {"servers": [dns.setting], "timeout_seconds": 2}
    async with world or World() as outside:
        relay = {"host": outside.host, "port": outside.port, **changes.get("relay", {})}
        settings = Settings.default(folder, sections(url, {**changes, "relay": relay}))
        node = Node.open(settings, clock)
        async with serving(node) as daemon:
            yield House(node, daemon, outside, clock)


@asynccontextmanager
async def serving(node: Node, role: roles.Role = roles.Role.ALL) -> AsyncIterator[Daemon]:
    """A daemon of this role, ready, and at its end the end of the node; what it raises instead is raised here."""
    try:
        daemon = Daemon(node, role)
        ready = asyncio.Event()
        running = asyncio.create_task(daemon.run(ready.set))
        waiting = asyncio.create_task(ready.wait())
        await asyncio.wait([running, waiting], return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if running.done():
            running.result()
        try:
            yield daemon
        finally:
            daemon.stop()
            await running
    finally:
        node.close()


def sections(url: str, changes: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """The settings of a house on this database."""
    made: dict[str, dict[str, Any]] = {
        "site": {"hostname": DOMAIN, "domains": [DOMAIN]},
        "database": {"url": url},
        "smtp": {"listen": ["127.0.0.1:0"], "authenticate": False},
        "http": {"listen": ["127.0.0.1:0"]},
        "relay": {"tls": "none"},
    }
    for name, section in changes.items():
        made[name] = {**made.get(name, {}), **section}
    return made


def mail(author: str, to: str, text: str = "Shall we walk?", subject: str = "A walk", **fields: str) -> bytes:
    """A plain message with CRLF; fields override or add (`In_Reply_To=…`), "" leaves one out."""
    head = {
        "From": author,
        "To": to,
        "Subject": subject,
        "Date": format_datetime(datetime.now(UTC)),
        "Message-ID": make_msgid(domain="outside.example"),
        "MIME-Version": "1.0",
        "Content-Type": "text/plain; charset=utf-8",
        "Content-Transfer-Encoding": "8bit",
    }
    head |= {name.replace("_", "-"): value for name, value in fields.items()}
    lines = [f"{name}: {value}" for name, value in head.items() if value]
    return ("\r\n".join(lines) + "\r\n\r\n" + text.replace("\n", "\r\n") + "\r\n").encode()


def signed(content: bytes, domain: str, dns: Nameserver | None = None, selector: str = "s1", **tags: Any) -> bytes:
    """The message with a DKIM signature of this domain on top; its key is published in `dns`."""
    if dns is not None:
        dns.records[(f"{selector}._domainkey.{domain}", "TXT")] = [key_record()]
    names = [b"from", b"to", b"subject", b"date", b"message-id"]
    tags = {"canonicalize": (b"relaxed", b"relaxed"), "include_headers": names, **tags}
    field: bytes = dkim.sign(content, selector.encode(), domain.encode(), _key().encode(), **tags)
    return field + content


@cache
def _key() -> str:
    """A key that signs for everybody in these tests."""
    return new_key().decode()


@cache
def key_record() -> str:
    """Its public half, as the data of a TXT record."""
    record = dns_record(load_key(_key().encode()))
    return f'"{record[:200]}" "{record[200:]}"'


def read(content: bytes) -> EmailMessage:
    """As a mail program reads it."""
    message = BytesParser(policy=default).parsebytes(content)
    assert isinstance(message, EmailMessage)
    return message


def words(content: bytes) -> str:
    """The text that a person reads first."""
    body = read(content).get_body(("plain",))
    assert body is not None
    return str(body.get_content())


def _address(text: str) -> Address:
    known = parse(text)
    assert known is not None, text
    return known
