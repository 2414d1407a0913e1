"""Everything that is known of one message, for `trace`: what happened to it, and what became of each copy."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select

from listserv.store.db import Tx
from listserv.store.schema import deliveries, editions, events, groups, holds, messages, posts


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened.  `at` is None for a hop that we did not see ourselves."""

    at: datetime | None
    what: str
    detail: str


@dataclass(frozen=True, slots=True)
class Decided:
    """A hold of the message and what became of it; `by` is "" while it is open, or when nobody decided in time."""

    id: int
    group: str
    state: str
    reasons: tuple[str, ...]
    since: datetime
    by: str
    decided_at: datetime | None


@dataclass(frozen=True, slots=True)
class Posted:
    """The message as a post to one group; `number` is None until it is accepted."""

    group: str
    number: int | None
    state: str
    author: str
    received_at: datetime
    digest: bytes | None  # None: its bytes have gone


@dataclass(frozen=True, slots=True)
class CopyOf:
    """One copy.  `due` says when the next try is, while there is one."""

    recipient: str
    group: str
    edition: int
    state: str
    reply: str
    tries: int
    due: datetime | None
    done_at: datetime | None


def happened(tx: Tx, message_id: str) -> list[Event]:
    """In the order in which it was written down."""
    chosen = select(events.c.at, events.c.what, events.c.detail).where(events.c.message_id == message_id)
    return [Event(*row) for row in tx.execute(chosen.order_by(events.c.id))]


def posted(tx: Tx, message_id: str) -> list[Posted]:
    """One for each group that it came for."""
    p = posts.c
    chosen = select(groups.c.address, p.number, p.state, p.author, p.received_at, p.digest)
    chosen = chosen.join(groups, groups.c.id == p.group_id).where(p.message_id == message_id).order_by(p.id)
    return [Posted(*row) for row in tx.execute(chosen)]


def decisions(tx: Tx, message_id: str) -> list[Decided]:
    h = holds.c
    chosen = select(h.id, groups.c.address, h.state, h.reasons, h.since, h.decided_by, h.decided_at)
    chosen = chosen.join(posts, posts.c.id == h.post_id).join(groups, groups.c.id == h.group_id)
    found = tx.execute(chosen.where(posts.c.message_id == message_id).order_by(h.id))
    return [Decided(id, group, state, tuple(why), *rest) for id, group, state, why, *rest in found]


def copies(tx: Tx, message_id: str) -> list[CopyOf]:
    """Of all editions, by recipient."""
    d = deliveries.c
    chosen = select(d.recipient, groups.c.address, d.edition_id, d.state, d.reply, d.tries, d.due, d.done_at)
    chosen = chosen.join(editions, editions.c.id == d.edition_id)
    chosen = chosen.outerjoin(groups, groups.c.id == editions.c.group_id)
    found = tx.execute(chosen.where(editions.c.message_id == message_id).order_by(d.recipient, d.id))
    return [
        CopyOf(to, group or "", edition, state, reply, tries, due if state == "due" else None, done_at)
        for to, group, edition, state, reply, tries, due, done_at in found
    ]


def header(tx: Tx, digest: bytes, most: int = 262_144) -> bytes:
    """The beginning of the stored message, long enough for any header; b"" when its bytes have gone."""
    start = select(func.substr(messages.c.content, 1, most)).where(messages.c.digest == digest)
    return bytes(tx.execute(start).scalar_one_or_none() or b"")
