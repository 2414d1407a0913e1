"""Writes outcomes down, at the latest every 16 copies or 10 ms.

Whoever has finished a copy goes on when it is among the 16 that may be unrecorded, or recorded: so a crash repeats at
most the transactions in flight and 16 copies more (RELIABILITY R4).  Those who have to wait share the next commit.
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
        self._waiting: list[asyncio.Future[None]] = []  # those who finished some of them and have not gone on
        self._taken = 0  # places of the others of them
        self._free = UNRECORDED  # places: what is being written keeps its own until it is on disk
        self._writing = asyncio.Lock()
        self._enough = asyncio.Event()
        self._alarm: asyncio.TimerHandle | None = None

    def finish(self, settled: Sequence[Settled]) -> asyncio.Future[None] | None:
        """None when these are among the unrecorded; else who finished them waits for this: then they are recorded."""
        self._finished.extend(settled)
        copies = len(settled[0].ids) if len(settled) == 1 else sum([len(alike.ids) for alike in settled])
        if copies <= self._free:
            self._free -= copies
            self._taken += copies
            if not self._free:
                self._enough.set()
            elif self._alarm is None:
                self._alarm = asyncio.get_running_loop().call_later(RECORD_AFTER, self._enough.set)
            return None
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        self._enough.set()
        return turn

    async def run(self) -> None:
        """Until it is cancelled; `flush` then writes what is left."""
        while True:
            await self._enough.wait()
            await self.flush()

    async def flush(self) -> None:
        """Back when all that was finished before is on disk; kept and tried again while the database fails."""
        async with self._writing:  # who comes while another writes waits for it too
            await self._write()

    async def _write(self) -> None:
        self._enough.clear()
        if self._alarm:
            self._alarm.cancel()
            self._alarm = None
        batch, self._finished = self._finished, []
        waiting, self._waiting = self._waiting, []
        places, self._taken = self._taken, 0
        if not batch:
            return
        ids = [id for settled in batch for id in settled.ids]
        while True:
            try:
                await self._db.write(delivering.recording(self._site, batch, self._clock()))
                break
            except Exception:
                log.exception("could not record %d outcomes; trying again", len(ids))
                await asyncio.sleep(AFTER_A_FAULT)
        self._free += places
        self._recorded(ids)
        for turn in waiting:
            if not turn.done():
                turn.set_result(None)
