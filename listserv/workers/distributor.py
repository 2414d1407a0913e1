"""Turns due posts into editions and deliveries, one post at a time."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from listserv.flows import distributing
from listserv.flows.distributing import Draft
from listserv.flows.site import Site
from listserv.net.content import Budget
from listserv.store import schema
from listserv.store.db import Database
from listserv.store.deliveries import Edition
from listserv.store.posts import Post
from listserv.workers.loop import until_due

SMALL = 20_000  # bytes; rendering more than this is done beside the event loop


class Distributor:
    """`once` is the body of its loop, `nap` how long it may sleep."""

    def __init__(
        self,
        db: Database,
        site: Site,
        clock: Callable[[], datetime],
        own_keys: Callable[[], frozenset[tuple[str, str]]],
        budget: Budget,
    ) -> None:
        self._db = db
        self._site = site
        self._clock = clock
        self._own_keys = own_keys
        self._budget = budget

    async def once(self) -> bool:
        """One post, if there is one."""
        post = await self._db.write(distributing.claim_post, self._site.node, self._clock())
        if post is None:
            return False
        made = await self._edition(post)
        if made is not None:
            await self._fan_out(post, *made)
        return True

    async def nap(self) -> float:
        return await until_due(self._db, schema.posts, self._clock())

    async def _edition(self, post: Post) -> tuple[Draft, int] | None:
        """Rendered and saved; None when there is nothing to do for us.  The bytes are in memory only as long."""
        share = await self._budget.take(await self._db.read(distributing.size, post))
        try:
            draft = await self._db.read(distributing.load, self._site, post, self._clock())
            if draft is None:
                await self._db.write(distributing.abandon, self._site, post, self._clock())
                return None
            edition = await self._render(draft)
            edition_id = await self._db.write(distributing.save, post, edition, self._clock())
        finally:
            self._budget.give(share)
        return None if edition_id is None else (replace(draft, content=b""), edition_id)

    async def _render(self, draft: Draft) -> Edition:
        if len(draft.content) > SMALL:
            return await asyncio.to_thread(distributing.render, self._site, draft, self._own_keys())
        return distributing.render(self._site, draft, self._own_keys())

    async def _fan_out(self, post: Post, draft: Draft, edition_id: int) -> None:
        spared = draft.spared
        while (more := await self._db.write(distributing.fan_out, post, edition_id, self._clock(), spared)) is not None:
            if not more:
                await self._db.write(distributing.finish, self._site, draft, edition_id, self._clock())
                return
