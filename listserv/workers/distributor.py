"""Turns due posts into editions and deliveries, one post at a time."""

import logging
import traceback
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from sqlalchemy.exc import SQLAlchemyError

from listserv.flows import distributing, setting_aside
from listserv.flows.distributing import Draft
from listserv.flows.site import Site
from listserv.hooks import Feature
from listserv.net.content import Budget
from listserv.store.db import Database
from listserv.store.deliveries import Edition
from listserv.store.posts import Post
from listserv.workers.cell import Cell, Overrun, Poison, guarded

log = logging.getLogger("listserv.distributor")

SMALL = 20_000  # bytes; rendering more than this is done in a process of its own


class Distributor:
    """`once` is the body of its loop; `told` is called when there are new deliveries."""

    def __init__(
        self,
        db: Database,
        site: Site,
        clock: Callable[[], datetime],
        told: Callable[[], None],
        own_keys: Callable[[], frozenset[tuple[str, str]]],
        budget: Budget,
    ) -> None:
        self._db = db
        self._site = site
        self._clock = clock
        self._told = told
        self._own_keys = own_keys
        self._budget = budget
        self._cell = Cell()

    async def once(self) -> bool:
        """One post, if there is one."""
        post = await self._db.write(distributing.claim_post, self._site.node, self._clock())
        if post is None:
            return False
        try:
            made = await self._edition(post)
            if made is not None:
                await self._fan_out(post, *made)
        except (SQLAlchemyError, OSError):  # no database: the lease brings the post back
            raise
        except Exception:
            log.exception("post %d failed in our own code", post.id)
            fault = traceback.format_exc()
            if await self._db.write(setting_aside.post_failed, post, fault, self._clock()):
                log.error("post %d is set aside: `listserv queue show p%d`", post.id, post.id)
        return True

    def close(self) -> None:
        self._cell.close()

    async def _edition(self, post: Post) -> tuple[Draft, int] | None:
        """Rendered and saved; None when there is nothing to do for us.  The bytes are in memory only as long."""
        share = await self._budget.take(await self._db.read(distributing.size, post))
        try:
            draft = await self._db.read(distributing.load, self._site, post, self._clock())
            if draft is None:
                await self._db.write(distributing.abandon, self._site, post, self._clock())
                return None
            edition = await self._render(post, draft)
            edition_id = await self._db.write(distributing.save, post, edition, self._clock())
        finally:
            self._budget.give(share)
        return None if edition_id is None else (replace(draft, content=b""), edition_id)

    async def _render(self, post: Post, draft: Draft) -> Edition:
        """Small ones at once, the first time; all others where they can do no harm."""
        keys = self._own_keys()
        if len(draft.content) <= SMALL and post.tries == 1:
            try:
                return guarded(distributing.render, self._site, draft, keys)
            except Overrun as over:
                raise Poison("rendering takes too long") from over
        site = replace(self._site, features=())
        additions = tuple((Feature(feature.name), said) for feature, said in draft.additions)
        return await self._cell.run(distributing.render, site, replace(draft, additions=additions), keys)

    async def _fan_out(self, post: Post, draft: Draft, edition_id: int) -> None:
        spared = draft.spared
        while (more := await self._db.write(distributing.fan_out, post, edition_id, self._clock(), spared)) is not None:
            self._told()
            if not more:
                await self._db.write(distributing.finish, self._site, draft, edition_id, self._clock())
                return
