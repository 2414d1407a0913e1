"""Text put into a part that somebody else wrote, in that part's own charset and transfer encoding.

Promises: octets before the place stay as they are; base64 is written anew from the quantum at the place on, and nothing
else is ever encoded again.  None means that the part cannot carry the text as it is declared.

Sources: RFC 2045 §6 (transfer encodings), RFC 3676 §4 (format=flowed), RFC 5322 §2.1.1 (998 octets a line).
"""

import base64
import binascii
import html
import re
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass

from listserv.mail import words
from listserv.mail.mime import Part

RULE = "_" * 40  # between what the author wrote and what the group adds
_WIDTH = 240  # characters of a line of ours: 998 octets in any charset
_MARKUP_WIDTH = 90  # the same when every character is written &#1234567;
_BLANKS = b" \t\r\n"
_ASCII = "".join(map(chr, range(0x20, 0x7F))) + "\r\n"

_SOFT = re.compile(rb"=[ \t]*(\r?\n)?\Z")
_FOLD = rb"(?:=[ \t]*\r?\n)?"
_ENDS = [re.compile(_FOLD.join(re.escape(bytes([o])) for o in tag), re.IGNORECASE) for tag in (b"</body", b"</html")]


@dataclass(frozen=True, slots=True)
class Splice:
    """Octets `at` to `end` of a body become `new`."""

    at: int
    end: int
    new: bytes


def apply(body: bytes, splices: Iterable[Splice]) -> bytes:
    """The body with all splices made; they must not overlap."""
    pieces, done = [], 0
    for splice in sorted(splices, key=lambda splice: splice.at):
        pieces += [body[done : splice.at], splice.new]
        done = splice.end
    return b"".join([*pieces, body[done:]])


def append_text(part: Part, body: bytes, text: str) -> Splice | None:
    """The text below a text/plain part, a blank line and a rule between."""
    content = body[part.body_at : part.end]
    old = _strictly(content) if part.encoding == "base64" else content
    codec = words.codec(part.charset)
    if old is None or codec is None or not _takes_ascii(codec, old):
        return None
    soft = part.encoding == "quoted-printable" and _SOFT.search(old[-80:])
    lines = lines_of(text)
    first = [""] if old and (soft or not old.endswith(b"\n")) else []  # ends the author's last line
    last = [""] if not content or content.endswith(b"\n") else []  # elsewhere the boundary brings the line end
    block = "\r\n".join([*first, "", RULE, *(_flowed(lines) if part.flowed else lines), *last])
    octets = block.encode(codec, "replace")
    if octets.decode(codec) != block:  # not in the charset, or, as ¥ in Shift_JIS, read as something else
        return None
    return _at(part, content, old, len(old), octets)


def insert_html(part: Part, body: bytes, markup: str) -> Splice | None:
    """The markup before the last </body> of a text/html part, else before </html>, else at its end."""
    content = body[part.body_at : part.end]
    old = _strictly(content) if part.encoding == "base64" else content
    codec = words.codec(part.charset)
    if old is None or codec is None:
        return None
    place = _before_end_tag(old)
    if not _takes_ascii(codec, old[:place]):
        return None
    lines = [short for line in markup.splitlines() for short in _short(line)]
    return _at(part, content, old, place, "\r\n".join(["", *lines, ""]).encode("ascii", "xmlcharrefreplace"))


def markup_of(text: str) -> str:
    """Plain text as HTML that shows it, below a rule; whatever the text says, it stays text."""
    shown = "<br>\r\n".join(
        html.escape(short) for line in lines_of(text) for short in textwrap.wrap(line, _MARKUP_WIDTH) or [""]
    )
    return f"<hr>\r\n<div>{shown}</div>"


def lines_of(text: str) -> list[str]:
    """The lines of a text of ours, none too long for the wire, no control characters, no blanks at their ends."""
    lines = [words.clean(line.expandtabs()).rstrip() for line in re.split(r"\r\n|\r|\n", text.strip("\r\n"))]
    return [short for line in lines for short in (textwrap.wrap(line, _WIDTH) if len(line) > _WIDTH else [line])]


def quoted(octets: bytes) -> bytes:
    """Quoted-printable, lines of at most 76 characters; line ends stay line ends."""
    return b"\r\n".join(binascii.b2a_qp(line).replace(b"=\n", b"=\r\n") for line in octets.split(b"\r\n"))


def _short(line: str) -> list[str]:
    """Operators' HTML may be one long line; where it has blanks it may have line ends."""
    return textwrap.wrap(line, _WIDTH, break_long_words=False, break_on_hyphens=False) if len(line) > _WIDTH else [line]


def _flowed(lines: list[str]) -> list[str]:
    """RFC 3676 §4.4: space-stuffed; without a blank at its end a line stands for itself, with DelSp or without."""
    return [" " + line if line.startswith((" ", ">", "From ")) else line for line in lines]


def _takes_ascii(codec: str, before: bytes) -> bool:
    """ASCII written behind these octets would be read as ASCII."""
    try:
        if _ASCII.encode(codec) != _ASCII.encode("ascii"):
            return False
    except UnicodeEncodeError:
        return False
    escape = before.rfind(b"\x1b") if codec.startswith("iso2022") else -1
    return escape < 0 or before[escape + 1 : escape + 3] in (b"(B", b"(J")


def _before_end_tag(old: bytes) -> int:
    for tag in _ENDS:
        place = -1
        for found in tag.finditer(old):
            place = found.start()
        if place >= 0:
            return place
    return len(old)


def _at(part: Part, content: bytes, old: bytes, place: int, new: bytes) -> Splice | None:
    """`new` at that place of the text; `old` is the content, or, of base64, what it says."""
    if part.encoding == "base64":
        return _in_base64(part, content, old, place, new)
    if part.encoding == "quoted-printable":
        tail = _SOFT.search(content[max(0, place - 80) : place])
        new = (b"\r\n" if tail and not tail[1] else b"") + quoted(new)
    elif part.encoding not in ("7bit", "8bit", "binary") or not _fits(new, part.encoding):
        return None
    at = part.body_at + place
    return Splice(at, at, new)


def _fits(new: bytes, encoding: str) -> bool:
    return (encoding != "7bit" or new.isascii()) and all(len(line) <= 998 for line in new.split(b"\r\n"))


def _strictly(content: bytes) -> bytes | None:
    """What base64 says, if all readers agree on it."""
    try:
        return binascii.a2b_base64(content.translate(None, _BLANKS), strict_mode=True)
    except binascii.Error:
        return None


def _in_base64(part: Part, content: bytes, old: bytes, place: int, new: bytes) -> Splice:
    whole = place // 3
    end = len(content.rstrip(_BLANKS))
    at = min(_offset(content, 4 * whole), end)
    packed = base64.b64encode(old[3 * whole : place] + new + old[place:])
    lines = b"\r\n".join(packed[start : start + 76] for start in range(0, len(packed), 76))
    before = b"" if at == 0 or content.endswith(b"\n", 0, at) else b"\r\n"
    after = b"" if content else b"\r\n"
    return Splice(part.body_at + at, part.body_at + end, before + lines + after)


def _offset(content: bytes, letters: int) -> int:
    """Where the base64 letter of that number stands, by halving: every octet is looked at twice at most."""
    low, high = 0, len(content)
    while high - low > 1:
        middle = (low + high) // 2
        here = len(content[low:middle].translate(None, _BLANKS))
        if here <= letters:
            low, letters = middle, letters - here
        else:
            high = middle
    return low if letters == 0 else high
