"""One mail transaction as plain values: what we shall say, and what the answers mean.

Promises: no bare CR or LF and no unchecked address ever reaches the wire; every recipient gets exactly one
outcome; work is linear in the size of the message.  Nothing here waits.

Sources: RFC 5321 §3.3, §4.1.1, §4.2, §4.5.2 (dots), §4.5.3.1.10 (too many recipients); RFC 1870 (SIZE);
RFC 6152 (8BITMIME); RFC 6531 (SMTPUTF8); RFC 1047 (doubt after the final dot).
"""

import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import NamedTuple, Self

from listserv.model import address
from listserv.model.delivery import Copy, Deferred, Failed, Outcome, Sent

MAX_REPLY_CHARS = 500  # what is kept of a reply
CACHE_BYTES = 16 * 1024 * 1024  # heads and bodies remembered in their wire form, the newest always among them
DATA = "DATA\r\n"

LINE = re.compile(rb"[2-5][0-5][0-9](?:[ -]|\Z)")  # of a reply, without its end: RFC 5321 §4.2


class Answer(NamedTuple):
    """What the peer said to one command: the code, and the whole in one clean line."""

    code: int
    said: str

    def __str__(self) -> str:
        return self.said

    @property
    def positive(self) -> bool:
        return 200 <= self.code < 300


@dataclass(frozen=True, slots=True)
class Offers:
    """What the peer said it can do in its answer to EHLO."""

    pipelining: bool = False
    size: bool = False
    eight_bit: bool = False
    utf8: bool = False

    @classmethod
    def of(cls, extensions: Mapping[str, str]) -> Self:
        """From EHLO keywords in lower case."""
        return cls(*(word in extensions for word in ("pipelining", "size", "8bitmime", "smtputf8")))


class Half(NamedTuple):
    """A head or a body as DATA carries it."""

    wire: bytes  # CRLF at the end, dots doubled
    size: int  # octets as RFC 1870 §5 counts them: without the doubled dots
    ascii: bool


_NOTHING = Half(b"", 0, ascii=True)


def half(content: bytes) -> Half:
    """`content` ready for DATA.  ValueError when it holds a bare CR or LF: a mistake of ours, kept off the wire."""
    ends = content.count(b"\r\n")
    if content.count(b"\r") != ends or content.count(b"\n") != ends:
        raise ValueError("bare CR or LF")
    if content and not content.endswith(b"\r\n"):
        content += b"\r\n"
    size = len(content)
    wire = content.replace(b"\r\n.", b"\r\n..")  # RFC 5321 §4.5.2
    return Half(b"." + wire if wire.startswith(b".") else wire, size, content.isascii())


class Halves:
    """Remembers the wire form of the heads and bodies in use, because all copies of an edition share these objects.

    An entry holds its octets, so that no other object can get the same id; the oldest go when all together exceed
    `CACHE_BYTES`.
    """

    def __init__(self) -> None:
        self._known: OrderedDict[int, tuple[bytes, Half]] = OrderedDict()
        self._bytes = 0

    def half(self, content: bytes) -> Half:
        """As the function `half`."""
        known = self._known.get(id(content))
        if known is not None:
            return known[1]
        made = half(content)
        self._known[id(content)] = content, made
        self._bytes += len(content)
        while self._bytes > CACHE_BYTES and len(self._known) > 1:
            _, (oldest, _) = self._known.popitem(last=False)
            self._bytes -= len(oldest)
        return made

    def forget(self) -> None:
        self._known.clear()
        self._bytes = 0


class Transaction(NamedTuple):
    """A copy that is fit for the wire, its addresses as they are said there.  A recipient that is no address is ""."""

    sender: str  # "": the null sender
    recipients: tuple[str, ...]
    own: Half
    head: Half
    body: Half
    utf8_head: bool  # its header has letters beyond ASCII, in UTF-8
    is_plain: bool  # there are recipients, and every address is one, in ASCII

    def envelope(self, to: Sequence[str], offers: Offers) -> list[str]:
        """The commands from MAIL to DATA, with the parameters that the peer offered and this message needs."""
        own, head, body = self.own, self.head, self.body
        size = f" SIZE={own.size + head.size + body.size}" if offers.size else ""
        # Where the peer does not offer it we send the octets as they are: what the author (and our DKIM signature)
        # covers is not re-encoded, and every relay of today is 8-bit clean.  Not RFC 6152 §3 to the letter.
        needs_eight_bit = offers.eight_bit and not (own.ascii and head.ascii and body.ascii)
        eight_bit = " BODY=8BITMIME" if needs_eight_bit else ""
        utf8 = " SMTPUTF8" if offers.utf8 and self.needs_utf8 else ""
        mail = f"MAIL FROM:<{self.sender}>{size}{eight_bit}{utf8}\r\n"
        return [mail, *[f"RCPT TO:<{each}>\r\n" for each in to], DATA]

    @property
    def needs_utf8(self) -> bool:
        return self.utf8_head or not (self.is_plain or all(said.isascii() for said in (self.sender, *self.recipients)))

    @property
    def octets(self) -> int:
        """On the wire, without the final dot."""
        return len(self.own.wire) + len(self.head.wire) + len(self.body.wire)

    def unfit(self, offers: Offers) -> list[Failed | None]:
        """For each recipient why it cannot be said on this wire at all, or None."""
        if not (self.sender.isascii() or offers.utf8):
            return [_NO_UTF8] * len(self.recipients)
        return [_unfit(recipient, offers) for recipient in self.recipients]

    def fits(self, offers: Offers) -> bool:
        """There are recipients, and all of them can be said on this wire."""
        return self.is_plain or (bool(self.recipients) and not any(self.unfit(offers)))


_NO_UTF8 = Failed("553 5.6.7 the relay does not offer SMTPUTF8, which this address needs")
_NO_ADDRESS = Failed("553 5.1.3 not an e-mail address")


def _unfit(recipient: str, offers: Offers) -> Failed | None:
    if not recipient:
        return _NO_ADDRESS
    return None if recipient.isascii() or offers.utf8 else _NO_UTF8


def prepare(copy: Copy, known: Halves) -> Transaction | Failed:
    """The transaction that `copy` asks for, or why no relay can ever have it: then a mistake of ours is in it."""
    sender, recipients = copy.mail_from, copy.rcpt_to
    are_plain = all(map(address.is_plain, recipients)) and (not sender or address.is_plain(sender))
    if not copy.head.endswith(b"\r\n\r\n") and not (copy.own and copy.head == b"\r\n"):
        return _ours("its header has no end")
    try:
        own, head, body = half(copy.own) if copy.own else _NOTHING, known.half(copy.head), known.half(copy.body)
    except ValueError as error:
        return _ours(str(error))
    utf8_head = not (own.ascii and head.ascii) and _is_utf8(copy.own + copy.head)
    if are_plain:
        return Transaction(sender, recipients, own, head, body, utf8_head, is_plain=bool(recipients))
    said = _said(sender)
    if sender and not said:
        return _ours("the return path is not an address")
    return Transaction(said, tuple(map(_said, recipients)), own, head, body, utf8_head, is_plain=False)


def _said(text: str) -> str:
    """The address as it is said on the wire; "" when it is none."""
    known = address.parse(text)
    return str(known) if known else ""


def _ours(fault: str) -> Failed:
    return Failed(f"554 5.6.0 not sent, because this server made the message wrongly: {fault}")


def _is_utf8(head: bytes) -> bool:
    """A header in another 8-bit charset is no SMTPUTF8 message (RFC 6532 §3.2): it goes as it is."""
    try:
        head.decode()
    except UnicodeDecodeError:
        return False
    return True


class Why(Enum):
    """How a session came to its end."""

    CLOSED = "closed"
    SILENT = "silent"
    NONSENSE = "nonsense"  # the peer does not speak SMTP, or answers what nobody asked
    GOODBYE = "goodbye"  # 421, or QUIT


class Ending(NamedTuple):
    why: Why
    text: str


@dataclass(slots=True)
class Hearing:
    """What was heard during one transaction."""

    answers: list[Answer]  # to MAIL, each RCPT and DATA, as far as they came
    accepted: int  # how many recipients the peer took
    final: Answer | None = None  # to the final dot
    dotted: bool = False  # the final dot was handed to the network
    ended: Ending | None = None  # why the session is over, if it is

    @property
    def unheard(self) -> bool:
        """The session was over before anybody listened to this transaction: it may be tried again at once."""
        if self.answers:
            return self.answers[0].code == 421
        return self.ended is not None and self.ended.why in (Why.CLOSED, Why.GOODBYE)

    def outcomes(self, recipients: int) -> tuple[Outcome, ...]:
        """One outcome per recipient.

        What is refused at MAIL, DATA or the dot is refused for all whom RCPT did not refuse on their own.  Silence and
        hang-ups are Deferred; after the dot they are in doubt; before any answer to MAIL the relay is unreachable.
        """
        if not self.answers:
            return (self._lost(unreachable=True),) * recipients
        if not self.answers[0].positive:
            return (refusal(self.answers[0], unreachable=self.answers[0].code == 421),) * recipients
        shared = self._shared(recipients) if self.accepted else None
        if shared and self.accepted == recipients:
            return (shared,) * recipients
        return tuple(self._outcome(number, shared) for number in range(1, recipients + 1))

    def _outcome(self, number: int, shared: Outcome | None) -> Outcome:
        if number >= len(self.answers):
            return self._lost(stalled=number == len(self.answers))
        answer = self.answers[number]
        if answer.positive:
            assert shared, "this recipient is among the accepted"
            return shared
        some_before = any(before.positive for before in self.answers[1:number])
        if answer.code == 552 and some_before and not answer.said.startswith("552 5.2."):
            return Deferred(answer.said)  # RFC 5321 §4.5.3.1.10: too many recipients, as old servers say it
        return refusal(answer)

    def _shared(self, recipients: int) -> Outcome:
        """How it ended for the recipients that were accepted."""
        if len(self.answers) < recipients + 2:
            return self._lost()
        if self.answers[-1].code != 354:
            return refusal(self.answers[-1])
        if self.final is None:
            return self._lost(in_doubt=self.dotted)
        return Sent(self.final.said) if self.final.positive else refusal(self.final, in_doubt=self.final.code < 400)

    def _lost(self, *, in_doubt: bool = False, unreachable: bool = False, stalled: bool = False) -> Deferred:
        """No answer came, or none that makes sense."""
        assert self.ended, "answers are missing only when the session is over"
        return Deferred(self.ended.text, in_doubt, unreachable or self.ended.why is Why.NONSENSE, stalled)


def refusal(answer: Answer, *, in_doubt: bool = False, unreachable: bool = False) -> Outcome:
    """Failed for a 5xx, Deferred for a 4xx and for what makes no sense here, such as a 354 to RCPT."""
    if answer.code >= 500:
        return Failed(answer.said)
    if answer.code >= 400:
        return Deferred(answer.said, in_doubt, unreachable)
    return Deferred(f"451 4.5.0 the relay gave an answer to another question: {answer}"[:MAX_REPLY_CHARS], in_doubt)


@lru_cache(maxsize=256)  # "250 2.1.5 Ok" is heard a million times
def read_line(line: bytes) -> Answer | None:
    """As `read_answer`, for a line with its CR that is a reply; None for one of several, for a 421, and for none."""
    said = line.removesuffix(b"\r")
    is_reply = LINE.match(said) and said[3:4] != b"-" and not said.startswith(b"421")
    return read_answer([said]) if is_reply else None


def read_answer(lines: Sequence[bytes]) -> Answer:
    """One reply from its lines, each of which is a LINE; at most 500 characters in all."""
    texts = [line[4:].decode("utf-8", "replace").strip() for line in lines]
    if len(texts) > 1:
        status = texts[0].partition(" ")[0] + " "  # RFC 2034 §4 repeats the status in each line
        texts[1:] = [text.removeprefix(status) for text in texts[1:]]
    code = int(lines[0][:3])
    return Answer(code, f"{code} {clean(' '.join(texts))}"[:MAX_REPLY_CHARS].rstrip())


def clean(text: str) -> str:
    """`text` in one line without control characters."""
    if text.isprintable():
        return text
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
