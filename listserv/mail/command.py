"""What a reply says: an admin's answer to a hold notice, somebody's answer to a request for consent.

Pure text in, values out (INTERFACE.md §5).  Whether the writer may decide, and whether he is a person
at all, is asked elsewhere (`mail.automatic`, `flows.moderating`); the words stand in `mail.phrases`.
"""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from listserv.mail import phrases
from listserv.mail.quoting import unquoted

MAX_REASON = 2_000  # characters
MAX_SHOWN = 200  # characters of a line that we did not understand
MAX_ABOUT = 200  # characters of a name, region or country
OBJECTIONS_WITHIN = 5  # lines: a greeting may come first


@dataclass(frozen=True, slots=True)
class Approve:
    pass


@dataclass(frozen=True, slots=True)
class Discard:
    pass


@dataclass(frozen=True, slots=True)
class Reject:
    reason: str = ""  # lines divided by \n, without the admin's signature


@dataclass(frozen=True, slots=True)
class Undo:
    """Take back a discard or a rejection."""


@dataclass(frozen=True, slots=True)
class Nothing:
    """Nothing but a quote or a signature."""


@dataclass(frozen=True, slots=True)
class Unclear:
    """No word of ours; changes nothing."""

    line: str


Decision = Approve | Discard | Reject | Undo | Nothing | Unclear


@dataclass(frozen=True, slots=True)
class Batch:
    """One line of an answer to a summary notice: `approve all`, `discard 3-7`, `reject 2,5 off topic`.

    numbers  first and last of each range, as written; None is all
    but      ranges left out of `all`
    """

    decision: Approve | Discard | Reject
    numbers: tuple[tuple[int, int], ...] | None
    but: tuple[tuple[int, int], ...] = ()

    def chosen(self, count: int) -> tuple[int, ...]:
        """The numbers from 1 to `count` that are meant, in order."""
        numbers = ((1, count),) if self.numbers is None else self.numbers
        meant = {n for first, last in numbers for n in range(max(first, 1), min(last, count) + 1)}
        return tuple(sorted(n for n in meant if not any(first <= n <= last for first, last in self.but)))


class Consent(StrEnum):
    """What somebody says to a question of ours; NEVER: “never write to me again”."""

    YES = "yes"
    NO = "no"
    NEVER = "never"


def decision(plain: str | None, html: str | None) -> Decision:
    """What a reply to a hold notice says: its first line that counts decides.

    A mail without any text that can be read (encrypted, broken, an image) is Unclear, not Nothing.
    """
    lines = unquoted(plain, html)
    if not lines:
        return _silent(plain, html)
    alone = _bare(lines[0])
    if alone in phrases.APPROVE:
        return Approve()
    if alone in phrases.DISCARD:
        return Discard()
    if alone in phrases.UNDO:
        return Undo()
    if alone in phrases.REFUSE:
        return Reject()
    if rejected := _REJECTED.match(lines[0]):
        return Reject(_reason(rejected[1], lines[1:]))
    return Unclear(lines[0][:MAX_SHOWN])


def batch(plain: str | None, html: str | None) -> tuple[Batch, ...] | Nothing | Unclear:
    """What a reply to a summary notice says; several commands may stand below each other.

    The first line that counts must be a command.  What follows a rejection and is no command is its reason.
    """
    lines = unquoted(plain, html)
    if not lines:
        return _silent(plain, html)
    found: list[Batch] = []
    at = 0
    while at < len(lines):
        command = _COMMAND.match(lines[at])
        at += 1
        if command and (one := _batch(command, others := _until_command(lines, at))):
            found.append(one)
            at += len(others)
        elif not found:
            return Unclear(lines[0][:MAX_SHOWN])
    return tuple(found)


def consent(plain: str | None, html: str | None) -> Consent:
    """Whether a person's reply to a confirmation mail confirms: any does, unless it begins with a no or objects."""
    lines = unquoted(plain, html)[:OBJECTIONS_WITHIN]
    if any(_NEVER.match(_bare(line)) for line in lines):
        return Consent.NEVER
    first = _FIRST_WORD.match(lines[0].lower()) if lines else None
    if first and first[1] in phrases.REFUSALS:
        return Consent.NO
    said = " ".join(lines).lower().replace("’", "'")
    return Consent.NO if any(objection in said for objection in phrases.OBJECTIONS) else Consent.YES


def away(plain: str | None, html: str | None) -> bool:
    """Whether a reply begins as a machine's does: its writer is not there, it made itself, or our mail came back.

    One whose first line is a word of ours, or a rejection, was written by somebody.
    """
    lines = unquoted(plain, html)[:OBJECTIONS_WITHIN]
    if lines and (_bare(lines[0]) in _BY_A_PERSON or _REJECTED.match(lines[0])):
        return False
    said = " ".join(lines).lower().replace("’", "'")
    return any(phrase in said for phrase in (*phrases.AWAY, *phrases.RETURNED))


def about(plain: str | None, html: str | None) -> Mapping[str, str]:
    """What the lines `name: …`, `region: …` and `country: …` of a reply say about its writer; the first of each."""
    said: dict[str, str] = {}
    for line in unquoted(plain, html):
        match = _ABOUT.match(line)
        field = phrases.ABOUT[match[1].lower()] if match else None
        if match and field and field not in said and (value := match[2].strip()[:MAX_ABOUT]):
            said[field] = value
    return said


def own(plain: str | None, html: str | None, count: int) -> frozenset[int]:
    """Which of the posts 1 to `count` he says are his: all by a mere reply, none by a no, or what `yes 1,3` names."""
    everything = frozenset(range(1, count + 1))
    if consent(plain, html) is not Consent.YES:
        return frozenset()
    said = batch(plain, html)
    if not isinstance(said, tuple):
        return everything
    his = {n for each in said if isinstance(each.decision, Approve) for n in each.chosen(count)}
    return everything & frozenset(his)


def _alternatives(*sets: frozenset[str]) -> str:
    return "|".join(sorted(re.escape(word) for word in frozenset[str]().union(*sets)))


def _silent(plain: str | None, html: str | None) -> Nothing | Unclear:
    return Nothing() if plain or html else Unclear("")


_NEVER = re.compile(rf"(?:{_alternatives(phrases.NEVER_ALONE)})\Z|(?:{_alternatives(phrases.NEVER)})\b")
_ABOUT = re.compile(rf"[\s*_\-]*({_alternatives(frozenset(phrases.ABOUT))})\s*[:：=]\s*(.+)", re.IGNORECASE)
_BY_A_PERSON = phrases.APPROVE | phrases.YES | phrases.DISCARD | phrases.UNDO | phrases.REFUSE
_FIRST_WORD = re.compile(r"\W*(\w+)")
_SPACE = r"[\s:;,.\-–—*_!/]*"  # between a word of ours and what goes with it
_REJECTED = re.compile(rf"\W*(?:{_alternatives(phrases.REJECT)})\b{_SPACE}(.*)", re.IGNORECASE)

_RANGE = r"#?\d{1,6}(?:\s*[-–—]\s*#?\d{1,6})?"
_RANGES = rf"{_RANGE}(?:(?:\s*[,;&+]\s*|\s+and\s+|\s+){_RANGE}){{0,100}}(?!\w)"
_COMMAND = re.compile(
    rf"\W*(?P<word>{_alternatives(phrases.APPROVE, phrases.DISCARD, phrases.REJECT)})\b[\s:*_]*"
    rf"(?:all\b(?:\s+(?:but|except)\s+(?P<but>{_RANGES}))?|(?P<numbers>{_RANGES})){_SPACE}(?P<rest>.*)",
    re.IGNORECASE,
)
_ONE_RANGE = re.compile(r"(\d+)(?:\s*[-–—]\s*#?(\d+))?")


def _batch(command: re.Match[str], others: list[str]) -> Batch | None:
    """The command of this line, or None: only a rejection may say more than its numbers."""
    what: Approve | Discard | Reject
    word = command["word"].lower()
    if word in phrases.REJECT:
        what = Reject(_reason(command["rest"], others))
    elif _bare(command["rest"]):
        return None
    else:
        what = Approve() if word in phrases.APPROVE else Discard()
    numbers = _ranges(command["numbers"]) if command["numbers"] else None
    return Batch(what, numbers, _ranges(command["but"] or ""))


def _until_command(lines: list[str], at: int) -> list[str]:
    """The lines from `at` up to the next command."""
    end = next((n for n in range(at, len(lines)) if _COMMAND.match(lines[n])), len(lines))
    return lines[at:end]


def _ranges(text: str) -> tuple[tuple[int, int], ...]:
    pairs = ((int(first), int(last or first)) for first, last in _ONE_RANGE.findall(text))
    return tuple((min(pair), max(pair)) for pair in pairs)


def _reason(first: str, others: list[str]) -> str:
    """The rest of the line and what follows, up to a valediction."""
    lines = [first] if _bare(first) else []
    for line in others:
        if line.lower().strip(" .,!") in phrases.VALEDICTIONS:
            break
        lines.append(line)
    return "\n".join(lines)[:MAX_REASON].rstrip()


def _bare(line: str) -> str:
    """A line in lower case without punctuation and symbols: `OK!` is `ok`, and so is `*ok* :-)`."""
    letters = (c for c in line[:MAX_SHOWN].lower() if c == " " or unicodedata.category(c)[0] in "LNM")
    return " ".join("".join(letters).split()) + line[MAX_SHOWN:]
