"""What the queues hold, for those who look at them: counts, lists and single deliveries.

Counts go through the partial indexes of what waits, so they stay fast however much has been delivered.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, func, or_, select

from listserv.store import aside
from listserv.store.db import Tx
from listserv.store.queue import is_aside, is_due, is_taken
from listserv.store.schema import deliveries, editions, groups, holds, posts

WAITING = ("due", "taken")
STATES = ("due", "taken", "aside", "sent", "failed", "dropped")


@dataclass(frozen=True, slots=True)
class Destination:
    """What waits for one domain.  `oldest` is when its oldest delivery was made, `next` when one is tried next."""

    destination: str
    due: int
    oldest: datetime
    next: datetime
    tried: int  # how many of them have been deferred at least once


@dataclass(frozen=True, slots=True)
class Status:
    """Posts that wait for their distribution count among `due`, `taken` and `aside`, as deliveries do."""

    due: int
    taken: int
    held: int
    failed: int
    aside: int  # our own code failed on them
    destinations: list[Destination]


@dataclass(frozen=True, slots=True)
class Waiting:
    """One delivery, whatever has become of it; or a post that is aside."""

    id: int | str
    recipient: str
    destination: str
    group: str  # "" for mail of the site
    message_id: str
    kind: str  # post, notice, forward
    state: str
    tries: int
    due: datetime
    made_at: datetime
    done_at: datetime | None
    reply: str


def status(tx: Tx, failed_since: datetime) -> Status:
    d, h = deliveries.c, holds.c
    failed = select(func.count()).where(d.state == "failed", d.done_at >= failed_since)
    held = select(func.count()).where(h.state == "open")
    to = destinations(tx)
    due = _counted(tx, is_due(posts)) + sum(each.due for each in to)
    taken = _counted(tx, is_taken(posts)) + _counted(tx, is_taken(deliveries))
    of_holds, of_failed = (int(tx.execute(each).scalar_one()) for each in (held, failed))
    return Status(due, taken, of_holds, of_failed, aside.count(tx), to)


def destinations(tx: Tx) -> list[Destination]:
    """Where waiting deliveries go, those with the most first."""
    c = deliveries.c
    size, tried = func.count().label("size"), func.count().filter(c.tries > 0)
    chosen = select(c.destination, size, func.min(c.made_at), func.min(c.due), tried)
    found = tx.execute(chosen.where(is_due(deliveries)).group_by(c.destination).order_by(size.desc(), c.destination))
    return [Destination(*row) for row in found]


def listed(
    tx: Tx, state: str = "", destination: str = "", only: ColumnElement[bool] | None = None
) -> Iterator[Waiting]:
    """Deliveries in this state, "" for all that wait or are aside, by the time at which they are due.

    only  which of them: a condition on deliveries and their editions

    Read while the transaction is open, so that memory does not grow with the queue.
    """
    d = deliveries.c
    waits = or_(is_due(deliveries), is_taken(deliveries), is_aside(deliveries))
    wanted = d.state == state if state and state != "aside" else is_aside(deliveries) if state else waits
    chosen = _all().where(wanted).order_by(d.due, d.id).execution_options(yield_per=1000)
    if destination:
        chosen = chosen.where(d.destination == destination)
    if only is not None:
        chosen = chosen.where(only)
    has_posts = state in ("", "aside") and not destination and only is None
    first = posts_aside(tx) if has_posts else iter(())
    return chain(first, (_waiting(row) for row in tx.execute(chosen)))


def first_due(tx: Tx, most: int, only: ColumnElement[bool]) -> list[Waiting]:
    """So many of these deliveries that are due, the next ones first."""
    d = deliveries.c
    chosen = _all().where(is_due(deliveries), only).order_by(d.due, d.id).limit(most)
    return [_waiting(row) for row in tx.execute(chosen)]


def posts_aside(tx: Tx) -> Iterator[Waiting]:
    """Posts that were not handed out, as if each were one delivery to its group; their ids begin with a p."""
    for each in aside.all_posts(tx):
        fault = each.fault.strip().rpartition("\n")[2].strip()
        yield Waiting(
            id=f"p{each.id}",
            recipient=each.group,
            destination="",
            group=each.group,
            message_id=each.message_id,
            kind="post",
            state="aside",
            tries=each.faults,
            due=each.received_at,
            made_at=each.received_at,
            done_at=None,
            reply=f"our own code failed on it: {fault}",
        )


def get(tx: Tx, id: int) -> Waiting | None:
    row = tx.execute(_all().where(deliveries.c.id == id)).one_or_none()
    return _waiting(row) if row else None


def _counted(tx: Tx, condition: Any) -> int:
    return int(tx.execute(select(func.count()).where(condition)).scalar_one())


def _all() -> Select[Any]:
    d, e = deliveries.c, editions.c
    return (
        select(d.id, d.recipient, d.destination, groups.c.address, e.message_id, e.kind, d.state, d.tries, d.due)
        .add_columns(d.made_at, d.done_at, d.reply)
        .join(editions, e.id == d.edition_id)
        .outerjoin(groups, groups.c.id == e.group_id)
    )


def _waiting(row: Row[Any]) -> Waiting:
    return Waiting(
        id=row.id,
        recipient=row.recipient,
        destination=row.destination,
        group=row.address or "",
        message_id=row.message_id,
        kind=row.kind,
        state=row.state,
        tries=row.tries,
        due=row.due,
        made_at=row.made_at,
        done_at=row.done_at,
        reply=row.reply,
    )
