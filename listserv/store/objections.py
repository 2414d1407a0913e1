"""Who does not want to be written to, as a keyed hash of the address: nobody can read from here who it was."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import delete, insert, select

from listserv.store.db import Tx
from listserv.store.schema import objections


def add(tx: Tx, digest: bytes, now: datetime) -> bool:
    """False: was there already."""
    if among(tx, [digest]):
        return False
    tx.execute(insert(objections).values(digest=digest, made_at=now))
    return True


def among(tx: Tx, digests: Sequence[bytes]) -> set[bytes]:
    """Those of these that are there."""
    found = tx.execute(select(objections.c.digest).where(objections.c.digest.in_(digests))).scalars()
    return {bytes(digest) for digest in found}


def remove(tx: Tx, digests: Sequence[bytes]) -> bool:
    """Whether there was one."""
    return tx.execute(delete(objections).where(objections.c.digest.in_(digests))).rowcount > 0
