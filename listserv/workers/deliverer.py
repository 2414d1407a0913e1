"""Claims deliveries, stamps them, hands them to the relay; `recorder` writes down how each ended.

`hand` says how many to claim and how long they are ours, `turns` which copy goes next.  `editions` are loaded one after
the other; one that makes our own code fail is put off alone, and everybody else's mail goes on.  A copy is stamped when
a line takes it up: in this thread, because handing a signature to another one costs more than it saves.
"""

import asyncio
import contextlib
import logging
import time
import traceback
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby

from listserv.flows import delivering, setting_aside
from listserv.flows.delivering import Printed
from listserv.flows.site import Site
from listserv.mail.signature import Signer
from listserv.model.delivery import Copy, Deferred, Outcome
from listserv.net.content import Budget
from listserv.net.relay import Relay
from listserv.store import queue, restored, schema
from listserv.store.db import Database, Tx
from listserv.store.deliveries import Delivery, Settled
from listserv.store.outage import is_outage
from listserv.workers import hand
from listserv.workers.editions import Editions
from listserv.workers.hand import Hand
from listserv.workers.loop import AFTER_A_FAULT, DOZE, Bell, until_due
from listserv.workers.recorder import Recorder
from listserv.workers.turns import Turn, Turns

log = logging.getLogger("listserv.deliverer")

HEAD_START = 0.005  # seconds
RENEW_EVERY = 7.0  # seconds; a lease is 20
REST_FIRST, REST_LONGEST = 1.0, 60.0  # seconds, while the relay cannot be reached
STEP_ASIDE = timedelta(seconds=10)  # for what waits for a slow destination, when there is no room for others
NO_ROOM_SECONDS = 1.0  # that large ones wait for those on their way, and others with them
OWN_FAULT = Deferred("451 4.3.0 our own code failed on this message; the log says how")


@dataclass(slots=True, eq=False)
class _Batch:
    """What goes in one transaction."""

    printed: Printed
    deliveries: list[Delivery]


class _Line:
    """What one line takes from the deliverer, and gives back to it: a `Source` of the relay."""

    def __init__(self, deliverer: "Deliverer") -> None:
        self._deliverer = deliverer
        self.turns: deque[Turn[_Batch]] = deque()  # the one under way, and the one behind it

    def take(self) -> Copy | None:
        return self._deliverer.next_copy(self.turns)

    def ended(self, copy: Copy, outcomes: Sequence[Outcome]) -> Awaitable[None] | None:
        turn = self._deliverer.ended(self.turns[0], outcomes)
        self.turns.popleft()
        return turn


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
        reached: Callable[[int], None],
    ) -> None:
        self.bell = Bell()
        self._reached = reached  # by each claim, and before anything of it is sent
        self._db = db
        self._site = site
        self._relay = relay
        self._clock = clock
        self._lines = lines
        self._turns: Turns[_Batch] = Turns(lines, time.monotonic)
        self._idle: deque[asyncio.Future[None]] = deque()  # lines that found nothing to do
        self._faulty: list[tuple[_Batch, Exception]] = []  # which our own code could not stamp
        self._recorder = Recorder(db, site, clock, self._in_hand_no_more, lambda: lines - len(self._idle))
        self._hand = Hand(clock())
        self._last_edition = 0  # the one whose turn it was last
        self._editions = Editions(db, site, signers, budget)
        self._moved = asyncio.Event()  # out of our hands, or a line is idle
        self._rest = 0.0  # seconds, doubled each time the relay cannot be reached
        self._rested_at = 0.0  # on the monotonic clock: the relay is tried again
        self._stopping = False

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            around = [tasks.create_task(work()) for work in (self._renew, self._recorder.run)]
            lines = [tasks.create_task(self._line()) for _ in range(self._lines)]
            await self._claim()
            while len(self._idle) < self._lines:
                self._moved.clear()
                await self._moved.wait()
            for task in lines:
                task.cancel()
            await self._recorder.flush()
            for task in around:
                task.cancel()

    def stop(self) -> None:
        """Take nothing more; what is claimed and not begun goes back."""
        self._stopping = True
        self.bell.ring()

    # What is in hand

    async def _claim(self) -> None:
        """Until `stop`: deliveries into our hands, and out of them again while the relay is not to be tried."""
        while not self._stopping:
            try:
                pause = await self._claim_some()
            except Exception:  # no database: leases bring back what was claimed
                log.exception("could not claim deliveries; trying again in %s s", AFTER_A_FAULT)
                pause = AFTER_A_FAULT
            if pause and not self._stopping:
                await self.bell.wait(pause)
        with contextlib.suppress(Exception):  # as above
            await self._give_back(self._turns.withdraw(), self._clock())

    async def _claim_some(self) -> float:
        """How many seconds to wait for the bell."""
        if (left := self._resting()) > 0:
            await self._give_back(self._turns.withdraw(), self._clock() + timedelta(seconds=left))
            return left
        if self._hand.has_lapsed(self._clock()):
            log.warning("what was in hand is not surely ours any more: it goes back")
            self._hand.holds(self._clock())
            await self._give_back(self._turns.withdraw(), self._clock())
        if not self._turns.able and self._turns.waiting >= hand.MOST:
            await self._step_aside()
        wanted = self._hand.wanted(able=bool(self._turns.able))
        if not wanted:
            return DOZE
        self._hand.claims()
        asked = wanted, self._last_edition, self._turns.clogged()
        claimed, number = await self._db.write(self._claim_deliveries, *asked)
        if not claimed:  # wait behind those who make deliveries, and claim in their commit
            waking = self.bell.wait(await until_due(self._db, schema.deliveries, self._clock()))
            claiming = self._db.write_behind(schema.deliveries.name, waking, self._claim_deliveries, *asked)
            claimed, number = await claiming
        if claimed:
            self._reached(number)
        self._hand.may_be_more = bool(claimed)
        await self._hand_out(claimed)
        # lines that had nothing to do begin before others are claimed, and well before when no more were due
        await asyncio.sleep(HEAD_START if len(claimed) < wanted else 0)
        return 0.0

    def _claim_deliveries(self, tx: Tx, wanted: int, after: int, avoid: Collection[str]) -> tuple[list[Delivery], int]:
        """What is claimed, and how far the database has come with that."""
        if self._stopping:  # which is why it does not wait any more
            return [], 0
        now = self._clock()
        if not self._hand.ids:
            self._hand.holds(now)
        claimed = delivering.claim_deliveries(tx, self._site.claimant, now, wanted, after, avoid)
        return claimed, restored.go_on(tx) if claimed else 0

    async def _hand_out(self, claimed: Sequence[Delivery]) -> None:
        """Edition by edition, in the order in which they were claimed."""
        self._hand.ids.update(delivery.id for delivery in claimed)
        first = {delivery.edition_id: place for place, delivery in reversed(list(enumerate(claimed)))}
        patience = time.monotonic() + NO_ROOM_SECONDS
        for id, group in groupby(sorted(claimed, key=lambda d: first[d.edition_id]), key=lambda d: d.edition_id):
            waiting = list(group)
            self._last_edition = id
            try:
                await self._hand_out_edition(id, waiting, patience)
            except Exception as fault:
                self._editions.forget(id)
                if is_outage(fault):
                    log.exception("edition %d cannot be loaded now; a lease brings its deliveries back", id)
                    self._in_hand_no_more([delivery.id for delivery in waiting])
                    continue
                log.exception("edition %d failed in our own code; its %d deliveries are put off", id, len(waiting))
                if not await self._set_aside(fault, id, waiting, whole=True):
                    await _placed(self._record(waiting, [OWN_FAULT] * len(waiting)))

    async def _hand_out_edition(self, id: int, waiting: list[Delivery], patience: float) -> None:
        printed = await self._editions.get(id)
        if printed is None:
            now = self._clock()
            gone = [Settled([d.id], d.tries, "dropped", now, "its message has gone") for d in waiting]
            await _placed(self._recorder.finish(gone))
            return
        if not await self._has_room(printed, patience):
            if not self._stopping:
                await self._step_aside()
            await self._give_up(waiting, self._clock() + (timedelta() if self._stopping else STEP_ASIDE))
            return
        for name, batch in delivering.batches(waiting, printed, self._turns.is_slow):
            self._editions.has_come(printed)
            self._turns.put(name, _Batch(printed, batch))
        self._wake()

    async def _has_room(self, printed: Printed, patience: float) -> bool:
        """Whether this body may be on its way, now or before `patience` ends, on the monotonic clock."""
        while not self._editions.has_room(printed):
            if self._is_closed(self._clock()) or (left := patience - time.monotonic()) <= 0:
                return False
            self._moved.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._moved.wait()
        return True

    async def _step_aside(self) -> None:
        """What may not begin now makes room for others."""
        await self._give_back(self._turns.withdraw(blocked_only=True), self._clock() + STEP_ASIDE)

    def _has_moved(self, printed: Printed) -> None:
        self._editions.has_gone(printed)
        self._moved.set()

    # Lines

    async def _line(self) -> None:
        line = _Line(self)
        while True:
            try:
                await self._relay.work(line)
                await self._put_off()
            except Exception as fault:  # the lease brings the copies back, and others go on
                log.exception("a line failed in our own code")
                await self._forget(line, fault)
            if self._is_closed(self._clock()) or not self._turns.able:
                idle = asyncio.get_running_loop().create_future()
                self._idle.append(idle)
                self._moved.set()
                await idle

    def _is_closed(self, now: datetime) -> bool:
        """No copy is begun."""
        return self._stopping or (self._rested_at > 0 and self._resting() > 0) or self._hand.has_lapsed(now)

    def _wake(self) -> None:
        """One line, if there is something to do; as it begins, it wakes the next.

        So the relay's answers to the first are heard while the others are still being stamped.
        """
        while self._idle and self._turns.able:
            idle = self._idle.popleft()
            if not idle.done():
                idle.set_result(None)
                return

    def next_copy(self, turns: deque[Turn[_Batch]]) -> Copy | None:
        """What a line is to send next; in `turns`, whose it is."""
        now = self._clock()
        if self._is_closed(now):
            if self._hand.has_lapsed(now):
                self.bell.ring()
            return None
        while turn := self._turns.take():
            batch = turn.work
            try:
                copy = delivering.stamp(self._site, batch.printed, batch.deliveries, now)
            except Exception as fault:
                log.exception("delivery %d failed in our own code; it is put off", batch.deliveries[0].id)
                self._turns.drop(turn)
                self._faulty.append((batch, fault))
            else:
                turns.append(turn)
                self._wake()
                return copy
        return None

    def ended(self, turn: Turn[_Batch], outcomes: Sequence[Outcome]) -> Awaitable[None] | None:
        """None when the outcomes are among the unrecorded; else the line waits for this: then they are recorded."""
        first = outcomes[0]
        is_deferred = isinstance(first, Deferred) and not first.unreachable
        self._turns.ended(turn, well=not is_deferred)
        if isinstance(outcomes[-1], Deferred):
            self._beware(turn.work.deliveries, outcomes)
        self._notice(first)
        self._hand.ended += len(outcomes)
        self._wake()
        place = self._finish(turn.work, outcomes)
        return self._put_off(place) if self._faulty else place

    async def _put_off(self, place: Awaitable[None] | None = None) -> None:
        """What our own code could not stamp; then wait for `place`."""
        while self._faulty:
            batch, fault = self._faulty.pop()
            id = batch.printed.edition.id
            if await self._set_aside(fault, id, batch.deliveries):
                self._has_moved(batch.printed)
            else:
                await _placed(self._finish(batch, [OWN_FAULT] * len(batch.deliveries)))
        await _placed(place)

    async def _set_aside(
        self, fault: Exception, edition_id: int, batch: Sequence[Delivery], *, whole: bool = False
    ) -> bool:
        """Whether these deliveries, or all of the edition, are aside now: our own code failed once too often."""
        if is_outage(fault):
            return False
        said = "".join(traceback.format_exception(fault))
        ids = [delivery.id for delivery in batch]
        failed = setting_aside.edition_failed
        try:
            if not await self._db.write(failed, edition_id, ids, said, self._clock(), whole=whole):
                return False
        except Exception:  # no database: it is put off, and counted when it fails again
            log.exception("could not count the fault of edition %d", edition_id)
            return False
        log.error("edition %d is set aside: `listserv queue list --state aside`", edition_id)
        self._in_hand_no_more(ids)
        return True

    def _finish(self, batch: _Batch, outcomes: Sequence[Outcome]) -> Awaitable[None] | None:
        edition = batch.printed.edition
        notice = edition.id if edition.kind == "notice" else None
        self._has_moved(batch.printed)
        return self._record(batch.deliveries, outcomes, notice)

    def _record(
        self, batch: Sequence[Delivery], outcomes: Sequence[Outcome], notice: int | None = None
    ) -> asyncio.Future[None] | None:
        settled = delivering.settled(batch, outcomes, self._clock(), self._site.chance, notice)
        return self._recorder.finish(settled)

    async def _forget(self, line: _Line, fault: Exception) -> None:
        """What it had comes back when its lease has run out; the fault is counted for what was under way."""
        forgotten = [turn.work for turn in line.turns]
        while line.turns:
            turn = line.turns.popleft()
            self._turns.drop(turn)
            self._has_moved(turn.work.printed)
            self._in_hand_no_more([delivery.id for delivery in turn.work.deliveries])
        if forgotten:
            await self._set_aside(fault, forgotten[0].printed.edition.id, forgotten[0].deliveries)

    def _beware(self, batch: Sequence[Delivery], outcomes: Sequence[Outcome]) -> None:
        """Whoever held up others goes by himself from now on: they would never have their mail."""
        for delivery, outcome in zip(batch, outcomes, strict=True):
            if len(batch) > 1 and isinstance(outcome, Deferred) and outcome.stalled:
                self._turns.beware(delivery.destination)

    def _notice(self, first: Outcome) -> None:
        """While the relay cannot be reached, claim nothing: rest, longer each time."""
        if not (isinstance(first, Deferred) and first.unreachable):
            self._rest = self._rested_at = 0.0
        elif self._resting() <= 0:
            log.warning("the relay cannot be reached: %s", first.reply)
            self._rest = min(2 * self._rest or REST_FIRST, REST_LONGEST)
            self._rested_at = time.monotonic() + self._rest
            self.bell.ring()

    def _resting(self) -> float:
        """Seconds until the relay is tried again."""
        return self._rested_at - time.monotonic() if self._rested_at else 0.0

    # What goes back

    async def _give_back(self, batches: Iterable[_Batch], due: datetime) -> None:
        """Not tried; a lease brings back what the database does not take now."""
        waiting = []
        for batch in batches:
            waiting += batch.deliveries
            self._has_moved(batch.printed)
        if waiting:  # else the bell, which says that there is room, would ring for nothing, again and again
            await self._give_up(waiting, due)

    async def _give_up(self, waiting: Sequence[Delivery], due: datetime) -> None:
        self._in_hand_no_more([delivery.id for delivery in waiting])
        await self._db.write(delivering.give_up_hand, waiting, due)

    def _in_hand_no_more(self, ids: Sequence[int]) -> None:
        if self._hand.let_go(ids):
            self.bell.ring()

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(RENEW_EVERY)
            if self._hand.has_lapsed(self._clock()):
                self.bell.ring()
            elif self._hand.ids:
                with contextlib.suppress(Exception):  # said by the others; what we cannot hold goes back
                    ids, now = sorted(self._hand.ids), self._clock()
                    await self._db.write(queue.renew, schema.deliveries, self._site.claimant, ids, now)
                    if not self._hand.has_lapsed(self._clock()):
                        self._hand.holds(now)


async def _placed(place: Awaitable[None] | None) -> None:
    """Back when what was finished is among the unrecorded, or recorded."""
    if place:
        await place
