"""What a group adds below a post: its footer, an ad.

Promises: octets that carry a signature are not touched, what is encrypted or cannot be read is left alone, no octet of
the author's is lost, and the same post gives the same octets for every member.  Text goes into the text parts where
their charset and encoding can carry it; else it becomes a part of its own.

Sources: RFC 2046 §5.1 (multipart), RFC 1847 and RFC 3156 (signed, encrypted), RFC 8551 §3.2 (S/MIME), RFC 2045 §6.4
(an encoding of composite types), RFC 1864 (Content-MD5).
"""

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from listserv.mail import mime, splice
from listserv.mail.header import structured
from listserv.mail.message import Field
from listserv.mail.mime import Opaque, Part
from listserv.mail.splice import Splice

_PGP = re.compile(rb"^-----BEGIN PGP (SIGNED )?MESSAGE-----", re.MULTILINE)
_PKCS7 = ("application/pkcs7-mime", "application/x-pkcs7-mime")
_STALE = ("content-length", "content-md5")  # true of the octets as they were


@dataclass(frozen=True, slots=True)
class Insert:
    """What is to be read below a post.  `html` is written by the operator; None: the text, escaped by us."""

    text: str
    html: str | None = None


@dataclass(frozen=True, slots=True)
class Edited:
    """The fields of the post in order, and its body."""

    fields: tuple[Field, ...]
    body: bytes


@dataclass(frozen=True, slots=True)
class Untouched:
    """Why the post stays as it is."""

    reason: str


def append(fields: Sequence[Field], body: bytes, insert: Insert) -> Edited | Untouched:
    """The post with the insert in it: in its texts, or as a part of its own."""
    root = mime.walk(fields, body)
    if isinstance(root, Opaque):
        return Untouched(root.reason)
    locked = _locked(root, body)
    if locked:
        return Untouched(locked)
    splices = _inside(root, body, insert)
    if splices is None and root.type != "multipart/mixed":
        return _wrapped(fields, body, insert)
    own = _own_part(insert)
    if any(
        _collides(new, root) for new in ([own] if splices is None else [_with_its_line(body, each) for each in splices])
    ):
        return Untouched("the text has a line that looks like a boundary of the message")
    if splices is None:
        splices = [_beside(root, own)]
    return Edited(tuple(each for each in fields if each.name not in _STALE), splice.apply(body, splices))


def _locked(root: Part, body: bytes) -> str:
    """Why nothing may be added; "" when something may."""
    if not root.type or (root.type.startswith("multipart/") and not root.children):
        return "its parts cannot be read"
    if root.type == "message/partial":
        return "it is a piece of a message"
    for part in mime.parts(root):
        if part.type == "multipart/encrypted" or (part.type in _PKCS7 and _smime(part) != "signed-data"):
            return "it is encrypted"
        if _pgp(part, body) == "encrypted":
            return "it is encrypted"
    return ""


def _smime(part: Part) -> str:
    return part.parameters.get("smime-type", "").lower()


def _pgp(part: Part, body: bytes) -> str:
    """ "signed" or "encrypted" for PGP inside of the text itself, else ""."""
    if part.type != "text/plain" or part.attached:
        return ""
    content = body[part.body_at : part.end]
    shown = mime.decoded(content, part.encoding) if part.encoding in ("base64", "quoted-printable") else content
    found = _PGP.search(shown) if b"-----BEGIN PGP " in shown else None
    if found is None:
        return ""
    return "signed" if found[1] else "encrypted"


def _inside(root: Part, body: bytes, insert: Insert) -> list[Splice] | None:
    """The insert in every form of the text, or None when one of them cannot take it."""
    splices: list[Splice] = []
    for part in _texts(root):
        if part.type == "text/plain":
            made = None if _pgp(part, body) else splice.append_text(part, body, insert.text)
        else:
            made = splice.insert_html(part, body, _markup(insert))
        if made is None:
            return None
        splices.append(made)
        if part is not root:
            splices += _without_digest(part, body)
    return splices or None


def _markup(insert: Insert) -> str:
    return splice.markup_of(insert.text) if insert.html is None else insert.html


def _texts(part: Part) -> Iterator[Part]:
    """The parts in which a reader sees the text: the first of a mixed or related, every form of an alternative.

    It calls itself; mime.MAX_DEPTH is its bound.
    """
    if part.type in ("text/plain", "text/html") and not part.attached:
        yield part
    elif part.type == "multipart/alternative":
        for form in part.children:
            yield from _texts(form)
    elif part.type in ("multipart/mixed", "multipart/related") and part.children:
        yield from _texts(part.children[0])


def _without_digest(part: Part, body: bytes) -> Iterator[Splice]:
    """The digest of a part that changed is wrong, and goes."""
    for stale in part.fields:
        if stale.name in _STALE:
            at = body.find(stale.raw, part.start, part.body_at)
            yield Splice(at, at + len(stale.raw), b"")


def _with_its_line(body: bytes, made: Splice) -> bytes:
    """What is put in, behind what stands in front of it on its line: cut off there, that may become a boundary."""
    return body[body.rfind(b"\n", 0, made.at) + 1 : made.at] + made.new


def _collides(new: bytes, root: Part) -> bool:
    """A line of it could be taken for a boundary that stands around it."""
    named = tuple(b"--" + part.boundary for part in mime.parts(root) if part.boundary)
    return bool(named) and any(line.startswith(named) for line in new.split(b"\r\n"))


def _own_part(insert: Insert) -> bytes:
    text = "\r\n".join([splice.RULE, *splice.lines_of(insert.text)])
    plain = text.isascii()
    return b"".join(
        (
            structured("Content-Type", f"text/plain; charset={'us-ascii' if plain else 'utf-8'}"),
            structured("Content-Transfer-Encoding", "7bit" if plain else "quoted-printable"),
            structured("Content-Disposition", "inline"),
            b"\r\n",
            text.encode("ascii") if plain else splice.quoted(text.encode()),
            b"\r\n",
        )
    )


def _beside(root: Part, own: bytes) -> Splice:
    """A part of its own at the end of a multipart/mixed, which is closed if nobody had closed it."""
    delimiter = b"--" + root.boundary
    if root.close_at is not None:
        return Splice(root.close_at, root.close_at, delimiter + b"\r\n" + own)
    new = b"\r\n" + delimiter + b"\r\n" + own + delimiter + b"--\r\n"
    return Splice(root.end, root.end, new)


def _wrapped(fields: Sequence[Field], body: bytes, insert: Insert) -> Edited:
    """A multipart/mixed of the post's content, octet for octet, and the insert."""
    own = _own_part(insert)
    delimiter = b"--" + _new_boundary(body, own)
    content = [each for each in fields if each.name.startswith("content-") and each.name != "content-length"]
    inner = b"".join(each.raw for each in content)
    wrapped = delimiter + b"\r\n" + inner + b"\r\n" + body + b"\r\n" + delimiter + b"\r\n" + own + delimiter + b"--\r\n"
    outer = [each for each in fields if not each.name.startswith("content-")]
    if not any(each.name == "mime-version" for each in outer):
        outer.append(Field("mime-version", structured("MIME-Version", "1.0")))
    kind = f'multipart/mixed; boundary="{delimiter[2:].decode("ascii")}"'
    outer.append(Field("content-type", structured("Content-Type", kind)))
    width = _width(content, body)
    if width:  # RFC 2045 §6.4: the whole is as wide as its widest part
        outer.append(Field("content-transfer-encoding", structured("Content-Transfer-Encoding", width)))
    return Edited(tuple(outer), wrapped)


def _width(content: Sequence[Field], body: bytes) -> str:
    said = {each.value.lower() for each in content if each.name == "content-transfer-encoding"}
    if b"binary" in said:
        return "binary"
    return "" if b"8bit" not in said and body.isascii() else "8bit"


def _new_boundary(*around: bytes) -> bytes:
    """The same for the same octets, and in none of them."""
    digest = hashlib.sha256()
    for octets in around:
        digest.update(octets)
    while any(digest.hexdigest()[:32].encode() in octets for octets in around):
        digest.update(b"again")
    return b"=_" + digest.hexdigest()[:32].encode()
