"""Bells: a commit tells whoever may have work now, in this process, its siblings and on other machines.

    ring(tx, "deliveries")                 in the transaction that makes the work
    await Bells(url).listen(heard)         `heard` is called in this event loop with the names that were rung

A bell is only an alarm clock: it may be lost, the rows are the truth, and every nap ends by itself.

Between processes PostgreSQL carries it (NOTIFY in the transaction, LISTEN on a connection of its own).  Beside an
SQLite file each listening process has a named pipe in a folder `listserv.db-bells`; whoever commits, the command
line too, writes the names into all of them.  A pipe that nobody reads any more is removed by the next one who rings.
"""

import asyncio
import contextlib
import errno
import logging
import os
import secrets
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, text
from sqlalchemy.engine import URL

from listserv import files

NAMES = frozenset({"posts", "deliveries", "jobs", "journal"})  # tables with rows that wait
AGAIN_AFTER = 5.0  # seconds before a lost connection is tried anew

_RUNG = "listserv rung"
_CHANNEL = "listserv"
_NOTIFY = text("SELECT pg_notify(:channel, :said)")

log = logging.getLogger("listserv.store")

Heard = Callable[[Collection[str]], None]


def ring(tx: Connection, name: str) -> None:
    """After this transaction's commit, whoever waits for rows of that table looks."""
    tx.info.setdefault(_RUNG, set()).add(name)


def rung(tx: Connection) -> Collection[str]:
    """What has been rung in this transaction so far."""
    names: Collection[str] = tx.info.get(_RUNG, ())
    return names


def silence(tx: Connection) -> set[str]:
    """What was rung in this transaction, which has not been rung now."""
    rung: set[str] = tx.info.pop(_RUNG, set())
    return rung


class Bells:
    """The bells of one process.  `before` and `after` belong around each commit, in the thread that commits."""

    def __init__(self, url: URL) -> None:
        self._outside = _Notices(url) if url.get_backend_name() == "postgresql" else _Pipes(url)
        self._inside: list[tuple[asyncio.AbstractEventLoop, Heard]] = []

    def before(self, tx: Connection) -> set[str]:
        """What is to be rung, when this transaction's commit has come about."""
        names = silence(tx)
        for name in sorted(names):
            self._outside.before(tx, name)
        return names

    def after(self, rung: Collection[str]) -> None:
        if not rung:
            return
        for loop, heard in tuple(self._inside):
            with contextlib.suppress(RuntimeError):  # closed: nobody waits any more
                loop.call_soon_threadsafe(heard, rung)
        self._outside.after(rung)

    async def listen(self, heard: Heard) -> None:
        """Until it is cancelled; `heard` may be called for nothing, and after a fault for everything."""
        here = asyncio.get_running_loop(), heard
        self._inside.append(here)
        try:
            await self._outside.listen(heard)
        finally:
            self._inside.remove(here)


class _Notices:
    """PostgreSQL's NOTIFY; what this process has said itself comes back and is left out."""

    def __init__(self, url: URL) -> None:
        self._own = secrets.token_hex(8)
        self._url = url

    def before(self, tx: Connection, name: str) -> None:
        tx.execute(_NOTIFY, {"channel": _CHANNEL, "said": f"{name} {self._own}"})

    def after(self, rung: Collection[str]) -> None:
        """The commit has carried it."""

    async def listen(self, heard: Heard) -> None:
        import psycopg  # not needed beside SQLite

        while True:
            try:
                await self._listen(heard)
            except (psycopg.Error, OSError) as fault:
                log.warning("deaf to other processes for a while: %s", str(fault).strip().partition("\n")[0])
            await asyncio.sleep(AGAIN_AFTER)

    async def _listen(self, heard: Heard) -> None:
        from psycopg import AsyncConnection

        _, arguments = self._url.get_dialect()().create_connect_args(self._url)
        async with await AsyncConnection.connect(**_keeping(arguments), autocommit=True) as connection:
            await connection.execute(f"LISTEN {_CHANNEL}")
            heard(NAMES)  # what was rung before is not told again
            async for notice in connection.notifies():
                name, _, who = notice.payload.partition(" ")
                if who != self._own and name in NAMES:
                    heard((name,))


def _keeping(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """A connection on which nothing is said for hours: the kernel asks whether the other side is there."""
    return {"keepalives_idle": 60, "keepalives_interval": 10, "keepalives_count": 3, **arguments}


class _Pipes:
    """Named pipes beside the SQLite file."""

    def __init__(self, url: URL) -> None:
        self._folder = Path(f"{url.database}-bells") if url.database else None
        self._own: Path | None = None

    def before(self, tx: Connection, name: str) -> None:
        """Nothing may be heard before the commit."""

    def after(self, rung: Collection[str]) -> None:
        if self._folder is None:
            return
        said = "".join(f"{name}\n" for name in rung).encode()
        with contextlib.suppress(OSError):  # no folder: nobody listens
            for entry in os.listdir(self._folder):  # noqa: PTH208 - at each commit
                if not entry.startswith(".") and (self._own is None or entry != self._own.name):
                    _write(self._folder / entry, said)

    async def listen(self, heard: Heard) -> None:
        fd = -1
        try:
            fd = self._open()
            asyncio.get_running_loop().add_reader(fd, _read, fd, heard)
            await asyncio.Event().wait()
        except OSError as fault:  # naps find what nobody rings for
            log.warning("deaf to other processes: %s", fault)
            await asyncio.Event().wait()
        finally:
            if fd >= 0:
                asyncio.get_running_loop().remove_reader(fd)
                os.close(fd)
            if self._own is not None:
                self._own.unlink(missing_ok=True)

    def _open(self) -> int:
        """A pipe of our own, open for reading before it has the name by which others find it."""
        if self._folder is None:
            raise FileNotFoundError(errno.ENOENT, "a database in memory has no neighbours")
        self._folder.mkdir(mode=0o700, exist_ok=True)
        own = self._folder / f"{os.getpid()}-{secrets.token_hex(4)}"
        hidden = own.with_name(f".{own.name}")
        os.mkfifo(hidden, 0o600)
        files.give_to_owner_of(self._folder.parent, self._folder, hidden)
        fd = os.open(hidden, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)  # also for writing: so it never ends
        self._own = hidden.rename(own)
        return fd


def _read(fd: int, heard: Heard) -> None:
    with contextlib.suppress(BlockingIOError):
        names = {line.decode("ascii", "replace") for line in os.read(fd, 65_536).split(b"\n")}
        heard(names & NAMES)


def _write(pipe: Path, said: bytes) -> None:
    try:
        fd = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError as fault:
        if fault.errno == errno.ENXIO:  # its reader has died
            pipe.unlink(missing_ok=True)
        return
    try:
        os.write(fd, said)
    except OSError:  # full of bells that nobody has heard yet, or just left
        pass
    finally:
        os.close(fd)
