"""Work, rest, and the bell: what every worker's loop is made of.

A bell is only an alarm clock; the rows are the truth, and a nap finds what nobody rang for.  A nap lasts until the
next row is due, and never longer than NAP: so a lease that runs out after 20 s is noticed within 30.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from datetime import datetime

from sqlalchemy import Table

from listserv.store import queue
from listserv.store.db import Database

log = logging.getLogger("listserv.workers")

NAP = 10.0  # seconds: how late a worker may learn of a commit whose bell was lost
DOZE = 1.0  # seconds before the next look at rows that are due and cannot be had: paused, or in another's hand
AFTER_A_FAULT = 2.0  # seconds before the next try when the database or our own code has failed


async def until_due(db: Database, table: Table, now: datetime) -> float:
    """How long a worker may nap that has found nothing to do in this queue, in seconds."""
    return between(now, await db.read(queue.next_due, table))


def between(now: datetime, due: datetime | None) -> float:
    """Seconds until then, at most NAP; DOZE when it is over."""
    if due is None:
        return NAP
    seconds = (due - now).total_seconds()
    return min(seconds, NAP) if seconds > 0 else DOZE


class Bell:
    """Rung after a commit: there may be work.  One that rings while who waited is waking up rings again for him."""

    def __init__(self) -> None:
        self._rung = False
        self._waiter: asyncio.Future[None] | None = None

    def ring(self) -> None:
        if self._waiter is None or self._waiter.done():
            self._rung = True
        else:
            self._waiter.set_result(None)

    async def wait(self, seconds: float) -> None:
        """Until it rings, or so many seconds."""
        if self._rung:
            self._rung = False
            return
        self._waiter = asyncio.get_running_loop().create_future()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._waiter


async def _long() -> float:
    return NAP


async def _rest(bell: Bell, seconds: float) -> bool:
    await bell.wait(seconds)
    return False


async def _nothing() -> None:
    """Nothing is under way beside the loop."""


class Worker:
    """Calls `once` again and again while it finds something to do, and naps when it does not.

    `table` is the queue whose bell wakes it; `nap` says how long to sleep without one, `rest` sleeps: until the bell
    rings, or so many seconds.  True says that it has taken something meanwhile, which `once` is to do.
    `pause` seconds lie between the bell and the next turn: so what comes meanwhile is done in one go.
    `finish` waits, at the end, for what `once` has left under way.
    """

    def __init__(
        self,
        name: str,
        once: Callable[[], Awaitable[bool]],
        table: Table,
        nap: Callable[[], Awaitable[float]] = _long,
        rest: Callable[[Bell, float], Awaitable[bool]] = _rest,
        pause: float = 0.0,
        finish: Callable[[], Awaitable[None]] = _nothing,
    ) -> None:
        self.name = name
        self.table = table
        self.bell = Bell()
        self._once = once
        self._nap = nap
        self._rest = rest
        self._pause = pause
        self._finish = finish
        self._stopping = False

    async def run(self) -> None:
        """Until `stop`; what is begun is finished."""
        has_work = False
        while has_work or not self._stopping:
            try:
                has_work = False
                if not await self._once() and not self._stopping:
                    has_work = await self._rest(self.bell, await self._nap())
            except Exception:  # a bug of ours, or no database: say so and go on
                log.exception("%s failed; it tries again in %s s", self.name, AFTER_A_FAULT)
                await self.bell.wait(AFTER_A_FAULT)
                continue
            if self._pause and not self._stopping:
                await asyncio.sleep(self._pause)
        await self._finish()

    def stop(self) -> None:
        self._stopping = True
        self.bell.ring()
