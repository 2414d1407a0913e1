"""`listserv db`: the database brought up to date, copied while it is in use, and its record of consent verified."""

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click
from sqlalchemy import make_url
from sqlalchemy.engine import URL

from listserv import files
from listserv.cli import show
from listserv.cli.main import Commands, Place, plain_faults

if TYPE_CHECKING:
    from listserv.store.db import Tx

PAGES = 2000  # of the database copied in one go; writers wait no longer than that takes


@click.group(cls=Commands)
def db() -> None:
    """The database.

    \b
    Examples:
      listserv db upgrade
      listserv db backup /var/backups/listserv.db
      listserv db verify
    """


@db.command()
@click.pass_obj
def upgrade(place: Place) -> None:
    """Bring the database to the schema of this program; a new one is made.

    \b
    Example:
      listserv db upgrade
    """
    from listserv.store import upgrade as schema
    from listserv.store.db import Database
    from listserv.store.schema import VERSION

    settings = place.settings()
    with plain_faults():
        settings.site.data_dir.mkdir(parents=True, exist_ok=True)
        database = Database(settings.database.url)
        try:
            before = database.read_now(schema.version)
        finally:
            database.close()
    with place.node():  # opening it upgrades it, and sees to who owns the files
        pass
    click.echo(
        f"at version {VERSION} already" if before == VERSION else f"from version {before or 'none'} to {VERSION}"
    )


@db.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.pass_obj
def backup(place: Place, file: Path) -> None:
    """Copy the database to FILE while the daemon runs; afterwards FILE is whole, or as it was before.

    \b
    SQLite: FILE is a database.  To restore, stop the daemon, remove the files beside the database that end in
    -wal and -shm (they belong to the old one), and put FILE in its place.
    PostgreSQL: FILE is made by pg_dump in its custom format; `pg_restore` reads it.
    The DKIM keys are not in it: keep data_dir/dkim too.

    \b
    Example:
      listserv db backup /var/backups/listserv-2026-11-22.db
    """
    if not file.absolute().parent.is_dir():
        raise click.ClickException(f"{file.parent}: there is no such folder")
    with place.node() as node:
        url = make_url(node.settings.database.url)
    with plain_faults(), _whole(file) as unfinished:
        if url.get_backend_name() == "sqlite":
            _copy(Path(url.database or ""), unfinished)
        else:
            _dump(url, unfinished)
    click.echo(f"{file}: {file.stat().st_size} bytes")


@db.command()
@show.json_option
@click.pass_obj
def verify(place: Place, as_json: bool) -> None:
    """Look at the whole consent record: each row's digest covers the one before, so that no change goes unseen.

    Exit 1 when a row is not what was written.  `listserv check` looks at the newest rows only.

    \b
    Example:
      listserv db verify
    """
    from listserv.store import consents
    from listserv.store.consents import Broken, Sound

    def work(tx: "Tx") -> Sound | Broken:
        seen = 0
        with show.progress("verify", consents.count(tx)) as advance:
            for found in consents.verify(tx):
                if isinstance(found, Sound):
                    advance(found.rows - seen)
                    seen = found.rows
        return found

    with place.node() as node:
        found = node.db.read_now(work)
    said: dict[str, object]
    if isinstance(found, Sound):
        said = {"sound": True, "rows": found.rows}
        line = f"consent record: {found.rows} rows, each as it was written"
    else:
        said = {"sound": False, "row": found.id, "why": found.why}
        line = f"consent record, row {found.id}: {found.why}"
    if as_json:
        show.json(said)
    elif said["sound"]:
        click.echo(line)
    else:
        show.error(line)
    if not said["sound"]:
        sys.exit(1)


@contextmanager
def _whole(file: Path) -> Iterator[Path]:
    """A path to write to; it gets the name of `file` when all went well, and vanishes when not."""
    unfinished = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    try:
        os.close(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
        yield unfinished
        files.sync(unfinished)
        unfinished.replace(file)
        files.sync(file.parent)
    finally:
        unfinished.unlink(missing_ok=True)


def _copy(database: Path, target: Path) -> None:
    """SQLite's online backup: a consistent copy, whatever is written meanwhile."""
    try:
        source, copy = sqlite3.connect(f"{database.absolute().as_uri()}?mode=rw", uri=True), sqlite3.connect(target)
        try:
            pages = source.execute("PRAGMA page_count").fetchone()[0]
            with show.progress("backup", pages) as advance:
                left = pages

                def step(_: int, remaining: int, __: int) -> None:
                    nonlocal left
                    advance(max(0, left - remaining))
                    left = min(left, remaining)

                source.backup(copy, pages=PAGES, progress=step)
            copy.execute("PRAGMA journal_mode=DELETE")  # one file, without a WAL beside it
        finally:
            copy.close()
            source.close()
    except sqlite3.Error as fault:
        raise click.ClickException(f"backup: {fault}") from None


def bare(url: URL) -> URL:
    """Without a password, which libpq takes in front of the host and among the options."""
    return url.set(password=None).difference_update_query(passwords(url))


def passwords(url: URL) -> list[str]:
    """The options that are one."""
    return [name for name in url.query if name.endswith("password")]


def _dump(url: URL, target: Path) -> None:
    """What pg_dump says of this database; the password goes by the environment, never by the command line."""
    plain, password = bare(url).set(drivername="postgresql"), url.password or url.query.get("password")
    if shutil.which("pg_dump") is None:
        said = plain.render_as_string(hide_password=False)
        raise click.ClickException(
            f"pg_dump is not installed here; where it is, run: pg_dump --format=custom --file=FILE '{said}'"
        )
    environment = dict(os.environ) | ({"PGPASSWORD": str(password)} if password else {})
    command = ["pg_dump", "--format=custom", "--no-password", "--file", str(target), plain.render_as_string()]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["pg_dump failed"]
        raise click.ClickException(lines[0])
