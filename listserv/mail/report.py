"""Reports about mail of ours, as values: delivery status notifications (RFC 3464 in RFC 6522's multipart/report).

What is not in this form (qmail, old Exim, a letter from a postmaster) is None here and is only logged.
Nothing here says whom a report is about: that says the tag it was sent to, for anybody can write a report.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from listserv.mail import blame, message, mime, words
from listserv.mail.blame import Blame
from listserv.mail.message import Field, Message
from listserv.mail.mime import Part

MAX_RECIPIENTS = 1_000
MAX_TEXT = 1_000  # characters of a diagnostic
_MAX_STATUS_BYTES = 262_144

_STATUS = re.compile(r"([245])\.(\d{1,3})\.(\d{1,3})(?!\d)")  # RFC 3463 §2
_BLOCKS = re.compile(rb"\n[ \t]*\n[ \t\n]*")


class Kind(StrEnum):
    DELIVERY = "delivery-status"


class Action(StrEnum):
    """RFC 3464 §2.3.3."""

    FAILED = "failed"
    DELAYED = "delayed"
    DELIVERED = "delivered"
    RELAYED = "relayed"
    EXPANDED = "expanded"


_ACTIONS = {action.value: action for action in Action}


@dataclass(frozen=True, slots=True)
class RecipientStatus:
    """What happened to one recipient.

    address     Final-Recipient as the reporter writes it, "" when it is not there
    original    Original-Recipient: what we had sent to, where the reporter was told (RFC 3461), else ""
    status      RFC 3463 code such as "5.1.1"; "" when there is none
    diagnostic  one line, for people
    """

    address: str
    original: str
    action: Action
    status: str
    diagnostic: str

    @property
    def blame(self) -> Blame:
        return blame.of(self.status, self.diagnostic) if self.action is Action.FAILED else Blame.NOBODY

    @property
    def hard(self) -> bool:
        """The address is no good, not the message or the day."""
        return self.blame is Blame.MAILBOX


@dataclass(frozen=True, slots=True)
class Report:
    kind: Kind
    recipients: tuple[RecipientStatus, ...]
    message_id: str  # of the message that came back, with its brackets; "" when nothing of it is there

    @property
    def hard(self) -> tuple[RecipientStatus, ...]:
        return tuple(recipient for recipient in self.recipients if recipient.hard)

    @property
    def refused(self) -> tuple[RecipientStatus, ...]:
        """Those whose server did not want the message."""
        return tuple(recipient for recipient in self.recipients if recipient.blame is Blame.MESSAGE)


def read(post: Message) -> Report | None:
    """The report that this message is, or None."""
    body = post.body
    root = mime.walk(post.fields, body)
    if not isinstance(root, Part) or root.type != "multipart/report":
        return None
    if root.parameters.get("report-type", "").lower() not in ("delivery-status", ""):
        return None
    status = _first(root, "message/delivery-status", "message/global-delivery-status")  # RFC 6533 §3
    if status is None:
        return None
    recipients = tuple(_recipients(_content(status, body)))
    return Report(Kind.DELIVERY, recipients, _returned(root, body)) if recipients else None


def _first(root: Part, *types: str) -> Part | None:
    return next((part for part in mime.parts(root) if part.type in types), None)


def _content(part: Part, body: bytes) -> bytes:
    """What a part says, with LF line ends; RFC 3464 §2.1 wants 7bit, but some encode it."""
    raw = body[part.body_at : min(part.end, part.body_at + _MAX_STATUS_BYTES)]
    return mime.decoded(raw, part.encoding).replace(b"\r\n", b"\n")


def _recipients(content: bytes) -> Iterator[RecipientStatus]:
    """One for each block of fields that names an action; the first block is about the message as a whole."""
    for block in _BLOCKS.split(content.strip(b"\n"), MAX_RECIPIENTS):
        fields = message.parse(block + b"\n\n").fields
        action = _ACTIONS.get(_value(fields, "action").lower().partition(" ")[0])
        if action:
            yield RecipientStatus(
                _address(_value(fields, "final-recipient")),
                _address(_value(fields, "original-recipient")),
                action,
                _status(fields),
                _untyped(_value(fields, "diagnostic-code")),
            )


def _value(fields: tuple[Field, ...], name: str) -> str:
    field = next((field for field in fields if field.name == name), None)
    return " ".join(words.text(field.value, MAX_TEXT).split()) if field else ""


def _untyped(value: str) -> str:
    """Without the type before the semicolon: `smtp; 550 5.1.1 …` (RFC 3464 §2.1.2)."""
    kind, semicolon, rest = value.partition(";")
    return rest.strip() if semicolon and kind.strip().replace("-", "").isalnum() else value


def _address(value: str) -> str:
    return _untyped(value).strip("<> ")


def _status(fields: tuple[Field, ...]) -> str:
    """Status; where it only says that something failed (5.0.0), what the far side's own reply says."""
    said = _STATUS.search(_value(fields, "status"))
    if said and (said[2], said[3]) != ("0", "0"):
        return said[0]
    reply = _STATUS.search(_value(fields, "diagnostic-code"))
    if reply and (said is None or reply[1] == said[1]):
        return reply[0]
    return said[0] if said else ""


def _returned(root: Part, body: bytes) -> str:
    """Message-ID of the message that came back, whole or its header only."""
    part = _first(root, "message/rfc822", "text/rfc822-headers", "message/global", "message/global-headers")
    if part is None:
        return ""
    raw = body[part.body_at : min(part.end, part.body_at + message.MAX_HEADER_BYTES)]
    return message.message_id(message.parse(mime.decoded(raw, part.encoding).lstrip(b"\r\n")))
