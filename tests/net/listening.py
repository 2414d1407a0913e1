"""A listener on loopback, a house that writes down what it is told, and a client that says what a test wants."""

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from listserv.model.envelope import Envelope, Peer, Reply
from listserv.net.listener import Door, Limits, Listener
from tests.kit.patience import PATIENCE

HOSTNAME = "lists.example"
NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
UNKNOWN = Reply(550, "5.1.1", "No such address")
ELSEWHERE = Reply(550, "5.7.1", "Not one of our domains")


@dataclass
class Ledger:
    """A house: knows all addresses at lists.example but those that begin with "nobody", and keeps what it accepts."""

    messages: list[tuple[Envelope, bytes]] = field(default_factory=list)
    asked: list[tuple[Peer, str, str]] = field(default_factory=list)
    is_busy: Reply | None = None
    fault: Exception | None = None
    answers: Sequence[Reply] | None = None
    gate: asyncio.Event | None = None  # when there is one, `accept` waits for it
    accepting: asyncio.Event = field(default_factory=asyncio.Event)

    async def recipient(self, peer: Peer, mail_from: str, address: str) -> Reply | None:
        self.asked.append((peer, mail_from, address))
        if address.startswith("fault"):
            raise RuntimeError("the secret of " + address)
        if address == "postmaster":
            return None
        local, _, domain = address.rpartition("@")
        if domain != HOSTNAME:
            return ELSEWHERE
        return UNKNOWN if local.startswith("nobody") else None

    async def accept(self, envelope: Envelope, content: bytes) -> Sequence[Reply]:
        self.accepting.set()
        if self.gate:
            await self.gate.wait()
        if self.fault:
            raise self.fault
        self.messages.append((envelope, content))
        count = len(envelope.rcpt_to) if envelope.peer.lmtp else 1
        return self.answers or [Reply(250, "2.0.0", f"accepted as {len(self.messages)}")] * count

    async def busy(self) -> Reply | None:
        return self.is_busy

    @property
    def contents(self) -> list[bytes]:
        return [content for _, content in self.messages]


class Client:
    """Raw octets out, replies in."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def write(self, octets: bytes) -> None:
        self.writer.write(octets)
        await self.writer.drain()

    async def reply(self) -> str:
        """One reply, its lines joined by LF; "" when the connection has ended."""
        lines = []
        with contextlib.suppress(ConnectionError):
            while line := (await asyncio.wait_for(self.reader.readline(), 15)).decode():
                lines.append(line.rstrip("\r\n"))
                if line[3:4] != "-":
                    break
        return "\n".join(lines)

    async def say(self, line: str) -> str:
        await self.write(line.encode() + b"\r\n")
        return await self.reply()

    async def begin(self, *recipients: str, hello: str = "EHLO client.example") -> None:
        """As far as the 354."""
        await self.say(hello)
        assert (await self.say("MAIL FROM:<ada@a.example>")).startswith("250 2.1.0")
        for recipient in recipients or ("walkers@lists.example",):
            assert (await self.say(f"RCPT TO:<{recipient}>")).startswith("250 2.1.5"), recipient
        assert (await self.say("DATA")).startswith("354 ")

    async def send(self, content: bytes, *recipients: str) -> str:
        await self.begin(*recipients)
        await self.write(content + b".\r\n")
        return await self.reply()

    async def ended(self) -> bool:
        """Waits until the server has closed, reading what it still says."""
        with contextlib.suppress(ConnectionError):
            while await asyncio.wait_for(self.reader.read(65536), 15):
                pass
        return True

    def close(self) -> None:
        self.writer.close()

    def reset(self) -> None:
        """Close with a RST."""
        raw = self.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.close()


class Doors:
    """The doors of a running listener: the first is SMTP, the second LMTP."""

    def __init__(self, listener: Listener, house: Ledger) -> None:
        self.listener = listener
        self.house = house
        self.clients: list[Client] = []

    async def connect(self, number: int = 0, **options: Any) -> Client:
        host, port = self.listener.bound[number]
        client = Client(*await asyncio.open_connection(host, int(port), **options))
        self.clients.append(client)
        return client

    async def enter(self, number: int = 0, **options: Any) -> Client:
        client = await self.connect(number, **options)
        greeting = await client.reply()
        assert greeting.startswith(f"220 {HOSTNAME} "), greeting
        return client


@contextlib.asynccontextmanager
async def doors(
    house: Ledger | None = None, tls: ssl.SSLContext | None = None, trusted: Sequence[Any] = (), **limits: Any
) -> AsyncIterator[Doors]:
    """A listener with an SMTP and an LMTP door on free ports; limits are the defaults, without delays for errors."""
    house = house or Ledger()
    listener = Listener(
        [Door(("127.0.0.1", 0)), Door(("127.0.0.1", 0), lmtp=True)],
        HOSTNAME,
        house,
        lambda: NOW,
        Limits(**{"error_delay": 0.0, **limits}),
        tls,
        trusted,
    )
    await listener.start()
    here = Doors(listener, house)
    try:
        yield here
    finally:
        for client in here.clients:
            client.close()
        if house.gate:
            house.gate.set()
        await listener.stop(2.0)


async def until(condition: Any, seconds: float = PATIENCE) -> None:
    """Waits until `condition()` is true; the test fails when it never is."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)
