"""Tables as queues: claim, settle, and what a crash leaves.

One mechanism for posts, deliveries and jobs.  A row is `due` until somebody claims it, then `taken`
under a lease that its worker renews; `settle` writes the end, and only for the claim that still owns
the row.  Events and notifications ring bells; these rows are the truth.

| row | states | crash before the commit | crash after | repaired by |
| --- | --- | --- | --- | --- |
| posts | held → due → taken → done; held → rejected, discarded, expired; rejected, discarded → held (undo); taken → aside → due, dropped | no 250 was given: the sender tries again, `seen` makes a second copy a no-op | the row is there | lease |
| fan-out cursor | grows by chunk | chunk not there | chunk there; (edition, recipient) is unique | lease, cursor |
| deliveries | due → taken → sent, failed, dropped; taken → due; due, taken → aside → due, dropped | the copy may have gone, its outcome not written (RFC 1047): sent twice, at most the transactions in flight plus 16 | outcome written | lease; `give_back` at the start of the node or the process |
| tokens | open → used, expired | not redeemed | redeemed with its effect: same transaction | – |
| jobs | due → taken → due later | not done | done twice at worst: jobs are idempotent | lease |
| journal | there → gone | no line, and no 250 either | appended; the file's tail tells which lines it has already | next append |
"""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Dialect,
    Executable,
    Row,
    Select,
    Table,
    bindparam,
    func,
    literal_column,
    null,
    select,
    update,
)

from listserv.store.bells import ring
from listserv.store.db import Tx
from listserv.store.dialects import among, numbers

LEASE = timedelta(seconds=20)
FURTHEST = timedelta(hours=25)  # nobody puts a row off for longer
SKEW = timedelta(minutes=10)  # between the clocks of nodes


def is_due(queue: Table) -> ColumnElement[bool]:
    """A literal, not a parameter: only so do both planners see that the partial index serves."""
    return queue.c.state == literal_column("'due'")


def is_taken(queue: Table) -> ColumnElement[bool]:
    return queue.c.state == literal_column("'taken'")


def is_aside(queue: Table) -> ColumnElement[bool]:
    return queue.c.state == literal_column("'aside'")


def claim(tx: Tx, queue: Table, node: str, now: datetime, limit: int) -> Sequence[Row[Any]]:
    """Take up to `limit` due rows, longest due first."""
    return sorted(take(tx, _claiming(queue), node, now, most=limit), key=lambda row: (row.due, row.id))


def take(tx: Tx, these: Executable, node: str, now: datetime, **values: Any) -> Sequence[Row[Any]]:
    """The rows that a statement made by `taking` takes: this node's for the time of a lease.

    values  those of parameters in its `ready`
    """
    return tx.execute(these, {"now": now, **_leased(node, now), **values}).all()


def _leased(node: str, now: datetime) -> dict[str, Any]:
    return {"b_node": node, "b_lease": now + LEASE}


def taking(queue: Table, ready: Select[int], *columns: ColumnElement[Any]) -> Executable:
    """A statement for `take`: these columns of the due rows whose ids `ready` selects.

    FOR UPDATE SKIP LOCKED lets many nodes claim side by side on PostgreSQL; SQLAlchemy leaves it out
    for SQLite, where BEGIN IMMEDIATE has already put the claimants in a row.  The choice is a
    MATERIALIZED CTE joined by UPDATE … FROM, because PostgreSQL may evaluate a bare IN (SELECT … LIMIT)
    more than once and take too many, and plans it badly before the first ANALYZE.
    """
    c = queue.c
    ready = ready.where(is_due(queue), c.due <= bindparam("now", type_=c.due.type))
    chosen = ready.with_for_update(skip_locked=True).cte("chosen").prefix_with("MATERIALIZED")
    values = {"lease": bindparam("b_lease"), "node": bindparam("b_node"), "tries": c.tries + 1}
    return update(queue).where(c.id == chosen.c.id).values(state="taken", **values).returning(*columns)


@cache
def _claiming(queue: Table) -> Executable:
    c = queue.c
    return taking(queue, select(c.id).order_by(c.due, c.id).limit(bindparam("most")), *c)


def settle(tx: Tx, queue: Table, id: int, claim: int, **values: Any) -> bool:
    """Write down how it ended, if the row is still ours; a node that comes too late changes nothing."""
    ending = _ending(queue, frozenset(values))
    new = {f"b_{name}": value for name, value in values.items()}
    return tx.execute(ending, {"b_id": id, "b_claim": claim, **new}).rowcount == 1


@cache
def _ending(queue: Table, names: frozenset[str]) -> Executable:
    c = queue.c
    mine = update(queue).where(c.id == bindparam("b_id"), c.tries == bindparam("b_claim"), is_taken(queue))
    return mine.values(lease=null(), node=null(), **{name: bindparam(f"b_{name}") for name in names})


def renew(tx: Tx, queue: Table, node: str, ids: Collection[int], now: datetime) -> None:
    """A living worker keeps what it has in hand."""
    tx.execute(_renewing(queue, tx.dialect), {"ids": numbers(tx.dialect, ids), **_leased(node, now)})


@cache
def _renewing(queue: Table, dialect: Dialect) -> Executable:
    c = queue.c
    held = update(queue).where(among(dialect, c.id, "ids"), c.node == bindparam("b_node"), is_taken(queue))
    return held.values(lease=bindparam("b_lease"))


def next_due(tx: Tx, queue: Table) -> datetime | None:
    """When the row that has waited longest is due, or was; None when none waits."""
    return tx.execute(_longest_due(queue)).scalar_one_or_none()


@cache
def _longest_due(queue: Table) -> Select[datetime]:
    c = queue.c
    return select(c.due).where(is_due(queue)).order_by(c.due, c.id).limit(1)


def next_lapse(tx: Tx, queue: Table) -> datetime | None:
    """When the first lease runs out, or has; None when nothing is taken."""
    c = queue.c
    return tx.execute(select(c.lease).where(is_taken(queue)).order_by(c.lease).limit(1)).scalar_one_or_none()


def reclaim(tx: Tx, queue: Table, now: datetime) -> int:
    """Rows whose lease ran out, due again at once: their node is dead or stuck."""
    c = queue.c
    lapsed = update(queue).where(is_taken(queue), c.lease <= now)
    ring(tx, queue.name)
    return tx.execute(lapsed.values(state="due", lease=None, node=None, due=now)).rowcount


def is_astray(tx: Tx, queue: Table, now: datetime) -> bool:
    """Whether a row waits for a time which only a clock that was wrong has named, by years rather than by an hour."""
    return tx.execute(select(queue.c.id).where(_beyond(queue, now)).limit(1)).first() is not None


def _beyond(queue: Table, now: datetime) -> ColumnElement[bool]:
    c = queue.c
    return (is_due(queue) & (c.due > now + FURTHEST)) | (is_taken(queue) & (c.lease > now + LEASE + SKEW))


def set_back(tx: Tx, queue: Table, now: datetime) -> int:
    """Rows that wait for a time which only a clock that was wrong has named, due again at once."""
    c = queue.c
    fresh = is_due(queue) & (c.tries == 0) & (c.due > now)  # due since it is there
    ring(tx, queue.name)
    return tx.execute(
        update(queue).where(_beyond(queue, now) | fresh).values(state="due", lease=None, node=None, due=now)
    ).rowcount


def give_back(tx: Tx, queue: Table, claimant: str, now: datetime, *, below: bool = False) -> int:
    """At its start: what this claimant's former run had in hand when it was killed, due at once.

    `below`: and what all processes of this node had, `node/1`, `node/2` …, however many there were.
    """
    c = queue.c
    own = c.node == claimant
    mine = update(queue).where(
        is_taken(queue), own | c.node.startswith(f"{claimant}/", autoescape=True) if below else own
    )
    ring(tx, queue.name)
    return tx.execute(mine.values(state="due", lease=None, node=None, due=now)).rowcount


def size(tx: Tx, queue: Table) -> dict[str, int]:
    """How many rows are in each state."""
    counted = select(queue.c.state, func.count()).group_by(queue.c.state)
    return {state: int(number) for state, number in tx.execute(counted)}


def longer_than(tx: Tx, queue: Table, number: int) -> bool:
    """Whether more rows than this wait."""
    c = queue.c
    beyond = select(c.id).where(is_due(queue)).order_by(c.due, c.id).offset(number).limit(1)
    return tx.execute(beyond).first() is not None
