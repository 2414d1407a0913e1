"""Which next hop takes a recipient's mail, and how one talks to it.

There is one way today: everything goes to the operator's smarthost.
"""

from dataclasses import dataclass, field
from enum import StrEnum


class Tls(StrEnum):
    """How a connection to the next hop is protected (RFC 3207, RFC 8314 §3.3)."""

    NONE = "none"
    OPPORTUNISTIC = "opportunistic"  # STARTTLS where offered, any certificate, else plain
    REQUIRED = "required"  # STARTTLS with a verified certificate, or nothing
    IMPLICIT = "implicit"  # TLS from the first byte, verified


@dataclass(frozen=True, slots=True)
class Smarthost:
    """The relay that takes all our mail.  `hostname` is what we call ourselves in EHLO."""

    host: str
    port: int = 25
    tls: Tls = Tls.OPPORTUNISTIC
    username: str = ""  # "": no AUTH
    password: str = field(default="", repr=False)
    hostname: str = "localhost"
    connections: int = 20  # at most, in parallel

    @property
    def name(self) -> str:
        """How the relay is called in replies and logs: host:port."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
