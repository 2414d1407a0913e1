"""Who lives behind the door, and what the sessions of one listener share."""

import asyncio
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from listserv.model.envelope import Envelope, Peer, Reply
from listserv.net.content import Budget
from listserv.net.gate import Gate, Limits
from listserv.net.shares import Shares


class House(Protocol):
    """What the listener asks; an exception of the house is a 451 on the wire."""

    async def recipient(self, peer: Peer, mail_from: str, address: str) -> Reply | None:
        """None: welcome; else the refusal at RCPT (550 5.1.1 unknown, 550 5.7.1 other domains or a closed door, 452).

        `address` is local@domain, the domain in lower case and A-labels, or "postmaster" alone.
        """

    async def accept(self, envelope: Envelope, content: bytes) -> Sequence[Reply]:
        """One reply for SMTP; one per recipient for LMTP.  Returns only after the commit.

        Not cancelled when the client hangs up; `Listener.stop` waits for it, and cancels it at the end of its grace.
        """

    async def busy(self) -> Reply | None:
        """None: we can take mail; else why not now (452 4.3.1, 421); asked at MAIL and before DATA."""


class Guest(Protocol):
    """A session as the listener sees it when it stops."""

    @property
    def conversation(self) -> asyncio.Task[None] | None:
        """Done when the last reply is said."""

    def retire(self) -> None:
        """Say 421 if nothing is under way; what is under way is the last thing done."""

    def abort(self) -> None:
        """Go, without a word."""


@dataclass(slots=True)
class Desk:
    """What the sessions of one listener share.  A session keeps the limits that it began with."""

    house: House
    hostname: str
    clock: Callable[[], datetime]
    limits: Limits
    trusts: Callable[[str], bool]  # is this IP address inside trusted_networks?
    budget: Budget
    tls: ssl.SSLContext | None = None
    gate: Gate = field(default_factory=Gate)
    shares: Shares = field(default_factory=Shares)
    stopping: bool = False
    guests: set[Guest] = field(default_factory=set)
    commits: set[asyncio.Task[Sequence[Reply]]] = field(default_factory=set)
