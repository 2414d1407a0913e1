"""Budgets that fill up with what somebody asks for and drain with time.

A bucket is a row that its user holds until the transaction ends, so that two who come at once are counted one after
the other; its name is a keyed hash.  Buckets that have drained are swept away.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, insert, select, update

from listserv.store.db import Tx
from listserv.store.schema import buckets


@dataclass(frozen=True, slots=True, order=True)
class Budget:
    """So much at once, and one more each time `every` has gone by."""

    burst: float
    every: timedelta


def spend(tx: Tx, name: bytes, budget: Budget, now: datetime) -> bool:
    """True while the budget lasts; what is refused costs nothing."""
    level = _level(tx, name, budget, now)
    if level is None:
        tx.execute(insert(buckets).values(name=name, level=1.0, at=now))  # whoever comes second at once tries again
        return True
    if level + 1 > budget.burst:
        return False
    tx.execute(update(buckets).where(buckets.c.name == name).values(level=level + 1, at=now))
    return True


def left(tx: Tx, name: bytes, budget: Budget, now: datetime) -> bool:
    """Whether `spend` would be true.  The bucket is made and held: nobody else spends from it before the end."""
    level = _level(tx, name, budget, now)
    if level is None:
        tx.execute(insert(buckets).values(name=name, level=0.0, at=now))
        return True
    return level + 1 <= budget.burst


def sweep(tx: Tx, before: datetime) -> int:
    """Whatever was in them has drained."""
    return tx.execute(delete(buckets).where(buckets.c.at < before)).rowcount


def _level(tx: Tx, name: bytes, budget: Budget, now: datetime) -> float | None:
    b = buckets.c
    row = tx.execute(select(b.level, b.at).where(b.name == name).with_for_update()).one_or_none()
    if row is None:
        return None
    drained: float = max(now - row.at, timedelta()) / budget.every
    return max(0.0, float(row.level) - drained)
