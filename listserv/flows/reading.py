"""A message as it came, understood once: everything that acts and rules may ask of it.

Pure: it happens before the transaction, so that no lock waits for a parser.
"""

import hashlib
import re
from collections.abc import Container
from dataclasses import dataclass, replace

from listserv.mail import automatic, command, message, mime, tag, trace
from listserv.mail.message import Author, Message, NoAuthor
from listserv.mail.quoting import unquoted
from listserv.model.envelope import Envelope, Proof

MAX_MESSAGE_ID = 998  # octets: RFC 5322 §2.1.1, and what an index takes
SEARCHED = 200_000  # bytes that are looked through for tokens of ours
SHORT = 20_000  # bytes; longer posts are never commands that lost their way
COMMANDS = frozenset({"subscribe", "unsubscribe", "join", "leave", "signoff", "help", "remove", "info", "who", "which"})
_FIRST = tuple(COMMANDS)
_RIGHT = re.compile(rf"confirm(?:\+|%2b|/|\.)([a-z2-7]{{{tag.TOKEN_CHARACTERS}}})(?![a-z2-7])")  # in lower case
_ANSWER = re.compile(r"\s*(?:re|aw|antw|sv|vs|rif|ref|odp|rép)\s*[:：]", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Reading:
    """What one message says.  The author is whom From names, or the reason why it names nobody."""

    message: Message
    mail_from: str  # of the envelope, "" is the null sender
    author: Author | NoAuthor
    proof: Proof  # what the author's domain says of that
    message_id: str  # its own, or one made from its bytes
    subject: str
    declared: str | None  # why it says of itself that a machine wrote it, or None
    looks_automatic: str | None  # why its subject says so, though nothing else does
    robot: str | None  # any of these, or its way through a list
    is_from_a_list: bool
    named: frozenset[str]  # keys of To and Cc
    recipients: int
    key: bytes  # the same for the same post sent again
    plain: str | None  # its text, capped
    html: str | None
    rights: frozenset[str]  # what may be tokens of ours in it, each meant for one person's eyes

    @property
    def content(self) -> bytes:
        return self.message.raw

    @property
    def author_address(self) -> str:
        """In lower case, "" when From names nobody in particular."""
        return self.author.address.key if isinstance(self.author, Author) else ""

    def answerable(self, ours: Container[str]) -> Author | None:
        """Whom an automatic answer of ours may go to; None: nobody (RFC 3834 §2).  `ours` are our own domains."""
        if isinstance(self.author, Author) and not automatic.unanswerable(self.message, self.mail_from, ours):
            return self.author
        return None

    @property
    def subject_key(self) -> bytes:
        """The same for what the same machine answers to its own answers."""
        return message.subject_key(self.subject)

    @property
    def hops(self) -> int:
        return trace.hops(self.message)

    @property
    def answers(self) -> bool:
        """Whether it is a reply to something, by its fields or by how its subject begins."""
        names_one = any(field.name in ("in-reply-to", "references") for field in self.message.fields)
        return names_one or _ANSWER.match(self.subject) is not None

    @property
    def responder(self) -> str | None:
        """Why a responder or a mail system wrote this that does not say so; enough only in an answer to something."""
        if automatic.begins_away(self.message):
            return "subject of a responder"
        return "text of a responder" if command.away(self.plain, self.html) else None

    @property
    def hidden(self) -> str | None:
        """The same of a mail that nobody was asked for: who acts of his own accord answers nothing."""
        return self.responder if self.answers else None

    @property
    def command(self) -> str | None:
        """The administrative word that its subject or its text consists of, or None."""
        if len(self.content) > SHORT:
            return None
        lines = unquoted(self.plain, self.html) if _names_one(self.plain) or self.html else []
        said = [self.subject, *lines[:1]] if len(lines) <= 1 else [self.subject]
        for line in said:
            words = line.lower().strip(" .!").split()
            if words and words[0] in COMMANDS and len(words) <= 2:
                return line.strip()
        return None


def _names_one(text: str | None) -> bool:
    """Whether any line begins with a command; most posts have none, and need no closer look."""
    return any(line.strip(" .!\t").lower().startswith(_FIRST) for line in (text or "").splitlines())


def read(content: bytes, envelope: Envelope, hostname: str) -> Reading:
    """Never raises, whatever the bytes are."""
    parsed = message.parse(content)
    named = message.recipients(parsed)
    said = mime.text_parts(parsed)
    signs = automatic.signs(parsed, envelope.mail_from)
    given = message.message_id(parsed)
    if len(given.encode()) > MAX_MESSAGE_ID or _RIGHT.search(given.lower()):  # a notice of ours, sent on as it is
        given = ""
    return Reading(
        message=parsed,
        mail_from=envelope.mail_from,
        author=message.author(parsed),
        proof=envelope.proof,
        message_id=given or f"<{hashlib.sha256(content).hexdigest()[:32]}@{hostname}>",
        subject=message.subject(parsed),
        declared=signs.declared,
        looks_automatic=signs.looks_so,
        robot=signs.robot,
        is_from_a_list=any(field.name in ("list-id", "list-post", "mailing-list") for field in parsed.fields),
        named=frozenset(address.key for address in named.addresses),
        recipients=named.count,
        key=_key(parsed, given),
        plain=said.plain,
        html=said.html,
        rights=_rights(content, said.plain or "", said.html or ""),
    )


def read_apart(content: bytes, envelope: Envelope, hostname: str) -> Reading:
    """The same without its bytes: for another process, whose answer need not carry them back."""
    known = read(content, envelope, hostname)
    return replace(known, message=replace(known.message, raw=b""))


def whole(apart: Reading, content: bytes) -> Reading:
    """With its bytes again."""
    return replace(apart, message=replace(apart.message, raw=content))


def _rights(content: bytes, *texts: str) -> frozenset[str]:
    """In its bytes, where header and attachments are, and in its texts, whatever they are encoded in."""
    raw = content[:SEARCHED].lower().decode("latin-1")
    seen = (raw, *(text.lower() for text in texts))
    return frozenset(found for text in seen if "confirm" in text for found in _RIGHT.findall(text))


def _key(parsed: Message, message_id: str) -> bytes:
    """SHA-256 over Message-ID, or Date and From in its place, and the body."""
    name = message_id or "\n".join(
        field.value.decode("latin-1") for field in (parsed.first("date"), parsed.first("from")) if field
    )
    return hashlib.sha256(name.encode() + b"\n" + hashlib.sha256(parsed.body).digest()).digest()
