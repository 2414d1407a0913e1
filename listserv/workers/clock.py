"""Periodic work: claims a due job, does it in one transaction, and puts it back for its next time."""

import logging
from collections.abc import Callable
from datetime import datetime, timedelta

from listserv.flows import expiring
from listserv.flows.site import Site
from listserv.store import queue, schema
from listserv.store.db import Database, Tx
from listserv.workers.loop import between

log = logging.getLogger("listserv.clock")

AFTER_A_FAILURE = timedelta(minutes=10)
BACK = timedelta(minutes=1)  # a step of the system's clock that is no mere correction
QUEUES = (schema.posts, schema.deliveries, schema.jobs)


class Clock:
    """`once` is the body of its loop, `nap` how long it may sleep: until a job is due or a lease runs out."""

    def __init__(self, db: Database, site: Site, clock: Callable[[], datetime]) -> None:
        self._db = db
        self._site = site
        self._clock = clock
        self._latest: datetime | None = None

    async def once(self) -> bool:
        await self._notice_a_step()
        await self._reclaim()
        return await self._db.write(run_one, self._site, self._clock())

    async def nap(self) -> float:
        return between(self._clock(), await self._db.read(_next))

    async def _notice_a_step(self) -> None:
        """What a clock that went wrong has put off for years is not to wait for them when it is right again.

        Nobody may have looked at it here while it was wrong: then the rows tell.
        """
        now, latest = self._clock(), self._latest
        if latest is None or now < latest - BACK or await self._db.read(_is_astray, now):
            hurried = await self._db.write(_set_back, now)
            if hurried:
                log.warning("the clock was set back: %d rows that waited for a time far away are due now", hurried)
        self._latest = now

    async def _reclaim(self) -> None:
        """What dead or stuck nodes hold comes back when its lease has run out."""
        now = self._clock()
        lapse = await self._db.read(_next_lapse)
        if lapse is not None and lapse <= now:
            await self._db.write(_reclaim, now)


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


def _next(tx: Tx) -> datetime | None:
    found = (queue.next_due(tx, schema.jobs), _next_lapse(tx))
    return min((at for at in found if at), default=None)


def _next_lapse(tx: Tx) -> datetime | None:
    return min((at for table in QUEUES if (at := queue.next_lapse(tx, table))), default=None)


def _is_astray(tx: Tx, now: datetime) -> bool:
    return any(queue.is_astray(tx, table, now) for table in QUEUES)


def _set_back(tx: Tx, now: datetime) -> int:
    return sum(queue.set_back(tx, table, now) for table in QUEUES)


def _reclaim(tx: Tx, now: datetime) -> None:
    for table in QUEUES:
        queue.reclaim(tx, table, now)
