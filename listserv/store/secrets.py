"""Secrets and switches of the whole site that live in the database: all nodes share them."""

from datetime import datetime

from sqlalchemy import delete, insert, select

from listserv.store.bells import ring
from listserv.store.db import Tx
from listserv.store.schema import secrets

HMAC = "hmac"
PAUSED = "paused"  # there while nothing is delivered: the operator said so, or the database was `restored`


def ensure(tx: Tx, name: str, fresh: bytes, now: datetime) -> bytes:
    """The secret of this name, which becomes `fresh` when there is none yet."""
    known = get(tx, name)
    if known is None:
        tx.execute(insert(secrets).values(name=name, value=fresh, made_at=now))
        return fresh
    return known


def put(tx: Tx, name: str, value: bytes, now: datetime) -> None:
    """The value of this name, whatever it was before."""
    tx.execute(delete(secrets).where(secrets.c.name == name))
    tx.execute(insert(secrets).values(name=name, value=value, made_at=now))


def get(tx: Tx, name: str) -> bytes | None:
    value = tx.execute(select(secrets.c.value).where(secrets.c.name == name)).scalar_one_or_none()
    return None if value is None else bytes(value)


def remove(tx: Tx, name: str) -> None:
    tx.execute(delete(secrets).where(secrets.c.name == name))
    if name == PAUSED:
        ring(tx, "deliveries")
