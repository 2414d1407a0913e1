"""Trace: who took the message when, how often it was handed on, and whether it has been here before.

Sources: RFC 5321 §4.4 (Received) and §6.3 (loops), RFC 3848 and RFC 6531 §4.3 (protocol names), RFC 5322 §3.6
(Date and Message-ID of messages that came without).
"""

import re
from datetime import datetime
from email.utils import format_datetime

from listserv.mail.header import LOOP_FIELD, structured
from listserv.mail.message import Field, Message
from listserv.model.envelope import Envelope

MAX_HOPS = 50  # RFC 5321 §6.3 asks for at least 100 … or a good reason: honest mail has 16 at most

_HELO = re.compile(r"[A-Za-z0-9._:\[\]-]{1,255}\Z")
_IP = re.compile(r"[0-9A-Fa-f.:]{2,45}\Z")


def received(envelope: Envelope, hostname: str, id: str, recipient: str = "") -> bytes:
    """Our Received field, to be put on top.

    id         our own name for the transaction, letters and digits
    recipient  the one address it was for; "" when naming it would tell somebody of another (RFC 5321 §7.2)
    """
    peer = envelope.peer
    origin = f"from {_helo(peer.helo)}{_literal(peer.ip)} " if peer.helo or peer.ip else ""
    target = f" for <{recipient}>" if recipient else ""
    return structured(
        "Received", f"{origin}by {hostname} with {_protocol(envelope)} id {id}{target}; {_date(envelope.at)}"
    )


def hops(message: Message) -> int:
    """How many hands the message has gone through."""
    return len(message.all("received"))


def own_loop(message: Message, list_id: str, guard: str) -> bool:
    """The group has sent this very message before: it carries the guard, or the group's own List-Id.

    Delivered-To is no sign: an MTA in front of us writes it at the first arrival too.
    """
    if any(each.value == guard.encode() for each in message.all(LOOP_FIELD.lower())):
        return True
    mark = f"<{list_id}>".lower().encode()
    return any(each.value.lower().endswith(mark) for each in message.all("list-id"))


def missing(message: Message, hostname: str, id: str, at: datetime) -> tuple[Field, ...]:
    """Date and Message-ID, where the author's program left them out (RFC 5321 §6.4 lets us add them)."""
    added = []
    if message.first("date") is None:
        added.append(Field("date", structured("Date", _date(at))))
    if message.first("message-id") is None:
        added.append(Field("message-id", structured("Message-ID", f"<{id}@{hostname}>")))
    return tuple(added)


def _helo(helo: str) -> str:
    """What the client called itself, if that could be a name; it is the client's word and nothing else."""
    return helo if _HELO.match(helo) else "unknown"


def _literal(ip: str) -> str:
    if not _IP.match(ip):
        return ""
    return f" ([IPv6:{ip}])" if ":" in ip else f" ([{ip}])"


def _protocol(envelope: Envelope) -> str:
    peer = envelope.peer
    if peer.lmtp:
        name = "UTF8LMTP" if envelope.smtputf8 else "LMTP"
    else:
        name = "UTF8SMTP" if envelope.smtputf8 else "ESMTP"
    return name + "S" * peer.tls


def _date(at: datetime) -> str:
    """RFC 5322 §3.3, in UTC; ValueError for a naive time."""
    if at.tzinfo is None:
        raise ValueError("a time without a zone")
    return format_datetime(at)
