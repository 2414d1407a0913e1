"""The DKIM signature of a stamp: what an edition's copies have in common is hashed once, the rest once per copy.

    prepared = Signer(key, "lists.example.org", "ls1").prepare(fields of the edition, its body)
    field = prepared.sign(fields of the stamp, at)

    form = prepared.form(fields of the stamp with a gap in them, gap)     where thousands differ in one word
    field = form.sign(word, at)

SIGNED is the list of header fields that we vouch for.  Trace fields are not in it, because others add to them.

Sources: RFC 6376 (§3.4.2 relaxed header, §3.4.3 simple body, §3.5 the field, §3.6.1 the key record, §3.7 the hash,
§5.4.2 fields that occur more than once, §8.15 fields added later), RFC 8301 (SHA-256, 1024 to 4096 bits),
RFC 8058 §4 (both List-Unsubscribe fields are covered).  `simple` for the body, because its cost does not depend
on what stands in it.

Pure, but for `new_key`: its chance is OpenSSL's own.
"""

import hashlib
import re
from base64 import b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol, Self

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

from listserv.mail.message import Field
from listserv.model.address import domain_name

# Once more than they occur (“oversigned”): none of them can be added to a copy that is sent again by others.
OVERSIGNED = (
    *("from", "subject", "to", "cc", "reply-to"),
    *("mime-version", "content-type", "content-transfer-encoding"),
    *("list-id", "list-unsubscribe", "list-unsubscribe-post"),
)
# As often as they occur.
SIGNED = frozenset(OVERSIGNED) | {
    *("date", "message-id", "in-reply-to", "references", "auto-submitted"),
    *("content-id", "content-description", "content-disposition", "content-language"),
    *("list-help", "list-post", "list-owner", "list-subscribe", "list-archive", "archived-at", "feedback-id"),
    "x-original-from",
}

NEW_KEY_BITS = 2048
_KEY_BITS = range(1024, 4097)  # RFC 8301 §3.2: what every verifier has to accept
_FOLD_AT = 76
_SIGNATURE_LINE = 72  # base64 characters
_TXT_STRING = 255  # RFC 1035 §3.3: octets of one string in a TXT record

_TIME = b"t=1000000000;"  # stands for any: they have ten digits from 2001 to 2286, so lines are folded alike
_PADDING, _PREHASHED = PKCS1v15(), Prehashed(hashes.SHA256())

_BLANKS = re.compile(rb"[ \t]+")


class _Hash(Protocol):
    """What `hashlib` gives: it has no name for its type."""

    def update(self, data: bytes | memoryview, /) -> None: ...
    def digest(self) -> bytes: ...
    def copy(self) -> Self: ...


@dataclass(frozen=True, slots=True)
class Signer:
    """A key and where its public half is published: `selector._domainkey.domain`.  Threads may share it."""

    key: RSAPrivateKey = field(repr=False)
    domain: str
    selector: str

    def __post_init__(self) -> None:
        for name in (self.domain, self.selector):
            if domain_name(name) != name:
                raise ValueError(f"{name!r} is not a domain name in lower case and ASCII")
        _check(self.key)

    def prepare(self, fields: Sequence[Field], body: bytes) -> "Prepared":
        """Everything that copies with this header, from the top, and this body have in common."""
        signed = _signed(fields)
        constant = hashlib.sha256(b"".join(map(relaxed, signed)))
        return Prepared(self, b64encode(body_hash(body)).decode(), constant, tuple(each.name for each in signed))


@dataclass(frozen=True, slots=True)
class Prepared:
    """An edition that waits for its stamps.  Threads may share it."""

    signer: Signer
    body_hash: str
    constant: _Hash
    names: tuple[str, ...]

    def sign(self, fields: Sequence[Field], at: datetime) -> bytes:
        """The whole DKIM-Signature field with its line end, for a copy that also has these fields, from the top.

        The copy may have them anywhere in its header.  ValueError for a name that the edition has too: then it
        would depend on their places which of them was meant.
        """
        return self.form(fields, b"\n\n").sign(b"", at)

    def form(self, fields: Sequence[Field], gap: bytes) -> "Form":
        """For copies whose fields differ in one word only, which has no blanks: it stands where `gap` is in these.

        ValueError as for `sign`.
        """
        signed = _signed(fields)
        names = [each.name for each in signed]
        if shared := set(names).intersection(self.names):
            raise ValueError(f"in the edition and in the stamp: {', '.join(sorted(shared))}")
        unsigned = self._unsigned([*self.names, *names, *OVERSIGNED])
        hashed = relaxed(Field("dkim-signature", unsigned))[:-2]  # RFC 6376 §3.7: without its line end
        stamp = b"".join(map(relaxed, signed))
        return Form(self, tuple(stamp.split(gap)), tuple(unsigned.split(_TIME, 1)), tuple(hashed.split(_TIME, 1)))

    def _unsigned(self, names: Sequence[str]) -> bytes:
        """The field up to the place where its signature goes, with _TIME in it."""
        tags = ["v=1", "a=rsa-sha256", "c=relaxed/simple", f"d={self.signer.domain}", f"s={self.signer.selector}"]
        pieces = [*(f" {tag};" for tag in tags), f" {_TIME.decode()}"]
        pieces += [f" h={names[0]}:", *(f"{name}:" for name in names[1:-1]), f"{names[-1]};"]
        pieces += [f" bh={self.body_hash};"]
        return _folded("DKIM-Signature:", pieces).encode("ascii") + b"\r\n\tb="


@dataclass(frozen=True, slots=True)
class Form:
    """Everything but one word, the time and the signature itself is as it will be hashed.  Threads may share it."""

    prepared: Prepared
    stamp: tuple[bytes, ...]  # its signed fields in relaxed form, around the word
    field: tuple[bytes, ...]  # ours as it is written, around the time
    hashed: tuple[bytes, ...]  # the same in relaxed form

    def sign(self, word: bytes, at: datetime) -> bytes:
        """As `Prepared.sign`, for the copy that has `word` in the gap."""
        if at.tzinfo is None:
            raise ValueError(f"{at} has no time zone")
        time = b"t=%d;" % at.timestamp()
        state = self.prepared.constant.copy()
        state.update(word.join(self.stamp) + time.join(self.hashed))
        signature = b64encode(self.prepared.signer.key.sign(state.digest(), _PADDING, _PREHASHED))
        lines = [signature[start : start + _SIGNATURE_LINE] for start in range(0, len(signature), _SIGNATURE_LINE)]
        return time.join(self.field) + b"\r\n\t".join(lines) + b"\r\n"


def relaxed(raw: Field) -> bytes:
    """RFC 6376 §3.4.2: the name in lower case, the value unfolded, blanks made one, none at either end.  Linear."""
    return raw.name.encode("ascii") + b":" + _BLANKS.sub(b" ", raw.value) + b"\r\n"


def body_hash(body: bytes) -> bytes:
    """SHA-256 of the body in the simple form: one line end in place of all at its end (RFC 6376 §3.4.3).  Linear."""
    end = len(body.rstrip(b"\r\n"))
    rest = body[end:].replace(b"\r\n", b"\0\0")  # pairs only: a CR or LF alone ends no line
    end += len(rest.rstrip(b"\0"))
    state = hashlib.sha256(memoryview(body)[:end])
    state.update(b"\r\n")
    return state.digest()


def new_key() -> bytes:
    """A fresh RSA key, PKCS#8 in PEM, not encrypted."""
    key = generate_private_key(public_exponent=65537, key_size=NEW_KEY_BITS)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def load_key(pem: bytes) -> RSAPrivateKey:
    """The key in a PEM file, PKCS#8 or PKCS#1; ValueError says in words what is wrong with it.  Takes 30 ms."""
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except TypeError as fault:
        raise ValueError("the private key is encrypted; it must not be") from fault
    except (ValueError, UnsupportedAlgorithm) as fault:
        raise ValueError("not a private key in PEM form") from fault
    if not isinstance(key, RSAPrivateKey):
        raise ValueError("not an RSA key; many receivers verify no other kind")
    _check(key)
    return key


def dns_name(domain: str, selector: str) -> str:
    """Where the record is looked for (RFC 6376 §3.6.2.1)."""
    return f"{selector}._domainkey.{domain}"


def dns_record(key: RSAPrivateKey) -> str:
    """The TXT record's value without quotation marks."""
    public = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return f"v=DKIM1; k=rsa; p={b64encode(public).decode()}"


def zone_line(key: RSAPrivateKey, domain: str, selector: str) -> str:
    """The record as a line of a zone file, in strings of at most 255 octets, which a resolver joins again."""
    record = dns_record(key)
    strings = [f'"{record[at : at + _TXT_STRING]}"' for at in range(0, len(record), _TXT_STRING)]
    return f"{dns_name(domain, selector)}. IN TXT ( {' '.join(strings)} )"


def _check(key: RSAPrivateKey) -> None:
    if key.key_size not in _KEY_BITS:
        raise ValueError(f"an RSA key of {key.key_size} bits; receivers accept 1024 to 4096")


def _signed(fields: Iterable[Field]) -> list[Field]:
    """Those that are SIGNED, in the order in which they are hashed: the lowest first (RFC 6376 §5.4.2)."""
    return [each for each in fields if each.name in SIGNED][::-1]


def _folded(first: str, pieces: Iterable[str]) -> str:
    """One field in lines; it may be folded before each of the pieces."""
    lines = [first]
    for piece in pieces:
        if len(lines[-1]) + len(piece) > _FOLD_AT:
            lines.append("\t" + piece.lstrip(" "))
        else:
            lines[-1] += piece
    return "\r\n".join(lines)
