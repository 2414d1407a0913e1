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
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast

from listserv.model.delivery import Outcome
from listserv.net.transaction import (
    DATA,
    LINE,
    MAX_REPLY_CHARS,
    Answer,
    Ending,
    Hearing,
    Offers,
    Transaction,
    Why,
    clean,
    read_answer,
    read_line,
)

MAX_REPLY_BYTES = 32 * 1024  # of one reply, all its lines together
BLOCK_BYTES = 64 * 1024  # of a message, written at a time
PARTING_SECONDS = 2.0  # how long a peer may take to close after QUIT
RSET = "RSET\r\n"


@dataclass(frozen=True, slots=True)
class Patience:
    """How long each step may take, in seconds: RFC 5321 §4.5.3.2."""

    connect: float = 30.0
    greeting: float = 300.0  # also EHLO, STARTTLS and AUTH
    envelope: float = 300.0  # MAIL and RCPT: until the next answer, not until the last
    data: float = 120.0
    block: float = 180.0
    final: float = 600.0


class Delivered(NamedTuple):
    """How a transaction ended: one outcome per recipient; `unheard` as in Hearing."""

    outcomes: tuple[Outcome, ...]
    unheard: bool


def _nothing() -> None:
    """Nothing follows."""


class Dialogue(asyncio.Protocol):
    """A session.  It takes over the transport of whoever opened it: `set_protocol`, then `connection_made`."""

    _loop: asyncio.AbstractEventLoop
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
        self._buffer = b""  # of the line that is not whole yet
        self._lines: list[bytes] = []  # of the reply that is not whole yet
        self._line_bytes = 0
        self._owed = 0  # answers that the peer still owes us
        self._heard: list[Answer] = []  # and nobody has asked for them yet
        self._unasked: Answer | None = None

    @property
    def usable(self) -> bool:
        """Another transaction may be tried."""
        return self._ended is None

    def deliver(
        self, transaction: Transaction, following: Callable[[], Transaction | None] = _nothing
    ) -> Awaitable[Delivered]:
        """Say the transaction; whatever the peer does, every recipient has an outcome.

        `following` is asked what comes next when the message goes out.  If it knows and the session lives on, the next
        call is for that one.  On cancellation the caller has to `abort`: the peer would take what comes next for the
        rest of this one.
        """
        self.transactions += 1
        if transaction.fits(self._offers):
            return self._transact(transaction, transaction.recipients, following)
        return self._deliver_to_some(transaction, following)

    def rest(self, seconds: float) -> None:
        """Idle from now on; after `seconds` the session ends by itself."""
        if self._ended is None:
            self.wake()
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

    async def _deliver_to_some(
        self, transaction: Transaction, following: Callable[[], Transaction | None]
    ) -> Delivered:
        """To those who can be said on this wire."""
        unfit = transaction.unfit(self._offers)
        to = [recipient for recipient, why in zip(transaction.recipients, unfit, strict=True) if why is None]
        delivered = await self._transact(transaction, to, following) if to else Delivered((), unheard=False)
        rest = iter(delivered.outcomes)
        return Delivered(tuple(why or next(rest) for why in unfit), delivered.unheard)

    async def _transact(
        self, transaction: Transaction, to: Sequence[str], following: Callable[[], Transaction | None]
    ) -> Delivered:
        """MAIL, each RCPT and DATA, unless they are said already; then the message."""
        self._phase = "before the message"
        begun, self._begun = self._begun is transaction, None
        wanted = len(to) + 2
        answers = await (self._hear(wanted, self._patience.envelope) if begun else self._envelope(transaction, to))
        digits = [answer.code // 100 for answer in answers[: wanted - 1]]  # what is said of MAIL and each RCPT
        self._unfinished = digits[:1] == [2]
        hearing = Hearing(answers, digits[1:].count(2) if self._unfinished else 0)
        if 3 in digits:
            self._end(Why.NONSENSE, "answers MAIL or RCPT with a 3xx")
        elif len(answers) == wanted and self._goes_ahead(answers[-1]):
            await (self._content(transaction, hearing, following) if hearing.accepted else self._empty())
        if self._ended:
            hearing.ended = self._ended
            self._begun = None
        return Delivered(hearing.outcomes(len(to)), hearing.unheard)

    async def _envelope(self, transaction: Transaction, to: Sequence[str]) -> list[Answer]:
        """The answers to MAIL, each RCPT and DATA: all of them, or those up to where going on makes no sense."""
        reset = [RSET] if self._unfinished else []
        commands = reset + transaction.envelope(to, self._offers)
        if self._offers.pipelining:
            self._say("".join(commands).encode(), len(commands))
            answers = await self._hear(len(commands), self._patience.envelope)
        else:
            answers = await self._one_by_one(commands)
        if reset and answers:
            first = answers.pop(0)
            if not first.positive:  # nothing of this transaction is said to anybody: it is tried again elsewhere
                self._end(Why.GOODBYE, f"answers RSET with {first}")
                return []
        return answers

    async def _one_by_one(self, commands: Sequence[str]) -> list[Answer]:
        answers: list[Answer] = []
        taken = 0
        for command in commands:
            if self._ended or (command is DATA and not taken):
                break
            self._say(command.encode(), 1)
            answers += await self._hear(1, self._patience.data if command is DATA else self._patience.envelope)
            positive = bool(answers) and answers[-1].positive
            taken += positive and command.startswith("RCPT")
            if not positive and command.startswith(("MAIL", RSET)):
                break
        return answers

    def _goes_ahead(self, reply: Answer) -> bool:
        """Whether DATA is answered as it has to be for a message to follow."""
        if reply.code == 354:
            self._unfinished = False
        elif reply.code < 400:
            self._end(Why.NONSENSE, f"answers DATA with {reply}")
        return reply.code == 354

    async def _empty(self) -> None:
        """RFC 2920 §3.1: the peer waits for a message to nobody, so it gets an empty one."""
        self._say(b".\r\n", 1)
        await self._hear(1, self._patience.final)

    async def _content(
        self, transaction: Transaction, hearing: Hearing, following: Callable[[], Transaction | None]
    ) -> None:
        """Write the message, a big one block by block, then hear what becomes of it."""
        self._phase = "before the final dot"
        written = [transaction.own.wire, transaction.head.wire, transaction.body.wire]
        if transaction.octets > BLOCK_BYTES:
            await self._stream(written)
            written = []
        if self._ended is None:
            self._phase = "after the final dot"
            hearing.dotted = True
            behind = self._begin(following) if self._offers.pipelining else []
            self._say(b"".join((*written, b".\r\n", "".join(behind).encode())), 1 + len(behind))
            if heard := await self._hear(1, self._patience.final):
                hearing.final = heard[0]
        elif self._unasked and self._unasked.code >= 400:
            hearing.final = self._unasked  # refused before it was whole: the peer could not wait to say so

    def _begin(self, following: Callable[[], Transaction | None]) -> list[str]:
        """The envelope of what follows; nothing when nothing does, or when not all of it can be said here."""
        transaction = following()
        if transaction is None or not transaction.fits(self._offers):
            return []
        self._begun = transaction
        return transaction.envelope(transaction.recipients, self._offers)

    async def _stream(self, parts: Sequence[bytes]) -> None:
        for content in parts:
            for start in range(0, len(content), BLOCK_BYTES):
                if self._ended is None:
                    self._transport.write(content[start : start + BLOCK_BYTES])
                while self._ended is None and self._paused:
                    await self._sign_of_life(self._patience.block)

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
            while self._ended is None and len(heard) < count:
                await self._sign_of_life(seconds)
            self._wanted = 0
        answers = heard[:count]
        del heard[:count]
        return answers

    def _sign_of_life(self, seconds: float) -> asyncio.Future[None]:
        """Until what we wait for may have happened; each answer gives the peer another `seconds`, else it is over."""
        self._seconds = seconds
        self._give_time()
        self._waiter = self._loop.create_future()
        return self._waiter

    def _give_time(self) -> None:
        self._silence = self._loop.time() + self._seconds
        if self._alarm is None or self._alarm.when() > self._silence:
            self._set_alarm()

    def _set_alarm(self) -> None:
        if self._alarm:
            self._alarm.cancel()
        self._alarm = self._loop.call_at(self._silence, self._look_at_silence)

    def _look_at_silence(self) -> None:
        self._alarm = None
        if self._silence == math.inf or self._ended:
            return
        if self._loop.time() >= self._silence:
            self._end(Why.SILENT, f"silent for {self._seconds:g} s")
        else:
            self._set_alarm()

    def _wake(self) -> None:
        waiter, self._waiter, self._silence = self._waiter, None, math.inf
        if waiter and not waiter.done():
            waiter.set_result(None)

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
        self._loop = asyncio.get_running_loop()
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self._ended:  # the 221: the peer closes now
            return
        *lines, self._buffer = (self._buffer + data if self._buffer else data).split(b"\n")
        is_routine = not self._lines and len(data) <= MAX_REPLY_BYTES
        answers = [answer for line in lines if (answer := read_line(line))] if is_routine else []
        if len(answers) == len(lines) and len(answers) <= self._owed:
            self._owed -= len(answers)
            self._heard += answers
        else:  # one of several lines, one that nobody asked for, or none at all
            for line in lines:
                if not self.usable:
                    return
                self._line(line.removesuffix(b"\r"))
        if self._line_bytes + len(self._buffer) > MAX_REPLY_BYTES:
            self._end(Why.NONSENSE, "sends a reply without end")
        if len(self._heard) >= self._wanted:
            self._wake()
        elif self._heard:
            self._give_time()

    def eof_received(self) -> None:
        self._end(Why.CLOSED, "closed the connection")

    def connection_lost(self, error: Exception | None) -> None:
        self._end(Why.CLOSED, f"lost the connection ({error})" if error else "closed the connection")
        self.wake()
        self._wake()  # whatever it was that ended the session
        if self._alarm:
            self._alarm.cancel()
        self.gone.set()

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._wake()
