"""How often somebody may be written to: memory of what was sent lately, without the address."""

import hashlib
from datetime import datetime

from sqlalchemy import select

from listserv.store import posts
from listserv.store.db import Tx
from listserv.store.schema import seen


def first_today(tx: Tx, group_id: int, what: str, key: str, now: datetime) -> bool:
    """True once a UTC day for this group, kind of mail and mailbox; only a hash is kept, for some days."""
    return first(tx, group_id, _mark(what, key, now), now)


def first_anywhere(tx: Tx, group_id: int, what: str, key: str, now: datetime) -> bool:
    """The same over all groups; `group_id` is the one that asks."""
    mark = _mark(what, key, now)
    if tx.execute(select(seen.c.key).where(seen.c.key == hashlib.sha256(mark).digest()).limit(1)).first() is not None:
        return False
    return first(tx, group_id, mark, now)


def first(tx: Tx, group_id: int, what: bytes, now: datetime) -> bool:
    """True the first time that this, whatever it is, happens in the group; forgotten after some days."""
    mark = hashlib.sha256(what).digest()
    if posts.seen_before(tx, group_id, mark) is not None:
        return False
    posts.remember(tx, group_id, mark, "", now)
    return True


def _mark(what: str, key: str, now: datetime) -> bytes:
    return f"{what}\n{key}\n{now.date()}".encode()
