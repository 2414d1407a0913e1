"""One SMTP session with a next hop, from after EHLO and AUTH to the last byte: RFC 5321, pipelined as RFC 2920 allows.

Where the peer offers PIPELINING, a transaction is two writes: MAIL, every RCPT and DATA; then, behind the 354, the
message and its dot.  Where it does not, the same commands go one by one.  Either way each command's answer is paired
with it by counting; an answer that nobody asked for ends the session.

Memory is bounded: replies by `MAX_REPLY_BYTES`, messages by writing them in blocks.  One transaction at a time.
"""

import asyncio
import re
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

from listserv.model.address import Address
from listserv.model.delivery import Outcome
from listserv.net.transaction import (
    MAX_REPLY_CHARS,
    Answer,
    Ending,
    Hearing,
    Offers,
    Transaction,
    Why,
    clean,
    rcpt,
    read_answer,
    read_line,
)

MAX_REPLY_BYTES = 32 * 1024  # of one reply, all its lines together
BLOCK_BYTES = 64 * 1024  # of a message, written at a time
PARTING_SECONDS = 2.0  # how long a peer may take to close after QUIT
DATA = b"DATA\r\n"
RSET = b"RSET\r\n"

_LINE = re.compile(rb"[2-5][0-5][0-9](?:[ -]|\Z)")  # RFC 5321 §4.2


@dataclass(frozen=True, slots=True)
class Patience:
    """How long each step may take, in seconds: RFC 5321 §4.5.3.2."""

    connect: float = 30.0
    greeting: float = 300.0  # also EHLO, STARTTLS and AUTH
    envelope: float = 300.0  # MAIL and RCPT: until the next answer, not until the last
    data: float = 120.0
    block: float = 180.0
    final: float = 600.0


@dataclass(frozen=True, slots=True)
class Delivered:
    """How a transaction ended: one outcome per recipient; `unheard` as in Hearing."""

    outcomes: tuple[Outcome, ...]
    unheard: bool


class Dialogue(asyncio.Protocol):
    """A session.  It takes over the transport of whoever opened it: `set_protocol`, then `connection_made`."""

    _transport: asyncio.Transport

    def __init__(self, peer: str, offers: Offers, patience: Patience) -> None:
        self.transactions = 0  # begun in this session
        self.gone = asyncio.Event()  # the socket is closed
        self._peer = peer
        self._offers = offers
        self._patience = patience
        self._ended: Ending | None = None
        self._phase = "while idle"
        self._timer: asyncio.TimerHandle | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._paused = False
        self._unfinished = False  # MAIL was accepted, but nothing has closed the transaction
        self._buffer = bytearray()  # of the line that is not whole yet
        self._lines: list[bytes] = []  # of the reply that is not whole yet
        self._line_bytes = 0
        self._owed = 0  # answers that the peer still owes us
        self._heard: deque[Answer] = deque()
        self._unasked: Answer | None = None

    @property
    def usable(self) -> bool:
        """Another transaction may be tried."""
        return self._ended is None

    async def deliver(self, transaction: Transaction) -> Delivered:
        """Say the transaction; whatever the peer does, every recipient has an outcome.

        On cancellation the caller has to `abort`: the peer would take what comes next for the rest of this one.
        """
        self.transactions += 1
        unfit = transaction.unfit(self._offers)
        pairs = zip(transaction.recipients, unfit, strict=True)
        going = [recipient for recipient, why in pairs if recipient is not None and why is None]
        if not going:
            return Delivered(tuple(why for why in unfit if why), unheard=False)
        hearing = await self._transact(transaction, going)
        outcomes = iter(hearing.outcomes(len(going)))
        return Delivered(tuple(why or next(outcomes) for why in unfit), hearing.unheard)

    def rest(self, seconds: float) -> None:
        """Idle from now on; after `seconds` the session ends by itself."""
        if self._ended is None:
            self._phase = "while idle"
            self._timer = asyncio.get_running_loop().call_later(seconds, self.leave)

    def wake(self) -> None:
        """Idle no more."""
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def leave(self) -> None:
        """End the session politely, without waiting: the peer closes behind its 221 (RFC 5321 §4.1.1.10), or we do."""
        if self._ended is None:
            self.wake()
            self._ended = Ending(Why.GOODBYE, "we said QUIT")
            self._transport.write(b"QUIT\r\n")
            self._timer = asyncio.get_running_loop().call_later(PARTING_SECONDS, self._transport.abort)

    def abort(self) -> None:
        """End the session at once; a transaction under way ends as if the peer had hung up."""
        self._end(Why.CLOSED, "the connection was given up by this server")
        self._transport.abort()

    # What we say

    async def _transact(self, transaction: Transaction, going: Sequence[Address]) -> Hearing:
        hearing = Hearing(await self._envelope(transaction, going))
        answers = hearing.answers
        self._unfinished = bool(answers) and answers[0].positive
        if any(300 <= answer.code < 400 for answer in answers[: len(going) + 1]):
            self._end(Why.NONSENSE, "answers MAIL or RCPT with a 3xx")
        elif len(answers) == len(going) + 2:
            await self._after_data(transaction, hearing, len(going))
        hearing.ended = self._ended
        return hearing

    async def _after_data(self, transaction: Transaction, hearing: Hearing, recipients: int) -> None:
        reply = hearing.answers[-1]
        if reply.code == 354:
            self._unfinished = False
            if hearing.accepted(recipients):
                await self._content(transaction, hearing)
            else:  # RFC 2920 §3.1: the peer waits for a message to nobody, so it gets an empty one
                self._say(b".\r\n", 1)
                await self._hear(1, self._patience.final)
        elif reply.code < 400:
            self._end(Why.NONSENSE, f"answers DATA with {reply}")

    async def _envelope(self, transaction: Transaction, going: Sequence[Address]) -> list[Answer]:
        """The answers to MAIL, each RCPT and DATA: all of them, or those up to where going on makes no sense."""
        self._phase = "before the message"
        reset = [RSET] if self._unfinished else []
        commands = [*reset, transaction.mail(self._offers), *map(rcpt, going), DATA]
        if self._offers.pipelining:
            self._say(b"".join(commands), len(commands))
            answers = await self._hear(len(commands), self._patience.envelope)
        else:
            answers = await self._one_by_one(commands)
        if reset and answers:
            first = answers.pop(0)
            if not first.positive:
                self._end(Why.NONSENSE, f"answers RSET with {first}")
                return []
        return answers

    async def _one_by_one(self, commands: Sequence[bytes]) -> list[Answer]:
        answers: list[Answer] = []
        taken = 0
        for command in commands:
            if self._ended or (command is DATA and not taken):
                break
            self._say(command, 1)
            answers += await self._hear(1, self._patience.data if command is DATA else self._patience.envelope)
            positive = bool(answers) and answers[-1].positive
            taken += positive and command.startswith(b"RCPT")
            if not positive and command.startswith((b"MAIL", RSET)):
                break
        return answers

    async def _content(self, transaction: Transaction, hearing: Hearing) -> None:
        """Write the message block by block, then hear what becomes of it."""
        self._phase = "before the final dot"
        last = b".\r\n"
        if len(transaction.head.wire) + len(transaction.body.wire) <= BLOCK_BYTES:
            last = b"%b%b.\r\n" % (transaction.head.wire, transaction.body.wire)
        else:
            await self._stream(transaction.head.wire)
            await self._stream(transaction.body.wire)
        if self.usable:
            self._phase = "after the final dot"
            hearing.dotted = True
            self._say(last, 1)
            hearing.final = next(iter(await self._hear(1, self._patience.final)), None)
        elif self._unasked and self._unasked.code >= 400:
            hearing.final = self._unasked  # refused before it was whole: the peer could not wait to say so

    async def _stream(self, content: bytes) -> None:
        for start in range(0, len(content), BLOCK_BYTES):
            if self.usable:
                self._transport.write(content[start : start + BLOCK_BYTES])
                await self._until(lambda: not self._paused, self._patience.block)

    def _say(self, data: bytes, answers: int) -> None:
        if self._ended is None:
            self._owed += answers
            self._transport.write(data)

    # What we hear

    async def _hear(self, count: int, seconds: float) -> list[Answer]:
        """The next `count` answers, each within `seconds` of the one before; fewer only when the session is over."""
        await self._until(lambda: len(self._heard) >= count, seconds)
        return [self._heard.popleft() for _ in range(min(count, len(self._heard)))]

    async def _until(self, happened: Callable[[], bool], seconds: float) -> None:
        """Wait; each sign of life gives the peer another `seconds`.  Without one, the session ends."""
        loop = asyncio.get_running_loop()
        while self._ended is None and not happened():
            waiter = self._waiter = loop.create_future()
            try:
                async with asyncio.timeout(seconds):
                    await waiter
            except TimeoutError:
                if waiter.cancelled():  # else the sign came in the last moment
                    self._end(Why.SILENT, f"silent for {seconds:g} s")
            finally:
                self._waiter = None

    def _wake(self) -> None:
        if self._waiter and not self._waiter.done():
            self._waiter.set_result(None)

    def _take(self, answer: Answer) -> None:
        if not self._owed:
            self._unasked = answer
            why = Why.GOODBYE if answer.code == 421 else Why.NONSENSE
            self._end(why, f"said unasked {answer}")
            return
        self._owed -= 1
        self._heard.append(answer)
        if answer.code == 421:  # RFC 5321 §3.8: the peer closes now
            self._end(Why.GOODBYE, "", verbatim=str(answer))

    def _line(self, line: bytes) -> None:
        self._line_bytes += len(line)
        if not _LINE.match(line) or (self._lines and line[:3] != self._lines[0][:3]):
            self._end(Why.NONSENSE, f"does not speak SMTP: {line[:80].decode('utf-8', 'replace')}")
        elif self._line_bytes > MAX_REPLY_BYTES:
            self._end(Why.NONSENSE, "sends a reply without end")
        else:
            self._lines.append(line)
            if line[3:4] != b"-":
                answer = read_line(line) if line is self._lines[0] else read_answer(self._lines)
                self._lines.clear()
                self._line_bytes = 0
                self._take(answer)

    def _end(self, why: Why, what: str, *, verbatim: str = "") -> None:
        """The session is over; `what` the peer did, or `verbatim` the reply that stands for the missing ones."""
        if self._ended is None:
            reply = verbatim or f"451 4.4.2 relay {self._peer}: {clean(what)} {self._phase}"
            self._ended = Ending(why, reply[:MAX_REPLY_CHARS])
            self._transport.abort()
            self._wake()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self._ended:  # the 221: the peer closes now
            return
        self._buffer += data
        start = 0
        while self.usable and (end := self._buffer.find(b"\n", start)) >= 0:
            self._line(bytes(self._buffer[start:end]).removesuffix(b"\r"))
            start = end + 1
        del self._buffer[:start]
        if self._line_bytes + len(self._buffer) > MAX_REPLY_BYTES:
            self._end(Why.NONSENSE, "sends a reply without end")
        if self._heard:
            self._wake()

    def eof_received(self) -> None:
        self._end(Why.CLOSED, "closed the connection")

    def connection_lost(self, error: Exception | None) -> None:
        self._end(Why.CLOSED, f"lost the connection ({error})" if error else "closed the connection")
        self.wake()
        self.gone.set()

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._wake()
