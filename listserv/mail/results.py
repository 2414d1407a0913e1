"""Authentication-Results: what we found, as one line for others; and what our own MTA in front found, as values.

Reading is strict: what is not by the grammar says nothing.  Which fields may be believed is the caller's question.

Sources: RFC 8601 (§2.2 grammar, §2.7 methods and results, §5 who may be believed); RFC 6008 (header.b).
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from listserv.mail.header import authserv_id
from listserv.mail.message import Field, Message
from listserv.model import address

NAME = "Authentication-Results"
_MAX_OCTETS = 8_192  # of one field
_MAX_NESTING = 5  # of comments

_QUOTED = r'"(?:[^"\\]++|\\.)*+"'
_TOKEN = re.compile(rf'{_QUOTED}|[^"()]++|[()]', re.DOTALL)
_HEAD = re.compile(rf"[ \t]*(?P<id>{_QUOTED}|[^ \t\";=]++)(?:[ \t]+(?P<version>\d+))?[ \t]*(?=;)", re.DOTALL)
_PAIR = re.compile(
    rf"[ \t]*(?P<name>[A-Za-z0-9][A-Za-z0-9._/-]*)[ \t]*=[ \t]*(?P<value>(?:{_QUOTED}|[^ \t\";]++)+)[ \t]*", re.DOTALL
)
_NO_RESULT = re.compile(r"[ \t]*none[ \t]*\Z", re.IGNORECASE)
_METHOD = re.compile(r"([A-Za-z0-9][A-Za-z0-9-]*)(?:/1)?\Z")
_KEYWORD = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?\Z")
_PROPERTY = re.compile(r"[A-Za-z0-9-]+\.[A-Za-z0-9_-]+\Z")
_PLAIN = re.compile(r"[A-Za-z0-9.@!#$%&'*+/?^_`{|}~-]+\Z")
_BY = re.compile(rb"[ \t]by[ \t]+([A-Za-z0-9.-]+)")


@dataclass(frozen=True, slots=True)
class Result:
    """One method's result, in lower case, with its properties in writing order: (("smtp.mailfrom", "a.example"),)."""

    method: str
    result: str
    properties: tuple[tuple[str, str], ...] = ()

    def domain(self, name: str) -> str:
        """The domain of this property's value, an address or a domain itself; "" when it has none."""
        value = next((value for known, value in self.properties if known == name), "")
        return address.domain_name(value.rpartition("@")[2]) or ""

    def __str__(self) -> str:
        said = "".join(f" {name}={_value(value)}" for name, value in self.properties)
        return f"{self.method}={self.result}{said}"


def written(authserv_id: str, results: Sequence[Result]) -> str:
    """The value of our own field."""
    return "; ".join([authserv_id, *map(str, results)]) if results else f"{authserv_id}; none"


def read(value: bytes) -> tuple[str, tuple[Result, ...]] | None:
    """(authserv-id, results) of an unfolded field by the grammar, or None."""
    text = _without_comments(value.decode("utf-8", "replace")) if len(value) <= _MAX_OCTETS else None
    head = _HEAD.match(text) if text else None
    if text is None or head is None or head["version"] not in (None, "1"):
        return None
    id = _unquoted(head["id"]).lower()
    if _NO_RESULT.match(text, head.end() + 1):
        return id, ()
    results: list[Result] = []
    at = head.end()
    while at < len(text):
        pairs, at = _pairs(text, at + 1)  # behind the semicolon
        result = _result(pairs)
        if result is None:
            return (id, tuple(results)) if results and not pairs and at == len(text) else None
        if at < len(text) and text[at] != ";":
            return None
        results.append(result)
    return id, tuple(results)


def believed(message: Message, ids: Collection[str]) -> tuple[str, tuple[Result, ...]] | None:
    """The topmost results under one of these ids, if they stand where only our own MTAs can have written.

    The first Received is that of the MTA that hands the message in, which may write its results below its own line.
    After the next one that is not `by` an MTA of ours, the field may be anybody's.
    """
    handed_in = False
    for field in message.fields:
        if field.name == "authentication-results" and authserv_id(field.value) in ids:
            return read(field.value)  # if not by the grammar: None, for a lower one would be less ours
        if field.name == "received":
            if handed_in and not _is_ours(field, ids):
                return None
            handed_in = True
    return None


def arc(message: Message) -> str:
    """What an ARC chain claims, in words; "" without one.  Nobody verifies it: it is a hint (RFC 8617)."""
    seals = message.all("arc-seal")
    if not seals:
        return ""
    parts = (part.partition("=") for part in seals[0].value[:2_000].decode("latin-1").split(";"))
    tags = {name.strip().lower(): value.strip() for name, _, value in parts}
    domain = address.domain_name(tags.get("d", "")) or "an unreadable domain"
    cv = tags.get("cv", "") if tags.get("cv", "") in ("none", "pass", "fail") else "nothing known"
    return f"an ARC chain of {len(seals)}, sealed last by {domain} (cv={cv}), proves nothing here"


def _is_ours(field: Field, ids: Collection[str]) -> bool:
    named = _BY.search(b" " + field.value)
    host = named[1].decode().lower() if named else ""
    return any(host == id or host.endswith(f".{id}") for id in ids)


def _value(value: str) -> str:
    return value if _PLAIN.match(value) else '"' + re.sub(r'(["\\])', r"\\\1", value) + '"'


def _without_comments(text: str) -> str | None:
    """A blank for each comment; None where quotes or comments do not end."""
    kept, depth, at = [], 0, 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            return None
        piece, at = found[0], found.end()
        if piece in ("(", ")"):
            depth += 1 if piece == "(" else -1
            if not 0 <= depth <= _MAX_NESTING:
                return None
            kept.append(" ")
        elif not depth:
            kept.append(piece)
    return None if depth else "".join(kept)


def _pairs(text: str, at: int) -> tuple[list[tuple[str, str]], int]:
    """`name = value` as often as it stands here, and where that ends."""
    pairs = []
    while found := _PAIR.match(text, at):
        pairs.append((found["name"].lower(), _unquoted(found["value"])))
        at = found.end()
    blank = re.compile(r"[ \t]*").match(text, at)
    return pairs, blank.end() if blank else at


def _unquoted(value: str) -> str:
    return re.sub(
        _QUOTED, lambda quoted: re.sub(r"\\(.)", r"\1", quoted[0][1:-1], flags=re.DOTALL), value, flags=re.DOTALL
    )


def _result(pairs: Sequence[tuple[str, str]]) -> Result | None:
    """`method = result`, then maybe `reason = …`, then properties."""
    if not pairs:
        return None
    (method, result), *rest = pairs
    named = _METHOD.match(method)
    if named is None or not _KEYWORD.match(result):
        return None
    if rest and rest[0][0] == "reason":
        rest = rest[1:]
    if not all(_PROPERTY.match(name) for name, _ in rest):
        return None
    return Result(named[1], result.lower(), tuple(rest))
