"""A list of people as a file: one address a line, or CSV with a header.  Pure: bytes in, people and faults out.

    # a comment                          email,name,mode
    ada@a.example                        ada@a.example,Ada Lovelace,each
    Bob <bob@b.example>                  bob@b.example,"Bob, the second",none

UTF-8, with or without a byte order mark, any line ends.  CSV (RFC 4180) may have commas, semicolons or tabs between
its columns; a value ends in the line in which it begins, so that each fault has its line and the next line is read.
"""

import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from listserv.model import setting
from listserv.model.account import Member
from listserv.model.address import parse
from listserv.model.setting import Wrong, written
from listserv.store.rolls import Person

COLUMNS = ("email", "name", "role", "mode", "moderated", "joined")  # what `write` makes
MAX_LINE = 10_000  # characters
_EMAIL = ("email", "e-mail", "mail", "address", "email address", "e-mail address")
_READ = ("name", "role", "mode", "moderated")
_WRITTEN_ONLY = ("joined",)

_LINE_END = re.compile("\r\n|\r|\n")


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong in one line, counted from 1; 0 is the file as a whole."""

    line: int
    what: str


@dataclass(frozen=True, slots=True)
class Roster:
    """People in the order of the file, each once; `repeated` were named again, `unused` columns are not read."""

    people: tuple[Person, ...]
    faults: tuple[Fault, ...]
    repeated: int = 0
    unused: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Header:
    """Which column is where."""

    delimiter: str
    columns: tuple[str, ...]

    def fields(self, line: str) -> Mapping[str, str] | Wrong:
        try:
            values = next(csv.reader([line], delimiter=self.delimiter, strict=True, skipinitialspace=True))
        except csv.Error as fault:
            return Wrong(f"broken quotation marks ({fault})")
        if len(values) > len(self.columns) and any(value.strip() for value in values[len(self.columns) :]):
            return Wrong(f"{len(values)} columns where the header has {len(self.columns)}")
        return {name: value.strip() for name, value in zip(self.columns, values, strict=False)}


def read(content: bytes, refuse: Callable[[Person], str | None]) -> Roster:
    """Everybody in the file, and every line that cannot be understood, or whose person is refused with these words."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as fault:
        broken_at = content.count(b"\n", 0, fault.start) + 1
        return Roster((), (Fault(broken_at, "not UTF-8: save the file as UTF-8"),))
    people: dict[str, Person] = {}
    faults: list[Fault] = []
    numbered = list(_lines(text))
    header = _header(numbered[0][1]) if numbered else None
    named = 0
    for number, line in numbered[1:] if header else numbered:
        person = _person(line, header)
        why = person.why if isinstance(person, Wrong) else refuse(person)
        if why is not None:
            faults.append(Fault(number, why))
        elif isinstance(person, Person):
            named += 1
            people.setdefault(person.address.key, person)
    unused = [name for name in header.columns if name not in ("email", *_READ, *_WRITTEN_ONLY)] if header else []
    return Roster(tuple(people.values()), tuple(faults), named - len(people), tuple(unused))


def write(members: Iterable[Member]) -> Iterator[str]:
    """The lines of a file that `read` understands; the first is the header."""
    yield _csv(COLUMNS)
    for member in members:
        joined = member.joined_at.isoformat(timespec="seconds")
        yield _csv((member.address, member.name, member.role, member.mode, written(member.moderated), joined))


def _csv(values: Iterable[Any]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(values)
    return line.getvalue()


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines with their numbers, without blank ones and comments."""
    for number, line in enumerate(_LINE_END.split(text), 1):
        if line.strip(" \t\ufeff,;") and not line.lstrip().startswith("#"):
            yield number, line


def _header(line: str) -> _Header | None:
    """The header of CSV, or None: the line is somebody already."""
    if "@" in line:
        return None
    for delimiter in (",", ";", "\t"):
        names = [name.strip().strip('"').strip().lower() for name in line.split(delimiter)]
        if any(name in _EMAIL for name in names):
            found = [name for name in names if name in _EMAIL][:1]
            return _Header(delimiter, tuple("email" if [name] == found else name for name in names))
    return None


def _person(line: str, header: _Header | None) -> Person | Wrong:
    if len(line) > MAX_LINE:
        return Wrong(f"a line of {len(line)} characters; at most {MAX_LINE} are read")
    if header is not None:
        fields = header.fields(line)
        return fields if isinstance(fields, Wrong) else _with_values(fields)
    return _with_values(_named(line.strip()))


def _named(text: str) -> Mapping[str, str]:
    """`Name <address>` or the address alone."""
    name, angle, address = text.rpartition("<")
    if not angle or not address.endswith(">"):
        return {"email": text}
    return {"email": address.removesuffix(">").strip(), "name": name.strip().strip('"').strip()}


def _with_values(fields: Mapping[str, str]) -> Person | Wrong:
    text = fields.get("email", "")
    address = parse(text)
    if address is None:
        columns = "; for several columns begin the file with a line of their names: email,name,mode"
        shown = text if len(text) <= 100 else f"{text[:99]}…"
        return Wrong(f"“{shown}” is not an e-mail address{columns if ',' in text or ';' in text else ''}")
    values: dict[str, Any] = {}
    for key in _READ:
        value = setting.read_member(key, fields[key], ()) if fields.get(key) else None
        if isinstance(value, Wrong):
            return Wrong(f"{key}: {value.why}")
        if value is not None:
            values[key] = value
    return Person(address, **values)
