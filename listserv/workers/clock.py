"""Periodic work: claims a due job, does it in one transaction, and puts it back for its next time."""

import logging
from collections.abc import Callable
from datetime import datetime, timedelta

from listserv.flows import expiring
from listserv.flows.site import Site
from listserv.store import queue, schema
from listserv.store.db import Database, Tx

log = logging.getLogger("listserv.clock")

AFTER_A_FAILURE = timedelta(minutes=10)
LEASES_EVERY = timedelta(seconds=5)
QUEUES = (schema.posts, schema.deliveries, schema.jobs)


class Clock:
    """`once` is the body of its loop; `told` is called when jobs may have made deliveries."""

    def __init__(self, db: Database, site: Site, clock: Callable[[], datetime], told: Callable[[], None]) -> None:
        self._db = db
        self._site = site
        self._clock = clock
        self._told = told
        self._leases_at: datetime | None = None

    async def once(self) -> bool:
        await self._reclaim()
        done = await self._db.write(run_one, self._site, self._clock())
        if done:
            self._told()
        return done

    async def _reclaim(self) -> None:
        """What dead or stuck nodes hold comes back when its lease has run out."""
        now = self._clock()
        if self._leases_at is not None and abs(now - self._leases_at) < LEASES_EVERY:
            return
        self._leases_at = now
        if await self._db.read(_any_lapsed, now) and await self._db.write(_reclaim, now):
            self._told()


def run_one(tx: Tx, site: Site, now: datetime) -> bool:
    """Claimed, done and put back in one transaction: after a crash it is as if nobody had begun.

    A job that fails has its next time all the same: it never keeps the others from theirs.
    """
    rows = queue.claim(tx, schema.jobs, site.node, now, 1)
    for row in rows:
        due = now + timedelta(days=1)
        try:
            with tx.begin_nested():
                due = now + expiring.run(tx, site, row.name, now)
        except Exception:
            log.exception("job %s failed; it is tried again in %s", row.name, AFTER_A_FAILURE)
            due = now + AFTER_A_FAILURE
        queue.settle(tx, schema.jobs, row.id, row.tries, state="due", due=due)
    return bool(rows)


def _any_lapsed(tx: Tx, now: datetime) -> bool:
    return any(queue.lapsed(tx, table, now) for table in QUEUES)


def _reclaim(tx: Tx, now: datetime) -> bool:
    return sum(queue.reclaim(tx, table, now) for table in QUEUES) > 0
