"""What the wire says about a message: who brought it, for whom, and what we answer."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Proof(StrEnum):
    """Whether the author's domain vouches for From.  Nothing is proven before SPF, DKIM and DMARC are asked."""

    PROVEN = "proven"
    UNKNOWN = "unknown"
    REFUTED = "refuted"


@dataclass(frozen=True, slots=True)
class Peer:
    """The client at the other end of an SMTP or LMTP session, or of the command line."""

    ip: str  # "" for a unix socket or the command line
    helo: str = ""
    lmtp: bool = False
    trusted: bool = False  # inside [smtp] trusted_networks, LMTP, or the command line
    tls: bool = False


@dataclass(frozen=True, slots=True)
class Envelope:
    """MAIL FROM ("" is the null sender), RCPT TO as they were given, and the peer that said so."""

    mail_from: str
    rcpt_to: tuple[str, ...]
    peer: Peer
    at: datetime  # end of DATA, aware UTC
    smtputf8: bool = False
    proof: Proof = Proof.UNKNOWN


@dataclass(frozen=True, slots=True)
class Reply:
    """An SMTP reply of ours: `status` is the enhanced code (RFC 3463), printed only where it exists."""

    code: int
    status: str
    text: str

    def __str__(self) -> str:
        return f"{self.code} {self.status} {self.text}" if self.status else f"{self.code} {self.text}"

    @property
    def positive(self) -> bool:
        return 200 <= self.code < 300
