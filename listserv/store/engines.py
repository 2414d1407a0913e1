"""How SQLite and PostgreSQL are opened: what makes a commit last, a reader see one moment, and a fault tell nothing.

Two engines for each database: one whose connections write, and one whose connections only read.
"""

import logging
import os
import sqlite3
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, ExceptionContext, create_engine, event
from sqlalchemy.engine import URL

from listserv.store import large

log = logging.getLogger("listserv.store")

READERS = 4
WRITERS = 1  # SQLite has one by nature; on PostgreSQL several groups would wait for each other's rows, and deadlock
LOCK_SECONDS = 8  # how long a statement waits for another process to finish its transaction; it is tried five times

# libpq: seconds, but for tcp_user_timeout; what the URL says of them goes first
NETWORK = {"connect_timeout": 10, "tcp_user_timeout": 20_000, "keepalives_idle": 10, "keepalives_interval": 5}

CHECKPOINT = 8_000  # pages of SQLite's log; rarely enough that one commit in a hundred does not wait for it

_WAL_ATTEMPTS = 10


class UnsafeDatabase(Exception):
    """The server does not keep what it has committed; a 250 would be a lie (RELIABILITY R1)."""


def is_sqlite(url: URL) -> bool:
    return url.get_backend_name() == "sqlite"


def opened(url: URL) -> tuple[Engine, Engine]:
    """That which writes and that which reads; neither has a connection yet."""
    engines = (_sqlite if is_sqlite(url) else _postgresql)(url)
    for engine in engines:
        large.retire_worn(engine)
    return engines


def _sqlite(url: URL) -> tuple[Engine, Engine]:
    """WAL lets readers read beside the writer; synchronous=FULL, because NORMAL forgets commits in a power cut.

    The log is carried into the file every CHECKPOINT pages, by the commit that comes then; a post alone writes dozens.
    """
    if url.database:
        _forget_unsynced(Path(f"{url.database}-wal"))

    def engine(begin: str, pool_size: int) -> Engine:
        made = create_engine(
            url,
            hide_parameters=True,  # in error texts: they are bodies, addresses and tokens
            pool_size=pool_size,
            max_overflow=8,
            connect_args={"timeout": LOCK_SECONDS, "check_same_thread": False},
        )

        @event.listens_for(made, "connect")
        def _(connection: Any, record: Any) -> None:
            connection.isolation_level = None  # SQLAlchemy says BEGIN, not the driver
            _to_wal(connection)
            for pragma in ("synchronous=FULL", "foreign_keys=ON", f"wal_autocheckpoint={CHECKPOINT}"):
                connection.execute(f"PRAGMA {pragma}")

        @event.listens_for(made, "begin")
        def _(connection: Connection) -> None:
            connection.exec_driver_sql(begin)

        return made

    return engine("BEGIN IMMEDIATE", 2), engine("BEGIN", READERS)


def _forget_unsynced(wal: Path) -> None:
    """Before SQLite reads the log that a killed process has left: what never reached the disk is not in memory either.

    After a failed fsync the kernel takes what it could not write for written (fsyncgate).  Whoever lives writes those
    frames again with the next commit; who begins anew would take them for a commit, build on them, and lose his own
    with them when the power fails.
    """
    with suppress(FileNotFoundError, PermissionError):  # who may not open it is told so by SQLite
        fd = os.open(wal, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        except OSError as fault:
            log.warning("%s: %s; it is read as it is on the disk", wal, fault.strerror)
        finally:
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(fd)


def _to_wal(connection: sqlite3.Connection) -> None:
    """A new file changes over only while nobody else looks at it, and SQLite does not wait for that by itself."""
    for attempt in range(1, _WAL_ATTEMPTS + 1):
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError:
            if attempt == _WAL_ATTEMPTS:
                raise
            time.sleep(0.02 * attempt)
        else:
            return


def _postgresql(url: URL) -> tuple[Engine, Engine]:
    """READ COMMITTED to write, REPEATABLE READ to read a snapshot; connections are checked before use.

    No wait is without end: for a server that is not there any more, or for a lock that somebody else keeps.
    """
    patient = {name: value for name, value in NETWORK.items() if name not in url.query}
    made = partial(create_engine, url, hide_parameters=True, max_overflow=2, pool_pre_ping=True, connect_args=patient)
    writer = made(pool_size=WRITERS)
    reader = made(pool_size=READERS, isolation_level="REPEATABLE READ")

    for each in (writer, reader):
        event.listen(each, "handle_error", _without_detail)

    @event.listens_for(reader, "connect")
    @event.listens_for(writer, "connect")
    def _(connection: Any, record: Any) -> None:
        connection.execute(f"SET lock_timeout = '{LOCK_SECONDS}s'")
        connection.commit()

    @event.listens_for(writer, "connect")
    def _(connection: Any, record: Any) -> None:
        with connection.cursor() as cursor:
            for name in ("fsync", "synchronous_commit"):
                value = cursor.execute(f"SHOW {name}").fetchone()[0]
                if value == "off":
                    raise UnsafeDatabase(f"PostgreSQL runs with {name} = off: it forgets commits; set it to on")
        connection.commit()

    return writer, reader


def _without_detail(context: ExceptionContext) -> None:
    """PostgreSQL adds the row that it refuses, with everybody in it, to what it says: that is for no log."""
    said, fault = getattr(context.original_exception, "diag", None), context.sqlalchemy_exception
    if said is not None and said.message_primary:
        whole, primary = str(context.original_exception), f"{said.message_primary} ({said.sqlstate})"
        context.original_exception.args = (primary,)
        if fault is not None:
            fault.args = tuple(str(each).replace(whole, primary) for each in fault.args)
