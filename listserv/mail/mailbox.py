"""Mailboxes in From, To and Cc.

From is read strictly: what two readers could understand differently (RFC 5322 groups, routes, several mailboxes,
comments that look like addresses, encoded words in an address) has no author, and is for a human to judge.
To and Cc are read generously, because they are only counted and looked through.  Both are one pass without recursion.

Sources: RFC 5322 §3.4 and §4.4, RFC 2047 §5, RFC 6532 §3.2.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

from listserv.mail import words
from listserv.model import address
from listserv.model.address import Address

MAX_RECIPIENTS = 2_000  # counting stops there
_SHORT = 1_000  # octets of a From value that is kept for the next who asks

# Possessive throughout, and an opening that nothing closes ends the scan, so each octet is looked at a bounded
# number of times.
_TOKEN = re.compile(
    r"""[ \t]++
    | "(?P<quoted>[^"\\]*+(?:\\.[^"\\]*+)*+)"
    | \((?P<comment>[^()\\]*+)\)
    | <(?P<angle>[^<>]*+)>
    | (?P<atoms>[^ \t"(),:;<>]++)
    | (?P<mark>[(),:;<>"])""",
    re.VERBOSE | re.DOTALL,
)
_QUOTED = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)


@dataclass(frozen=True, slots=True)
class Author:
    """The one mailbox in From; `name` is for display, "" when there is none."""

    address: Address
    name: str


@dataclass(frozen=True, slots=True)
class NoAuthor:
    """Why From names nobody in particular, in words for a moderator."""

    reason: str


@dataclass(frozen=True, slots=True)
class Recipients:
    """Who is named in To and Cc.  `count` includes those that are no valid addresses; it stops at MAX_RECIPIENTS."""

    addresses: tuple[Address, ...]
    count: int


def single(value: bytes) -> Author | NoAuthor:
    """The author that a From value names: `a@b`, `a@b (Name)`, `Name <a@b>`, `"Name" (at work) <a@b>`."""
    return _single(value) if len(value) <= _SHORT else _single.__wrapped__(value)


@lru_cache(64)
def _single(value: bytes) -> Author | NoAuthor:
    """Asked several times of each message."""
    phrase: list[str] = []
    angle = comment = None
    for token in _TOKEN.finditer(_string(value)):
        kind = token.lastgroup
        if kind is None:
            phrase.append(" ")
        elif kind == "mark" or (kind == "quoted" and re.search("[<>]", token[0])):
            return NoAuthor(_reason(token[0]))
        elif kind == "comment":
            comment = token["comment"]
            if re.search("[<>@]", comment):
                return NoAuthor("a comment in From looks like an address")
        elif angle is not None or (comment is not None and kind != "angle"):
            return NoAuthor("From goes on after the address")
        elif kind == "angle":
            angle = token["angle"]
        else:
            phrase.append(token[0])
    return _judge("".join(phrase).strip(" "), angle, comment or "")


def several(values: Iterable[bytes]) -> Recipients:
    """The mailboxes in address lists, groups opened (`friends: a@b, c@d;` names two)."""
    found: list[Address] = []
    count = 0
    for value in values:
        for spelling in _spellings(_string(value)):
            count += 1
            known = address.parse(spelling)
            if known is not None:
                found.append(known)
            if count == MAX_RECIPIENTS:
                return Recipients(tuple(found), count)
    return Recipients(tuple(found), count)


def _judge(phrase: str, angle: str | None, comment: str) -> Author | NoAuthor:
    spelling = phrase if angle is None else angle
    if not spelling:
        return NoAuthor("From names no address")
    if angle is not None and "@" in _QUOTED.sub("", phrase) and phrase.lower() != angle.lower():
        return NoAuthor("From names two addresses")
    known = None if "=?" in spelling else address.parse(spelling)  # some readers decode words even here
    if known is None:
        return NoAuthor("From is not one plain address")
    return Author(known, _display(phrase if angle is not None else "") or _display(comment))


def _display(phrase: str) -> str:
    plain = _QUOTED.sub(lambda quoted: re.sub(r"\\(.)", r"\1", quoted[0][1:-1], flags=re.DOTALL), phrase)
    return words.text(plain.encode("utf-8", "surrogateescape"))


def _spellings(value: str) -> Iterator[str]:
    """What stands in each place of an address list, without names and comments."""
    plain, angle, depth = "", "", 0
    for token in _TOKEN.finditer(value):
        kind, mark = token.lastgroup, token["mark"]
        if mark == '"':
            break  # never closed: the rest means nothing
        if mark == "(" or (mark == ")" and depth):
            depth += 1 if mark == "(" else -1
        elif depth or kind in (None, "comment"):
            continue
        elif mark in (",", ";"):
            if angle or plain:
                yield angle or plain
            plain = angle = ""
        elif mark == ":":
            plain = ""  # it was the name of a group
        elif kind == "angle":
            angle = re.sub(r"^@[^:]*:", "", token["angle"].strip())  # RFC 5322 §4.4: routes are skipped
        elif len(plain) <= address.MAX_OCTETS:
            plain += token[0]
    if angle or plain:
        yield angle or plain


def _string(value: bytes) -> str:
    """UTF-8 where it is UTF-8; other octets become surrogates, which no address may hold."""
    return value.decode("utf-8", "surrogateescape")


def _reason(mark: str) -> str:
    if mark == ",":
        return "From names several addresses"
    if mark in (":", ";"):
        return "From names a group of addresses"
    return "From is not one plain address"
