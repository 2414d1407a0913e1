"""Editions as a deliverer has them: loaded and prepared, a few of them kept, and how many octets are under way."""

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Mapping

from listserv.flows import delivering
from listserv.flows.delivering import Printed
from listserv.flows.site import Site
from listserv.mail.signature import Signer
from listserv.net.content import Budget
from listserv.store import editions
from listserv.store.db import Database

KEPT_EDITIONS = 8  # prepared, in memory; fewer when they are big
KEPT_BYTES = 8_000_000
MOVING_BYTES = 16_000_000  # large bodies on their way to the relay, and as much of small ones; a bigger one goes alone
SMALL = 262_144  # octets of an edition; a bigger one waits for room, and is prepared beside the event loop


class Editions:
    """Memory holds few bodies however many editions wait."""

    def __init__(self, db: Database, site: Site, signers: Mapping[str, Signer], budget: Budget) -> None:
        self._db = db
        self._site = site
        self._signers = signers
        self._budget = budget
        self._kept: OrderedDict[int, Printed] = OrderedDict()
        self._moving: Counter[int] = Counter()  # batches of each between here and the relay
        self._octets = {True: 0, False: 0}  # of the bodies that are moving: of small ones, and of the others

    async def get(self, id: int) -> Printed | None:
        """From the few kept in memory, else loaded and prepared; None when its message has gone."""
        known = self._kept.get(id)
        if known is None:
            known = await self._load(id)
            if known is None:
                return None
            self._kept[id] = known
            while len(self._kept) > 1 and self._keeps_too_much():
                self._kept.popitem(last=False)
        self._kept.move_to_end(id)
        return known

    def forget(self, id: int) -> None:
        """It is loaded anew when it is wanted again."""
        self._kept.pop(id, None)

    def has_room(self, printed: Printed) -> bool:
        """Whether this body may be on its way now: small ones have room apart from large ones.

        Many copies of one edition share theirs.
        """
        size = len(printed.edition.body)
        beside = self._octets[size <= SMALL]
        return not beside or printed.edition.id in self._moving or beside + size <= MOVING_BYTES

    def has_come(self, printed: Printed) -> None:
        """One batch of it more is on its way."""
        if not self._moving[printed.edition.id]:
            self._count(printed, 1)
        self._moving[printed.edition.id] += 1

    def has_gone(self, printed: Printed) -> None:
        """One batch less."""
        self._moving[printed.edition.id] -= 1
        if not self._moving[printed.edition.id]:
            del self._moving[printed.edition.id]
            self._count(printed, -1)

    def _count(self, printed: Printed, times: int) -> None:
        size = len(printed.edition.body)
        self._octets[size <= SMALL] += times * size

    async def _load(self, id: int) -> Printed | None:
        """A small one at once, in one look; a bigger one when there is room for it, and prepared beside the loop."""
        found = await self._db.read(editions.load_small, id, self._site.hostname, SMALL)
        if not isinstance(found, int):
            return delivering.prepare(self._site, found, self._signers) if found else None
        room = await self._budget.take(found)
        try:
            loaded = await self._db.read(editions.load, id, self._site.hostname)
            return await asyncio.to_thread(delivering.prepare, self._site, loaded, self._signers) if loaded else None
        finally:
            self._budget.give(room)

    def _keeps_too_much(self) -> bool:
        size = sum(len(printed.edition.body) for printed in self._kept.values())
        return len(self._kept) > KEPT_EDITIONS or size > KEPT_BYTES
