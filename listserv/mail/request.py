"""What a mail to `g-request@` or `listserv@` asks for: its subject and lines as commands.

Pure text in, values out.  The words of Mailman 2 and 3, LISTSERV, Sympa, Majordomo and ezmlm are aliases of some
fifteen verbs; `model.request.written` gives the one spelling that is ours, and reading that again gives the same
command.  Prose is no command: a word of ours counts only with arguments that belong to it.  What is quoted or a
signature is left out before (`mail.quoting`).  Whether the writer may, is asked elsewhere (`flows.commanding`).
"""

import difflib
import re
from collections.abc import Callable, Iterator, Mapping

from listserv.mail import options, phrases, tag
from listserv.mail.phrases import bare, each
from listserv.mail.quoting import unquoted
from listserv.model import address
from listserv.model.request import (
    EVERY,
    AddAddress,
    ChangeAddress,
    Command,
    Confirm,
    EndSessions,
    Help,
    Info,
    Lists,
    MyData,
    NotHere,
    RemoveAddress,
    Request,
    Set,
    Subscribe,
    Unknown,
    Unsubscribe,
    Which,
    Who,
)

MAX_COMMANDS = 20  # of one mail
MAX_UNKNOWN = 5  # lines of one mail that say nothing to us; what follows is not read
MAX_LINE = 1_000  # characters of a line that are read


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

_REPLIED = re.compile(
    r"\s*(?:(?:re|aw|antw|antwort|sv|vs|res|rif|odp|ynt)(?:\[\d+\]|\^\d+)?\s*[:：]\s*)+", re.IGNORECASE
)
_TAGGED = re.compile(r"\s*\[[^\[\]]{0,60}\]\s*")
_BULLET = re.compile(r"\A(?:[*•·+]\s+|\d{1,2}[.)]\s+)")


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
    while words and bare(words[0]) in ("please", "bitte", "quiet") and len(words) > 1:
        words = words[1:]
    if not words or not bare(words[0]):
        return None if not words or words[0] != "?" else Help()
    word, rest = bare(words[0]), words[1:]
    if word in ("sign", "opt") and rest and bare(rest[0]) in ("off", "out"):
        word, rest = "unsubscribe", rest[1:]
    if word in ("my", "meine") and [bare(one) for one in rest] in (["data"], ["daten"]):
        return MyData()
    if word == "end" and bare(" ".join(rest)) in ("sessions", "all sessions"):
        return EndSessions()
    if word in _POLITE and word not in _VERBS:
        return None
    verb = _VERBS.get(word)
    command = _READERS[verb](rest, scope) if verb else _other(word, rest)
    return command or Unknown(" ".join(line[:MAX_LINE].split()), _near_setting(rest) if verb == "set" else _near(word))


def _other(word: str, rest: list[str]) -> Command | None:
    if word in _NOT_HERE and len(rest) <= 3:
        return NotHere(word)
    return Set("", (options.SINGLE[word],)) if word in ("mail", "nomail", "digest", "nodigest") and not rest else None


def _near(word: str) -> str:
    found = difflib.get_close_matches(word, list(_VERBS), 1, 0.7)
    near = _VERBS[found[0]] if found else ""
    return near if near in _OURS else ""


def _near_setting(words: list[str]) -> str:
    """The setting that may have been meant, as one writes it: `set name`."""
    found = difflib.get_close_matches(bare(words[0]), options.OURS, 1, 0.6) if words else []
    return f"set {found[0]}" if found else "set"


def _names(text: str, scope: str) -> bool:
    return bool(scope) and text in (scope, scope.partition("@")[0])


def _divided(words: list[str], scope: str) -> tuple[str, list[str]]:
    """The group that is named, and what else is said.  At a group's own door its name may be left out."""
    words = words[next((at for at, word in enumerate(words) if bare(word)), len(words)) :]
    if not words:
        return "", []
    first = bare(words[0])
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
    return [word for word in words if bare(word) not in _FILLERS]


def _led(words: list[str]) -> list[str]:
    """Without such words at the beginning: what follows a group is a name."""
    at = next((n for n, word in enumerate(words) if bare(word) and bare(word) not in _FILLERS), len(words))
    return words[at:]


def _subscribe(words: list[str], scope: str) -> Command | None:
    words = _unfilled(words) if scope else _led(words)
    named = not scope or (bool(words) and _names(bare(words[0]), scope))
    group, rest = _divided(words, scope)
    if group == EVERY:
        return None
    other, digest, name = "", False, list[str]()
    for word in rest:
        plain = bare(word)
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
    rest = [word for word in _unfilled(words) if bare(word) != "netwide"]
    if rest and rest[0] == EVERY:
        return Unsubscribe(EVERY) if len(rest) == 1 else None
    group, rest = _divided(rest, scope)
    if not rest:
        return Unsubscribe(group)
    found = address.parse(bare(rest[0]).removeprefix("address="))
    return Unsubscribe(group, found.key) if found and len(rest) == 1 else None


def _set(words: list[str], scope: str) -> Command | None:
    if not words:
        return None
    if words[0] == EVERY:
        return _settings(EVERY, words[1:])
    if scope and _names(bare(words[0]), scope):
        return _settings("", words[1:])
    found = _settings("", words)
    return found if found or scope else _settings(bare(words[0]), words[1:])


def _settings(group: str, words: list[str]) -> Command | None:
    if [bare(word) for word in words] == ["show"]:
        return Which(group if group != EVERY else "")
    found = options.settings(words)
    if isinstance(found, tuple):
        return Set(group, found) if found else None
    return found


def _nothing_else(command: Command) -> "Reader":
    def reader(words: list[str], scope: str) -> Command | None:
        return command if not _unfilled(words) else None

    return reader


def _help(words: list[str], scope: str) -> Command | None:
    return Help() if len(_unfilled(words)) <= 1 else None


def _confirm(words: list[str], scope: str) -> Command | None:
    """LISTSERV puts the group before a token, Majordomo the command behind it."""
    token = next(filter(None, (tag.read_token(word.strip(phrases.AROUND)) for word in words[:2])), None)
    return Confirm(token) if token else None


def _address(words: list[str], scope: str) -> Command | None:
    verb, found = (bare(words[0]), address.parse(words[1].strip(phrases.AROUND))) if len(words) == 2 else ("", None)
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
    found = address.parse(words[-1].strip(phrases.AROUND)) if len(words) in (1, 2) else None
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
