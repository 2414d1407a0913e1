"""Claims deliveries, stamps them, hands them to the relay; `recorder` writes down how each ended.

Editions are worked through one after the other, so that memory holds few bodies however many wait; an
edition that makes our own code fail is put off alone, and everybody else's mail goes on.
"""

import asyncio
import contextlib
import logging
import traceback
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import groupby

from sqlalchemy.exc import SQLAlchemyError

from listserv.flows import delivering, setting_aside
from listserv.flows.delivering import Printed
from listserv.flows.site import Site
from listserv.mail.signature import Signer
from listserv.model.delivery import Copy, Deferred, Outcome
from listserv.net.content import Budget
from listserv.net.relay import Relay
from listserv.store import deliveries, queue, schema
from listserv.store.db import Database
from listserv.store.deliveries import Delivery, Settled
from listserv.workers.loop import AFTER_A_FAULT, NAP, Bell
from listserv.workers.recorder import Recorder

log = logging.getLogger("listserv.deliverer")

CLAIM = 200  # deliveries
STAMP = 16  # copies, in one go beside the event loop
KEPT_EDITIONS = 4  # prepared, in memory; fewer when they are big
KEPT_BYTES = 8_000_000
MOVING_BYTES = 16_000_000  # bodies on their way to the relay; a bigger one goes alone
RENEW_EVERY = 7.0  # seconds; a lease is 20
REST_FIRST, REST_LONGEST = 1.0, 60.0  # seconds, while the relay cannot be reached
OWN_FAULT = Deferred("451 4.3.0 our own code failed on this message; the log says how")


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
        budget: Budget,
    ) -> None:
        self.bell = Bell()
        self._db = db
        self._site = site
        self._relay = relay
        self._signers = signers
        self._clock = clock
        self._budget = budget
        self._lines = lines
        self._ready: asyncio.Queue[tuple[list[Delivery], Copy]] = asyncio.Queue(maxsize=lines)
        self._recorder = Recorder(db, site, clock, self._in_hand_no_more)
        self._in_hand: set[int] = set()
        self._editions: OrderedDict[int, Printed] = OrderedDict()
        self._moving: Counter[int] = Counter()  # copies of each edition between here and the relay
        self._sizes: dict[int, int] = {}  # octets of the bodies that are moving
        self._moved = asyncio.Event()
        self._rest = 0.0  # seconds, doubled each time the relay cannot be reached
        self._rested_at = 0.0  # time of the loop at which the relay is tried again
        self._stopping = False

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            around = [tasks.create_task(work()) for work in (self._renew, self._recorder.run)]
            lines = [tasks.create_task(self._line()) for _ in range(self._lines)]
            await self._claim()
            await self._ready.join()
            for task in lines:
                task.cancel()
            await self._recorder.flush()
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
            try:
                claimed = await self._db.write(delivering.claim_deliveries, self._site.node, self._clock(), CLAIM)
                await self._hand_out(claimed)
            except Exception:  # no database: leases bring back what was claimed
                log.exception("could not claim deliveries; trying again in %s s", AFTER_A_FAULT)
                await self.bell.wait(AFTER_A_FAULT)
                continue
            if not claimed and not self._stopping:
                await self.bell.wait(NAP)

    async def _hand_out(self, claimed: Sequence[Delivery]) -> None:
        """Edition by edition, in the order of their longest wait."""
        self._in_hand.update(delivery.id for delivery in claimed)
        first = {delivery.edition_id: place for place, delivery in reversed(list(enumerate(claimed)))}
        for id, group in groupby(sorted(claimed, key=lambda d: first[d.edition_id]), key=lambda d: d.edition_id):
            waiting = list(group)
            try:
                await self._hand_out_edition(id, waiting)
            except Exception as fault:
                log.exception("edition %d failed in our own code; its %d deliveries are put off", id, len(waiting))
                self._editions.pop(id, None)
                if not await self._set_aside(fault, id, waiting, whole=True):
                    await self._recorder.finish(self._settled(waiting, [OWN_FAULT] * len(waiting)))

    async def _hand_out_edition(self, id: int, waiting: list[Delivery]) -> None:
        """Takes out of `waiting` what it has handed on."""
        printed = await self._edition(id)
        if printed is None:
            now = self._clock()
            await self._recorder.finish(
                [Settled(d.id, d.tries, "dropped", now, "its message has gone") for d in waiting]
            )
            return
        batches = delivering.batches(waiting, printed)
        for start in range(0, len(batches), STAMP):
            if self._stopping or self._resting() > 0:
                await self._give_back(waiting)
                return
            chunk = batches[start : start + STAMP]
            copies = await asyncio.to_thread(self._stamp, chunk, printed)
            for batch, copy in zip(chunk, copies, strict=True):
                await self._room(printed)
                await self._ready.put((batch, copy))
                del waiting[: len(batch)]

    def _stamp(self, chunk: Sequence[Sequence[Delivery]], printed: Printed) -> list[Copy]:
        now = self._clock()
        return [delivering.stamp(self._site, printed, batch, now) for batch in chunk]

    async def _edition(self, id: int) -> Printed | None:
        """From the few kept in memory, else loaded and prepared."""
        known = self._editions.get(id)
        if known is None:
            known = await self._load(id)
            if known is None:
                return None
            self._editions[id] = known
            while len(self._editions) > 1 and self._keeps_too_much():
                self._editions.popitem(last=False)
        self._editions.move_to_end(id)
        return known

    async def _load(self, id: int) -> Printed | None:
        share = await self._budget.take(await self._db.read(deliveries.size, id))
        try:
            loaded = await self._db.read(deliveries.load, id, self._site.hostname)
            return await asyncio.to_thread(delivering.prepare, loaded, self._signers) if loaded else None
        finally:
            self._budget.give(share)

    def _keeps_too_much(self) -> bool:
        size = sum(len(printed.edition.body) for printed in self._editions.values())
        return len(self._editions) > KEPT_EDITIONS or size > KEPT_BYTES

    async def _room(self, printed: Printed) -> None:
        """Back when this body may be on its way beside the others; many copies of one edition share theirs."""
        id, size = printed.edition.id, len(printed.edition.body)
        while self._moving and id not in self._moving and sum(self._sizes.values()) + size > MOVING_BYTES:
            self._moved.clear()
            await self._moved.wait()
        self._moving[id] += 1
        self._sizes[id] = size

    def _has_moved(self, id: int) -> None:
        self._moving[id] -= 1
        if not self._moving[id]:
            del self._moving[id], self._sizes[id]
            self._moved.set()

    async def _line(self) -> None:
        while True:
            batch, copy = await self._ready.get()
            try:
                await self._send(batch, copy)
            except Exception:  # the lease brings the copies back, and others go on
                log.exception("delivery %d failed in our own code", batch[0].id)
                self._in_hand_no_more([delivery.id for delivery in batch])
            finally:
                del copy
                self._has_moved(batch[0].edition_id)
                self._ready.task_done()

    async def _send(self, batch: Sequence[Delivery], copy: Copy) -> None:
        if self._stopping or self._resting() > 0:
            await self._give_back(batch)
            return
        try:
            outcomes: Sequence[Outcome] = await self._relay.send(copy)
        except Exception as fault:
            log.exception("delivery %d failed in our own code; it is put off", batch[0].id)
            if await self._set_aside(fault, batch[0].edition_id, batch):
                return
            outcomes = [OWN_FAULT] * len(batch)
        self._notice(outcomes)
        await self._recorder.finish(self._settled(batch, outcomes))

    async def _set_aside(
        self, fault: Exception, edition_id: int, batch: Sequence[Delivery], *, whole: bool = False
    ) -> bool:
        """Whether these deliveries, or all of the edition, are aside now: our own code failed once too often."""
        if isinstance(fault, (SQLAlchemyError, OSError)):
            return False
        said = "".join(traceback.format_exception(fault))
        ids = [delivery.id for delivery in batch]
        failed = setting_aside.edition_failed
        if not await self._db.write(failed, edition_id, ids, said, self._clock(), whole=whole):
            return False
        log.error("edition %d is set aside: `listserv queue list --state aside`", edition_id)
        self._in_hand_no_more(ids)
        return True

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

    async def _give_back(self, batch: Sequence[Delivery]) -> None:
        due = self._clock() + timedelta(seconds=max(0.0, self._resting()))
        await self._db.write(delivering.give_up_hand, list(batch), due)
        self._in_hand_no_more([delivery.id for delivery in batch])

    def _in_hand_no_more(self, ids: Sequence[int]) -> None:
        self._in_hand.difference_update(ids)

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(RENEW_EVERY)
            if self._in_hand:
                with contextlib.suppress(Exception):  # said by the others; a lost lease means a second copy, not a loss
                    ids = sorted(self._in_hand)
                    await self._db.write(queue.renew, schema.deliveries, self._site.node, ids, self._clock())
