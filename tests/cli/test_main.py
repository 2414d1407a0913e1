"""What every command has in common: faults are one line, and the reader may leave early."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from listserv.cli.main import main
from tests.cli.shell import Shell

ROOT = Path(__file__).parents[2]


def process(shell: Shell, *args: str, command: str = "") -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, as from a shell; `command` follows it in the pipe."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "default", "LISTSERV_CONFIG": shell.config}
    line = f'"{sys.executable}" -m listserv {" ".join(args)} {command}'
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", line], env=environment, capture_output=True, text=True, check=False
    )


def test_help_needs_no_configuration(shell: Shell) -> None:
    (shell.folder / "listserv.toml").write_text("nonsense")
    done = process(shell, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "group" in done.stdout


def every(command: click.Command, *path: str) -> Iterator[tuple[str, ...]]:
    """This command and all below it, as they are called."""
    yield path
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from every(below, *path, name)


@pytest.mark.parametrize("path", list(every(main)), ids=" ".join)
def test_help_is_whole_and_has_an_example(shell: Shell, path: tuple[str, ...]) -> None:
    said = shell.ok(*path, "--help")
    assert not [line for line in said.splitlines() if line.endswith("...") and not line.startswith("Usage: ")]
    examples = [line for line in said.splitlines() if line.startswith(f"    {' '.join(['listserv', *path])}")]
    assert examples
    assert "Examples:" not in said or len(examples) > 1


def test_a_reader_who_has_enough_hears_no_complaint(shell: Shell) -> None:
    shell.ok("group", "create", "sailing@lists.example", "--owner", "ada@a.example")
    people = "\n".join(f"p{number}@x.example" for number in range(20_000))
    shell.ok("member", "import", "sailing", "-", "--confirmed", stdin=people)
    done = process(shell, "member", "list", "sailing", command="| head -1")
    assert done.stdout.startswith("address")
    assert done.stderr == ""


def test_what_cannot_be_written_down_is_one_line(shell: Shell) -> None:
    shell.ok("group", "create", "sailing@lists.example", "--owner", "ada@a.example")
    done = process(shell, "group", "list", command="> /dev/full")
    assert (done.returncode, done.stderr) == (1, "Error: No space left on device\n")


def test_no_configuration_is_one_line_with_the_remedy(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LISTSERV_CONFIG", str(shell.folder / "nosuch.toml"))
    done = process(Shell(shell.folder / "nowhere"), "group", "list")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "listserv.toml" in done.stderr


def test_each_fault_of_the_configuration_is_one_line(shell: Shell) -> None:
    (shell.folder / "listserv.toml").write_text('[site]\nnam = 1\n[smtp]\nlisten = "x"\n')
    said = shell.fails("group", "list")
    assert len(said) == 2
    assert all(shell.config in line for line in said)


def test_a_database_of_a_newer_program_is_left_alone(shell: Shell) -> None:
    shell.ok("group", "list")
    database = sqlite3.connect(shell.folder / "listserv.db")
    database.execute("UPDATE alembic_version SET version_num = '9999'")
    database.commit()
    database.close()
    (said,) = shell.fails("group", "list")
    assert "run the newer listserv" in said


def test_what_is_no_database_is_said(shell: Shell) -> None:
    (shell.folder / "listserv.db").write_bytes(b"no database at all, but long enough to be looked at" * 100)
    (said,) = shell.fails("group", "list")
    assert said == "Error: [database] url: file is not a database"


def test_a_database_that_cannot_be_reached_is_one_line(shell: Shell) -> None:
    config = Path(shell.config)
    config.write_text(config.read_text().replace("sqlite:///listserv.db", "postgresql+psycopg://x@127.0.0.1:1/x"))
    (said,) = shell.fails("group", "list")
    assert said.startswith("Error: [database] url: connection")


def test_a_key_that_others_can_read_is_refused(shell: Shell) -> None:
    key = next((shell.folder / "dkim").glob("*/*.pem"))
    key.chmod(0o644)
    (said,) = shell.fails("group", "list")
    assert said == f"Error: {key} can be read by others; chmod 0600 it"


def test_a_folder_where_a_file_should_be_is_named(shell: Shell) -> None:
    key = next((shell.folder / "dkim").glob("*/*.pem"))
    key.unlink()
    key.mkdir(mode=0o700)
    (said,) = shell.fails("group", "list")
    assert said == f"Error: {key}: Is a directory"
