"""Those who flood a daemon: each attack is one client, or a crowd of them, that does one thing again and again."""

import asyncio
import os
import random
import re
import resource
import socket
import ssl
import struct
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from tests.chaos.witness import AUTHOR
from tests.endurance import loads
from tests.kit.patience import PATIENCE
from tests.kit.process import Process

HOST = "127.0.0.1"
TARGETS = "targets@lists.example"  # the group that messages go to

_CODE = re.compile(rb"^(\d{3})(?: |$)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Caps:
    """[smtp] idle_timeout_seconds, max_connections and max_connections_per_address."""

    idle: int = 3
    connections: int = 1000
    per_address: int = 100


@dataclass
class Target:
    """The daemon as those who flood it see it, until `ends` (of the loop's time)."""

    there: Process
    port: int
    tls: ssl.SSLContext
    caps: Caps
    ends: float
    answered: Counter[str] = field(default_factory=Counter)
    late: list[float] = field(default_factory=list)  # seconds after which a silent connection was gone
    addresses: Iterator[str] = field(default_factory=lambda: _addresses())

    @property
    def now(self) -> float:
        return asyncio.get_running_loop().time()

    @property
    def on(self) -> bool:
        return self.now < self.ends

    async def connect(self, address: str = "") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(HOST, self.port, local_addr=(address or next(self.addresses), 0))

    def heard(self, octets: bytes) -> None:
        """Whole lines of replies."""
        self.answered.update(code.decode() for code in _CODE.findall(octets))


Attack = Callable[[Target], Awaitable[None]]


# How a flood is poured


def pouring(opening: bytes, block: Callable[[int], bytes], blocks: int = 10**9, last: bytes = b"") -> Attack:
    """A client that says `opening`, then block after block whatever it hears, at last `last`; and listens until the
    connection ends.
    """

    async def attack(target: Target) -> None:
        reader, writer = await target.connect()
        talking = asyncio.create_task(_talk(writer, opening, block, blocks, last))
        try:
            async with asyncio.timeout_at(target.ends):
                await _listen(target, reader)
        except TimeoutError:
            pass
        finally:
            talking.cancel()
            await asyncio.gather(talking, return_exceptions=True)
            _drop(writer)

    return attack


def lines(block: bytes) -> Callable[[int], bytes]:
    return lambda _: block


async def _talk(
    writer: asyncio.StreamWriter, opening: bytes, block: Callable[[int], bytes], blocks: int, last: bytes
) -> None:
    with suppress(ConnectionError):
        writer.write(opening)
        for number in range(blocks):
            writer.write(block(number))
            await writer.drain()
        writer.write(last)
        await writer.drain()


async def _listen(target: Target, reader: asyncio.StreamReader) -> None:
    """To the end of the connection."""
    rest = b""
    with suppress(ConnectionError):
        while octets := await reader.read(65_536):
            whole, end, rest = (rest + octets).rpartition(b"\n")
            target.heard(whole + end)


def _drop(writer: asyncio.StreamWriter) -> None:
    """With a RST, so that nothing of it stays with the kernel."""
    raw = writer.get_extra_info("socket")  # None: a failed handshake has closed it
    with suppress(OSError, AttributeError):
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def _addresses() -> Iterator[str]:
    """Of a network of attackers."""
    while True:
        for number in range(60_000):
            yield f"127.9.{number // 250}.{number % 250 + 1}"


# Connections


async def one_address(target: Target) -> None:
    """As many connections as it can get, and more; those it got it keeps."""
    await _crowd(target, lambda: "127.8.0.1", target.caps.per_address)


async def many_addresses(target: Target) -> None:
    await _crowd(target, lambda: next(target.addresses), target.caps.connections)


async def _crowd(target: Target, address: Callable[[], str], most: int) -> None:
    kept: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
    try:
        while target.on:
            reader, writer = await target.connect(address())
            greeting = await _first_line(reader)
            target.answered[greeting[:3].decode() or "cut"] += 1
            if not greeting.startswith(b"220"):
                _drop(writer)
                continue
            for gone in [each for each in kept if each[0].at_eof()]:
                _drop(gone[1])
                kept.remove(gone)
            kept.append((reader, writer))
            if len(kept) > most:
                target.answered["too-many"] += 1
    finally:
        for _, writer in kept:
            _drop(writer)


async def _first_line(reader: asyncio.StreamReader) -> bytes:
    with suppress(ConnectionError):
        return await reader.readline()
    return b""


async def come_and_go(target: Target) -> None:
    """Connections that are dropped as soon as they are there."""
    _, writer = await target.connect()
    _drop(writer)


async def few_descriptors(target: Target) -> None:
    """The daemon can open only so many files more; connections come until there are none left, and stay."""
    pid = target.there.pid
    opened = len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (opened + 64, before[1]))
    try:
        await _crowd(target, lambda: next(target.addresses), target.caps.connections)
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)


# Slow ones


def silent(opening: bytes) -> Attack:
    """Says so much, and nothing more, until it is thrown out."""

    async def attack(target: Target) -> None:
        reader, writer = await target.connect()
        began = target.now
        writer.write(opening)
        await _thrown_out(target, reader, writer, began)

    return attack


def dripping(opening: bytes, drop: bytes = b"x") -> Attack:
    """An octet now and then, which is no progress."""

    async def attack(target: Target) -> None:
        reader, writer = await target.connect()
        writer.write(opening)
        began = target.now
        drops = asyncio.create_task(_drip(writer, drop))
        try:
            await _thrown_out(target, reader, writer, began)
        finally:
            drops.cancel()
            await asyncio.gather(drops, return_exceptions=True)

    return attack


async def _drip(writer: asyncio.StreamWriter, drop: bytes) -> None:
    with suppress(ConnectionError):
        while True:
            writer.write(drop)
            await writer.drain()
            await asyncio.sleep(0.2)


async def _thrown_out(target: Target, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, began: float) -> None:
    try:
        await asyncio.wait_for(_listen(target, reader), PATIENCE)
        target.late.append(target.now - began)
        target.answered["cut"] += 1
    except TimeoutError:
        target.answered["left-alone"] += 1
    finally:
        _drop(writer)


async def never_reading(target: Target) -> None:
    """Asks and asks and reads no answer."""
    loop = asyncio.get_running_loop()
    with socket.socket() as peer:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        peer.setblocking(False)
        peer.bind((next(target.addresses), 0))
        await loop.sock_connect(peer, (HOST, target.port))
        try:
            async with asyncio.timeout(PATIENCE):
                while True:
                    await loop.sock_sendall(peer, b"VRFY x\r\n" * 1000)
        except ConnectionError:
            target.answered["cut"] += 1
        except TimeoutError:
            target.answered["left-alone"] += 1


def crowding(opening: bytes, block: bytes, *, secretly: bool = False) -> Attack:
    """From each of hundreds of connections as much as the daemon's end of it holds; no answer is read.

    secretly   behind TLS
    """

    async def attack(target: Target) -> None:
        crowd = [
            asyncio.create_task(_fill(target, opening, block, secretly)) for _ in range(target.caps.connections - 10)
        ]
        await asyncio.gather(*crowd)

    return attack


async def _fill(target: Target, opening: bytes, block: bytes, secretly: bool) -> None:
    reader, writer = await target.connect()
    try:
        async with asyncio.timeout_at(target.ends):
            if secretly:
                await _secure(target, reader, writer)
            writer.transport.pause_reading()  # type: ignore[attr-defined]
            writer.write(opening)
            while not writer.is_closing():
                writer.write(block)
                await writer.drain()
                await asyncio.sleep(0)
            target.answered["cut"] += 1
    except TimeoutError:
        target.answered["left-alone"] += 1
    except (ConnectionError, ssl.SSLError, asyncio.IncompleteReadError):
        target.answered["cut"] += 1
    finally:
        _drop(writer)


async def slow_but_steady(target: Target) -> None:
    """An upload of 1 kB/s, twice as long as a client may be idle: it is welcome."""
    reader, writer = await target.connect()
    with suppress(ConnectionError):
        writer.write(until_data(TARGETS) + _head("slow"))
        for _ in range(2 * target.caps.idle * 5):
            writer.write(b"x" * 198 + b"\r\n")
            await writer.drain()
            await asyncio.sleep(0.2)
        writer.write(b".\r\nQUIT\r\n")
        await _listen(target, reader)
    _drop(writer)


# TLS


async def handshakes(target: Target) -> None:
    """STARTTLS, a handshake, and away."""
    reader, writer = await target.connect()
    with suppress(ConnectionError, ssl.SSLError):
        await _secure(target, reader, writer)
        target.answered["TLS"] += 1
    _drop(writer)


async def _secure(target: Target, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"EHLO x\r\nSTARTTLS\r\n")
    await reader.readuntil(b"220 2.0.0 Ready to start TLS\r\n")
    await writer.start_tls(target.tls, server_hostname="lists.example")


# Messages

_number = iter(range(10**12))


def _head(subject: str, author: str = AUTHOR) -> bytes:
    return (
        f"From: {author}\r\nTo: {TARGETS}\r\nSubject: {subject}\r\nMessage-ID: <{next(_number)}@flood.example>\r\n\r\n"
    ).encode()


def until_data(group: str, author: str = AUTHOR) -> bytes:
    return f"EHLO x\r\nMAIL FROM:<{author}>\r\nRCPT TO:<{group}>\r\nDATA\r\n".encode()


def post(author: str = AUTHOR, lines: int = 3) -> bytes:
    opening = f"MAIL FROM:<{author}>\r\nRCPT TO:<{TARGETS}>\r\nDATA\r\n".encode()
    return opening + _head("one of many", author) + loads.LINE * lines + b".\r\n"


def bombing(bombs: Callable[[], Iterator[loads.Bomb]]) -> Attack:
    """One bomb after the other, each a message of its own."""
    chance = random.Random(1)

    async def attack(target: Target) -> None:
        for bomb in chance.sample(known := list(bombs()), len(known)):
            if not target.on:
                return
            with suppress(ConnectionError):
                await _throw(target, bomb)

    return attack


async def _throw(target: Target, bomb: loads.Bomb) -> None:
    reader, writer = await target.connect()
    try:
        writer.write(until_data(TARGETS))
        if bomb.pieces[0].startswith(b"From"):
            writer.write(b"Message-ID: <%d@flood.example>\r\n" % next(_number))
        for piece in bomb.pieces:
            writer.write(piece)
            await writer.drain()
        writer.write(b".\r\nQUIT\r\n")
        heard = Counter[str]()
        said = await asyncio.wait_for(reader.read(-1), PATIENCE)
        heard.update(code.decode() for code in _CODE.findall(said))
        answer = _CODE.findall(said)[-2].decode()  # before that to QUIT
        target.answered[answer if answer in bomb.codes else f"{answer} to {bomb.name}"] += 1
    finally:
        _drop(writer)


async def broken_off(target: Target) -> None:
    """Ten megabytes, all but the end."""
    _, writer = await target.connect()
    with suppress(ConnectionError):
        writer.write(until_data(TARGETS) + _head("broken off"))
        for _ in range(150):
            writer.write(loads.LINE * 840)
            await writer.drain()
    _drop(writer)


# Junk

JUNK = [b"MAIL FROM:", b"RCPT TO:", b"\xff\xfe", b"\0", b"<>", b"GET /", b"'\";--", b"%s%n", b" " * 50, b"A" * 3000]


def junk(number: int) -> bytes:
    return b"".join(random.Random(number).choices(JUNK, k=6)) + b"\r\n"
