"""What commands print: tables for people, JSON for programs.  Lists are one array, single things one object.

Whatever others wrote (subjects, names, bodies) is shown and never obeyed: control characters, and those that
turn or hide text (UAX #9), reach no terminal.  Long lists are printed as they are read.
"""

import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import chain, islice
from typing import IO, Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

MEASURED = 200  # rows that decide how wide the columns are
PATIENCE = 2.0  # seconds before a progress bar appears

_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff\U000e0000-\U000e007f]"
)


class Faults(click.ClickException):
    """What is wrong, one line each; nothing was done about it.  Exit 1."""

    def __init__(self, *lines: str) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines

    def show(self, file: IO[Any] | None = None) -> None:
        for line in self.lines:
            error(line)


def error(line: str) -> None:
    click.echo(f"Error: {clean(line)}", err=True)


def note(line: str) -> None:
    """Said to the person at the terminal, not to whoever reads the output."""
    click.echo(clean(line), err=True)


def json_option(command: F) -> F:
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


def json(value: object) -> None:
    """One object, or a short array."""
    import msgspec

    _put(msgspec.json.format(_encoded(value), indent=2) + b"\n")


def array(values: Iterable[object]) -> None:
    """One array, an element a line, written while `values` are read."""
    before = b"["
    for value in values:
        _put(before + b"\n  " + _encoded(value))
        before = b","
    _put(b"[]\n" if before == b"[" else b"\n]\n")


def clean(text: object) -> str:
    """One line that a terminal shows and does not obey: times, yes and no, words with commas, text."""
    match text:
        case None:
            return ""
        case bool():
            return "yes" if text else "no"
        case datetime():
            return moment(text)
        case tuple() | list():
            return ", ".join(map(clean, text))
        case _:
            return _UNSAFE.sub(" ", str(text))


def lines(text: str) -> list[str]:
    """The lines of a text, each clean."""
    return [clean(line.expandtabs(4)).rstrip() for line in text.replace("\r\n", "\n").split("\n")]


def moment(at: datetime | None) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ") if at else ""


def table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Columns as wide as what is in the first rows; nothing but a line when there are no rows."""
    cells = (tuple(map(clean, row)) for row in rows)
    first = list(islice(cells, MEASURED))
    if not first:
        click.echo("none")
    elif len(first) < MEASURED and sys.stdout.isatty():
        _drawn(headings, first)
    else:
        widths = [max(map(len, column)) for column in zip(headings, *first, strict=True)]
        for line in chain([tuple(headings)], first, cells):
            click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def facts(pairs: Iterable[tuple[str, object]]) -> None:
    """`name  value`, a line each; further lines of a value stand below its first."""
    said = [(name, lines(value) if isinstance(value, str) else [clean(value)]) for name, value in pairs]
    width = max((len(name) for name, _ in said), default=0)
    for name, values in said:
        for at, value in enumerate(values):
            click.echo(f"{'' if at else name:<{width}}  {value}".rstrip())


@contextmanager
def progress(label: str, total: int) -> Iterator[Callable[[int], None]]:
    """Call it with the number of steps just done; what takes long has a bar on standard error if that is a terminal."""
    bar: list[Any] = []
    since, done = time.monotonic(), 0

    def advance(steps: int) -> None:
        nonlocal done
        done += steps
        if not bar and sys.stderr.isatty() and time.monotonic() - since > PATIENCE:
            from rich.console import Console
            from rich.progress import Progress

            bar.append(Progress(console=Console(stderr=True), transient=True))
            bar[0].start()
            bar[0].add_task(label, total=total)
        for each in bar:
            each.update(each.task_ids[0], completed=done)

    try:
        yield advance
    finally:
        for each in bar:
            each.stop()


def _drawn(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """On a terminal long cells are wrapped within their columns."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(*headings, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        drawn.add_row(*map(Text, row))
    Console().print(drawn)


def _encoded(value: object) -> bytes:
    """JSON in which unsafe characters, which can only stand in strings, are escaped (RFC 8259 §7)."""
    import msgspec

    text = msgspec.json.encode(value).decode()
    return _UNSAFE.sub(lambda found: _escape(found[0]), text).encode()


def _escape(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))


def _put(octets: bytes) -> None:
    click.echo(octets, nl=False)
