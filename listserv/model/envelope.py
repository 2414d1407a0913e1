"""What the wire says about a message: who brought it, for whom, and what we answer."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Proof(StrEnum):
    """Whether the author's domain vouches for From.

    PROVEN   an SPF or DKIM pass is aligned with the domain in From (RFC 9989 §4.4)
    REFUTED  the domain publishes SPF or a DMARC policy, and nothing aligned passes
    UNKNOWN  it publishes neither, the DNS was silent, or nobody asked
    """

    PROVEN = "proven"
    UNKNOWN = "unknown"
    REFUTED = "refuted"


class DmarcPolicy(StrEnum):
    """What the author's domain wants done with mail that it does not vouch for: its DMARC policy (RFC 9989 §4.7).

    NONE also stands for a domain without a record; UNKNOWN: the DNS was silent, or nobody asked.
    """

    NONE = "none"
    QUARANTINE = "quarantine"
    REJECT = "reject"
    UNKNOWN = "unknown"

    @property
    def enforces(self) -> bool:
        """A changed message with the author's own From would be lost at many receivers."""
        return self in (DmarcPolicy.QUARANTINE, DmarcPolicy.REJECT)


@dataclass(frozen=True, slots=True)
class Evidence:
    """What SPF, DKIM and DMARC say about the author of a message; `net.authenticator` makes it.

    results  value of our Authentication-Results field (RFC 8601 §2.2), "" when nothing was checked
    is_by_signature  nothing but a signature proves it: whoever has read the message can send it again, to anybody
    why      what was found, one sentence each, for `explain` and the author
    """

    proof: Proof = Proof.UNKNOWN
    dmarc_policy: DmarcPolicy = DmarcPolicy.UNKNOWN
    results: str = ""
    why: tuple[str, ...] = ()
    is_by_signature: bool = False


UNCHECKED = Evidence()


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
    evidence: Evidence = UNCHECKED

    @property
    def proof(self) -> Proof:
        return self.evidence.proof


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


RECEIVED = Reply(250, "2.0.0", "received")  # whatever has come of it
