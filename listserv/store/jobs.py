"""Periodic work as rows: each job is claimed by one node at a time, and done twice at worst."""

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import insert, select, update

from listserv.store.bells import ring
from listserv.store.db import Tx
from listserv.store.schema import jobs


def ensure(tx: Tx, names: Iterable[str], now: datetime) -> None:
    """A row for each job of this program; those that are there keep their time."""
    known = set(tx.execute(select(jobs.c.name)).scalars())
    for name in sorted(set(names) - known):
        tx.execute(insert(jobs).values(name=name, state="due", due=now))


def hurry(tx: Tx, name: str, due: datetime) -> None:
    """This job is due at that time, unless it is due before; a worker that is at it is not disturbed."""
    waiting = update(jobs).where(jobs.c.name == name, jobs.c.state == "due", jobs.c.due > due)
    tx.execute(waiting.values(due=due))
    ring(tx, "jobs")
