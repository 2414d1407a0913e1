"""What a mail to `g-request@` or `listserv@` asks for: its subject and lines as commands.

Pure text in, values out.  The words of Mailman 2 and 3, LISTSERV, Sympa, Majordomo and ezmlm are aliases of some
fifteen verbs; `written` gives the one spelling that is ours, and reading that again gives the same command.  Prose is
no command: a word of ours counts only with arguments that belong to it.  What is quoted or a signature is
left out before (`mail.quoting`).  Whether the writer may, is asked elsewhere (`flows.commanding`).
"""

import difflib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import assert_never

from listserv.mail import phrases, tag
from listserv.mail.phrases import each
from listserv.mail.quoting import unquoted
from listserv.model import address

MAX_COMMANDS = 20  # of one mail
MAX_UNKNOWN = 5  # lines of one mail that say nothing to us; what follows is not read
MAX_LINE = 1_000  # characters of a line that are read
EVERY = "*"  # in place of a group: all that one is in


@dataclass(frozen=True, slots=True)
class Subscribe:
    """`group` is as it was written, in lower case; "" is the group whose door it is, or none was named."""

    group: str = ""
    name: str = ""
    address: str = ""  # somebody else's, or another mailbox of one's own
    digest: bool = False


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    group: str = ""
    address: str = ""


@dataclass(frozen=True, slots=True)
class Set:
    """Settings as (key, value), the keys of `model.setting.OWN`; free text is at most the last of them."""

    group: str
    pairs: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Which:
    group: str = ""


@dataclass(frozen=True, slots=True)
class Who:
    group: str = ""


@dataclass(frozen=True, slots=True)
class Info:
    group: str = ""


@dataclass(frozen=True, slots=True)
class Help:
    pass


@dataclass(frozen=True, slots=True)
class Lists:
    pass


@dataclass(frozen=True, slots=True)
class MyData:
    pass


@dataclass(frozen=True, slots=True)
class Confirm:
    token: str


@dataclass(frozen=True, slots=True)
class AddAddress:
    address: str


@dataclass(frozen=True, slots=True)
class RemoveAddress:
    address: str


@dataclass(frozen=True, slots=True)
class ChangeAddress:
    """Move from the mailbox it was written from to this one."""

    address: str


@dataclass(frozen=True, slots=True)
class EndSessions:
    pass


@dataclass(frozen=True, slots=True)
class NotHere:
    """A word that other list servers know and for which there is nothing here; `verb` is a word of our table."""

    verb: str


@dataclass(frozen=True, slots=True)
class Unknown:
    line: str
    near: str = ""  # the verb that may have been meant


Command = (
    Subscribe
    | Unsubscribe
    | Set
    | Which
    | Who
    | Info
    | Help
    | Lists
    | MyData
    | Confirm
    | AddAddress
    | RemoveAddress
    | ChangeAddress
    | EndSessions
    | NotHere
    | Unknown
)


@dataclass(frozen=True, slots=True)
class Request:
    """The commands in their order, each once; `more`: there were others, which are not done."""

    commands: tuple[Command, ...]
    more: bool = False


def parse(subject: str, plain: str | None, html: str | None, scope: str = "") -> Request:
    """What is asked for.  Without any command: what we do not understand; nothing at all for an empty mail.

    scope  the address of the group whose door it is, "" at `listserv@`
    """
    titled = _line(_subject(subject), scope)
    found, more = _body(unquoted(plain, html), scope)
    understood = [command for command in found if not isinstance(command, Unknown)]
    if titled is not None and not isinstance(titled, Unknown):
        found = [titled, *understood]
    elif titled is not None and not found:
        found = [titled]
    commands = tuple(dict.fromkeys(found))
    return Request(commands[:MAX_COMMANDS], more or len(commands) > MAX_COMMANDS)


def read(line: str, scope: str = "") -> Command:
    """The command of one line."""
    return _line(line, scope) or Unknown("")


def written(command: Command) -> str:
    """The command in our own spelling; `read` understands it where no group is implied."""
    match command:
        case Subscribe(group, name):
            return f"subscribe {group} {name}".rstrip()
        case Unsubscribe(group):
            return f"unsubscribe {group}".rstrip()
        case Set(group, pairs):
            said = " ".join(f"{key.replace('_', ' ')} {value or NOTHING}" for key, value in pairs)
            return f"set {group} {said}" if group else f"set {said}"
        case Which(group):
            return f"which {group}".rstrip()
        case Who(group):
            return f"who {group}".rstrip()
        case Info(group):
            return f"info {group}".rstrip()
        case Help():
            return "help"
        case Lists():
            return "lists"
        case MyData():
            return "mydata"
        case Confirm(token):
            return f"confirm {token}"
        case AddAddress(one):
            return f"address add {one}"
        case RemoveAddress(one):
            return f"address remove {one}"
        case ChangeAddress(one):
            return f"address change {one}"
        case EndSessions():
            return "end sessions"
        case NotHere(verb):
            return verb
        case Unknown(line):
            return line
        case _:
            assert_never(command)


# Each verb of ours, and what else is written for it.
_ALIASES: Mapping[str, frozenset[str]] = {
    "subscribe": each("sub subs subsc subscr subscri subscrib join anmelden beitreten eintragen abonnieren"),
    "unsubscribe": each("unsub leave signoff sig sign-off quit-list remove abmelden austragen austreten abbestellen"),
    "set": each("option options einstellen setze"),
    "which": each("status query q subscriptions abos"),
    "who": each("review rev recipients members wer mitglieder"),
    "info": each("inf intro infos"),
    "help": each("hel sos hilfe commands refcard faq usage ?"),
    "lists": each("lis gruppen groups listen"),
    "mydata": each("my-data meinedaten auskunft mydaten"),
    "confirm": each("con auth ok bestätigen"),
    "address": each("adresse addresses mailbox"),
    "change": each("chg"),
    "revoke": each("logout abmelden-überall"),
    "register": each("reg"),
}
_VERBS: Mapping[str, str] = {
    **{verb: verb for verb in _ALIASES},
    **{alias: verb for verb, aliases in _ALIASES.items() for alias in aliases},
}
_OURS = ("subscribe", "unsubscribe", "set", "which", "who", "info", "help", "lists", "mydata", "confirm", "address")
_NOT_HERE = each(
    "index ind get getpost last search archive password passwd echo invite verify add del delete approve"
    " config newconfig newinfo passwd mkdigest scan stats statistics remind distribute reject modindex put hold free"
)
_ENDS = each("end stop quit exit eoj - -- ende")
_POLITE = each("hi hello hallo dear hey guten thanks thank danke bitte please servus moin liebe lieber gruß cheers")
_FILLERS = each("me please bitte mich from to this the list group mailing of von der dieser liste gruppe zu zur now")

_YES, _NO = each("yes on true 1 enabled enable ja an ein"), each("no off false 0 disabled disable nein aus")
NOTHING = "-"  # stands for an empty value

# Settings that are one word, and those with a value.
_SINGLE: Mapping[str, tuple[str, str]] = {
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
TEXT = ("name", "region", "country")  # the rest of the line is their value
_NOT_SET = each(
    "ack noack msgack subjecthdr fullhdr shorthdr ietfhdr dualhdr html nohtml mime nomime txt urlize topics post nopost"
    " editor noeditor renew norenew reminders authenticate password"
)

_REPLIED = re.compile(
    r"\s*(?:(?:re|aw|antw|antwort|sv|vs|res|rif|odp|ynt)(?:\[\d+\]|\^\d+)?\s*[:：]\s*)+", re.IGNORECASE
)
_TAGGED = re.compile(r"\s*\[[^\[\]]{0,60}\]\s*")
_BULLET = re.compile(r"\A(?:[*•·+]\s+|\d{1,2}[.)]\s+)")
_AROUND = "\"'“”„‘’`<>()[],;:!._*"


def _subject(subject: str) -> str:
    """Without `Re:` and the tag of a group."""
    return _REPLIED.sub("", _TAGGED.sub(" ", subject[:MAX_LINE], count=1), count=1).strip()


def _body(lines: list[str], scope: str) -> tuple[list[Command], bool]:
    """The commands up to an end, a valediction or too many lines that say nothing to us; whether there are more."""
    found: list[Command] = []
    unknown = 0
    for line in _joined(lines):
        if line.lower().strip(" .,!") in phrases.VALEDICTIONS or line.lower().strip(" .") in _ENDS:
            return found, False
        command = _line(line, scope)
        if command is None:
            continue
        if isinstance(command, Unknown):
            unknown += 1
        if unknown > MAX_UNKNOWN:
            return found, False
        if len(found) > MAX_COMMANDS:
            return found, True
        found.append(command)
    return found, False


def _joined(lines: list[str]) -> Iterator[str]:
    """Majordomo: a line that ends with a backslash goes on in the next."""
    begun = ""
    for line in lines:
        if line.endswith("\\"):
            begun = f"{begun}{line[:-1].strip()} "[:MAX_LINE]
            continue
        yield begun + line
        begun = ""
    if begun:
        yield begun.strip()


def _line(line: str, scope: str) -> Command | None:
    """None for a line that asks for nothing: blank, or a greeting."""
    words = _BULLET.sub("", line[:MAX_LINE].strip(), count=1).split()
    while words and _bare(words[0]) in ("please", "bitte", "quiet") and len(words) > 1:
        words = words[1:]
    if not words or not _bare(words[0]):
        return None if not words or words[0] != "?" else Help()
    word, rest = _bare(words[0]), words[1:]
    if word in ("sign", "opt") and rest and _bare(rest[0]) in ("off", "out"):
        word, rest = "unsubscribe", rest[1:]
    if word in ("my", "meine") and [_bare(one) for one in rest] in (["data"], ["daten"]):
        return MyData()
    if word == "end" and _bare(" ".join(rest)) in ("sessions", "all sessions"):
        return EndSessions()
    if word in _POLITE and word not in _VERBS:
        return None
    verb = _VERBS.get(word)
    command = _READERS[verb](rest, scope) if verb else _other(word, rest)
    return command or Unknown(" ".join(line[:MAX_LINE].split()), _near(word))


def _other(word: str, rest: list[str]) -> Command | None:
    if word in _NOT_HERE and len(rest) <= 3:
        return NotHere(word)
    return Set("", (_SINGLE[word],)) if word in ("mail", "nomail", "digest", "nodigest") and not rest else None


def _near(word: str) -> str:
    found = difflib.get_close_matches(word, list(_VERBS), 1, 0.7)
    near = _VERBS[found[0]] if found else ""
    return near if near in _OURS else ""


def _bare(word: str) -> str:
    """A word in lower case, without the punctuation around it."""
    return word if word == EVERY else word.lower().strip(_AROUND)


def _names(text: str, scope: str) -> bool:
    return bool(scope) and text in (scope, scope.partition("@")[0])


def _divided(words: list[str], scope: str) -> tuple[str, list[str]]:
    """The group that is named, and what else is said.  At a group's own door its name may be left out."""
    words = words[next((at for at, word in enumerate(words) if _bare(word)), len(words)) :]
    if not words:
        return "", []
    first = _bare(words[0])
    if scope:
        return ("", words[1:]) if _names(first, scope) else ("", words)
    return (EVERY if words[0] == EVERY else first), words[1:]


def _only_group(make: Callable[[str], Command]) -> "Reader":
    """A verb that takes a group or nothing."""

    def reader(words: list[str], scope: str) -> Command | None:
        group, rest = _divided(_unfilled(words), scope)
        return make(group) if not rest else None

    return reader


def _unfilled(words: list[str]) -> list[str]:
    """Without the words of politeness and direction that people put around a command."""
    return [word for word in words if _bare(word) not in _FILLERS]


def _led(words: list[str]) -> list[str]:
    """Without such words at the beginning: what follows a group is a name."""
    at = next((n for n, word in enumerate(words) if _bare(word) not in _FILLERS), len(words))
    return words[at:]


def _subscribe(words: list[str], scope: str) -> Command | None:
    words = _unfilled(words) if scope else _led(words)
    named = not scope or (bool(words) and _names(_bare(words[0]), scope))
    group, rest = _divided(words, scope)
    if group == EVERY:
        return None
    other, digest, name = "", False, list[str]()
    for word in rest:
        plain = _bare(word)
        if plain.startswith("digest") or plain == "nodigest":
            digest = plain not in ("nodigest", "digest=no")
        elif found := address.parse(plain.removeprefix("address=")):
            other = found.key
        elif plain == "anonymous":
            continue
        else:
            name.append(word)
    if name and not named and len(name) < 2:
        return None  # “subscribe weather” at the door of another group is no name
    return Subscribe(group, " ".join(name), other, digest)


def _unsubscribe(words: list[str], scope: str) -> Command | None:
    rest = [word for word in _unfilled(words) if _bare(word) != "netwide"]
    if rest and rest[0] == EVERY:
        return Unsubscribe(EVERY) if len(rest) == 1 else None
    group, rest = _divided(rest, scope)
    if not rest:
        return Unsubscribe(group)
    found = address.parse(_bare(rest[0]).removeprefix("address="))
    return Unsubscribe(group, found.key) if found and len(rest) == 1 else None


def _set(words: list[str], scope: str) -> Command | None:
    if not words:
        return None
    if words[0] == EVERY:
        return _settings(EVERY, words[1:])
    if scope and _names(_bare(words[0]), scope):
        return _settings("", words[1:])
    found = _settings("", words)
    return found if found or scope else _settings(_bare(words[0]), words[1:])


def _settings(group: str, words: list[str]) -> Command | None:
    if [_bare(word) for word in words] == ["show"]:
        return Which(group if group != EVERY else "")
    pairs: list[tuple[str, str]] = []
    while words:
        pair, words = _setting(words)
        if isinstance(pair, NotHere):
            return pair
        if pair is None:
            return None
        pairs.append(pair)
    return Set(group, tuple(pairs)) if pairs else None


def _setting(words: list[str]) -> tuple[tuple[str, str] | NotHere | None, list[str]]:
    """The first setting of these words, and those that are left."""
    words = _assigned(words)
    word = _bare(words[0])
    if word in ("own", "eigene") and len(words) > 1 and _bare(words[1]) in ("posts", "beiträge"):
        word, words = "own_posts", words[1:]
    rest = words[1:]
    if word in _NOT_SET:
        return NotHere(word), []
    key = _VALUED.get(word)
    if key in TEXT and rest:
        value = " ".join(rest).strip()
        return (key, "" if value in (NOTHING, '""', "''") else value), []
    if key and rest and (value := _value(word, key, _bare(rest[0]))):
        return (key, value), rest[1:]
    if word == "digest" and rest and _bare(rest[0]) in _NO | _YES | {"mime", "plain"}:
        return ("mode", "each" if _bare(rest[0]) in _NO else "digest"), rest[1:]
    return _SINGLE.get(word), rest


def _assigned(words: list[str]) -> list[str]:
    """`key=value`, `key= value`, `key =value` and `key = value` without the sign."""
    key, sign, value = words[0].partition("=")
    if sign:
        return [key, *([value] if value else []), *words[1:]]
    at = 2 if _bare(key) in ("own", "eigene") else 1  # own posts = no
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


def _nothing_else(command: Command) -> "Reader":
    def reader(words: list[str], scope: str) -> Command | None:
        return command if not _unfilled(words) else None

    return reader


def _help(words: list[str], scope: str) -> Command | None:
    return Help() if len(_unfilled(words)) <= 1 else None


def _confirm(words: list[str], scope: str) -> Command | None:
    """LISTSERV puts the group before a token, Majordomo the command behind it."""
    token = next(filter(None, (tag.read_token(word.strip(_AROUND)) for word in words[:2])), None)
    return Confirm(token) if token else None


def _address(words: list[str], scope: str) -> Command | None:
    verb, found = (_bare(words[0]), address.parse(words[1].strip(_AROUND))) if len(words) == 2 else ("", None)
    match verb:
        case "add" | "hinzufügen" if found:
            return AddAddress(str(found))
        case "remove" | "delete" | "del" | "entfernen" if found:
            return RemoveAddress(str(found))
        case "change" | "move" | "ändern" if found:
            return ChangeAddress(str(found))
        case _:
            return Which() if not words else None


def _change(words: list[str], scope: str) -> Command | None:
    """LISTSERV: `CHANGE list|* newaddr`."""
    found = address.parse(words[-1].strip(_AROUND)) if len(words) in (1, 2) else None
    return ChangeAddress(str(found)) if found else None


def _register(words: list[str], scope: str) -> Command | None:
    """LISTSERV: `REGISTER full name`."""
    return Set("", (("name", " ".join(words)),)) if len(words) >= 2 else None


Reader = Callable[[list[str], str], Command | None]

_READERS: Mapping[str, Reader] = {
    "subscribe": _subscribe,
    "unsubscribe": _unsubscribe,
    "set": _set,
    "which": _only_group(lambda group: Which("" if group == EVERY else group)),
    "who": _only_group(Who),
    "info": _only_group(Info),
    "help": _help,
    "lists": _nothing_else(Lists()),
    "mydata": _nothing_else(MyData()),
    "confirm": _confirm,
    "address": _address,
    "change": _change,
    "revoke": _nothing_else(EndSessions()),
    "register": _register,
}
