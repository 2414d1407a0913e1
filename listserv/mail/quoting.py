"""What somebody wrote himself in a reply: the lines that are not quoted, not a signature, not a client's own words.

The rules are INTERFACE.md §5.  They err on the side of keeping a line, because a line too many is
answered with a question, while a line too few could turn a rejection into an approval.  One
pass, with a bounded look ahead; whatever is beyond the first 256 K characters is not looked at.
"""

import re

from listserv.mail import markup, phrases

MAX_CHARACTERS = markup.MAX_CHARACTERS
LONGEST_INTRODUCTION = 500  # characters of “On …, X wrote:”, with its name and address
WRAPPED = 4  # … and lines
BLOCK = 9  # lines in which an Outlook block has named its fields
MAX_LINES = 200  # that count: no answer and no reason is longer
SHORTEST_QUOTE = 4  # lines: a quote without marks is our own notice, and no notice is shorter

_UNSEEN = re.compile(
    "[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\xad\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff\ufffc\ud800-\udfff]"
)
_ARMOUR = re.compile(r"-----BEGIN PGP SIGNED MESSAGE-----\Z|Hash: [A-Z0-9, -]+\Z")  # RFC 9580 §7
# RFC 3676 §4.3, the blank behind it often lost; the same escaped, and a signature of another kind, RFC 9580 §7
_SIGNATURES = ("--", "- --", "-----BEGIN PGP SIGNATURE-----")
_RULED = re.compile(r"[-–—_=*]{2,40}\s*(\w[\w\s'-]{2,40}?)\s*[-–—_=*]{2}")  # “-----Original Message-----”
_UNDERSCORES = re.compile(r"_{10,}\Z")  # Outlook's line above From, Sent, To, Subject
_LABEL = re.compile(r"[*_\s]*([^\W\d_][\w -]{0,20}?)[*_\s]*[:：]")
_ADDRESS_LAST = re.compile(r"[<(]\S{1,254}@\S{1,255}[>)]\s*[:：]\Z")
_DIGIT = re.compile(r"\d")
_AROUND = ".,;:：，!?\"'*[]<>"


def unquoted(plain: str | None, html: str | None) -> list[str]:
    """The lines that count, without blank ones, white space folded.

    HTML is read where there is no plain text; beside one it only tells where a signature without dashes begins.
    """
    marked = _written([_clean(line) for line in markup.lines(html)]) if html else []
    if not plain or not plain.strip():
        return marked
    lines = _written([_clean(line) for line in plain[:MAX_CHARACTERS].splitlines()])
    return marked if marked and " ".join(lines).startswith(" ".join(marked)) else lines


def words(line: str) -> list[str]:
    """The words of a line in lower case, without the punctuation around them."""
    return [word for word in (part.strip(_AROUND) for part in line.lower().split()) if word]


def _clean(line: str) -> str:
    """Without control, zero-width and direction characters, white space folded."""
    return " ".join(_UNSEEN.sub("", line).split())


def _written(lines: list[str]) -> list[str]:
    lines = [line for line in lines if line]
    kept: list[str] = []
    at = 0
    while at < len(lines) and len(kept) < MAX_LINES:
        line = lines[at]
        if _quoted(line) or _ARMOUR.match(line):
            at += 1
        elif _ends(lines, at):
            break
        elif taken := _introduction(lines, at):
            at += taken
            if at < len(lines) and not _quoted(lines[at]) and len(lines) - at >= SHORTEST_QUOTE:
                break  # Yahoo and others quote without a mark
        else:
            kept.append(line)
            at += 1
    return kept


def _quoted(line: str) -> bool:
    return line.startswith(">")


def _ends(lines: list[str], at: int) -> bool:
    """Nothing from this line on was written for us: a signature, or a quote that is not marked line by line."""
    line = lines[at]
    if line in _SIGNATURES or _UNDERSCORES.match(line):
        return True
    if (ruled := _RULED.match(line)) and ruled[1].lower() in phrases.ORIGINAL:
        return True
    start = line[:100].lower().strip("-–—*_ :：")
    if start in phrases.FORWARDED:
        return True
    if len(line) <= 100 and start.lstrip('[(<„"').startswith(phrases.MOBILE):
        return True
    return _outlook(lines, at)


def _outlook(lines: list[str], at: int) -> bool:
    """`From:`, `Sent:`, `To:`, `Subject:` in any order and any of our languages; three of them make the block."""
    first = _label(lines[at])
    if not (first in phrases.FROM or first in phrases.OTHER):
        return False
    labels = {_label(line) for line in lines[at : at + BLOCK]}
    senders = labels & phrases.FROM
    return bool(senders) and len(senders) + len(labels & phrases.OTHER) >= 3


def _label(line: str) -> str:
    found = _LABEL.match(line)
    return found[1].lower() if found else ""


def _introduction(lines: list[str], at: int) -> int:
    """How many lines from `at` introduce a quote (“On Sunday, X <x@y>” / “wrote:”); 0: this one does not."""
    text = ""
    for taken, line in enumerate(lines[at : at + WRAPPED], 1):
        text = f"{text} {line}" if text else line
        if _quoted(line) or len(text) > LONGEST_INTRODUCTION:
            return 0
        if taken == 2 and not _may_be_wrapped(text=lines[at]):
            return 0
        if taken > 1 and _dated(line):
            return 0  # the introduction begins here, and what stands above it was written
        if line.endswith((":", "：")):
            marked = at + taken < len(lines) and _quoted(lines[at + taken])
            if _introduces(text, marked):
                return taken
    return 0


def _introduces(text: str, marked: bool) -> bool:
    """Does this line, which ends with a colon, introduce a quote?  `marked`: a quoted line follows."""
    its = words(text)
    if not its or _answers(its):
        return False
    if its[0] in phrases.OPENERS and _wrote(text, its):
        return True
    if _wrote(text, its):
        return bool(_DIGIT.search(text)) or "@" in text or (marked and len(text) <= 80)
    # Gmail in Russian, Japanese …: date, name, address, and no verb
    return bool(_ADDRESS_LAST.search(text) and _DIGIT.search(text)) and (its[0] in phrases.OPENERS or text[0].isdigit())


def _may_be_wrapped(text: str) -> bool:
    """Could an introduction begin with this line and go on in the next?"""
    its = words(text)
    if not its or _answers(its):
        return False
    return (
        _dated(text)
        or (text[0].isdigit() and len(its) > 2)
        or (_wrote(text, its) and ("@" in text or bool(_DIGIT.search(text))))
        or ("<" in text and "@" in text and len(its) <= 8)
    )


def _dated(text: str) -> bool:
    """An opener, and a date or a time among the next words: “On Sun, Nov 22”, “Am 22.11.”, not “AM Ada <a1@b>”."""
    first, *others = words(text)[:6] or [""]
    return first in phrases.OPENERS and any(_DIGIT.search(word) and "@" not in word for word in others)


def _wrote(text: str, its: list[str]) -> bool:
    return not phrases.WROTE.isdisjoint(its) or any(part in text for part in phrases.WROTE_INSIDE)


def _answers(its: list[str]) -> bool:
    """An answer is never taken for an introduction; only Portuguese has one that begins like an answer."""
    return its[0] in phrases.ANSWERS and its[:2] != ["no", "dia"]
