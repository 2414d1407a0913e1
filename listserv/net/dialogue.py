"""One SMTP session with a next hop, from after EHLO and AUTH to the last byte: RFC 5321, pipelined as RFC 2920 allows.

Where the peer offers PIPELINING, a transaction is two writes: MAIL, every RCPT and DATA; then, behind the 354, the
message and its dot.  The next one's envelope goes in the same write behind that dot (RFC 2920 §3.1), so that in a row
of transactions each is one write and one round trip; its message does not go before the next `deliver`.  Where there
is no PIPELINING, the same commands go one by one.  Either way each command's answer is paired with it by counting; an
answer that nobody asked for ends the session.

Memory is bounded: replies by `MAX_REPLY_BYTES`, messages by writing them in blocks.  One transaction at a time.
"""

import asyncio
import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

from listserv.model.address import Address
from listserv.model.delivery import Outcome
from listserv.net.transaction import (
    LINE,
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


def _nothing() -> None:
    """Nothing follows."""


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
        self._begun: Transaction | None = None  # its envelope is said, its message is not
        self._silence = math.inf  # time of the loop at which it has lasted too long
        self._seconds = 0.0  # how long it may last
        self._alarm: asyncio.TimerHandle | None = None  # looks at `_silence`: one timer for many waits
        self._wanted = 0  # answers that somebody waits for
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

    async def deliver(
        self, transaction: Transaction, following: Callable[[], Transaction | None] = _nothing
    ) -> Delivered:
        """Say the transaction; whatever the peer does, every recipient has an outcome.

        `following` is asked what comes next when the message goes out.  If it knows and the session lives on, the next
        call is for that one.  On cancellation the caller has to `abort`: the peer would take what comes next for the
        rest of this one.
        """
        self.transactions += 1
        begun, self._begun = self._begun is transaction, None
        unfit = transaction.unfit(self._offers)
        pairs = zip(transaction.recipients, unfit, strict=True)
        going = [recipient for recipient, why in pairs if recipient is not None and why is None]
        if not going:
            return Delivered(tuple(why for why in unfit if why), unheard=False)
        hearing = await self._transact(transaction, going, following, begun=begun)
        if self._ended:
            self._begun = None
        outcomes = hearing.outcomes(len(going))
        if len(going) == len(unfit):
            return Delivered(tuple(outcomes), hearing.unheard)
        rest = iter(outcomes)
        return Delivered(tuple(why or next(rest) for why in unfit), hearing.unheard)

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
        if self._begun:  # it waits for a message, and would take QUIT for its first line
            self.abort()
        elif self._ended is None:
            self.wake()
            self._ended = Ending(Why.GOODBYE, "we said QUIT")
            self._transport.write(b"QUIT\r\n")
            self._timer = asyncio.get_running_loop().call_later(PARTING_SECONDS, self._transport.abort)

    def abort(self) -> None:
        """End the session at once; a transaction under way ends as if the peer had hung up."""
        self._end(Why.CLOSED, "the connection was given up by this server")
        self._transport.abort()

    # What we say

    async def _transact(
        self,
        transaction: Transaction,
        going: Sequence[Address],
        following: Callable[[], Transaction | None],
        *,
        begun: bool,
    ) -> Hearing:
        self._phase = "before the message"
        hearing = Hearing(await (self._begun_envelope(going) if begun else self._envelope(transaction, going)))
        answers = hearing.answers
        self._unfinished = bool(answers) and answers[0].positive
        if any(300 <= answer.code < 400 for answer in answers[: len(going) + 1]):
            self._end(Why.NONSENSE, "answers MAIL or RCPT with a 3xx")
        elif len(answers) == len(going) + 2:
            await self._after_data(transaction, hearing, len(going), following)
        hearing.ended = self._ended
        return hearing

    async def _after_data(
        self,
        transaction: Transaction,
        hearing: Hearing,
        recipients: int,
        following: Callable[[], Transaction | None],
    ) -> None:
        reply = hearing.answers[-1]
        if reply.code == 354:
            self._unfinished = False
            if hearing.accepted(recipients):
                await self._content(transaction, hearing, following)
            else:  # RFC 2920 §3.1: the peer waits for a message to nobody, so it gets an empty one
                self._say(b".\r\n", 1)
                await self._hear(1, self._patience.final)
        elif reply.code < 400:
            self._end(Why.NONSENSE, f"answers DATA with {reply}")

    async def _begun_envelope(self, going: Sequence[Address]) -> list[Answer]:
        return await self._hear(len(going) + 2, self._patience.envelope)

    async def _envelope(self, transaction: Transaction, going: Sequence[Address]) -> list[Answer]:
        """The answers to MAIL, each RCPT and DATA: all of them, or those up to where going on makes no sense."""
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

    async def _content(
        self, transaction: Transaction, hearing: Hearing, following: Callable[[], Transaction | None]
    ) -> None:
        """Write the message block by block, then hear what becomes of it."""
        self._phase = "before the final dot"
        own, head, body = transaction.parts
        last = b".\r\n"
        if len(own.wire) + len(head.wire) + len(body.wire) <= BLOCK_BYTES:
            last = b"%b%b%b.\r\n" % (own.wire, head.wire, body.wire)
        else:
            for part in transaction.parts:
                await self._stream(part.wire)
        if self.usable:
            self._phase = "after the final dot"
            hearing.dotted = True
            behind = self._begin(following) if self._offers.pipelining else []
            self._say(last + b"".join(behind), 1 + len(behind))
            hearing.final = next(iter(await self._hear(1, self._patience.final)), None)
        elif self._unasked and self._unasked.code >= 400:
            hearing.final = self._unasked  # refused before it was whole: the peer could not wait to say so

    def _begin(self, following: Callable[[], Transaction | None]) -> list[bytes]:
        """The envelope of what follows; nothing when nothing does, or when not all of it can be said here."""
        transaction = following()
        if transaction is None or any(transaction.unfit(self._offers)):
            return []
        self._begun = transaction
        going = [recipient for recipient in transaction.recipients if recipient is not None]
        return [transaction.mail(self._offers), *map(rcpt, going), DATA]

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
        heard = self._heard
        if len(heard) < count:
            self._wanted = count
            await self._until(lambda: len(heard) >= count, seconds)
            self._wanted = 0
        return [heard.popleft() for _ in range(min(count, len(heard)))]

    async def _until(self, happened: Callable[[], bool], seconds: float) -> None:
        """Wait; each sign of life gives the peer another `seconds`.  Without one, the session ends."""
        loop = asyncio.get_running_loop()
        self._seconds = seconds
        while self._ended is None and not happened():
            self._give_time(loop)
            waiter = self._waiter = loop.create_future()
            try:
                await waiter
            finally:
                self._waiter = None
                self._silence = math.inf

    def _give_time(self, loop: asyncio.AbstractEventLoop) -> None:
        self._silence = loop.time() + self._seconds
        if self._alarm is None or self._alarm.when() > self._silence:
            self._set_alarm(loop)

    def _set_alarm(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._alarm:
            self._alarm.cancel()
        self._alarm = loop.call_at(self._silence, self._look_at_silence)

    def _look_at_silence(self) -> None:
        self._alarm = None
        if self._silence == math.inf or self._ended:
            return
        loop = asyncio.get_running_loop()
        if loop.time() >= self._silence:
            self._end(Why.SILENT, f"silent for {self._seconds:g} s")
        else:
            self._set_alarm(loop)

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
        answer = read_line(line) if not self._lines and len(line) <= MAX_REPLY_BYTES else None
        if answer:
            self._take(answer)
            return
        self._line_bytes += len(line)
        if not LINE.match(line) or (self._lines and line[:3] != self._lines[0][:3]):
            self._end(Why.NONSENSE, f"does not speak SMTP: {line[:80].decode('utf-8', 'replace')}")
        elif self._line_bytes > MAX_REPLY_BYTES:
            self._end(Why.NONSENSE, "sends a reply without end")
        else:
            self._lines.append(line)
            if line[3:4] != b"-":
                answer = read_answer(self._lines)
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
        *lines, rest = (self._buffer + data).split(b"\n") if self._buffer else data.split(b"\n")
        for line in lines:
            if not self.usable:
                return
            self._line(bytes(line).removesuffix(b"\r"))
        self._buffer[:] = rest
        if self._line_bytes + len(self._buffer) > MAX_REPLY_BYTES:
            self._end(Why.NONSENSE, "sends a reply without end")
        if len(self._heard) >= self._wanted:
            self._wake()
        elif self._heard:
            self._give_time(asyncio.get_running_loop())

    def eof_received(self) -> None:
        self._end(Why.CLOSED, "closed the connection")

    def connection_lost(self, error: Exception | None) -> None:
        self._end(Why.CLOSED, f"lost the connection ({error})" if error else "closed the connection")
        self.wake()
        if self._alarm:
            self._alarm.cancel()
        self.gone.set()

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._wake()
