"""Claims deliveries, stamps them, hands them to the relay, and writes down how each ended.

Outcomes are recorded at the latest every 16 copies or 10 ms.  A line that has finished a copy starts the
next one only when that copy has a place among the unrecorded: so a crash repeats at most the transactions
in flight and 16 copies more (RELIABILITY R4).
"""

import asyncio
import contextlib
import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta

from listserv.flows import delivering
from listserv.flows.delivering import Printed
from listserv.flows.site import Site
from listserv.mail.signature import Signer
from listserv.model.delivery import Copy, Deferred, Outcome
from listserv.net.relay import Relay
from listserv.store import deliveries, queue, schema
from listserv.store.db import Database
from listserv.store.deliveries import Delivery, Settled
from listserv.workers.loop import AFTER_A_FAULT, NAP, Bell

log = logging.getLogger("listserv.deliverer")

UNRECORDED = 16  # copies
RECORD_AFTER = 0.010  # seconds
CLAIM = 200  # deliveries
STAMP = 16  # copies, in one go beside the event loop
KEPT_EDITIONS = 4  # prepared, in memory; and never more than their bytes
KEPT_BYTES = 32_000_000
RENEW_EVERY = 7.0  # seconds; a lease is 20
REST_FIRST, REST_LONGEST = 1.0, 60.0  # seconds, while the relay cannot be reached


class Deliverer:
    """`lines` copies are under way at once.  `run` ends after `stop`, when what is in hand has ended."""

    def __init__(
        self,
        db: Database,
        site: Site,
        relay: Relay,
        signers: Mapping[str, Signer],
        lines: int,
        clock: Callable[[], datetime],
    ) -> None:
        self.bell = Bell()
        self._db = db
        self._site = site
        self._relay = relay
        self._signers = signers
        self._clock = clock
        self._lines = lines
        self._ready: asyncio.Queue[tuple[list[Delivery], Copy]] = asyncio.Queue(maxsize=lines)
        self._in_hand: set[int] = set()
        self._finished: list[Settled] = []
        self._slots = asyncio.Semaphore(UNRECORDED)
        self._record = asyncio.Event()
        self._editions: OrderedDict[int, Printed] = OrderedDict()
        self._rest = 0.0  # seconds, doubled each time the relay cannot be reached
        self._rested_at = 0.0  # time of the loop at which the relay is tried again
        self._stopping = False

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            around = [tasks.create_task(work()) for work in (self._renew, self._write_down)]
            lines = [tasks.create_task(self._line()) for _ in range(self._lines)]
            await self._claim()
            await self._ready.join()
            for task in lines:
                task.cancel()
            while self._finished:
                await self._flush()
            for task in around:
                task.cancel()

    def stop(self) -> None:
        """Take nothing more; what is claimed and not begun goes back."""
        self._stopping = True
        self.bell.ring()

    async def _claim(self) -> None:
        while not self._stopping:
            if (left := self._resting()) > 0:
                await self.bell.wait(left)
                continue
            claimed: list[Delivery] = []
            try:
                claimed = await self._db.write(delivering.claim_deliveries, self._site.node, self._clock(), CLAIM)
                self._in_hand.update(delivery.id for delivery in claimed)
                await self._hand_out(claimed)
            except Exception:  # a bug of ours, or no database: leases bring back what was claimed
                log.exception("could not work on %d deliveries", len(claimed))
                self._in_hand.difference_update(delivery.id for delivery in claimed)
                await self.bell.wait(AFTER_A_FAULT)
                continue
            if not claimed and not self._stopping:
                await self.bell.wait(NAP)

    async def _hand_out(self, claimed: Sequence[Delivery]) -> None:
        editions = {id: await self._edition(id) for id in dict.fromkeys(d.edition_id for d in claimed)}
        gone = [d for d in claimed if editions[d.edition_id] is None]
        if gone:
            await self._finish([Settled(d.id, d.tries, "dropped", self._clock(), "its message has gone") for d in gone])
        printed = {id: edition for id, edition in editions.items() if edition is not None}
        batches = delivering.batches([d for d in claimed if d.edition_id in printed], printed)
        for start in range(0, len(batches), STAMP):
            chunk = batches[start : start + STAMP]
            if self._stopping or self._resting() > 0:
                await self._give_back([d for batch in batches[start:] for d in batch])
                return
            copies = await asyncio.to_thread(self._stamp, chunk, printed)
            for batch, copy in zip(chunk, copies, strict=True):
                await self._ready.put((batch, copy))

    def _stamp(self, chunk: Sequence[Sequence[Delivery]], printed: Mapping[int, Printed]) -> list[Copy]:
        now = self._clock()
        return [delivering.stamp(self._site, printed[batch[0].edition_id], batch, now) for batch in chunk]

    async def _edition(self, id: int) -> Printed | None:
        """From the few kept in memory, else loaded and prepared."""
        known = self._editions.get(id)
        if known is None:
            loaded = await self._db.read(deliveries.load, id, self._site.hostname)
            if loaded is None:
                return None
            known = await asyncio.to_thread(delivering.prepare, loaded, self._signers)
            self._editions[id] = known
            while len(self._editions) > 1 and self._is_too_much():
                self._editions.popitem(last=False)
        self._editions.move_to_end(id)
        return known

    def _is_too_much(self) -> bool:
        size = sum(len(printed.edition.body) for printed in self._editions.values())
        return len(self._editions) > KEPT_EDITIONS or size > KEPT_BYTES

    async def _line(self) -> None:
        while True:
            batch, copy = await self._ready.get()
            try:
                if self._stopping or self._resting() > 0:
                    await self._give_back(batch)
                    continue
                outcomes = await self._relay.send(copy)
                self._notice(outcomes)
                await self._finish(self._settled(batch, outcomes))
            except Exception:  # a bug of ours: the lease brings the copy back, and others go on
                log.exception("delivery %d failed in our own code", batch[0].id)
                self._in_hand.difference_update(delivery.id for delivery in batch)
            finally:
                self._ready.task_done()

    def _settled(self, batch: Sequence[Delivery], outcomes: Sequence[Outcome]) -> list[Settled]:
        now, chance = self._clock(), self._site.chance
        return [delivering.settled(d, outcome, now, chance) for d, outcome in zip(batch, outcomes, strict=True)]

    def _notice(self, outcomes: Sequence[Outcome]) -> None:
        """While the relay cannot be reached, claim nothing: rest, longer each time."""
        first = outcomes[0]
        if not (isinstance(first, Deferred) and first.unreachable):
            self._rest = self._rested_at = 0.0
        elif self._resting() <= 0:
            log.warning("the relay cannot be reached: %s", first.reply)
            self._rest = min(2 * self._rest or REST_FIRST, REST_LONGEST)
            self._rested_at = asyncio.get_running_loop().time() + self._rest

    def _resting(self) -> float:
        """Seconds until the relay is tried again."""
        return self._rested_at - asyncio.get_running_loop().time() if self._rested_at else 0.0

    async def _finish(self, settled: Sequence[Settled]) -> None:
        """Among the unrecorded as soon as there is a place."""
        places = min(len(settled), UNRECORDED)
        for _ in range(places):
            await self._slots.acquire()
        self._finished.extend(settled)
        self._record.set()

    async def _write_down(self) -> None:
        while True:
            await self._record.wait()
            if len(self._finished) < UNRECORDED:
                await asyncio.sleep(RECORD_AFTER)
            await self._flush()

    async def _flush(self) -> None:
        self._record.clear()
        batch, self._finished = self._finished, []
        if not batch:
            return
        while True:
            try:
                await self._db.write(delivering.record, self._site, batch, self._clock())
                break
            except Exception:  # outcomes are kept until the database takes them
                log.exception("could not record %d outcomes; trying again", len(batch))
                await asyncio.sleep(1.0)
        self._in_hand.difference_update(settled.id for settled in batch)
        for _ in range(min(len(batch), UNRECORDED)):
            self._slots.release()

    async def _give_back(self, batch: Sequence[Delivery]) -> None:
        due = self._clock() + timedelta(seconds=max(0.0, self._resting()))
        await self._db.write(delivering.give_up_hand, batch, due)
        self._in_hand.difference_update(delivery.id for delivery in batch)

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(RENEW_EVERY)
            if self._in_hand:
                with contextlib.suppress(Exception):  # said by the others; a lost lease means a second copy, not a loss
                    ids = sorted(self._in_hand)
                    await self._db.write(queue.renew, schema.deliveries, self._site.node, ids, self._clock())
