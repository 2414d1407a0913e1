"""Writes outcomes down, at the latest every 16 copies or 10 ms.

Whoever has finished a copy goes on when it is among the 16 that may be unrecorded, or recorded: so a crash repeats at
most the transactions in flight and 16 copies more (RELIABILITY R4).  A commit costs more than what is in it: when the
16 places are taken it is put off for a moment, until some of the lines that are at work wait for it, too.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from listserv.flows import delivering
from listserv.flows.site import Site
from listserv.store import deliveries
from listserv.store.db import Database, Tx
from listserv.store.deliveries import Settled
from listserv.store.outage import is_outage
from listserv.workers.loop import AFTER_A_FAULT

log = logging.getLogger("listserv.deliverer")

UNRECORDED = 16  # copies
RECORD_AFTER = 0.010  # seconds
WAITING_SHARE = 0.4  # of the lines at work: the others have enough to do while a commit is under way
WAIT_AT_MOST = 0.003  # seconds; as long as eight signed copies take


@dataclass(frozen=True, slots=True)
class _Waiting:
    """Who has finished so many copies and has not gone on, since that time of the loop."""

    copies: int
    since: float
    turn: asyncio.Future[None]


class Recorder:
    """`recorded` is told the ids of deliveries whose outcomes are on disk; `at_work` says how many lines are."""

    def __init__(
        self,
        db: Database,
        site: Site,
        clock: Callable[[], datetime],
        recorded: Callable[[Sequence[int]], None],
        at_work: Callable[[], int],
    ) -> None:
        self._db = db
        self._site = site
        self._clock = clock
        self._recorded = recorded
        self._at_work = at_work
        self._finished: list[Settled] = []
        self._waiting: list[_Waiting] = []
        self._taken = 0  # places of the others of the finished
        self._free = UNRECORDED  # places: what is being written keeps its own until it is on disk
        self._writing = asyncio.Lock()
        self._enough = asyncio.Event()
        self._latest = 0.0  # time of the loop at which the finished are to be written
        self._alarm: asyncio.Handle | None = None
        self._rings_at = 0.0  # the alarm

    def finish(self, settled: Sequence[Settled]) -> asyncio.Future[None] | None:
        """None when these are among the unrecorded; else who finished them goes on when this is over."""
        loop = asyncio.get_running_loop()
        if not self._finished:
            self._latest = loop.time() + RECORD_AFTER
        self._finished.extend(settled)
        copies = len(settled[0].ids) if len(settled) == 1 else sum([len(alike.ids) for alike in settled])
        if self._has_place(copies):
            self._look(loop)
            return None
        waiting = _Waiting(copies, loop.time(), loop.create_future())
        self._waiting.append(waiting)
        self._look(loop)
        return waiting.turn

    async def run(self) -> None:
        """Until it is cancelled; `flush` then writes what is left."""
        while True:
            await self._enough.wait()
            await self.flush()

    async def flush(self) -> None:
        """Back when all that was finished before is on disk; kept and tried again while the database fails."""
        async with self._writing:  # who comes while another writes waits for it too
            await self._write()

    def _has_place(self, copies: int) -> bool:
        if copies > self._free:
            return False
        self._free -= copies
        self._taken += copies
        return True

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        """Whether it is time to write, or when it will be."""
        if (self._waiting or not self._free) and len(self._waiting) >= int(self._at_work() * WAITING_SHARE):
            self._enough.set()
            return
        by = min(self._latest, self._waiting[0].since + WAIT_AT_MOST) if self._waiting else self._latest
        if self._finished and (self._alarm is None or self._rings_at > by):
            self._silence()
            self._alarm, self._rings_at = loop.call_at(by, self._ring), by

    def _ring(self) -> None:
        self._alarm = None
        self._enough.set()

    def _silence(self) -> None:
        self._enough.clear()
        if self._alarm:
            self._alarm.cancel()
            self._alarm = None

    async def _write(self) -> None:
        self._silence()
        batch, self._finished = self._finished, []
        waiting, self._waiting = self._waiting, []
        places, self._taken = self._taken, 0
        if not batch:
            return
        ids = [id for settled in batch for id in settled.ids]
        try:
            await self._insist(delivering.recording(self._site, batch, self._clock()))
        except Exception:
            log.exception("our own code failed on one of %d outcomes; each is recorded by itself", len(ids))
            for settled in batch:
                await self._record_alone(settled)
        self._free += places
        self._recorded(ids)
        for each in waiting:
            _go_on(each)
        self._let_in()

    async def _record_alone(self, settled: Settled) -> None:
        """At least how it ended: what is not written down would be sent again and again."""
        try:
            await self._insist(delivering.recording(self._site, [settled], self._clock()))
        except Exception:
            log.exception("what follows from the end of deliveries %s is left out", settled.ids)
            bare = settled._replace(notice=None, reply=ascii(settled.reply))
            await self._insist(partial(deliveries.settle, settled=[bare], now=self._clock()), ours_too=True)

    async def _insist(self, work: Callable[[Tx], None], *, ours_too: bool = False) -> None:
        """Again and again while the database fails; `ours_too`: or our own code."""
        while True:
            try:
                await self._db.write(work)
            except Exception as fault:
                if not (ours_too or is_outage(fault)):
                    raise
                log.exception("could not record outcomes; trying again")
                await asyncio.sleep(AFTER_A_FAULT)
            else:
                return

    def _let_in(self) -> None:
        """Who came while others were written goes on as far as there are places."""
        came, self._waiting = self._waiting, []
        for each in came:
            if self._has_place(each.copies):
                _go_on(each)
            else:
                self._waiting.append(each)
        self._silence()
        self._look(asyncio.get_running_loop())


def _go_on(waiting: _Waiting) -> None:
    if not waiting.turn.done():
        waiting.turn.set_result(None)
