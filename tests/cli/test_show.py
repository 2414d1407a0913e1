"""What is printed: bounded, clean, and valid JSON."""

import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from listserv.cli import show

ANYTHING = st.text(st.characters(exclude_categories=()))


@given(ANYTHING)
def test_what_is_shown_is_one_line_without_control_characters(text: str) -> None:
    shown = show.clean(text)
    assert not any(ord(each) < 32 or 0x7F <= ord(each) < 0xA0 or each in "\u2028\u2029\u202e\u2066" for each in shown)
    shown.encode()


@given(st.recursive(st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_json_is_what_it_was_and_shows_no_control_characters(value: object) -> None:
    written = show._encoded(value).decode()
    assert json.loads(written) == value
    assert show.clean(written) == written


def test_an_array_is_written_while_it_is_read(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    def rows() -> Iterator[int]:
        yield 1
        assert capsysbinary.readouterr().out.startswith(b"[\n  1")
        yield 2

    show.array(rows())
    assert capsysbinary.readouterr().out == b",\n  2\n]\n"
    show.array([])
    assert json.loads(capsysbinary.readouterr().out) == []


def test_columns_fit_their_first_rows_and_later_ones_may_stand_out(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [("a", 1)] * show.MEASURED + [("a long one", 2)]
    show.table(("name", "number"), rows)
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["name  number", "a     1"]
    assert lines[-1] == "a long one  2"


def test_values_are_said_as_people_say_them() -> None:
    at = datetime(2026, 11, 22, 10, 2, tzinfo=UTC)
    assert [show.clean(each) for each in (True, False, None, at, ("a", "b\n"), 7)] == [
        "yes", "no", "", "2026-11-22 10:02:00Z", "a, b ", "7",
    ]  # fmt: skip


def test_further_lines_of_a_value_stand_below_its_first(capsys: pytest.CaptureFixture[str]) -> None:
    show.facts([("a", "one\ntwo"), ("long", 3)])
    assert capsys.readouterr().out == "a     one\n      two\nlong  3\n"


def test_on_a_terminal_markup_in_a_cell_is_text() -> None:
    """There the table is drawn by rich, which would take [red] for a colour."""
    program = (
        'from listserv.cli import show; show.table(("a", "b"), [("[red]x[/red] [/]", "\\x1b[31m" + "word " * 40)])'
    )
    master, slave = pty.openpty()
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "COLUMNS": "60", "TERM": "xterm"}
    subprocess.run([sys.executable, "-c", program], stdout=slave, env=environment, check=True)
    os.close(slave)
    shown = os.read(master, 100_000).decode()
    os.close(master)
    assert "[red]x[/red] [/]" in shown
    assert "\x1b[31m" not in shown
    assert len(shown.splitlines()) > 3


def test_a_progress_bar_waits_and_needs_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(show, "PATIENCE", -1.0)
    with show.progress("import", 2) as advance:
        advance(1)
        advance(1)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with show.progress("import", 2) as advance:
        advance(1)
    assert "import" in capsys.readouterr().err
