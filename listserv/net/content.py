"""The way of a message from the wire into our hands, in constant memory.

`receive` reads DATA in chunks of whatever the network brings: `Scanner` judges and un-stuffs them, `Spool` keeps them,
above `Limits.spool_over` octets in an unlinked temporary file.  Only CRLF.CRLF ends DATA.  A message that is refused is
read to its end without being stored.  `Budget` says when a kept message may be loaded.

Sources: RFC 5321 §2.3.8, §4.1.1.4 (the end of DATA), §4.5.2 (dots); RFC 1870 §6 (size without the dots).
"""

import asyncio
import contextlib
import logging
import re
import tempfile
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import IO, TypeVar

from listserv.model.envelope import Reply
from listserv.net.gate import Limits
from listserv.net.grammar import TOO_BIG

CHUNK = 32_768  # octets read at once; a stream holds twice as many before it stops the peer
END = b"\r\n.\r\n"

BARE = Reply(550, "5.5.2", "Message holds a bare CR, a bare LF or a NUL")
HEADER_TOO_BIG = Reply(552, "5.3.4", "Header too big")
NO_ROOM = Reply(452, "4.3.1", "Insufficient storage")

SMALL = 262_144  # octets; as much as `Limits.spool_over` leaves in memory anyway

_NEXT_FIELD = re.compile(rb"\r\n(?![ \t])")
T = TypeVar("T")

log = logging.getLogger("listserv.listener")


class Wire(asyncio.StreamReader):
    """A stream that takes octets back, and says whether a line is there already."""

    _buffer: bytearray  # asyncio's own

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
        self._head: bytearray | None = bytearray()  # the header so far; None once it is judged

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
        if self._head is not None and not self.fault:
            self.fault = header_fault(bytes(self._head), self._limits)
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
            self._judge_header(self._head, fresh)
        return b"" if self.fault else fresh

    def _judge_header(self, head: bytearray, fresh: bytes) -> None:
        """Collect the header until the empty line that ends it, or until it is too big."""
        start = max(0, len(head) - 3)
        head += fresh
        end = 0 if head.startswith(b"\r\n") else head.find(b"\r\n\r\n", start)
        if end >= 0 or len(head) > self._limits.max_header_bytes:
            self.fault = header_fault(bytes(head[:end] if end >= 0 else head), self._limits)
            self._head = None


def header_fault(header: bytes, limits: Limits) -> Reply | None:
    """What is wrong with the size of a header (without the empty line), or None."""
    header = header.removesuffix(b"\r\n")
    lines = header.count(b"\r\n") + 1
    if len(header) > limits.max_header_bytes:
        return HEADER_TOO_BIG
    if lines - header.count(b"\r\n ") - header.count(b"\r\n\t") > limits.max_header_fields:
        return HEADER_TOO_BIG
    if max(map(len, _NEXT_FIELD.split(header))) > limits.max_field_bytes:
        return HEADER_TOO_BIG
    return None


class Budget:
    """Octets of messages that may be in memory.

    `held` counts what sessions hold while they receive: above the total they spool at once.  `take` admits messages
    to be loaded and stored: whoever asks first is served first, a giant when it is alone; up to `SMALL` octets they
    have a lane of their own and do not wait for giants.  `disk` is the one thread that writes and reads the spools:
    it leaves the loop's other threads alone, and with several of them malloc would keep a big message's memory for
    each.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self.held = 0
        self._small, self._large = _Lane(max(SMALL, total // 8)), _Lane(total)
        self._disk = ThreadPoolExecutor(max_workers=1, thread_name_prefix="spool")

    async def disk(self, work: Callable[[], T]) -> T:
        """What `work` returns, which may wait for the disk as the loop may not."""
        return await asyncio.get_running_loop().run_in_executor(self._disk, work)

    def close(self) -> None:
        self._disk.shutdown(wait=False)

    async def take(self, octets: int) -> int:
        """What was taken, to be given back; waits until there is room."""
        share = min(octets, self.total)
        await self._lane(share).take(share)
        return share

    def give(self, share: int) -> None:
        self._lane(share).give(share)

    def _lane(self, share: int) -> "_Lane":
        return self._small if share <= SMALL < self.total else self._large


class _Lane:
    """First come, first served, within so many octets."""

    def __init__(self, octets: int) -> None:
        self._free = octets
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def take(self, share: int) -> None:
        if not self._waiting and share <= self._free:
            self._free -= share
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append((share, turn))
        try:
            await turn
        except asyncio.CancelledError:
            self.give(0 if turn.cancelled() else share)  # it may have been our turn
            raise

    def give(self, share: int) -> None:
        self._free += share
        while self._waiting and (self._waiting[0][1].cancelled() or self._waiting[0][0] <= self._free):
            wanted, turn = self._waiting.popleft()
            if not turn.cancelled():
                self._free -= wanted
                turn.set_result(None)


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
            self._file = tempfile.TemporaryFile()  # noqa: SIM115 - `close` closes it
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
            with contextlib.suppress(OSError):  # a full disk: what was not written is not wanted any more
                self._file.close()
            self._file = None


async def receive(wire: Wire, spool: Spool, limits: Limits) -> Reply | None:
    """Read DATA to its end into `spool`.  None: it is all there; else the reply that refuses it."""
    scanner = Scanner(limits)
    no_room = False
    wire.unread(b"\r\n")  # the CRLF of the DATA command is the first half of a lone dot's frame
    ended = False
    while not ended:
        chunk, ended = await _chunk(wire)
        octets = scanner.feed(chunk) + (scanner.end() if ended else b"")
        if scanner.fault or no_room:
            spool.close()
            continue
        try:
            await spool.write(octets)
        except OSError as error:
            log.error("a message of %d octets found no room: %s", spool.size, error)
            no_room = True
    return scanner.fault or (NO_ROOM if no_room else None)


async def _chunk(wire: Wire) -> tuple[bytes, bool]:
    """The next octets of DATA, and whether the lone dot came after them.  IncompleteReadError when the peer is gone."""
    try:
        chunk = await wire.readuntil(END)
    except asyncio.LimitOverrunError as over:
        return await wire.readexactly(over.consumed), False
    return chunk[:-3], True
