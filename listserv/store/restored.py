"""What a database that was restored has brought along: mail that may have gone since the copy was made.

How far a database has come is a number that grows with each claim of deliveries.  It is the last one that the ids of
`jobs` have come to: every copy of a database has it, however it was made, and nobody else draws from it.  Whoever
delivers keeps it outside the database as well, before he sends (`workers.watermark`); so a database that is behind it
is known for an old one, without any clock.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Table, func, or_, select

from listserv.store import secrets
from listserv.store.db import Tx
from listserv.store.dialects import draw, draw_beyond, drawn
from listserv.store.queue import is_due, is_taken
from listserv.store.schema import deliveries, editions, jobs, posts
from listserv.store.waiting import Waiting, first_due

_WORD = b"restored"  # in the value of secrets.PAUSED, before the two numbers


@dataclass(frozen=True, slots=True)
class Restored:
    """The newest rows that a restored database had: what waits among them and before may have gone already."""

    delivery: int
    post: int


@dataclass(frozen=True, slots=True)
class Waits:
    """How much of that waits now; a post that was not handed out yet becomes copies."""

    copies: int
    posts: int


def come_to(tx: Tx) -> int:
    """How far this database has come."""
    return drawn(tx, jobs)


def go_on(tx: Tx) -> int:
    """Further than it has ever come: with each claim."""
    return draw(tx, jobs)


def catch_up(tx: Tx, number: int) -> None:
    """As far as this at least, and so not behind it any more."""
    draw_beyond(tx, jobs, number)


def hold(tx: Tx, now: datetime) -> None:
    """Deliveries are paused, and all that is here counts as restored."""
    newest = Restored(_newest(tx, deliveries), _newest(tx, posts))
    secrets.put(tx, secrets.PAUSED, b"%s %d %d" % (_WORD, newest.delivery, newest.post), now)


def held(tx: Tx) -> Restored | None:
    """None when deliveries are not paused, or for another reason."""
    word, *numbers = (secrets.get(tx, secrets.PAUSED) or b"-").split()
    return Restored(*map(int, numbers)) if word == _WORD else None


def count(tx: Tx, restored: Restored) -> Waits:
    d, p = deliveries.c, posts.c
    joined = select(func.count()).select_from(deliveries).join(editions, editions.c.id == d.edition_id)
    copies = joined.where(or_(is_due(deliveries), is_taken(deliveries)), is_from(restored))
    undistributed = select(func.count()).where(or_(is_due(posts), is_taken(posts)), p.id <= restored.post)
    return Waits(int(tx.execute(copies).scalar_one()), int(tx.execute(undistributed).scalar_one()))


def waits(tx: Tx) -> bool:
    """Whether anything does, be it restored or not."""
    busy = (select(table.c.id).where(or_(is_due(table), is_taken(table))).limit(1) for table in (deliveries, posts))
    return any(tx.execute(chosen).first() for chosen in busy)


def some(tx: Tx, restored: Restored, most: int) -> Sequence[Waiting]:
    """So many of the restored copies that are due."""
    return first_due(tx, most, is_from(restored))


def is_from(restored: Restored) -> ColumnElement[bool]:
    """Deliveries that were restored, and those that were made since then of restored posts."""
    return or_(deliveries.c.id <= restored.delivery, editions.c.post_id <= restored.post)


def _newest(tx: Tx, table: Table) -> int:
    return int(tx.execute(select(func.coalesce(func.max(table.c.id), 0))).scalar_one())
