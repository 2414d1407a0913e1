"""Writes outcomes down, at the latest every 16 copies or 10 ms.

Whoever has finished a copy waits for its place among the unrecorded before he begins the next: so a crash
repeats at most the transactions in flight and 16 copies more (RELIABILITY R4).
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from datetime import datetime

from listserv.flows import delivering
from listserv.flows.site import Site
from listserv.store.db import Database
from listserv.store.deliveries import Settled
from listserv.workers.loop import AFTER_A_FAULT

log = logging.getLogger("listserv.deliverer")

UNRECORDED = 16  # copies
RECORD_AFTER = 0.010  # seconds


class Recorder:
    """`recorded` is told the ids of deliveries whose outcomes are on disk."""

    def __init__(
        self, db: Database, site: Site, clock: Callable[[], datetime], recorded: Callable[[Sequence[int]], None]
    ) -> None:
        self._db = db
        self._site = site
        self._clock = clock
        self._recorded = recorded
        self._finished: list[Settled] = []
        self._taken = 0  # places of those
        self._places = asyncio.Semaphore(UNRECORDED)
        self._turn = asyncio.Lock()
        self._writing = asyncio.Lock()
        self._any = asyncio.Event()

    async def finish(self, settled: Sequence[Settled]) -> None:
        """Back when these are among the unrecorded.  More than 16, of one transaction, count as 16."""
        async with self._turn:  # one at a time takes its places: two that have half each would wait for ever
            places = min(len(settled), UNRECORDED)
            for _ in range(places):
                await self._places.acquire()
            self._finished.extend(settled)
            self._taken += places
            self._any.set()

    async def run(self) -> None:
        """Until it is cancelled; `flush` then writes what is left."""
        while True:
            await self._any.wait()
            if len(self._finished) < UNRECORDED:
                await asyncio.sleep(RECORD_AFTER)
            await self.flush()

    async def flush(self) -> None:
        """Back when all that was finished before is on disk; kept and tried again while the database fails."""
        async with self._writing:  # who comes while another writes waits for it too
            await self._write()

    async def _write(self) -> None:
        self._any.clear()
        batch, self._finished = self._finished, []
        places, self._taken = self._taken, 0
        if not batch:
            return
        while True:
            try:
                await self._db.write(delivering.record, self._site, batch, self._clock())
                break
            except Exception:
                log.exception("could not record %d outcomes; trying again", len(batch))
                await asyncio.sleep(AFTER_A_FAULT)
        self._recorded([settled.id for settled in batch])
        for _ in range(places):
            self._places.release()
