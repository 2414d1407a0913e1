"""Bounces as they came, until nobody needs them any more."""

from datetime import datetime

from sqlalchemy import delete, insert, select

from listserv.store.db import Tx
from listserv.store.schema import bounces


def add(tx: Tx, mailbox_id: int, group_id: int, now: datetime, status: str, diagnostic: str, message_id: str) -> None:
    values = {"status": status[:12], "diagnostic": diagnostic[:500], "message_id": message_id}
    tx.execute(insert(bounces).values(mailbox_id=mailbox_id, group_id=group_id, at=now, **values))


def any_since(tx: Tx, mailbox_id: int, since: datetime) -> bool:
    b = bounces.c
    return tx.execute(select(b.id).where(b.mailbox_id == mailbox_id, b.at > since).limit(1)).first() is not None


def sweep(tx: Tx, before: datetime) -> int:
    return tx.execute(delete(bounces).where(bounces.c.at < before)).rowcount
