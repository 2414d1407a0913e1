"""The settings of a `set` command, in the words of every list server."""

import re
from collections.abc import Mapping

from listserv.mail.phrases import bare, each
from listserv.model.request import NOTHING, NotHere

_YES, _NO = each("yes on true 1 enabled enable ja an ein"), each("no off false 0 disabled disable nein aus")

# Settings that are one word, and those with a value.
SINGLE: Mapping[str, tuple[str, str]] = {
    **dict.fromkeys(each("mail normal each nodigest"), ("mode", "each")),
    **dict.fromkeys(each("nomail none postpone vacation"), ("mode", "none")),
    **dict.fromkeys(each("digest digests digestplain summary notice index"), ("mode", "digest")),
    "repro": ("own_posts", "yes"),
    **dict.fromkeys(each("norepro not_me notme nomyposts"), ("own_posts", "no")),
    **dict.fromkeys(each("conceal hide hidden"), ("visible", "no")),
    **dict.fromkeys(each("noconceal visible"), ("visible", "yes")),
}
_VALUED: Mapping[str, str] = {
    "mode": "mode",
    "delivery": "mode",
    **dict.fromkeys(each("own_posts ownposts own-posts myposts"), "own_posts"),
    **dict.fromkeys(each("copies duplicates duplikate"), "copies"),
    "visible": "visible",
    "sichtbar": "visible",
    "hide": "visible",
    **dict.fromkeys(each("language lang sprache"), "language"),
    "name": "name",
    "region": "region",
    **dict.fromkeys(each("country land"), "country"),
}
OURS = ("mode", "own posts", "copies", "visible", "name", "region", "country", "language")  # in our own words
TEXT = ("name", "region", "country")  # the rest of the line is their value
_NOT_SET = each(
    "ack noack msgack subjecthdr fullhdr shorthdr ietfhdr dualhdr html nohtml mime nomime txt urlize topics post nopost"
    " editor noeditor renew norenew reminders authenticate password"
)


def settings(words: list[str]) -> tuple[tuple[str, str], ...] | NotHere | None:
    """All of these words as settings, (name, value) each; None where one of them is none."""
    pairs: list[tuple[str, str]] = []
    while words:
        pair, words = _setting(words)
        if isinstance(pair, NotHere):
            return pair
        if pair is None:
            return None
        pairs.append(pair)
    return tuple(pairs)


def _setting(words: list[str]) -> tuple[tuple[str, str] | NotHere | None, list[str]]:
    """The first setting of these words, and those that are left."""
    words = _assigned(words)
    word = bare(words[0])
    if word in ("own", "eigene") and len(words) > 1 and bare(words[1]) in ("posts", "beiträge"):
        word, words = "own_posts", words[1:]
    rest = words[1:]
    if word in _NOT_SET:
        return NotHere(word), []
    key = _VALUED.get(word)
    if key in TEXT and rest:
        value = " ".join(rest).strip()
        return (key, "" if value in (NOTHING, '""', "''") else value), []
    if key and rest and (value := _value(word, key, bare(rest[0]))):
        return (key, value), rest[1:]
    if word == "digest" and rest and bare(rest[0]) in _NO | _YES | {"mime", "plain"}:
        return ("mode", "each" if bare(rest[0]) in _NO else "digest"), rest[1:]
    return SINGLE.get(word), rest


def _assigned(words: list[str]) -> list[str]:
    """`key=value`, `key= value`, `key =value` and `key = value` without the sign."""
    key, sign, value = words[0].partition("=")
    if sign:
        return [key, *([value] if value else []), *words[1:]]
    at = 2 if bare(key) in ("own", "eigene") else 1  # own posts = no
    if len(words) > at and words[at].startswith("="):
        return [*words[:at], *([words[at][1:]] if words[at] != "=" else []), *words[at + 1 :]]
    return words


def _value(word: str, key: str, text: str) -> str:
    """The value in our own spelling, "" when it is none."""
    if key == "language":
        return text if re.fullmatch(r"[\w-]{2,20}", text) else ""
    if word == "mode":
        return text if text in ("each", "digest", "none") else ""
    if text not in _YES | _NO:
        return ""
    if word == "delivery":
        return "each" if text in _YES else "none"
    return "yes" if (text in _YES) is not (word == "hide") else "no"
