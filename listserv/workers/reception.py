"""What the listener asks of the house, answered from the database: who is welcome, and what becomes of a message."""

import asyncio
import hashlib
import logging
import shutil
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from listserv.flows import reading, receiving, setting_aside
from listserv.flows.guessing import Guesses
from listserv.flows.reading import Reading
from listserv.flows.site import Site
from listserv.model.envelope import Envelope, Peer, Reply
from listserv.net.authenticator import Authenticator
from listserv.store import queue, schema
from listserv.store.db import Database, Tx
from listserv.workers.cell import Cell, Overrun, Poison, guarded

log = logging.getLogger("listserv.listener")

LARGE = 100_000  # bytes; reading more than this is done in a process of its own: 16 ms there, 0.2 ms here
REMEMBERED = 1000  # messages that could not be read
CROWDED = 1_000_000  # deliveries that wait; beyond it senders keep their mail
BUSY_CHECKED_EVERY = 5.0  # seconds
WELCOME_FOR = 1.0  # seconds in which a recipient that was welcome is not looked up again
WELCOMES = 1000  # addresses
WINDOW, MANY = 0.05, 10  # so many messages in so many seconds, twice: others let the listener go first
ANSWER_WITHIN = 25.0  # seconds: many clients wait no longer for a reply than 30
WRITTEN_ANEW = 2  # times the largest message has to be free on the disk

GUESSING = Reply(450, "4.7.1", "too many confirmations that do not exist came from you; please try again later")
OVERLOADED = Reply(452, "4.3.1", "more mail is waiting than we can take; please try again later")
UNREADABLE = Reply(554, "5.6.0", "this message cannot be read")
UNANSWERED = Reply(451, "4.3.1", "the database does not answer; please try again later")
UNASKED = Reply(
    451, "4.4.3", "too many questions to the DNS are open to find out who wrote this; please try again later"
)
NO_SPACE = Reply(452, "4.3.1", "not enough space; please try again later")


class TooLate(Exception):
    """Nobody waits for this message any more."""


class Reception:
    """The house of `net.house.House`.

    authenticator  None where nothing is to be checked
    processes      so many receive
    """

    def __init__(
        self,
        db: Database,
        site: Site,
        clock: Callable[[], datetime],
        data_dir: Path,
        authenticator: Authenticator | None = None,
        processes: int = 1,
    ) -> None:
        self._db = db
        self._site = site
        self._clock = clock
        self._data_dir = data_dir
        self._authenticator = authenticator
        self._guesses = Guesses(processes)
        self._welcome: dict[str, float] = {}  # address → until when
        self._began, self._before, self._since = 0.0, 0, 0
        self._looked_at = -BUSY_CHECKED_EVERY
        self._answer: Reply | None = None
        self._cell = Cell()
        self._poison: Counter[bytes] = Counter()  # digest of what could not be read: how often

    async def recipient(self, peer: Peer, mail_from: str, address: str) -> Reply | None:
        try:
            async with asyncio.timeout(ANSWER_WITHIN):
                return await self._recipient(peer, mail_from, address)
        except TimeoutError:
            return UNANSWERED

    async def _recipient(self, peer: Peer, mail_from: str, address: str) -> Reply | None:
        now = asyncio.get_running_loop().time()
        if self._welcome.get(address, 0.0) > now:
            return None
        if "confirm+" in address.lower() and not peer.trusted and self._guesses.too_many(peer.ip, self._clock()):
            return GUESSING
        refusal = await self._db.read(receiving.welcome, self._site, address)
        if refusal is None and "+" not in address:  # who bears a tag or a token comes once
            self._remember(address, now)
        if refusal is receiving.NO_CONFIRMATION and not peer.trusted:
            self._guesses.wrong(peer.ip, self._clock())
        if refusal is not None and "bounces+" in address.lower():
            group = await self._db.read(receiving.forged_return_path, self._site, address)
            if group is not None:
                await self._db.write(receiving.note_forgery, self._site, peer, mail_from, group, self._clock())
        return refusal

    def _remember(self, address: str, now: float) -> None:
        """A welcome only, and not for long: the transaction that takes the message looks again and decides."""
        if len(self._welcome) >= WELCOMES:
            self._welcome.clear()
        self._welcome[address] = now + WELCOME_FOR

    def rush(self) -> bool:
        """Many messages have just come in."""
        return self._before + self._since >= MANY and asyncio.get_running_loop().time() - self._began < 2 * WINDOW

    def _count(self) -> None:
        """In two windows, the last whole one and the one that has begun."""
        now = asyncio.get_running_loop().time()
        if now - self._began >= WINDOW:
            self._before = self._since if now - self._began < 2 * WINDOW else 0
            self._began, self._since = now, 0
        self._since += 1

    async def accept(self, envelope: Envelope, content: bytes) -> Sequence[Reply]:
        self._count()
        read = await self._read(envelope, content)
        if isinstance(read, Reply):
            return _to_all(envelope, read)
        if self._authenticator is not None:
            evidence = await self._authenticator.check(read.message, read.author, envelope)
            if evidence is None:
                return _to_all(envelope, UNASKED)
            envelope = replace(envelope, evidence=evidence)
        try:
            async with asyncio.timeout(ANSWER_WITHIN):
                ends = time.monotonic() + ANSWER_WITHIN
                return await self._db.write(self._take, ends, envelope, read)
        except (TimeoutError, TooLate):
            log.error("the database does not answer: a message of %d octets is not taken", len(content))
            return _to_all(envelope, UNANSWERED)

    def _take(self, tx: Tx, ends: float, envelope: Envelope, read: Reading) -> Sequence[Reply]:
        """Not what its sender was told to keep while it waited for a writer."""
        if time.monotonic() > ends:
            raise TooLate
        return receiving.take(tx, self._site, envelope, read)

    async def _read(self, envelope: Envelope, content: bytes) -> Reading | Reply:
        """Small ones at once; large ones, and small ones that take too long, where they can do no harm.

        A fault of ours is a 451.  The same bytes a third time are refused: else they would come for days.
        """
        hostname = self._site.hostname
        if len(content) <= LARGE:
            with suppress(Overrun, Exception):  # it is tried again below, and said there
                return guarded(reading.read, content, envelope, hostname)
        try:
            apart = await self._cell.run(reading.read_apart, content, envelope, hostname)
        except Poison as fault:
            digest = hashlib.sha256(content).digest()
            if len(self._poison) == REMEMBERED:
                self._poison.clear()
            self._poison[digest] += 1
            log.error("a message of %d octets (SHA-256 %s) cannot be read: %s", len(content), digest.hex(), fault)
            if self._poison[digest] < setting_aside.TRIES:
                raise
            return UNREADABLE
        return reading.whole(apart, content)

    def close(self) -> None:
        self._cell.close()

    async def busy(self) -> Reply | None:
        """Looked up every few seconds: space for the largest message, and a queue that is not endless."""
        now = asyncio.get_running_loop().time()
        if now - self._looked_at >= BUSY_CHECKED_EVERY:
            self._looked_at = now
            try:
                async with asyncio.timeout(ANSWER_WITHIN):
                    self._answer = await self._look()
            except TimeoutError:
                self._answer = UNANSWERED
        return self._answer

    async def _look(self) -> Reply | None:
        if shutil.disk_usage(self._data_dir).free < WRITTEN_ANEW * self._site.max_message_bytes:
            return NO_SPACE
        if await self._db.read(queue.longer_than, schema.deliveries, CROWDED):
            return OVERLOADED
        return None


def _to_all(envelope: Envelope, reply: Reply) -> Sequence[Reply]:
    return [reply] * (len(envelope.rcpt_to) if envelope.peer.lmtp else 1)
