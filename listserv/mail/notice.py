"""Messages of our own: composed whole, never from somebody else's header.

Every notice says that it is automatic (RFC 3834 §5), so that no robot answers it, and is sent from the
null sender.  A message that comes with it is attached as message/rfc822 without being copied: the
edition is what stands before and after it.
"""

import base64
import hashlib
import quopri
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from email.utils import format_datetime

from listserv.mail.header import field, mailbox_field, structured
from listserv.model.address import Address

_MESSAGE_ID = re.compile(r"<[!-;=?-~]{1,900}>\Z")
_ATTACHED = (
    b"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\nContent-Disposition: attachment\r\n\r\n"
)

Fields = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class File:
    """Something of ours that goes along: its name, its media type (RFC 6838), its bytes."""

    name: str
    kind: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Notice:
    """What a notice says; `html` is "" where plain text is enough."""

    sender: tuple[str, Address]  # name, address
    to: Address
    subject: str
    text: str
    message_id: str  # with its angle brackets
    html: str = ""
    reply_to: Address | None = None
    in_reply_to: str = ""
    fields: Fields = ()  # more of the header
    file: File | None = None


@dataclass(frozen=True, slots=True)
class Composed:
    """Header lines and what stands around the attached message, if there is one."""

    fields: bytes
    before: bytes
    after: bytes


def compose(notice: Notice, at: datetime, *, attachment: bool = False, answers: bool = False) -> Composed:
    """The notice in RFC 5322 form.  `answers` marks it as an answer to a message (auto-replied)."""
    mark = hashlib.sha256(notice.message_id.encode()).hexdigest()[:32]
    boundary = f"=_m{mark}"
    head = _head(notice, at, answers)
    kind, encoding, body = _alternative(notice, f"=_a{mark}")
    if not attachment and notice.file is None:
        return Composed(head + kind + encoding, body, b"")
    mixed = field("Content-Type", f'multipart/mixed; boundary="{boundary}"')
    parts = [_line(boundary), kind, encoding, b"\r\n", body]
    if notice.file is not None:
        parts += [_line(boundary), *_file(notice.file)]
    if not attachment:
        return Composed(head + mixed, b"".join((*parts, _line(boundary, last=True))), b"")
    before = b"".join((*parts, _line(boundary), _ATTACHED))
    return Composed(head + mixed + b"Content-Transfer-Encoding: 8bit\r\n", before, _line(boundary, last=True))


def _head(notice: Notice, at: datetime, answers: bool) -> bytes:
    lines = [
        mailbox_field("From", notice.sender),
        mailbox_field("To", ("", notice.to)),
        field("Subject", notice.subject),
        structured("Date", format_datetime(at)),
        structured("Message-ID", notice.message_id),
        structured("Auto-Submitted", "auto-replied" if answers else "auto-generated"),
        structured("X-Auto-Response-Suppress", "All"),  # Exchange: no out-of-office to this
    ]
    if notice.reply_to:
        lines.append(mailbox_field("Reply-To", ("", notice.reply_to)))
    if _MESSAGE_ID.match(notice.in_reply_to):  # what is none, or would not fit into a line, is not referred to
        lines += [structured(name, notice.in_reply_to) for name in ("In-Reply-To", "References")]
    lines += [structured(name, value) for name, value in notice.fields]
    lines.append(structured("MIME-Version", "1.0"))
    return b"".join(lines)


def _alternative(notice: Notice, boundary: str) -> tuple[bytes, bytes, bytes]:
    """Content-Type line, transfer-encoding line and body of the words themselves."""
    plain = _text(notice.text, "plain")
    if not notice.html:
        return plain
    html = _text(notice.html, "html")
    parts = b"".join(_line(boundary) + kind + encoding + b"\r\n" + body for kind, encoding, body in (plain, html))
    return (
        field("Content-Type", f'multipart/alternative; boundary="{boundary}"'),
        b"",
        parts + _line(boundary, last=True),
    )


def _file(file: File) -> tuple[bytes, ...]:
    coded = base64.encodebytes(file.content).replace(b"\n", b"\r\n")
    return (
        structured("Content-Type", file.kind),
        b"Content-Transfer-Encoding: base64\r\n",
        structured("Content-Disposition", f'attachment; filename="{file.name}"'),
        b"\r\n",
        coded,
    )


def _text(text: str, subtype: str) -> tuple[bytes, bytes, bytes]:
    """7bit where it may be, else quoted-printable: every relay carries it (RFC 2045 §6)."""
    data = text.replace("\r\n", "\n").replace("\r", "\n").encode("utf-8", "replace")
    if data.isascii() and b"\0" not in data and max(map(len, data.split(b"\n"))) <= 900:
        encoding = b"Content-Transfer-Encoding: 7bit\r\n"
    else:
        data, encoding = quopri.encodestring(data), b"Content-Transfer-Encoding: quoted-printable\r\n"
    if not data.endswith(b"\n"):
        data += b"\n"
    return field("Content-Type", f"text/{subtype}; charset=utf-8"), encoding, data.replace(b"\n", b"\r\n")


def _line(boundary: str, *, last: bool = False) -> bytes:
    return f"\r\n--{boundary}{'--' if last else ''}\r\n".encode("ascii")
