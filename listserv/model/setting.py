"""Settings as people write them: `moderated=yes`, `max_message_bytes=10M`, `topics=boats, weather`.

What each setting accepts follows from its type in `Policy`.  Pure; whether a language has templates and how
large a message the site takes are the caller's business.
"""

import difflib
import re
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import Any

from listserv.model.group import DEFAULTS, Mode, Policy, Role

Pairs = Iterable[tuple[str, str]]

OWN = ("mode", "own_posts", "copies", "visible", "name", "region", "country", "language")  # a member's to decide
MEMBER = ("name", "mode", "role", "moderated", *(key for key in OWN if key not in ("name", "mode")))
PERSONAL = ("name", "region", "country")  # free text about a person; the access log names them without their value
OF_PERSON = (*PERSONAL, "language")  # the same in all groups

_FIELDS: Mapping[str, str] = {each.name.rstrip("_"): each.name for each in fields(Policy)}  # as written → in Policy
NAMES: tuple[str, ...] = tuple(_FIELDS)
HELP: Mapping[str, str] = {each.name.rstrip("_"): each.metadata["help"] for each in fields(Policy)}
SEVERAL_LINES = ("description", "welcome", "farewell", "footer")
# The access log names these without their value.
FREE_TEXT = ("title", "description", "welcome", "farewell", "subject_tag", "footer")
LONGEST = {"title": 100, "description": 2000, "language": 12, "subject_tag": 60, "footer": 4000}  # characters
LONGEST |= {"welcome": 4000, "farewell": 4000}
NUMBERS = {"pace": 1000}  # the largest

# Nothing stands behind these values yet.
NOT_YET: Mapping[str, tuple[str, ...]] = {"archive": ("members", "public"), "listed": ("yes",)}
MODES_NOT_YET = (Mode.DIGEST,)

_YES, _NO = ("yes", "on", "true", "1"), ("no", "off", "false", "0")
_NUMBER = re.compile(r"[0-9]{1,9}\Z")
_SIZE = re.compile(r"([0-9]{1,12})\s*(?:([kmg])i?b?|b|bytes)?\Z", re.IGNORECASE)
_LANGUAGE = re.compile(r"[a-z]{2,3}(?:-[A-Za-z]{2,4})?\Z")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_PERSONAL_LONGEST = 200  # characters
_LIST_LONGEST = 50  # characters of one topic


@dataclass(frozen=True, slots=True)
class Wrong:
    """Why a value is not accepted, in words that follow `key: `."""

    why: str


def changed(policy: Policy, pairs: Pairs) -> Policy | tuple[str, ...]:
    """The policy with these settings, or every fault, one line each."""
    values: dict[str, Any] = {}
    faults: list[str] = []
    for key, text in pairs:
        said = read(key, text)
        if isinstance(said, Wrong):
            faults.append(f"{key}: {said.why}")
        elif key in values:
            faults.append(f"{key}: given twice")
        else:
            values[key] = said
    return tuple(faults) if faults else replace(policy, **{_FIELDS[key]: value for key, value in values.items()})


def value(policy: Policy, key: str) -> Any:
    """What the policy says, by the name that people write."""
    return getattr(policy, _FIELDS[key])


def read(key: str, text: str) -> Any | Wrong:
    """The value of a group's setting."""
    if key not in NAMES:
        return Wrong(unknown(key, NAMES))
    if text.strip().lower() in NOT_YET.get(key, ()):
        return Wrong(f"{text.strip().lower()} is not built yet; accepted: {accepted(key)}")
    default = value(DEFAULTS, key)
    match default:
        case bool():
            return flag(text)
        case int():
            return number(text, NUMBERS[key]) if key in NUMBERS else size(text)
        case tuple():
            return _topics(text)
        case StrEnum():
            return choice(type(default), text)
        case _:
            return _text(key, text)


def read_member(key: str, text: str, languages: Container[str]) -> Any | Wrong:
    """The value of a member's setting."""
    match key:
        case "mode":
            return choice(Mode, text)
        case "role":
            return choice(Role, text)
        case "moderated" | "own_posts" | "copies" | "visible":
            return flag(text)
        case "language":
            return _language(text.strip(), languages)
        case _ if key in PERSONAL:
            fault = line_fault(text.strip(), _PERSONAL_LONGEST)
            return Wrong(fault) if fault else text.strip()
        case _:
            return Wrong(unknown(key, MEMBER))


def accepted(key: str) -> str:
    """What may be written, for a person."""
    default = value(DEFAULTS, key)
    match default:
        case bool():
            return "no" if NOT_YET.get(key) else "yes, no"
        case int():
            return f"a number up to {NUMBERS[key]}" if key in NUMBERS else "a number of bytes, also as 500k or 10M"
        case tuple():
            return "words with commas between them"
        case StrEnum():
            return ", ".join(type(default))
        case _ if key == "archive":
            return "none"
        case _ if key == "language":
            return "a language that has templates, e.g. en"
        case _:
            return f"text of at most {LONGEST[key]} characters"


def written(value: object) -> str:
    """The value as one would write it in KEY=VALUE."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(value) if isinstance(value, tuple) else str(value)


def unknown(key: str, names: Iterable[str]) -> str:
    """What to say of a key that does not exist: the nearest, or all."""
    near = difflib.get_close_matches(key.lower(), list(names), 1, 0.6)
    return f"no such setting; did you mean {near[0]}?" if near else f"no such setting; there are {', '.join(names)}"


def flag(text: str) -> bool | Wrong:
    word = text.strip().lower()
    if word in _YES or word in _NO:
        return word in _YES
    return Wrong(f"“{text}” is not accepted; write yes or no")


def choice(kind: type[StrEnum], text: str) -> Any | Wrong:
    """A member of `kind`; a mode that is not built yet is refused."""
    word = text.strip().lower()
    offered = [each.value for each in kind if each not in MODES_NOT_YET]
    if word in offered:
        return kind(word)
    if word in list(kind):
        return Wrong(f"{word} is not built yet; accepted: {', '.join(offered)}")
    return Wrong(f"“{text}” is not accepted; write {', '.join(offered[:-1])} or {offered[-1]}")


def size(text: str) -> int | Wrong:
    """Bytes: 500000, 500_000, 500k, 10M, 10 MB; k and M are 1024 and 1024²."""
    found = _SIZE.match(text.strip().replace("_", ""))
    if found is None:
        return Wrong(f"“{text}” is not accepted; write a number of bytes, or e.g. 500k or 10M")
    unit = {"k": 1024, "m": 1024**2, "g": 1024**3}.get((found[2] or "").lower(), 1)
    return int(found[1]) * unit


def number(text: str, largest: int) -> int | Wrong:
    found = _NUMBER.match(text.strip())
    if found is None or int(found[0]) > largest:
        return Wrong(f"“{text}” is not accepted; write a number up to {largest}")
    return int(found[0])


def line_fault(text: str, longest: int) -> str | None:
    """Why this cannot be one line of text in a header or a notice, or None."""
    if _CONTROL.search(text):
        return "line ends and control characters are not accepted"
    return f"at most {longest} characters are accepted, not {len(text)}" if len(text) > longest else None


def _text(key: str, text: str) -> str | Wrong:
    if key == "archive":
        word = text.strip().lower()
        return word if word == DEFAULTS.archive else Wrong(f"“{text}” is not accepted; write {DEFAULTS.archive}")
    if key == "language" and not _LANGUAGE.match(text):
        return Wrong(f"“{text}” is not accepted; write a language as in en or pt-BR")
    plain = text.replace("\r\n", "\n").strip() if key in SEVERAL_LINES else text.strip()
    judged = plain.replace("\n", "").replace("\t", "") if key in SEVERAL_LINES else plain
    fault = line_fault(judged, LONGEST[key])
    return Wrong(fault) if fault else plain


def _language(text: str, languages: Container[str]) -> str | Wrong:
    """As in the name of a folder of templates, whatever the case."""
    first, _, rest = text.lower().replace("_", "-").partition("-")
    for name in (f"{first}-{rest.upper()}", f"{first}-{rest.title()}", first):
        if name in languages:
            return name
    return Wrong(f"“{text[:20]}” is not accepted; there are no texts in it here")


def _topics(text: str) -> tuple[str, ...] | Wrong:
    topics = tuple(dict.fromkeys(word for word in (each.strip().lower() for each in text.split(",")) if word))
    fault = next((why for why in (line_fault(topic, _LIST_LONGEST) for topic in topics) if why), None)
    return Wrong(fault) if fault else topics
