"""E-mail addresses, judged once and strictly at the edge.

The grammar is RFC 5321 §4.1.2 `Mailbox` (dot-string or quoted-string, then a domain or an address
literal), with RFC 6531 §3.3 letters; no comments, no folding, no control characters.  Reserved
domains (.test, .invalid, .example, .localhost) are ordinary: closed networks and tests use them.
"""

import ipaddress
import re
from dataclasses import dataclass
from functools import lru_cache

import idna

MAX_OCTETS = 254  # RFC 5321 §4.5.3.1.3: a path of 256 with its brackets
MAX_LOCAL_OCTETS = 64  # RFC 5321 §4.5.3.1.1

_ATEXT = r"A-Za-z0-9!#$%&'*+/=?^_`{|}~\-\u00a0-\U0010ffff"
_DOT_STRING = re.compile(rf"[{_ATEXT}]+(?:\.[{_ATEXT}]+)*\Z")
_QUOTED = re.compile(r'"(?:[\x20\x21\x23-\x5b\x5d-\x7e\u00a0-\U0010ffff]|\\[\x20-\x7e])*"\Z')
_PLAIN = re.compile(  # what nearly all are: the same grammar, without what has to be looked at twice
    r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*"
    r"@[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*\Z"
)
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\Z")
_FORBIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")  # controls, line ends, surrogates


@dataclass(frozen=True, slots=True)
class Address:
    """A mailbox: `local` as it was written, `domain` in lower case and as A-labels (RFC 5890 §2.3.2.1)."""

    local: str
    domain: str

    def __str__(self) -> str:
        return f"{self.local}@{self.domain}"

    @property
    def key(self) -> str:
        """What two spellings of one mailbox have in common: everything in lower case."""
        return f"{self.local.lower()}@{self.domain}"


def parse(text: str) -> Address | None:
    """The address that `text` is, all of it, or None."""
    return _parse(text) if len(text) <= MAX_OCTETS else _parse.__wrapped__(text)


def is_plain(text: str) -> bool:
    """True for an address that `parse` would give back as it is written, in ASCII; False says nothing.

    So what is only repeated, as on the wire, need not be taken apart.
    """
    return len(text) <= MAX_OCTETS and text.find("@") <= MAX_LOCAL_OCTETS and _PLAIN.match(text) is not None


@lru_cache(4096)
def _parse(text: str) -> Address | None:
    """One message is asked after the same few addresses again and again, and so is the next."""
    if is_plain(text):
        return Address(*text.rsplit("@", 1))
    local, at, domain = text.rpartition("@")
    if not at or _FORBIDDEN.search(text):
        return None
    try:
        if not (_DOT_STRING.match(local) or _QUOTED.match(local)) or len(local.encode()) > MAX_LOCAL_OCTETS:
            return None
    except UnicodeEncodeError:
        return None
    known = _literal(domain) if domain.startswith("[") else domain_name(domain)
    if known is None or len(local.encode()) + 1 + len(known) > MAX_OCTETS:
        return None
    return Address(local, known)


def domain_name(text: str) -> str | None:
    """A domain in lower case and A-labels, or None; one label alone is a name too (`localhost`)."""
    name = text.lower()
    if not name.isascii():
        try:
            name = idna.encode(text, uts46=True).decode("ascii")
        except idna.IDNAError:
            return None
    if len(name) > 253 or not all(_LABEL.match(label) for label in name.split(".")):
        return None
    return name


def _literal(domain: str) -> str | None:
    """RFC 5321 §4.1.3: [192.0.2.1] or [IPv6:2001:db8::1]."""
    inside = domain[1:-1] if domain.endswith("]") and "%" not in domain else ""  # no zones: they may hold anything
    try:
        if inside[:5].lower() == "ipv6:":
            return f"[IPv6:{ipaddress.IPv6Address(inside[5:])}]"
        return f"[{ipaddress.IPv4Address(inside)}]"
    except ValueError:
        return None
