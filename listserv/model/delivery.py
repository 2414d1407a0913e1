"""A delivery is one edition to one mailbox; an outcome is how one attempt at it ended."""

from dataclasses import dataclass
from typing import NamedTuple


class Copy(NamedTuple):
    """What goes over the wire in one transaction: `own`, `head`, `body`, all in CRLF; `head` ends with the empty line.

    Copies of one edition share their `head` and `body` objects: what is said of them is found out once.
    """

    mail_from: str  # "" is the null sender
    rcpt_to: tuple[str, ...]
    head: bytes
    body: bytes
    own: bytes = b""  # whole lines of the header that differ from member to member


@dataclass(frozen=True, slots=True)
class Sent:
    """The next hop has taken responsibility (RFC 5321 §6.1)."""

    reply: str


@dataclass(frozen=True, slots=True)
class Deferred:
    """Not now: a 4xx, or no usable answer.

    in_doubt     the peer was silent after the final dot: it may have the message (RFC 1047)
    unreachable  the next hop itself could not be talked to, so the next copy would fare no better
    stalled      the transaction ended when this recipient's turn was: nothing is known against the others of it
    """

    reply: str
    in_doubt: bool = False
    unreachable: bool = False
    stalled: bool = False


@dataclass(frozen=True, slots=True)
class Failed:
    """Never: a 5xx for this recipient or for this message."""

    reply: str


Outcome = Sent | Deferred | Failed
