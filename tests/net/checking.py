"""An authenticator on a name server of the test's own, asked about single messages."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from listserv.mail import message
from listserv.model.envelope import Envelope, Evidence, Peer
from listserv.net.authenticator import Authenticator
from listserv.net.resolver import Resolver
from tests.kit.nameserver import Nameserver

HOSTNAME = "lists.example"
TEXT = b"Shall we walk?\r\n"


@dataclass
class Checks:
    """`say` gives the evidence of a message from this peer; `hear` None where there was no place to ask."""

    authenticator: Authenticator
    resolver: Resolver
    peer: Peer = field(default_factory=lambda: Peer("127.0.0.1", "out.example"))

    async def say(
        self,
        content: bytes,
        mail_from: str | None = None,
        *,
        ip: str | None = None,
        at: datetime | None = None,
        **peer: object,
    ) -> Evidence:
        """`mail_from` None: the author's address."""
        found = await self.hear(content, mail_from, ip=ip, at=at, **peer)
        assert found is not None
        return found

    async def hear(
        self,
        content: bytes,
        mail_from: str | None = None,
        *,
        ip: str | None = None,
        at: datetime | None = None,
        **peer: object,
    ) -> Evidence | None:
        parsed = message.parse(content)
        author = message.author(parsed)
        sender = str(author.address) if mail_from is None and isinstance(author, message.Author) else mail_from or ""
        peer = {**({"ip": ip} if ip is not None else {}), **peer}
        envelope = Envelope(sender, ("walkers@lists.example",), replace(self.peer, **peer), at or datetime.now(UTC))  # type: ignore[arg-type]
        return await self.authenticator.check(parsed, author, envelope)


@asynccontextmanager
async def checks(*servers: Nameserver, timeout: float = 2.0, ids: tuple[str, ...] = ()) -> AsyncIterator[Checks]:
    resolver = Resolver([("127.0.0.1", each.port) for each in servers], timeout)
    authenticator = Authenticator(resolver, HOSTNAME, timeout, ids)
    try:
        yield Checks(authenticator, resolver)
    finally:
        await authenticator.close()


def letter(author: str = "ada@a.example", *fields: str, text: bytes = TEXT) -> bytes:
    """A short message; `fields` stand above its own."""
    own = (f"From: {author}", "To: walkers@lists.example", "Subject: A walk", "Date: Sun, 22 Nov 2026 10:00:00 +0000")
    lines = [*fields, *own, "Message-ID: <1@a.example>"]
    return "".join(f"{line}\r\n" for line in lines).encode() + b"\r\n" + text


def result(evidence: Evidence, method: str) -> str:
    """What our Authentication-Results say of this method."""
    found = [part.split()[0] for part in evidence.results.split("; ")[1:] if part.startswith(f"{method}=")]
    return found[0].partition("=")[2] if found else ""
