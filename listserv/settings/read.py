"""TOML and environment → a tree of dataclasses, or every fault at once.

Knows nothing of particular keys: a tree is a dataclass of sections, a section a dataclass whose fields were made by
`key(kind, default)`.  Only `[site] data_dir` has a name here, because all other paths are relative to it.
"""

import difflib
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from listserv.settings.kinds import Kind, Wrong, shown

T = TypeVar("T")
Keys = tuple[str, str]  # section, key
Known = Mapping[str, Mapping[str, Field[Any]]]
DATA_DIR = ("site", "data_dir")

_VARIABLE = re.compile(r"LISTSERV_(?P<section>[A-Z0-9]+(?:_[A-Z0-9]+)*)__(?P<key>[A-Z0-9]+(?:_[A-Z0-9]+)*)\Z")
_POSITION = re.compile(r" \(at (?:line (?P<line>\d+), column (?P<column>\d+)|end of document)\)\Z")


@dataclass(frozen=True, slots=True)
class Fault:
    """One line: where (the file, or the environment variable), which key, what is wrong and what would be right."""

    where: str
    key: str
    what: str

    def __str__(self) -> str:
        text = ": ".join(part for part in (self.where, self.key, self.what) if part)
        return "".join(each if each.isprintable() else f"\\u{ord(each):04x}" for each in text)


class Faults(Exception):
    """The configuration cannot be used; `str` is one line for each fault."""

    def __init__(self, faults: list[Fault]) -> None:
        super().__init__("\n".join(map(str, faults)))
        self.faults = tuple(faults)


@dataclass(frozen=True, slots=True)
class Conflict:
    """Values that are right one by one and impossible together; `keys` are those involved, the first is to blame."""

    keys: tuple[tuple[str, str], ...]
    what: str


Conflicts = Callable[[T], Iterable[Conflict]]


@dataclass(frozen=True, slots=True)
class Given:
    """A plain value and where it stands."""

    value: object
    where: str


def key(kind: Kind[T], default: object, *, secret: bool = False) -> T:
    """A key of a section: its kind, and its default as one would write it in TOML.  For mypy it is the value."""
    made: Any = field(metadata={"kind": kind, "default": default}, repr=not secret)
    return made  # type: ignore[no-any-return]  # dataclass() turns it into a field


def sections(tree: Any) -> dict[str, dict[str, Field[Any]]]:
    """section → key → field, in the order of the tree."""
    return {section: {each.name: each for each in fields(made)} for section, made in _classes(tree).items()}


def _classes(tree: Any) -> dict[str, Any]:
    return {section.name: section.type for section in fields(tree)}


def load(tree: type[T], path: Path, environ: Mapping[str, str], conflicts: Conflicts[T]) -> T:
    """The tree of the file at `path` with what `environ` overrides.  Raises Faults."""
    return build(tree, _document(path), path, environ, conflicts)


def build(
    tree: type[T], document: Mapping[str, Any], path: Path, environ: Mapping[str, str], conflicts: Conflicts[T]
) -> T:
    """The same from a document that was read already; `path` says where it stands, or would.  Raises Faults."""
    known, faults = sections(tree), list[Fault]()
    given = _of_document(document, str(path), known, faults) | _of_environment(environ, known, faults)
    reading = _Reading(known, given, faults)
    data_dir = reading.value(DATA_DIR, path.absolute().parent)
    made = tree(**{name: reading.section(name, each, data_dir) for name, each in _classes(tree).items()})
    reading.judge(conflicts(made), str(path))
    if reading.faults:
        raise Faults(reading.faults)
    return made


class _Reading:
    """One pass over all keys.

    A wrong value is replaced by the default for the moment, so that all others are still looked at; conflicts in
    which it takes part are not reported.
    """

    def __init__(self, known: Known, given: Mapping[Keys, Given], faults: list[Fault]) -> None:
        self.known = known
        self.given = given
        self.faults = faults
        self.wrong: set[Keys] = set()

    def section(self, section: str, made: Any, data_dir: Path) -> Any:
        at = {name: (section, name) for name in self.known[section]}
        return made(**{name: data_dir if at[name] == DATA_DIR else self.value(at[name], data_dir) for name in at})

    def value(self, at: Keys, folder: Path) -> Any:
        about = self.known[at[0]][at[1]].metadata
        kind: Kind[Any] = about["kind"]
        if at in self.given:
            found = kind.read(self.given[at].value, folder)
            if not isinstance(found, Wrong):
                return found
            self.wrong.add(at)
            self.faults.append(Fault(self.given[at].where, _named(*at), f"{found}; expected {kind.accepted}"))
        return kind.read(about["default"], folder)

    def judge(self, conflicts: Iterable[Conflict], path: str) -> None:
        """A conflict stands where the first of its keys stands that was given at all."""
        for conflict in conflicts:
            if self.wrong.isdisjoint(conflict.keys):
                where = next((self.given[at].where for at in conflict.keys if at in self.given), path)
                self.faults.append(Fault(where, _named(*conflict.keys[0]), conflict.what))


def _document(path: Path) -> dict[str, Any]:
    """The file as TOML has it.  Raises Faults: there is nothing more to look at."""
    try:
        text = path.read_bytes().decode("utf-8-sig")  # an editor's byte order mark does no harm
    except OSError as error:
        raise Faults([Fault(str(path), "", f"cannot be read: {error.strerror}")]) from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise Faults([Fault(f"{path}, line {line}", "", "is not UTF-8")]) from None
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise Faults([_syntax(path, text, str(error))]) from None
    except RecursionError:
        raise Faults([Fault(str(path), "", "is nested too deeply")]) from None


def _syntax(path: Path, text: str, message: str) -> Fault:
    match = _POSITION.search(message)
    line = match["line"] if match and match["line"] else text.rstrip().count("\n") + 1
    column = f", column {match['column']}" if match and match["column"] else ""
    what = _POSITION.sub("", message).replace("Invalid value", "no value that TOML knows (a string needs its quotes)")
    return Fault(f"{path}, line {line}{column}", "", f"not TOML: {what}")


def _of_document(document: Mapping[str, Any], where: str, known: Known, faults: list[Fault]) -> dict[Keys, Given]:
    given: dict[Keys, Given] = {}
    for section, table in document.items():
        if section not in known:
            faults.append(Fault(where, *_unknown_section(section, isinstance(table, dict), known)))
        elif not isinstance(table, dict):
            faults.append(Fault(where, f"[{section}]", f"{shown(table)} is not accepted; expected a table of keys"))
        else:
            given |= _of_section(section, table, where, known, faults)
    return given


def _of_section(
    section: str, table: Mapping[str, Any], where: str, known: Known, faults: list[Fault]
) -> dict[Keys, Given]:
    mine = known[section]
    faults += [
        Fault(where, _named(section, name), _unknown_key(section, name, known)) for name in table if name not in mine
    ]
    return {(section, name): Given(value, where) for name, value in table.items() if name in mine}


def _of_environment(environ: Mapping[str, str], known: Known, faults: list[Fault]) -> dict[Keys, Given]:
    given: dict[Keys, Given] = {}
    for variable, text in sorted(environ.items()):
        if match := _VARIABLE.match(variable):
            section, name = match["section"].lower(), match["key"].lower()
            value = _toml_value(text)
            if value is None:
                what = f"{shown(text)} is not a TOML value (a string needs its quotes)"
                faults.append(Fault(variable, _named(section, name), what))
            else:
                given |= _of_document({section: {name: value}}, variable, known, faults)
    return given


def _toml_value(text: str) -> object:
    """The value, or None, which TOML does not have."""
    try:
        document = tomllib.loads(f"value = {text}")
    except (tomllib.TOMLDecodeError, RecursionError):
        return None
    return document["value"] if len(document) == 1 else None


def _named(section: str, name: str) -> str:
    return f"[{section}] {name}"


def _unknown_section(section: str, is_table: bool, known: Known) -> tuple[str, str]:
    """How it is named, and what is wrong: a key above all sections is most likely one of a section's."""
    if not is_table:
        return section, _unknown_key("", section, known)
    near = difflib.get_close_matches(section, known, 1)
    hint = f"did you mean [{near[0]}]?" if near else f"expected one of {', '.join(f'[{each}]' for each in known)}"
    return f"[{section}]", f"unknown section; {hint}"


def _unknown_key(section: str, name: str, known: Known) -> str:
    """The nearest key of this section, or the section that has it, or all that there are."""
    here = known.get(section, {})
    if near := difflib.get_close_matches(name, here, 1):
        return f"unknown key; did you mean {near[0]}?"
    if elsewhere := [_named(other, name) for other, keys in known.items() if name in keys]:
        return f"unknown key; did you mean {' or '.join(elsewhere)}?"
    return f"unknown key; expected {'one of ' + ', '.join(here) if here else 'a [section] above it'}"
