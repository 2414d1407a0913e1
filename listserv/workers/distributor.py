"""Turns due posts into editions and deliveries, one post at a time."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

from listserv.flows import distributing
from listserv.flows.distributing import Draft
from listserv.flows.site import Site
from listserv.net.content import Budget
from listserv.store import schema
from listserv.store.db import Database
from listserv.store.deliveries import Edition
from listserv.store.posts import Post
from listserv.workers.loop import until_due

YIELD = 0.1  # seconds before the next post, while many come in: whoever waits for a 250 goes first …
PATIENCE = timedelta(seconds=5)  # … until a post has waited so long
SMALL = 20_000  # bytes; rendering more than this is done beside the event loop


class Distributor:
    """`once` is the body of its loop, `nap` how long it may sleep; `rush` says that many posts are coming in."""

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
        self._late = timedelta()  # how long the last post had waited

    async def once(self) -> bool:
        """One post, if there is one; while many come in, not one after the other."""
        if self._rush() and self._late < PATIENCE:
            await asyncio.sleep(YIELD)
        now = self._clock()
        post = await self._db.write(distributing.claim_post, self._site.node, now)
        if post is None:
            return False
        self._late = now - post.received_at
        await self._distribute(post)
        return True

    async def nap(self) -> float:
        return await until_due(self._db, schema.posts, self._clock())

    async def _distribute(self, post: Post) -> None:
        share = await self._budget.take(await self._db.read(distributing.size, post))
        try:
            draft = await self._db.read(distributing.load, self._site, post, self._clock())
            if draft is None:
                await self._db.write(distributing.abandon, self._site, post, self._clock())
                return
            edition = await self._render(draft)
            begun = await self._db.write(distributing.hand_out, self._site, draft, edition, self._clock())
        finally:
            self._budget.give(share)
        if begun is None:
            return
        del edition  # and with it the body
        draft = replace(draft, content=b"")
        more: bool | None = begun[1]
        while more:
            more = await self._db.write(distributing.go_on, self._site, draft, begun[0], self._clock())

    async def _render(self, draft: Draft) -> Edition:
        if len(draft.content) > SMALL:
            return await asyncio.to_thread(distributing.render, self._site, draft, self._own_keys())
        return distributing.render(self._site, draft, self._own_keys())
