"""The database from the shell: brought up to date, and copied while it is in use."""

import os
import sqlite3
import subprocess
import threading
from pathlib import Path

import pytest
from sqlalchemy import make_url, text

from listserv.store.schema import VERSION
from tests.cli.shell import Shell
from tests.kit.postgres import Postgres

SAILING = ("group", "create", "sailing@lists.example", "--owner", "ada@a.example")


def test_upgrade_makes_a_new_database_and_leaves_a_current_one(shell: Shell) -> None:
    assert shell.ok("db", "upgrade") == f"from version none to {VERSION}\n"
    assert shell.ok("db", "upgrade") == f"at version {VERSION} already\n"


def test_a_database_of_a_newer_program_is_refused_in_one_line(shell: Shell) -> None:
    shell.ok("db", "upgrade")
    with sqlite3.connect(shell.folder / "listserv.db") as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
    database.close()
    [line] = shell.fails("db", "upgrade")
    assert "9999" in line
    assert "run the newer listserv" in line


def test_a_backup_is_a_whole_database_for_its_owner_only(shell: Shell) -> None:
    shell.ok(*SAILING)
    target = shell.folder / "backup.db"
    target.write_bytes(b"an older one")
    shell.ok("db", "backup", str(target))
    assert target.stat().st_mode & 0o777 == 0o600
    (shell.folder / "listserv.db").unlink()
    for suffix in ("-wal", "-shm"):
        (shell.folder / f"listserv.db{suffix}").unlink(missing_ok=True)
    target.rename(shell.folder / "listserv.db")
    assert [group["address"] for group in shell.json("group", "list")] == ["sailing@lists.example"]
    assert not [path for path in shell.folder.iterdir() if path.suffix == ".tmp"]


def test_a_backup_is_consistent_while_others_write(shell: Shell) -> None:
    """Two tables that always have as many rows: a copy made in between would show it."""
    node = shell.node()
    node.db.write_now(lambda tx: [tx.execute(text(f"CREATE TABLE {name} (n INTEGER, pad TEXT)")) for name in "ab"])
    over = threading.Event()

    def write() -> None:
        while not over.is_set():
            node.db.write_now(
                lambda tx: [
                    tx.execute(
                        text(f"INSERT INTO {name} SELECT 1, hex(randomblob(2000)) FROM groups UNION SELECT 2, ''")
                    )
                    for name in "ab"
                ]
            )

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for number in range(5):
            target = shell.folder / f"backup{number}.db"
            shell.ok("db", "backup", str(target))
            copy = sqlite3.connect(target)
            assert copy.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            counted = [copy.execute(f"SELECT count(*) FROM {name}").fetchone() for name in "ab"]
            copy.close()
            assert counted[0] == counted[1]
    finally:
        over.set()
        writer.join()
        node.close()


def test_a_backup_that_fails_leaves_what_was_there(shell: Shell) -> None:
    shell.ok("db", "upgrade")
    target = shell.folder / "backup.db"
    target.write_bytes(b"an older one")
    (shell.folder / f".backup.db.{os.getpid()}.tmp").mkdir()  # nothing can be written there
    assert len(shell.fails("db", "backup", str(target))) == 1
    assert target.read_bytes() == b"an older one"
    assert len(shell.fails("db", "backup", str(shell.folder / "no" / "folder.db"))) == 1


def test_postgresql_is_dumped_and_restored(
    server: Postgres, folder: Path, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = server.database()
    shell = Shell.at(folder, url, keys)
    shell.ok(*SAILING)
    monkeypatch.setenv("PATH", str(server.bin), prepend=os.pathsep)
    target = folder / "backup.dump"
    shell.ok("db", "backup", str(target))
    assert target.stat().st_mode & 0o777 == 0o600
    other = server.database()
    empty = make_url(other)
    restore = ["pg_restore", "--clean", "--if-exists", "--no-owner", "-h", "127.0.0.1", "-p", str(empty.port)]
    subprocess.run([*restore, "-U", "postgres", "-d", str(empty.database), target], check=True)
    Path(shell.config).write_text(Path(shell.config).read_text().replace(url, other))
    assert [group["address"] for group in shell.json("group", "list")] == ["sailing@lists.example"]
    server.drop(url), server.drop(other)


def test_without_pg_dump_one_line_says_what_to_run(
    server: Postgres, folder: Path, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = server.database()
    shell = Shell.at(folder, url, keys)
    monkeypatch.setenv("PATH", str(folder))
    [line] = shell.fails("db", "backup", str(folder / "backup.dump"))
    assert "run: pg_dump --format=custom" in line
    assert not (folder / "backup.dump").exists()
    server.drop(url)


def test_a_password_goes_to_pg_dump_by_the_environment_wherever_the_url_has_it(
    server: Postgres, folder: Path, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given a pg_dump that says how it was called
    program, said = folder / "pg_dump", folder / "said"
    program.write_text(f'#!/bin/sh\necho "$@" > {said}\necho "$PGPASSWORD" >> {said}\nexit 1\n')
    program.chmod(0o755)
    url = server.database()
    shell = Shell.at(folder, f"{url}?password=canary", keys)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)

    # then nobody reads the password in the list of processes
    shell.fails("db", "backup", str(folder / "backup.dump"))
    arguments, password = said.read_text().splitlines()
    assert "canary" not in arguments
    assert password == "canary"

    # nor in what is said without a pg_dump
    monkeypatch.setenv("PATH", str(folder / "empty"))
    assert "canary" not in shell.fails("db", "backup", str(folder / "backup.dump"))[0]
    server.drop(url)


def test_a_backup_into_a_folder_that_is_not_there_names_the_folder(shell: Shell) -> None:
    folder = shell.folder / "nowhere"
    assert shell.fails("db", "backup", str(folder / "x.db")) == [f"Error: {folder}: there is no such folder"]
