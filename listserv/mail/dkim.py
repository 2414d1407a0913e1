"""DKIM: which domains signed this message, and whether it still is what they signed.

dkimpy reads signatures and hashes headers; `cryptography` verifies.  The body is hashed here, in time linear in its
length and in small steps: dkimpy's relaxed form takes time quadratic in runs of blanks.  Bodies are hashed once for all
signatures, keys are read once for all messages.

A valid signature counts only if it covers the whole body and the only From, by SHA-256 and a key of 1024 bits or more.

Sources: RFC 6376 (§3.2 tags, §3.4 canonical forms, §3.5 the field, §3.6.1 the key record, §6.1 verifying), RFC 8301
(algorithms, key sizes), RFC 8463 (Ed25519), RFC 8601 §2.7.1 (names of results).
"""

import hashlib
import re
from base64 import b64decode
from binascii import Error as NotBase64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Final

import dkim
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from dkim.canonicalization import CanonicalizationPolicy, InvalidCanonicalizationPolicyError
from dkim.util import InvalidTagValueList, parse_tag_value

from listserv.mail.lookups import Ask, Question, Silence
from listserv.mail.message import Field, Message
from listserv.model.address import domain_name

MAX_SIGNATURES = 5  # verified in one message; the author's own come first
_MAX_FIELD = 8_192  # octets of a signature
_MAX_NAMES = 256  # signed header fields
_ONCE = (b"from", b"subject", b"to", b"cc", b"date", b"reply-to", b"content-type")  # RFC 5322 §3.6: at most one
_VOUCHED = ("from", "subject", "to", "date")  # what a signature has to cover to speak for an author
_MAX_RECORD = 4_096  # octets of a key record
_KEY_BITS = range(1024, 8193)  # RFC 8301 §3.2: 1024 to 4096 have to be verified, more may be
_CHUNK = 65_536  # octets of a body hashed at a time: other threads run in between
_LATE: Final = 300  # seconds that clocks may differ

_TIMES = (b"t", b"x")  # judged by the clock that we are given: dkimpy looks at the system's
_GAP = re.compile(rb"[ \t\r\n]{81}")  # no honest folding; dkimpy's patterns take quadratic time on it
_BLANKS = re.compile(rb"[ \t]+")
_VALUE = re.compile(
    rb"([;\s]b\s*=)(?:[\sA-Za-z0-9+/=]*[A-Za-z0-9+/=])?(?:\r?\n\Z)?"
)  # that of b=, and what is before it
_LINE_END = re.compile(rb"\r?\n")
_SIMPLE = CanonicalizationPolicy.from_c_value(b"simple/simple")
_SELECTOR = re.compile(r"[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*\Z")
_SHA256 = Prehashed(hashes.SHA256())

Key = RSAPublicKey | Ed25519PublicKey


@dataclass(frozen=True, slots=True)
class Signature:
    """A DKIM-Signature field; `fault` says why it counts for nothing, whatever the DNS says."""

    field: Field
    domain: str = ""
    selector: str = ""
    tags: Mapping[bytes, bytes] | None = None
    fault: str = ""
    result: str = "neutral"  # what it is when there is a fault

    @property
    def question(self) -> Question:
        """Where its key is (RFC 6376 §3.6.2.1)."""
        return Question(f"{self.selector.lower()}._domainkey.{self.domain}", "TXT")

    def covers(self, message: Message) -> bool:
        """Nothing that decides what the message does can be changed or added without breaking the signature."""
        signed = {name.strip().lower() for name in (self.tags or {}).get(b"h", b"").split(b":")}
        return all(name.encode() in signed for name in _VOUCHED if message.first(name) is not None)

    @property
    def beginning(self) -> str:
        """By which it can be told from others (RFC 6008)."""
        value = re.sub(rb"\s+", b"", (self.tags or {}).get(b"b", b""))
        return value[:8].decode("ascii", "replace")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a signature: the result as RFC 8601 names it, and why in a few words."""

    signature: Signature
    result: str
    why: str = ""

    @property
    def is_in_doubt(self) -> bool:
        return self.result == "temperror"


@dataclass(frozen=True, slots=True)
class Body:
    """A body in both canonical forms: its SHA-256 and its length in octets."""

    relaxed: tuple[bytes, int] = (b"", 0)
    simple: tuple[bytes, int] = (b"", 0)


class _BadKey(Exception):
    """Why a key record holds no key that counts, and the result that follows."""

    def __init__(self, why: str, result: str = "permerror") -> None:
        super().__init__(why)
        self.result = result


def signatures(message: Message, domain: str) -> tuple[Signature, ...]:
    """The first MAX_SIGNATURES from the top; those that may speak for the author's `domain` before others."""
    fields = message.all("dkim-signature")[: 4 * MAX_SIGNATURES]
    found = [_signature(field) for field in fields]
    end = ".".join(domain.split(".")[-2:])
    found.sort(key=lambda each: not (each.domain == end or each.domain.endswith(f".{end}")))
    return tuple(found[:MAX_SIGNATURES])


def hashed(message: Message, found: Sequence[Signature]) -> Body:
    """The hashes that these signatures need; takes 50 ms for a megabyte in the relaxed form."""
    forms = {_forms(each)[1] for each in found if not each.fault}
    body = memoryview(message.raw)[message.body_at :]
    return Body(relaxed(body) if "relaxed" in forms else (b"", 0), simple(body) if "simple" in forms else (b"", 0))


def verify(message: Message, signature: Signature, body: Body, at: datetime, ask: Ask) -> Verdict:
    """What this signature is worth.  Raises Missing."""
    tags = signature.tags
    if signature.fault or tags is None:
        return Verdict(signature, signature.result, signature.fault)
    known = ask(signature.question)
    if isinstance(known, Silence):
        return Verdict(signature, "temperror", known.why)
    record = next((text for text in known.texts if b"p=" in text.replace(b" ", b"")), b"")
    try:
        _fits(record, tags)
        key = _key(record)
    except _BadKey as fault:
        return Verdict(signature, fault.result, str(fault))
    if int(tags.get(b"x", b"0") or 0) and int(tags[b"x"]) + _LATE < at.timestamp():
        return Verdict(signature, "fail", "it has expired")
    digest, length = body.relaxed if _forms(signature)[1] == "relaxed" else body.simple
    covered = int(tags.get(b"l", length))
    if covered < length:
        return Verdict(signature, "policy", "it covers only the beginning of the body")
    if covered > length or digest != _decoded(tags[b"bh"]):
        return Verdict(signature, "fail", "the body was changed")
    if not _is_by(key, _decoded(tags[b"b"]), _header_hash(message, signature)):
        return Verdict(signature, "fail", "the header was changed, or another key signed it")
    return Verdict(signature, "pass")


def relaxed(body: bytes | memoryview) -> tuple[bytes, int]:
    """RFC 6376 §3.4.4, of a body whose lines end with CRLF."""
    state, length, ends, at = hashlib.sha256(), 0, 0, 0
    raw = memoryview(body)
    while at < len(raw):
        piece, at = _piece(raw, at)
        piece = _compressed(piece).replace(b" \r\n", b"\r\n")
        text = _end_of_text(piece)
        if text:
            state.update(b"\r\n" * ends)
            state.update(piece[:text])
            length, ends = length + 2 * ends + text, 0
        ends += (len(piece) - text) // 2
    if length:
        state.update(b"\r\n")
    return state.digest(), length + 2 * bool(length)


def _compressed(text: bytes) -> bytes:
    """With one space for each run of blanks."""
    return _BLANKS.sub(b" ", text) if b"  " in text or b"\t" in text else text


def simple(body: bytes | memoryview) -> tuple[bytes, int]:
    """RFC 6376 §3.4.3."""
    raw = memoryview(body)
    end = len(raw)
    while end >= 2 and raw[end - 2] == 13 and raw[end - 1] == 10:
        end -= 2
    state = hashlib.sha256(raw[:end])
    state.update(b"\r\n")
    return state.digest(), end + 2


def _piece(raw: memoryview, at: int) -> tuple[bytes, int]:
    """Whole lines of about _CHUNK octets, and where the next piece begins."""
    piece = bytes(raw[at : at + _CHUNK])
    end = at + len(piece)
    while end < len(raw) and not piece.endswith(b"\n"):
        more = bytes(raw[end : end + _CHUNK])
        cut = more.find(b"\n") + 1 or len(more)
        piece, end = piece + more[:cut], end + cut
    return piece, end


def _end_of_text(piece: bytes) -> int:
    """The octets before the line ends at its end."""
    end = len(piece.rstrip(b"\r\n"))
    ends = piece[end:].replace(b"\r\n", b"\0\0")  # pairs only: a CR or LF alone ends no line
    return end + len(ends.rstrip(b"\0"))


def _signature(field: Field) -> Signature:
    """Read, with every fault that can be seen without the DNS."""
    if len(field.raw) > _MAX_FIELD or _GAP.search(field.raw):
        return Signature(field, fault="it is too long to be looked at")
    try:
        tags = parse_tag_value(field.value)
        dkim.validate_signature_fields({name: value for name, value in tags.items() if name not in _TIMES})
        domain, selector = domain_name(tags[b"d"].decode()), tags[b"s"].decode()
        signed = [name.strip().lower() for name in tags[b"h"].split(b":")]
        CanonicalizationPolicy.from_c_value(tags.get(b"c", b"simple/simple"))
        int(tags.get(b"l", b"0"))
        made, ends = (int(tags.get(name, b"0").decode("ascii")) for name in _TIMES)
        if b"x" in tags and not 0 <= made <= ends:
            return Signature(field, fault="it ends before it begins")
    except (InvalidTagValueList, InvalidCanonicalizationPolicyError, dkim.DKIMException, ValueError, LookupError):
        return Signature(field, fault="it cannot be read")
    if domain is None or not _SELECTOR.match(selector):
        return Signature(field, fault="its domain or selector is no name")
    read = Signature(field, domain, selector, tags)
    if tags[b"a"] == b"rsa-sha1":
        return Signature(field, domain, selector, tags, "SHA-1 counts for nothing any more (RFC 8301)", "policy")
    if b"from" not in signed or len(signed) > _MAX_NAMES:
        return Signature(field, domain, selector, tags, "it does not sign From, or too much", "permerror")
    return read


def _forms(signature: Signature) -> tuple[str, str]:
    """The canonical forms of header and body, simple where c= does not say (RFC 6376 §3.5)."""
    header, _, body = (signature.tags or {}).get(b"c", b"simple").decode("ascii").partition("/")
    return header, body or "simple"


@lru_cache(maxsize=1_024)
def _key(record: bytes) -> Key:
    """The key in this record; raises _BadKey."""
    tags = _record(record)
    kind = tags.get(b"k", b"rsa")
    raw = _decoded(tags[b"p"])
    try:
        if kind == b"ed25519":
            return Ed25519PublicKey.from_public_bytes(raw)
        key = serialization.load_der_public_key(raw) if kind == b"rsa" else None
    except (ValueError, UnsupportedAlgorithm):
        raise _BadKey("its key cannot be read, or is too short") from None
    if not isinstance(key, RSAPublicKey):
        raise _BadKey("its key is of a kind that nobody knows")
    if key.key_size not in _KEY_BITS:
        raise _BadKey(f"its key has {key.key_size} bits; 1024 are the least (RFC 8301)", "policy")
    return key


@lru_cache(maxsize=1_024)
def _record(record: bytes) -> Mapping[bytes, bytes]:
    """The tags of a key record (RFC 6376 §3.6.1); raises _BadKey."""
    if not record:
        raise _BadKey("there is no key in the DNS")
    if len(record) > _MAX_RECORD:
        raise _BadKey("its key record is too long")
    try:
        tags: Mapping[bytes, bytes] = parse_tag_value(record)
    except InvalidTagValueList:
        raise _BadKey("its key record cannot be read") from None
    services = [each.strip() for each in tags.get(b"s", b"*").split(b":")]
    if tags.get(b"v", b"DKIM1") != b"DKIM1" or not {b"*", b"email"}.intersection(services):
        raise _BadKey("its key is for something else")
    if b"sha256" not in [each.strip() for each in tags.get(b"h", b"sha256").split(b":")]:
        raise _BadKey("its key is for other hashes")
    if not tags.get(b"p"):
        raise _BadKey("its key is withdrawn")
    return tags


def _fits(record: bytes, tags: Mapping[bytes, bytes]) -> None:
    """Raises _BadKey when the key is not for this signature."""
    known = _record(record)
    if not tags[b"a"].startswith(known.get(b"k", b"rsa") + b"-"):
        raise _BadKey("its key is of another kind")
    flags = [each.strip() for each in known.get(b"t", b"").split(b":")]
    if b"s" in flags and b"i" in tags and tags[b"i"].rpartition(b"@")[2].lower() != tags[b"d"].lower():
        raise _BadKey("its key is not for subdomains")


def _header_hash(message: Message, signature: Signature) -> bytes:
    """SHA-256 of the signed fields and of the signature without its value (RFC 6376 §3.7)."""
    assert signature.tags is not None
    names = [name.strip().lower() for name in signature.tags[b"h"].split(b":")]
    # One more than was signed breaks the signature (RFC 6376 §8.15): readers may take the other one for the author's.
    names += [name for name in _ONCE if name in names]
    if _forms(signature)[0] == "relaxed":
        return hashlib.sha256(_relaxed_header(message, signature, names)).digest()
    wanted = {name.decode("latin-1") for name in names}
    signed = [_pair(each) for each in message.fields if each.name in wanted]
    state = hashlib.sha256()
    dkim.hash_headers(state, _SIMPLE, signed, names, _pair(signature.field), signature.tags)
    return state.digest()


def _relaxed_header(message: Message, signature: Signature, names: Sequence[bytes]) -> bytes:
    """What is hashed in this form: of fields of one name the last first (RFC 6376 §3.4.2, §5.4.2)."""
    left: dict[str, list[bytes]] = {}
    for field in message.fields:
        left.setdefault(field.name, []).append(field.raw)
    chosen = ((name, left[key].pop()) for name in names if left.get(key := name.decode("latin-1")))
    lines = [b"%b:%b\r\n" % (name, _relaxed_value(raw.partition(b":")[2])) for name, raw in chosen]
    own = signature.field
    unsigned = _relaxed_value(_VALUE.sub(rb"\1", _pair(own)[1]))
    return b"".join(lines) + b"%b:%b" % (own.name.encode("ascii"), unsigned)


def _relaxed_value(content: bytes) -> bytes:
    line = content.strip()
    return _compressed(_LINE_END.sub(b"", line) if b"\n" in line else line)


def _pair(field: Field) -> tuple[bytes, bytes]:
    name, _, content = field.raw.partition(b":")
    return name, content if content.endswith(b"\n") else content + b"\r\n"


def _is_by(key: Key, signature: bytes, digest: bytes) -> bool:
    try:
        if isinstance(key, RSAPublicKey):
            key.verify(signature, digest, PKCS1v15(), _SHA256)
        else:
            key.verify(signature, digest)  # RFC 8463 §3: of the hash
    except InvalidSignature:
        return False
    return True


def _decoded(value: bytes) -> bytes:
    try:
        return b64decode(re.sub(rb"\s+", b"", value))
    except (NotBase64, ValueError):
        return b""
