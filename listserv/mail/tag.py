"""Tags and tokens: the short unguessable words in addresses, links and headers.

A *tag* is unstored: an id with an HMAC-SHA-256 (RFC 2104) that only this server can make.  It says whose copy a bounce
or a leave belongs to; it never expires while its secret is known, and what it allows is limited by what it names.
A *token* is random and stored as its digest only; see `model.token`.

Both are written in lower-case base32 (RFC 4648 §6) without padding, because relays fold the case of local parts
and line ends eat `=`.  Reading accepts either case and exactly one spelling.

A tag is 5 bytes of id and 8 of HMAC: 21 characters, so that the longest door, a group of 28 octets with
`-unsubscribe+` and a tag, has 62 of the 64 octets that a local part may have (RFC 5321 §4.5.3.1.1).

Pure: the secrets and the random bytes are arguments.
"""

import hashlib
import hmac
from base64 import b32decode
from dataclasses import dataclass, field
from functools import lru_cache

MAX_ID = 2**40 - 1
TOKEN_CHARACTERS = 26  # of 5 bits: 130, where 128 are enough for good
TOKEN_RANDOM_BYTES = 17
MIN_SECRET_BYTES = 16
TAG_CHARACTERS = 21  # of every tag

_ID_BYTES = 5
_MAC_BYTES = 8
_GUARD_BYTES = 15
_LETTERS = "abcdefghijklmnopqrstuvwxyz234567"
_ALPHABET = frozenset(_LETTERS)
_PAIRS = [one + two for one in _LETTERS for two in _LETTERS]  # of ten bits


@dataclass(frozen=True, slots=True)
class Tagger:
    """Makes and reads tags.  The first secret signs, all of them verify: put a new one in front, drop the old later."""

    secrets: tuple[bytes, ...] = field(repr=False)

    def __post_init__(self) -> None:
        if not self.secrets or any(len(secret) < MIN_SECRET_BYTES for secret in self.secrets):
            raise ValueError(f"a tagger needs secrets of {MIN_SECRET_BYTES} bytes or more")

    def bounce(self, group_id: int, delivery_id: int) -> str:
        """The tag in a copy's return path, `g-bounces+<tag>@`."""
        return self._tag("bounce", group_id, delivery_id)

    def read_bounce(self, group_id: int, text: str) -> int | None:
        """The delivery, or None when the tag is not ours, or not this group's."""
        return self._read("bounce", group_id, text)

    def leave(self, group_id: int, mailbox_id: int) -> str:
        """The tag of a member's one-click link and of `g-unsubscribe+<tag>@` (RFC 8058, RFC 2369 §3.2)."""
        return self._tag("leave", group_id, mailbox_id)

    def read_leave(self, group_id: int, text: str) -> int | None:
        """The mailbox, or None when the tag is not ours, or not this group's."""
        return self._read("leave", group_id, text)

    def loop_guard(self, list_id: str) -> str:
        """What our loop header says of a group: whoever shows it carries a copy that we made."""
        return _encoded(_guard(self.secrets[0], list_id))

    def hashes(self, purpose: str, text: str) -> tuple[bytes, ...]:
        """Keyed hashes of a text, that of the newest secret first: what the database may know instead of it."""
        message = purpose.encode("ascii") + b"\0" + text.encode()
        return tuple(hmac.digest(secret, message, "sha256") for secret in self.secrets)

    def _tag(self, purpose: str, group_id: int, id: int) -> str:
        if not 0 <= id <= MAX_ID:
            raise ValueError(f"{id} does not fit into a tag")
        packed = id.to_bytes(_ID_BYTES)
        return _encoded(packed + _mac(self.secrets[0], purpose, group_id, packed))

    def _read(self, purpose: str, group_id: int, text: str) -> int | None:
        payload = _decoded(text, _ID_BYTES + _MAC_BYTES)
        if payload is None:
            return None
        packed, mac = payload[:_ID_BYTES], payload[_ID_BYTES:]
        ours = _any_equal(mac, [_mac(secret, purpose, group_id, packed) for secret in self.secrets])
        return int.from_bytes(packed) if ours else None


def token(random: bytes) -> str:
    """A token out of 17 bytes from a cryptographic generator; the last six of their 136 bits fall away."""
    if len(random) != TOKEN_RANDOM_BYTES:
        raise ValueError(f"a token is made of {TOKEN_RANDOM_BYTES} bytes, not of {len(random)}")
    return _encoded(random)[:TOKEN_CHARACTERS]


def read_token(text: str) -> str | None:
    """The token in its only form, or None when it cannot be one."""
    token = text.lower()
    fits = (
        text.isascii() and len(text) == TOKEN_CHARACTERS and set(token) <= _ALPHABET
    )  # the Kelvin sign's lower case is k
    return token if fits else None


def digest(token: str) -> bytes:
    """What the database knows a token by: SHA-256 of its only form.  ValueError for what `read_token` refuses."""
    canonical = read_token(token)
    if canonical is None:
        raise ValueError("not a token")
    return hashlib.sha256(canonical.encode("ascii")).digest()


def _mac(secret: bytes, purpose: str, group_id: int, packed: bytes) -> bytes:
    state = _begun(secret, purpose, group_id).copy()
    state.update(packed)
    return state.digest()[:_MAC_BYTES]


@lru_cache(1024)  # every copy bears two tags, and all copies of a group begin alike
def _begun(secret: bytes, purpose: str, group_id: int) -> hmac.HMAC:
    """Every part has a fixed length or an end that cannot occur in it, so no two meanings share their bytes."""
    return hmac.new(secret, purpose.encode("ascii") + b"\0" + group_id.to_bytes(8), "sha256")


def _guard(secret: bytes, list_id: str) -> bytes:
    return hmac.digest(secret, b"loop\0" + list_id.lower().encode(), "sha256")[:_GUARD_BYTES]


def _any_equal(shown: bytes, expected: list[bytes]) -> bool:
    """In a time that does not tell which, nor how much of it was right."""
    return any([hmac.compare_digest(shown, one) for one in expected])  # noqa: C419 - a list: all are compared


def _encoded(payload: bytes) -> str:
    """Five times as fast as `base64.b32encode`, which is written in Python: every copy bears two tags."""
    bits = len(payload) * 8
    characters = (bits + 4) // 5
    padded = (characters + 1) // 2 * 10
    number = int.from_bytes(payload) << (padded - bits)
    return "".join([_PAIRS[number >> at & 1023] for at in range(padded - 10, -1, -10)])[:characters]


def _decoded(text: str, octets: int) -> bytes | None:
    """The bytes that `text` is the one spelling of, but for its case.

    Encoding again refuses the others: bits set beyond the last byte (RFC 4648 §3.5), and letters like “ſ” whose
    capital is an ASCII one.
    """
    if len(text) != (octets * 8 + 4) // 5:
        return None
    try:
        payload = b32decode(text.upper() + "=" * (-len(text) % 8))
    except ValueError:
        return None
    return payload if _encoded(payload) == text.lower() else None
