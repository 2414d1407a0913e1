"""The way of a message from the wire into our hands, in constant memory.

`receive` reads DATA in chunks of whatever the network brings: `Scanner` judges and un-stuffs them, `Spool` keeps them,
above `Limits.spool_over` octets in an unlinked temporary file.  Only CRLF.CRLF ends DATA.  A message that is refused is
read to its end without being stored.  `Budget` says when a kept message may be loaded, and whose turn that is.

Sources: RFC 5321 §2.3.8, §4.1.1.4 (the end of DATA), §4.5.2 (dots); RFC 1870 §6 (size without the dots).
"""

import asyncio
import contextlib
import logging
import re
import tempfile
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import IO, TypeVar

from listserv.model.envelope import Reply
from listserv.net.gate import Limits
from listserv.net.grammar import TOO_BIG
from listserv.net.lanes import Lane, Room
from listserv.net.shares import CHUNK, COMMANDS, Shares

END = b"\r\n.\r\n"

BARE = Reply(550, "5.5.2", "Message holds a bare CR, a bare LF or a NUL")
HEADER_TOO_BIG = Reply(552, "5.3.4", "Header too big")
NO_ROOM = Reply(452, "4.3.1", "Insufficient storage")

TINY = 16_384  # octets; more than most posts have
SMALL = 262_144  # octets; as much as `Limits.spool_over` leaves in memory anyway
PIECE = 1_024  # octets of a spool's buffer: by default it is eight times that, for each of a thousand clients
_NEXT_FIELD = re.compile(rb"\r\n(?![ \t])")
T = TypeVar("T")
Turn = Callable[[], Awaitable[None]]

log = logging.getLogger("listserv.listener")


class Wire(asyncio.StreamReader):
    """A stream that takes octets back, and says whether a line is there already."""

    _buffer: bytearray  # asyncio's own
    _limit: int

    @property
    def limit(self) -> int:
        """Octets after which it is read from, and twice that, after which the peer is stopped."""
        return self._limit

    @limit.setter
    def limit(self, octets: int) -> None:
        self._limit = octets

    @property
    def holds_a_line(self) -> bool:
        return b"\n" in self._buffer

    def unread(self, octets: bytes) -> None:
        """Put `octets` in front of what is still to be read."""
        self._buffer[:0] = octets


class Scanner:
    """Judges and un-stuffs what comes in DATA, however it is cut.

    What it is fed begins with the CRLF that ended the DATA command and ends before the lone dot; what it gives begins
    after that CRLF.  From the first fault on it gives nothing.  Each octet is looked at a fixed number of times.
    """

    def __init__(self, limits: Limits) -> None:
        self.fault: Reply | None = None
        self._limits = limits
        self._size = -2  # the first CRLF is not ours
        self._held = b""  # an end of line, or half of one, whose other side is not here yet
        self._head: Head | None = Head(limits)  # None once it is judged

    def feed(self, chunk: bytes) -> bytes:
        """The octets of content that are certain now."""
        if self.fault:
            return b""
        chunk = self._held + chunk
        held = 2 if chunk.endswith(b"\r\n") else 1 if chunk.endswith(b"\r") else 0
        self._held = chunk[len(chunk) - held :]
        return self._judge(chunk[: len(chunk) - held])

    def end(self) -> bytes:
        """The last octets of content."""
        if self.fault:
            return b""
        last = self._judge(self._held)
        return b"" if self.fault else last

    def _judge(self, lines: bytes) -> bytes:
        ends = lines.count(b"\r\n")
        if lines.count(b"\n") != ends or lines.count(b"\r") != ends or b"\0" in lines:
            self.fault = BARE
            return b""
        plain = lines.replace(b"\r\n.", b"\r\n")
        fresh = plain[2:] if self._size < 0 else plain
        self._size += len(plain)
        if self._size > self._limits.max_message_bytes:
            self.fault = TOO_BIG
        elif self._head is not None:
            ended = self._head.feed(fresh)
            self.fault = HEADER_TOO_BIG if self._head.is_too_big else None
            self._head = None if ended else self._head
        return b"" if self.fault else fresh


class Head:
    """How big a header is, measured as it comes; nothing of it is kept, for a thousand of them may come in.

    It begins after an end of line that is not counted, nor is the one before the empty line that ends it.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._octets = -2
        self._fields = 0
        self._field = 0  # octets of the last one so far
        self._held = b"\r\n"  # an end of line whose other side is not here yet
        self.is_too_big = False

    def feed(self, octets: bytes) -> bool:
        """Whether the header has ended in these octets."""
        octets = self._held + octets
        end = octets.find(b"\r\n\r\n")
        self._held = b"\r\n" if octets.endswith(b"\r\n") else b""
        self._measure(octets[:end] if end >= 0 else octets[: len(octets) - len(self._held)])
        return end >= 0

    def _measure(self, octets: bytes) -> None:
        lengths = [len(piece) for piece in _NEXT_FIELD.split(octets)]
        lengths[0] += self._field
        self._octets += len(octets)
        self._fields += len(lengths) - 1
        self._field = lengths[-1]
        limits = self._limits
        self.is_too_big = self.is_too_big or (
            self._octets > limits.max_header_bytes
            or self._fields > limits.max_header_fields
            or max(lengths) > limits.max_field_bytes
        )


class Budget:
    """Octets of messages that may be in memory.

    `held` counts what sessions hold while they receive: above the total they spool at once.  `take` admits messages
    to be loaded and stored: who comes from where least has come from lately is served first, of one network whoever
    asks first, a giant when it is alone.  Small ones and tiny ones have lanes of their own, and do not wait for larger
    ones whose DNS says nothing.  `disk` is the one thread that writes and reads the spools: it leaves the loop's other
    threads alone, and with several of them malloc would keep a big message's memory for each.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self.held = 0
        eighth = max(SMALL, total // 8)
        self._tiny, self._small, self._large = Lane(eighth), Lane(eighth), Lane(total)
        self._disk = ThreadPoolExecutor(max_workers=1, thread_name_prefix="spool")

    async def disk(self, work: Callable[[], T]) -> T:
        """What `work` returns, which may wait for the disk as the loop may not."""
        return await asyncio.get_running_loop().run_in_executor(self._disk, work)

    def drop(self, file: IO[bytes]) -> None:
        """Close it, beside the loop: its blocks are given back to the disk then, which takes a while."""
        try:
            self._disk.submit(_close, file)
        except RuntimeError:  # everything ends
            _close(file)

    def close(self) -> None:
        self._disk.shutdown(wait=False)

    async def take(self, octets: int, network: str | None = None) -> Room:
        """What was taken, to be given back; waits until there is room.

        network  where the client is, as the gate counts; None: we ourselves
        """
        share = min(octets, self.total)
        return await self._lane(share).take(share, network)

    def give(self, room: Room) -> None:
        self._lane(room.share).give(room)

    def _lane(self, share: int) -> Lane:
        if self.total <= SMALL or share > SMALL:
            return self._large
        return self._tiny if share <= TINY else self._small


def _close(file: IO[bytes]) -> None:
    with contextlib.suppress(OSError):  # a full disk: what was not written is not wanted any more
        file.close()


class Spool:
    """A message that is being received: in memory while it is small, then in a file without a name."""

    def __init__(self, budget: Budget, limits: Limits) -> None:
        self.size = 0
        self._budget = budget
        self._limits = limits
        self._fresh = bytearray()
        self._file: IO[bytes] | None = None

    async def write(self, octets: bytes) -> None:
        """Keep `octets`.  OSError when there is no room on the disk."""
        self.size += len(octets)
        self._budget.held += len(octets)
        self._fresh += octets
        enough = min(CHUNK, self._limits.spool_over) if self._file else self._limits.spool_over
        if len(self._fresh) > enough or self._budget.held > self._budget.total // 4:
            await self._spill()

    async def _spill(self) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile(buffering=PIECE)  # noqa: SIM115 - `close` closes it
        octets, self._fresh = self._fresh, bytearray()
        try:
            await self._budget.disk(partial(self._file.write, octets))
        finally:
            self._budget.held -= len(octets)

    async def load(self) -> bytes:
        """All of it, in memory."""
        if self._file is None:
            return bytes(self._fresh)
        await self._spill()
        return await self._budget.disk(partial(self._read, self._file))

    def _read(self, file: IO[bytes]) -> bytes:
        file.seek(0)
        return file.read(self.size)

    def close(self) -> None:
        self._budget.held -= len(self._fresh)
        self._fresh.clear()
        if self._file is not None:
            self._budget.drop(self._file)
            self._file = None


async def receive(wire: Wire, spool: Spool, limits: Limits, shares: Shares, turn: Turn) -> Reply | None:
    """Read DATA to its end into `spool`.  None: it is all there; else the reply that refuses it.

    `turn` returns when it is our turn to read on.
    """
    shares.messages += 1
    try:
        return await _receive(wire, spool, limits, shares, turn)
    finally:
        shares.messages -= 1
        wire.limit = COMMANDS


async def _receive(wire: Wire, spool: Spool, limits: Limits, shares: Shares, turn: Turn) -> Reply | None:
    scanner = Scanner(limits)
    no_room = False
    wire.unread(b"\r\n")  # the CRLF of the DATA command is the first half of a lone dot's frame
    ended = False
    while not ended:
        wire.limit = shares.chunk
        octets, ended = await _octets(wire, scanner, turn)
        if scanner.fault or no_room:
            spool.close()
            continue
        try:
            await spool.write(octets)
        except OSError as error:
            log.error("a message of %d octets found no room: %s", spool.size, error)
            no_room = True
        del octets
    return scanner.fault or (NO_ROOM if no_room else None)


async def _octets(wire: Wire, scanner: Scanner, turn: Turn) -> tuple[bytes, bool]:
    """The next octets of content, and whether they are the last.

    Whoever waits here for more of it keeps nothing of what he had before: a thousand clients may wait.
    """
    chunk, ended = await _chunk(wire, turn)
    return scanner.feed(chunk) + (scanner.end() if ended else b""), ended


async def _chunk(wire: Wire, turn: Turn) -> tuple[bytes, bool]:
    """The next octets of DATA, and whether the lone dot came after them.  IncompleteReadError when the peer is gone."""
    try:
        chunk = await wire.readuntil(END)
    except asyncio.LimitOverrunError as over:
        await turn()  # until then it stays on the wire, and the peer is stopped
        return await wire.readexactly(over.consumed), False
    return chunk[:-3], True
