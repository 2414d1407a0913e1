"""Turns due posts into editions and deliveries, one post at a time."""

import asyncio
from collections.abc import Callable
from datetime import datetime

from listserv.flows import distributing
from listserv.flows.distributing import Draft
from listserv.flows.site import Site
from listserv.store.db import Database
from listserv.store.posts import Post

SMALL = 20_000  # bytes; rendering more than this is done beside the event loop


class Distributor:
    """`once` is the body of its loop; `told` is called when there are new deliveries."""

    def __init__(
        self,
        db: Database,
        site: Site,
        clock: Callable[[], datetime],
        told: Callable[[], None],
        own_keys: Callable[[], frozenset[tuple[str, str]]],
    ) -> None:
        self._db = db
        self._site = site
        self._clock = clock
        self._told = told
        self._own_keys = own_keys

    async def once(self) -> bool:
        """One post, if there is one."""
        post = await self._db.write(distributing.claim_post, self._site.node, self._clock())
        if post is None:
            return False
        draft = await self._db.read(distributing.load, self._site, post, self._clock())
        if draft is None:
            await self._db.write(distributing.abandon, self._site, post, self._clock())
        else:
            await self._distribute(post, draft)
        return True

    async def _distribute(self, post: Post, draft: Draft) -> None:
        if len(draft.content) > SMALL:
            edition = await asyncio.to_thread(distributing.render, self._site, draft, self._own_keys())
        else:
            edition = distributing.render(self._site, draft, self._own_keys())
        edition_id = await self._db.write(distributing.save, post, edition, self._clock())
        if edition_id is None:
            return
        while (more := await self._db.write(distributing.fan_out, post, edition_id, self._clock())) is not None:
            self._told()
            if not more:
                await self._db.write(distributing.finish, self._site, draft, edition_id, self._clock())
                return
