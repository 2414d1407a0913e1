"""What our own code failed on: counted, and set aside with the reason why when it failed too often.

What is set aside waits for the operator and for nobody else: it keeps its bytes, no sweep takes it, and the queue goes
on around it.  `fault` is the traceback of the last failure.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select, update

from listserv.store.bells import ring
from listserv.store.db import Tx
from listserv.store.queue import is_aside, is_due, is_taken
from listserv.store.schema import deliveries, editions, groups, posts

LONGEST = 20_000  # characters of a fault: its end


@dataclass(frozen=True, slots=True)
class AsidePost:
    """A post that was never handed out, or not to everybody."""

    id: int
    group: str
    message_id: str
    faults: int
    fault: str
    received_at: datetime


def post_failed(tx: Tx, id: int, claim: int, fault: str, most: int, again: datetime) -> str | None:
    """The state of the post now: due again at `again`, or aside after `most` faults; None: it was not ours any more."""
    c = posts.c
    mine = update(posts).where(c.id == id, c.tries == claim, is_taken(posts))
    counted = mine.values(faults=c.faults + 1, fault=storable(fault), lease=None, node=None, state="due", due=again)
    faults = tx.execute(counted.returning(c.faults)).scalar_one_or_none()
    if faults is None:
        return None
    if faults < most:
        ring(tx, "posts")
        return "due"
    tx.execute(update(posts).where(c.id == id).values(state="aside"))
    return "aside"


def edition_failed(tx: Tx, id: int, fault: str, most: int) -> str | None:
    """One fault more; its Message-ID when there are so many now that its deliveries are to be set aside."""
    e = editions.c
    counted = update(editions).where(e.id == id).values(faults=e.faults + 1, fault=storable(fault))
    found = tx.execute(counted.returning(e.faults, e.message_id)).one_or_none()
    return found.message_id if found and found.faults >= most else None


def put_aside(tx: Tx, edition_id: int, ids: Collection[int], reply: str, *, whole: bool) -> int:
    """These deliveries, which are taken, and with `whole` all others of the edition that are due; how many.

    Others that are taken are on their way: they end as they end.
    """
    d = deliveries.c
    chosen = is_taken(deliveries) & d.id.in_(ids)
    waiting = update(deliveries).where(d.edition_id == edition_id, chosen | is_due(deliveries) if whole else chosen)
    return tx.execute(waiting.values(state="aside", lease=None, node=None, reply=reply[:500])).rowcount


def all_posts(tx: Tx) -> Iterator[AsidePost]:
    """The oldest first."""
    p = posts.c
    chosen = select(p.id, groups.c.address, p.message_id, p.faults, p.fault, p.received_at)
    chosen = chosen.join(groups, groups.c.id == p.group_id).where(is_aside(posts)).order_by(p.id)
    return (AsidePost(*row) for row in tx.execute(chosen))


def post(tx: Tx, id: int) -> AsidePost | None:
    """None when there is no such post, or it is not aside."""
    return next((each for each in all_posts(tx) if each.id == id), None)


def fault_of(tx: Tx, delivery_id: int) -> str:
    """How our own code failed last on the edition of this delivery; "" when it never did."""
    chosen = select(editions.c.fault).join(deliveries, deliveries.c.edition_id == editions.c.id)
    return tx.execute(chosen.where(deliveries.c.id == delivery_id)).scalar_one_or_none() or ""


def count(tx: Tx) -> int:
    """Posts and deliveries that are aside."""
    counted = (select(func.count()).where(is_aside(table)) for table in (posts, deliveries))
    return sum(int(tx.execute(each).scalar_one()) for each in counted)


def release_post(tx: Tx, id: int, now: datetime) -> bool:
    """It is due again, as if our code had never failed on it; False when it was not aside."""
    fresh = {"state": "due", "due": now, "faults": 0}
    ring(tx, "posts")
    return tx.execute(update(posts).where(posts.c.id == id, posts.c.state == "aside").values(**fresh)).rowcount == 1


def drop_post(tx: Tx, id: int, now: datetime) -> bool:
    """The operator gives it up; False when it was not aside."""
    chosen = update(posts).where(posts.c.id == id, posts.c.state == "aside")
    return tx.execute(chosen.values(state="dropped", done_at=now)).rowcount == 1


def release(tx: Tx, id: int, now: datetime) -> bool:
    """The delivery is due again; False when it was not aside."""
    d = deliveries.c
    mine = update(deliveries).where(d.id == id, d.state == "aside").values(state="due", due=now)
    edition_id = tx.execute(mine.returning(d.edition_id)).scalar_one_or_none()
    if edition_id is None:
        return False
    tx.execute(update(editions).where(editions.c.id == edition_id).values(faults=0))
    ring(tx, "deliveries")
    return True


def storable(fault: str) -> str:
    """What both databases can store."""
    return fault[-LONGEST:].replace("\0", "\ufffd").encode("utf-8", "replace").decode()
