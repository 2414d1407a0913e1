"""One life of a process with a database on a disk that fails.

    python -m tests.crash.unsynced FILE prepare   write, and print how many frames of the log count
    python -m tests.crash.unsynced FILE fail      a commit whose fsync fails
    python -m tests.crash.unsynced FILE go-on     what is there after it, and one commit more

Each ends without closing anything, as by kill -9.
"""

import os
import sys
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from listserv.store.db import Database, Tx


def add(tx: Tx, name: str, octets: int) -> None:
    tx.execute(text("INSERT INTO t VALUES (:name, :content)"), {"name": name, "content": os.urandom(octets)})


def names(tx: Tx) -> list[str]:
    return [str(name) for name in tx.execute(text("SELECT name FROM t WHERE name <> 'before' ORDER BY name")).scalars()]


def prepare(database: Database, file: Path) -> None:
    """A log whose blocks are there, and few of them in use."""
    database.write_now(lambda tx: tx.execute(text("CREATE TABLE t (name, content)")))
    for _ in range(20):
        database.write_now(add, "before", 10_000)
    with database._writer.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        driver = connection.connection.dbapi_connection
        assert driver is not None
        driver.execute("PRAGMA wal_checkpoint(RESTART)")  # type: ignore[attr-defined]
    database.write_now(add, "before", 10)
    print(int.from_bytes(Path(f"{file}-shm").read_bytes()[16:20], sys.byteorder))  # mxFrame: walformat.html §2.1


def fail(database: Database) -> None:
    try:
        with database._begin() as tx:
            add(tx, "lost", 20_000)
    except OperationalError as fault:
        print(fault.orig)


def go_on(database: Database) -> None:
    print(database.read_now(names))
    database.write_now(add, "kept", 3_000)
    print(database.read_now(names))


def main() -> None:
    file = Path(sys.argv[1])
    database = Database(f"sqlite:///{file}")
    match sys.argv[2]:
        case "prepare":
            prepare(database, file)
        case "fail":
            fail(database)
        case "go-on":
            go_on(database)
    sys.stdout.flush()
    os._exit(0)


main()
