"""A message as it came: bytes, and where its header fields stand in them.

Nothing is decoded, repaired or written anew: whoever changes a message drops, replaces or adds whole fields and
splices bytes of the body.  The scanner is linear, stops at its limits, and never raises whatever it is given.

A line that is no field ends the header as an empty line would (Postfix reads it so); `Message.complete` is then False.

Sources: RFC 5322 §2.1 and §2.2 (fields, folding), §3.6.4 (identification), §4.5 (obsolete blanks before the colon).
"""

import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from listserv.mail import mailbox, words
from listserv.mail.mailbox import Author as Author
from listserv.mail.mailbox import NoAuthor as NoAuthor
from listserv.mail.mailbox import Recipients as Recipients

MAX_HEADER_BYTES = 102_400  # Postfix's header_size_limit; the longest honest header seen had 30 kB
MAX_FIELDS = 1_000
MAX_FIELD_BYTES = 65_536
MAX_SUBJECT = 998  # characters that are looked at

_NAME = re.compile(rb"([!-9;-~]++)[ \t]*+:")
_FIELD = re.compile(rb"[^\n]*+(?:\n[ \t][^\n]*+)*+\n?")
_ID = re.compile(rb"<[^<>\s]{1,998}>")
_TAG = re.compile(r"\[[^][]*\]")

# At most one of each (RFC 5322 §3.6): two readers, or a signature and a reader, would take different ones.
ONCE = ("subject", "to", "cc", "date", "content-type")

text = words.text


@dataclass(frozen=True, slots=True)
class Field:
    """One header field: `name` in lower case, `raw` with its name, its folding and its last line end."""

    name: str
    raw: bytes

    @property
    def content(self) -> bytes:
        """What stands after the colon, byte for byte."""
        return self.raw.partition(b":")[2]

    @property
    def value(self) -> bytes:
        """The content unfolded (RFC 5322 §2.2.3) and without blanks around it."""
        return self.content.replace(b"\r\n", b"").replace(b"\n", b"").strip(b" \t\r")


@dataclass(frozen=True, slots=True)
class Message:
    """raw = (mbox line, if any) + the fields' raw + separator + body.

    fault  the limit that the header breaks, in words, or None; past it, everything counts as body
    """

    raw: bytes
    fields: tuple[Field, ...]
    head_at: int
    body_at: int
    separator: bytes  # the empty line; b"" when there is none
    fault: str | None = None

    @property
    def head(self) -> bytes:
        """The fields, without an mbox line before and the empty line behind."""
        return self.raw[self.head_at : self.body_at - len(self.separator)]

    @property
    def body(self) -> bytes:
        return self.raw[self.body_at :]

    @property
    def complete(self) -> bool:
        """The header ends as all readers agree: with an empty line, or with the message."""
        return bool(self.separator) or self.body_at == len(self.raw)

    def all(self, name: str) -> tuple[Field, ...]:
        """Fields of that name, in lower case, from the top."""
        return tuple(field for field in self.fields if field.name == name)

    def first(self, name: str) -> Field | None:
        return next((field for field in self.fields if field.name == name), None)


def parse(raw: bytes) -> Message:
    """The message that these bytes are; anything is one."""
    at = head_at = _mbox_line(raw)
    fields: list[Field] = []
    broken: str | None = None
    while named := _NAME.match(raw, at, at + MAX_HEADER_BYTES):
        end = _end_of_field(raw, at)
        broken = broken or _over(len(fields), end - at, end - head_at)
        if len(fields) == MAX_FIELDS or end - head_at > MAX_HEADER_BYTES:
            break
        fields.append(Field(named[1].decode("ascii").lower(), raw[at:end]))
        at = end
    separator = next((line for line in (b"\r\n", b"\n") if raw.startswith(line, at)), b"")
    return Message(raw, tuple(fields), head_at, at + len(separator), separator, broken)


def fault(raw: bytes) -> str | None:
    """Which limit the header breaks, for a 552 5.3.4; the first 200 kB of a message are enough to know."""
    return parse(raw).fault


def message_id(message: Message) -> str:
    """The first Message-ID with its brackets, or what stands in its place; "" without one."""
    field = message.first("message-id")
    if field is None:
        return ""
    found = _ID.search(field.value)
    return text(found[0] if found else field.value, 998)


def in_reply_to(message: Message) -> tuple[str, ...]:
    """The message ids, each with its brackets, that In-Reply-To names."""
    return _ids(message, "in-reply-to")


def references(message: Message) -> tuple[str, ...]:
    """The message ids, each with its brackets, that References names, the oldest first."""
    return _ids(message, "references")


def date(message: Message) -> datetime | None:
    """When the author says it was written, in UTC; None where Date is missing or means nothing."""
    field = message.first("date")
    if field is None:
        return None
    try:
        said = parsedate_to_datetime(field.value[:100].decode("ascii", "replace"))
        return (said if said.tzinfo else said.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def subject(message: Message) -> str:
    """The subject as a person reads it; "" without one."""
    field = message.first("subject")
    return text(field.value) if field else ""


def subject_key(subject: str) -> bytes:
    """The same for subjects that say the same: without tags in brackets, and all that stands before a colon.

    So `Re: Ticket received: Re: Ticket received: A walk` is `A walk`, whatever a machine puts before it each time.
    """
    plain = _TAG.sub(" ", subject[:MAX_SUBJECT]).replace("：", ":").strip(" :")
    said = " ".join(plain.rpartition(":")[2].split()).casefold()
    return hashlib.sha256(said.encode("utf-8", "replace")).digest()[:8]


def author(message: Message) -> Author | NoAuthor:
    """Whose message it claims to be, when every reader would say the same; who proved it is another question."""
    names = [field.name for field in message.fields]
    senders = names.count("from")
    if not message.complete:
        return NoAuthor("the header does not end with an empty line")
    if senders != 1:
        return NoAuthor("there is no From field" if not senders else f"there are {senders} From fields")
    doubled = next((name for name in ONCE if names.count(name) > 1), None)
    if doubled:
        return NoAuthor(f"there are several {doubled.title()} fields")
    return mailbox.single(message.fields[names.index("from")].value)


def recipients(message: Message) -> Recipients:
    """Whom To and Cc name."""
    return mailbox.several(field.value for field in message.fields if field.name in ("to", "cc"))


def _mbox_line(raw: bytes) -> int:
    """The length of a leading `From ` line as mbox files have it, which is no part of the message."""
    if raw.startswith((b"From ", b">From ")) and not _NAME.match(raw, 0, MAX_HEADER_BYTES):
        return raw.find(b"\n") + 1
    return 0


def _end_of_field(raw: bytes, at: int) -> int:
    found = _FIELD.match(raw, at, at + MAX_HEADER_BYTES + 1)
    return found.end() if found else at


def _over(fields: int, field_bytes: int, header_bytes: int) -> str | None:
    if fields == MAX_FIELDS:
        return f"more than {MAX_FIELDS} header fields"
    if header_bytes > MAX_HEADER_BYTES:
        return f"a header of more than {MAX_HEADER_BYTES} bytes"
    if field_bytes > MAX_FIELD_BYTES:
        return f"a header field of more than {MAX_FIELD_BYTES} bytes"
    return None


def _ids(message: Message, name: str) -> tuple[str, ...]:
    return tuple(text(found, 998) for field in message.all(name) for found in _ID.findall(field.value))
