"""How often somebody may be written to: memory of what was sent lately, without the address."""

import hashlib
from datetime import datetime

from listserv.store import posts
from listserv.store.db import Tx


def first_today(tx: Tx, group_id: int, what: str, key: str, now: datetime) -> bool:
    """True once a UTC day for this group, kind of mail and mailbox; only a hash is kept, for some days."""
    mark = hashlib.sha256(f"{what}\n{key}\n{now.date()}".encode()).digest()
    if posts.seen_before(tx, group_id, mark) is not None:
        return False
    posts.remember(tx, group_id, mark, what, now)
    return True
