"""Turns due posts into editions and deliveries: small ones one after the other, and beside them one that may take long.

That is a large one, or one that was tried before: it is rendered in a cell, and nobody waits for it but its like.
"""

import asyncio
import logging
import traceback
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

from listserv.flows import distributing, setting_aside
from listserv.flows.distributing import Claimed, Draft
from listserv.flows.site import Site
from listserv.hooks import Feature
from listserv.net.content import Budget
from listserv.store import schema
from listserv.store.db import Database, Tx
from listserv.store.editions import Edition
from listserv.store.outage import is_outage
from listserv.store.posts import Post
from listserv.workers.cell import Cell, Overrun, guarded
from listserv.workers.loop import Bell, between

log = logging.getLogger("listserv.distributor")

YIELD = 0.1  # seconds before the next post, while many come in: whoever waits for a 250 goes first …
PATIENCE = timedelta(seconds=5)  # … until a post has waited so long
SMALL = 20_000  # bytes: a post that is loaded with its claim; more than this is rendered in a process of its own


class Distributor:
    """`once` is the body of its loop, `nap` how long it may `rest`; `rush` says that many posts are coming in.

    While it rests it waits behind those who accept posts, and claims the next one in the same commit.
    """

    def __init__(
        self,
        db: Database,
        site: Site,
        clock: Callable[[], datetime],
        own_keys: Callable[[], frozenset[tuple[str, str]]],
        budget: Budget,
        rush: Callable[[], bool] = lambda: False,
    ) -> None:
        self._db = db
        self._site = site
        self._clock = clock
        self._own_keys = own_keys
        self._budget = budget
        self._rush = rush
        self._claimed: Claimed | None = None  # while it rested
        self._next_due: datetime | None = None
        self._late = timedelta()  # how long the last post had waited
        self._cell = Cell()
        self._apart: asyncio.Task[None] | None = None  # at work on what may take long

    async def once(self) -> bool:
        """One post, if there is one; while many come in, not one after the other."""
        if self._rush() and self._late < PATIENCE:
            await asyncio.sleep(YIELD)
        claimed, self._claimed = self._claimed, None
        if claimed is None:
            claimed = await self._claim()
        self._next_due = claimed.next_due
        if claimed.post is None:
            return False
        self._late = self._clock() - claimed.post.received_at
        await self._begin(claimed.post, claimed)
        return self._next_due is not None and self._next_due <= self._clock()

    async def nap(self) -> float:
        return between(self._clock(), self._next_due)

    async def rest(self, bell: Bell, seconds: float) -> bool:
        """Until there may be a post; whether there is one."""
        waking = self._woken(bell, seconds)
        self._claimed = await self._db.write_behind(schema.posts.name, waking, self._claim_post)
        return self._claimed.post is not None

    async def finish(self) -> None:
        """Back when nothing is under way."""
        if self._apart:
            try:
                await self._apart
            except asyncio.CancelledError:
                self._apart.cancel()
                raise

    def close(self) -> None:
        if self._apart:
            self._apart.cancel()  # else the end of its cell would be a fault of the post
        self._cell.close()

    async def _claim(self) -> Claimed:
        """Where a post cannot be loaded with its claim, it is claimed without: it fails again, and there is counted."""
        try:
            return await self._db.write(self._claim_post)
        except Exception as failed:
            if is_outage(failed):
                raise
            log.debug("a post could not be loaded with its claim: %s", type(failed).__name__)
            return await self._db.write(self._claim_post, bare=True)

    async def _woken(self, bell: Bell, seconds: float) -> None:
        """By the bell, by the end of what is apart, or by the clock."""
        ringing = asyncio.ensure_future(bell.wait(seconds))
        try:
            await asyncio.wait({ringing, *self._under_way()}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ringing.cancel()

    def _under_way(self) -> set[asyncio.Task[None]]:
        return {self._apart} if self._apart and not self._apart.done() else set()

    def _claim_post(self, tx: Tx, *, bare: bool = False) -> Claimed:
        """While something is apart, nothing that would have to wait for it."""
        only_small = bool(self._under_way())
        return distributing.claim(tx, self._site, self._clock(), SMALL, only_small=only_small, bare=bare)

    async def _begin(self, post: Post, claimed: Claimed) -> None:
        """Small ones are seen to at once, the first time; all others, and those that take too long, apart."""
        if claimed.draft is not None:
            try:
                await self._see_to(post, claimed)
            except Overrun:
                claimed = replace(claimed, draft=None)
            else:
                return
        if self._under_way():
            await self._see_to(post, claimed)
        else:
            self._apart = asyncio.create_task(self._see_to_apart(post, claimed))

    async def _see_to_apart(self, post: Post, claimed: Claimed) -> None:
        """As `_see_to`; what the database does not take comes back with its lease."""
        try:
            await self._see_to(post, claimed)
        except Exception:
            log.exception("post %d is left to its lease", post.id)

    async def _see_to(self, post: Post, claimed: Claimed) -> None:
        """Handed out, or its fault counted; Overrun when it takes too long beside the loop."""
        try:
            await self._distribute(post, claimed)
        except Exception as failed:
            if is_outage(failed):  # the lease brings the post back
                raise
            log.exception("post %d failed in our own code", post.id)
            fault = traceback.format_exc()
            if await self._db.write(setting_aside.post_failed, post, fault, self._clock()):
                log.error("post %d is set aside: `listserv queue show p%d`", post.id, post.id)

    async def _distribute(self, post: Post, claimed: Claimed) -> None:
        """Rendered, saved and handed out.  The bytes are in memory only until they are saved."""
        room = await self._budget.take(claimed.size)
        try:
            draft = claimed.draft or await self._db.read(distributing.load, self._site, post, self._clock())
            if draft is None:
                await self._db.write(distributing.abandon, self._site, post, self._clock())
                return
            edition = await self._render(draft, beside=claimed.draft is not None)
            begun = await self._db.write(distributing.hand_out, self._site, draft, edition, self._clock())
        finally:
            self._budget.give(room)
        if begun is None:
            return
        del edition  # and with it the body
        draft = replace(draft, content=b"")
        more: bool | None = begun[1]
        while more:
            more = await self._db.write(distributing.go_on, self._site, draft, begun[0], self._clock())

    async def _render(self, draft: Draft, *, beside: bool) -> Edition:
        """Beside the loop, or Overrun; else where it can do no harm."""
        keys = self._own_keys()
        if beside:
            return guarded(distributing.render, self._site, draft, keys)
        site = replace(self._site, features=())
        additions = tuple((Feature(feature.name), said) for feature, said in draft.additions)
        return await self._cell.run(distributing.render, site, replace(draft, additions=additions), keys)
