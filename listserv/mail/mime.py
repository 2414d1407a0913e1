"""The parts of a message and where they stand in its body: offsets, nothing copied, nothing decoded.

Promises: one pass over the body, no recursion, caps on everything; what is beyond a cap or has no one meaning is
Opaque, and a Content-Type that two readers could understand differently makes a part of no type ("").  Attached
messages (message/rfc822) are not looked into.

Sources: RFC 2045 (fields), RFC 2046 §5.1 (multipart), RFC 2183 (disposition), RFC 3676 (format=flowed).
"""

import binascii
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from listserv.mail import message, words
from listserv.mail.message import Field, Message

MAX_DEPTH = 100  # Postfix's mime_nesting_limit; honest mail has 6
MAX_PARTS = 1_000
MAX_DELIMITERS = 100_000  # lines that begin with two dashes
MAX_PARAMETERS = 100
MAX_TEXT = 262_144  # octets of a text that are decoded to be read
_MAX_BOUNDARY = 250  # RFC 2046 §5.1.1 says 70; longer ones exist

_TYPE = re.compile(r"[ \t]*+([A-Za-z0-9!#$&^_.+-]++/[A-Za-z0-9!#$&^_.+-]++)[ \t]*+(?:\([^()]*+\)[ \t]*+)*+(?=;|\Z)")
_PARAMETER = re.compile(r'([^ \t=;"()]++)[ \t]*+=[ \t]*+(?:"((?:[^"\\]++|\\.)*+)"|([^ \t;"()]++))', re.DOTALL)
_BLANK = re.compile(r"[ \t;]*+(?:\([^()]*+\)[ \t;]*+)*+")
_WORD = re.compile(r"[^;\"]*+")


@dataclass(frozen=True, slots=True)
class Part:
    """One part; all offsets count from the beginning of the body that was walked.

    start     where its header begins; for the whole message 0, as its header stands elsewhere
    body_at   where its content begins
    end       where its content ends: before the line end that belongs to the next boundary
    close_at  of a multipart: where the line of its final boundary begins; None when there is none
    """

    fields: tuple[Field, ...]
    type: str  # "text/plain", in lower case; "" when it has no one meaning
    parameters: Mapping[str, str]
    start: int
    body_at: int
    end: int
    close_at: int | None = None
    children: tuple["Part", ...] = ()

    @property
    def encoding(self) -> str:
        """The transfer encoding in lower case; "7bit" when none is given, "" when there are two."""
        return _only(self.fields, "content-transfer-encoding", "7bit")

    @property
    def charset(self) -> str:
        return self.parameters.get("charset", "us-ascii")

    @property
    def boundary(self) -> bytes:
        """Of a multipart; b"" when there is none that could be looked for."""
        if not self.type.startswith("multipart/"):
            return b""
        named = self.parameters.get("boundary", "").rstrip(" ").encode("latin-1", "replace")
        return named if len(named) <= _MAX_BOUNDARY else b""

    @property
    def flowed(self) -> bool:
        return self.parameters.get("format", "").lower() == "flowed"

    @property
    def attached(self) -> bool:
        """Meant to be saved, not to be read in its place."""
        return _only(self.fields, "content-disposition", "inline") != "inline"


@dataclass(frozen=True, slots=True)
class Opaque:
    """Why the body is one lump to us."""

    reason: str


@dataclass(frozen=True, slots=True)
class Texts:
    """What a person reads first, decoded, at most MAX_TEXT octets of each; "" where there is none."""

    plain: str
    html: str


@dataclass(slots=True)
class _Open:
    """A part whose end has not been seen."""

    part: Part
    close_at: int | None = None
    children: list[Part] = field(default_factory=list)


def walk(fields: Sequence[Field], body: bytes) -> Part | Opaque:
    """The whole message as a part, with all its parts inside."""
    path: list[_Open] = []  # from the whole message to the innermost part that is open
    boundaries: dict[bytes, int] = {}  # of the multiparts on the path that are not closed: place in the path
    _enter(path, boundaries, _part(fields, 0, 0, whole=True))
    parts = 1
    for seen, (line_at, line, next_at) in enumerate(_delimiters(body)):
        final = line not in boundaries
        place = boundaries.get(line[:-2] if final and line.endswith(b"--") else line)
        if seen == MAX_DELIMITERS:
            return Opaque(f"more than {MAX_DELIMITERS} lines that look like boundaries")
        if place is None:
            continue
        if line_at < path[-1].part.body_at:
            return Opaque("a boundary inside a header")
        _leave(path, boundaries, place + 1, _before(body, line_at))
        if final:
            path[place].close_at = line_at
            del boundaries[path[place].part.boundary]
            continue
        parts += 1
        inner = _read(body, next_at, path[place].part)
        if inner is None or parts > MAX_PARTS or len(path) >= MAX_DEPTH:
            return Opaque("too many parts, too deep, or a header beyond the limits")
        if not _enter(path, boundaries, inner):
            return Opaque("a boundary that is used twice")
    _leave(path, boundaries, 1, len(body))
    return _ended(path[0], len(body))


def parts(root: Part) -> Iterator[Part]:
    """The part and all parts inside, in the order of the message."""
    waiting = [root]
    while waiting:
        part = waiting.pop()
        yield part
        waiting += reversed(part.children)


def text_parts(post: Message) -> Texts:
    """The first text/plain and the first text/html that are not attachments."""
    body = post.body
    root = walk(post.fields, body)
    if isinstance(root, Opaque):
        return Texts("", "")
    found: dict[str, str] = {}
    for part in parts(root):
        if part.type in ("text/plain", "text/html") and part.type not in found and not part.attached:
            found[part.type] = text(part, body)
    return Texts(found.get("text/plain", ""), found.get("text/html", ""))


def text(part: Part, body: bytes, limit: int = MAX_TEXT) -> str:
    """The first `limit` octets of a text part, decoded; what cannot be decoded becomes U+FFFD."""
    encoded = body[part.body_at : min(part.end, part.body_at + 3 * limit)]
    return words.decode(decoded(encoded, part.encoding)[:limit], part.charset)


def decoded(content: bytes, encoding: str) -> bytes:
    """Without its transfer encoding, as far as that can be understood."""
    if encoding == "base64":
        return words.loose_base64(content)
    return binascii.a2b_qp(content) if encoding == "quoted-printable" else content


def content_type(value: bytes) -> tuple[str, dict[str, str]]:
    """Type and parameters of a Content-Type, names in lower case; ("", {}) when it has no one meaning."""
    line = value.decode("latin-1")
    kind = _TYPE.match(line)
    if kind is None:
        return "", {}
    parameters: dict[str, str] = {}
    at = _skip(_BLANK, line, kind.end())
    while at < len(line):
        found = _PARAMETER.match(line, at)
        if found is None:
            at = _skip(_WORD, line, at)  # a word that is no parameter is passed over, an open quote is not
            if line.startswith('"', at):
                return "", {}
        elif found[1].lower() in parameters or len(parameters) == MAX_PARAMETERS:
            return "", {}
        else:
            quoted = re.sub(r"\\(.)", r"\1", found[2] or "", flags=re.DOTALL)
            parameters[found[1].lower()] = found[3] or quoted
            at = found.end()
        at = _skip(_BLANK, line, at)
    return kind[1].lower(), parameters


def _skip(pattern: re.Pattern[str], line: str, at: int) -> int:
    found = pattern.match(line, at)
    return found.end() if found else at


def _delimiters(body: bytes) -> Iterator[tuple[int, bytes, int]]:
    """Lines that begin with `--`: where, what follows the dashes, and where the next line begins."""
    at = 0 if body.startswith(b"--") else body.find(b"\n--") + 1
    while body.startswith(b"--", at):
        end = body.find(b"\n", at) + 1 or len(body)
        if end - at <= _MAX_BOUNDARY + 10:
            yield at, body[at + 2 : end].rstrip(b" \t\r\n"), end
        at = body.find(b"\n--", end - 1) + 1 or len(body)


def _read(body: bytes, at: int, outer: Part) -> Part | None:
    """The part whose header begins there, its end unknown; None when the header breaks a limit."""
    head = message.parse(body[at : at + message.MAX_HEADER_BYTES + 4])
    if head.fault:
        return None
    default = "message/rfc822" if outer.type == "multipart/digest" else "text/plain"
    return _part(head.fields, at, at + head.body_at, whole=head.complete, default=default)


def _part(fields: Sequence[Field], start: int, body_at: int, whole: bool, default: str = "text/plain") -> Part:
    types = [each for each in fields if each.name == "content-type"]
    kind: tuple[str, dict[str, str]] = (default, {})
    if not whole or len(types) > 1:
        kind = ("", {})
    elif types:
        kind = content_type(types[0].value)
    return Part(tuple(fields), *kind, start, body_at, body_at)


def _enter(path: list[_Open], boundaries: dict[bytes, int], part: Part) -> bool:
    """Open the part at the end of the path, unless its boundary would be understood in two ways."""
    if part.boundary in boundaries:
        return False
    if part.boundary:
        boundaries[part.boundary] = len(path)
    path.append(_Open(part))
    return True


def _leave(path: list[_Open], boundaries: dict[bytes, int], place: int, end: int) -> None:
    """End the parts from that place of the path on, the innermost first, and hang each into its parent."""
    while len(path) > place:
        inner = path.pop()
        boundaries.pop(inner.part.boundary, None)
        path[-1].children.append(_ended(inner, end))


def _ended(open_: _Open, end: int) -> Part:
    """The part with its end, which an empty last part may push beyond the boundary's line end."""
    inside = open_.children[-1].end if open_.children else open_.part.body_at
    return replace(open_.part, end=max(inside, end), close_at=open_.close_at, children=tuple(open_.children))


def _before(body: bytes, line_at: int) -> int:
    """Where the line end before a boundary's line begins; it belongs to the boundary (RFC 2046 §5.1.1)."""
    for line_end in (b"\r\n", b"\n"):
        if body.endswith(line_end, 0, line_at):
            return line_at - len(line_end)
    return line_at


def _only(fields: Sequence[Field], name: str, default: str) -> str:
    """The first word of the one field of that name."""
    values = [each.value for each in fields if each.name == name]
    if len(values) > 1:
        return ""
    return values[0].decode("latin-1").partition(";")[0].strip().lower() if values else default
