"""Values of a megabyte and more, which cost the connection that carries them more than themselves.

libpq keeps its buffers as large as they ever were, and SQLite's cached statements keep what was bound last: so a
connection that has carried one is not used again.
"""

from functools import cache
from typing import Any, TypeVar

from sqlalchemy import Column, Connection, Engine, Select, bindparam, event, func, select

T = TypeVar("T")

LARGE = 1_000_000  # octets of one value
_WORN = "listserv worn"


def octets(tx: Connection, column: Column[bytes], key: Column[T], value: T) -> bytes | None:
    """A large value of the row with this key; None when there is no such row.

    From PostgreSQL piece by piece: it comes as hexadecimal text, which libpq and psycopg would both hold whole.
    """
    row = {"value": value}
    if tx.dialect.name == "sqlite":
        found = tx.execute(_whole(column, key), row).scalar_one_or_none()
        carried(tx, found)
        return found
    size = tx.execute(_length(column, key), row).scalar_one_or_none()
    if size is None:
        return None
    starts = range(1, size + 1, LARGE)
    return b"".join(tx.execute(_piece(column, key), {"start": at, **row}).scalar_one() for at in starts)


def carried(tx: Connection, content: bytes | None) -> None:
    """Said of bytes that went through this transaction: when they are many, its connection is worn."""
    if content is not None and len(content) > LARGE:
        tx.info[_WORN] = True


def is_worn(tx: Connection) -> bool:
    return _WORN in tx.info


def retire_worn(engine: Engine) -> None:
    """From now on its pool takes no worn connection back."""
    event.listen(engine, "checkin", _retire)


@cache
def _whole(column: Column[bytes], key: Column[Any]) -> Select[bytes]:
    return select(column).where(key == bindparam("value"))


@cache
def _length(column: Column[bytes], key: Column[Any]) -> Select[int]:
    return select(func.length(column)).where(key == bindparam("value"))


@cache
def _piece(column: Column[bytes], key: Column[Any]) -> Select[bytes]:
    return select(func.substr(column, bindparam("start"), LARGE)).where(key == bindparam("value"))


def _retire(connection: Any, record: Any) -> None:
    if record.info.pop(_WORN, False):
        record.invalidate()
