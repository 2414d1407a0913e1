"""Deliveries, each one edition to one mailbox: fanned out in chunks, claimed in turns, settled in batches."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import (
    Dialect,
    Executable,
    Select,
    bindparam,
    delete,
    exists,
    func,
    insert,
    literal,
    literal_column,
    null,
    select,
    update,
)
from sqlalchemy.sql.dml import Update

from listserv.model.group import Mode
from listserv.store import ledger, queue
from listserv.store.bells import ring
from listserv.store.db import Stroke, Tx
from listserv.store.dialects import among, entries, mapped, numbers
from listserv.store.queue import is_aside, is_due, is_taken
from listserv.store.rows import native
from listserv.store.schema import deliveries, editions, mailboxes, posts, subscriptions

EDITIONS = 4  # that share a claim
SHARE = 16  # deliveries that each has at least
MOST_EDITIONS = 64  # in one claim, when each has few
_FRESH = deliveries.c.tries == literal_column("0")  # literals, as in `queue.is_due`: partial indexes stand behind them
_TRIED = deliveries.c.tries > literal_column("0")

_How = tuple[int, str, datetime | None]  # claims ended: of these tries, in this state, due again then


class Delivery(NamedTuple):
    """One claim of one edition for one mailbox; `tries` names the claim."""

    id: int
    tries: int
    edition_id: int
    mailbox_id: int | None
    recipient: str
    destination: str
    made_at: datetime


@dataclass(frozen=True, slots=True)
class Addressed:
    """Whose copy of what a delivery was."""

    mailbox_id: int | None
    recipient: str
    group_id: int | None
    message_id: str


class Settled(NamedTuple):
    """How claims ended, all alike: state due (again at `due`), sent, failed or dropped."""

    ids: Sequence[int]
    tries: int
    state: str
    due: datetime
    reply: str
    notice: int | None = None  # the edition, when it is one whose words go with its last delivery


def address_to(tx: Tx, edition_id: int, recipients: Iterable[tuple[int | None, str]], now: datetime) -> None:
    """Deliveries of a notice to (mailbox id or None, address)."""
    rows = [
        {"mailbox_id": mailbox_id, "recipient": address, "destination": address.rpartition("@")[2].lower()}
        for mailbox_id, address in recipients
    ]
    if rows:
        tx.execute(insert(deliveries).values(edition_id=edition_id, state="due", due=now, made_at=now, tries=0), rows)
        ring(tx, "deliveries")
        group_id = tx.execute(select(editions.c.group_id).where(editions.c.id == edition_id)).scalar_one_or_none()
        ledger.made(tx, now.date(), group_id, len(rows))


def spared(tx: Tx, group_id: int, author: str, named: Collection[str]) -> tuple[int, ...]:
    """The subscriptions that want no copy of a post: its author's own, and of those whom its To or Cc name.

    author, named  keys; a person is named by any mailbox of his
    """
    owners: dict[int, set[str]] = {}
    for key, id in tx.execute(_BOXES, {"keys": [author, *named]}):
        owners.setdefault(id, set()).add(key)
    theirs = tx.execute(_THEIRS, {"group": group_id, "boxes": list(owners)}) if owners else ()
    return tuple(
        row.id
        for row in theirs
        if (author in owners[row.mailbox_id] and not row.own_posts)
        or (not owners[row.mailbox_id].isdisjoint(named) and not row.copies)
    )


def _boxes() -> Select[Any]:
    """All mailboxes of the persons who own these, and the key by which each was found."""
    m, other = mailboxes.c, mailboxes.alias("other")
    found = select(m.key, other.c.id).join(other, other.c.account_id == m.account_id)
    return found.where(m.key.in_(bindparam("keys", expanding=True)))


def _theirs() -> Select[Any]:
    s = subscriptions.c
    found = select(s.id, s.mailbox_id, s.own_posts, s.copies)
    return found.where(s.group_id == bindparam("group"), s.mailbox_id.in_(bindparam("boxes", expanding=True)))


_BOXES = _boxes()
_THEIRS = _theirs()


def fan_out(
    tx: Tx, edition_id: int, group_id: int, cursor: int, limit: int, now: datetime, spared: Sequence[int] = ()
) -> tuple[int, bool]:
    """Make up to `limit` deliveries, for subscriptions after `cursor`; the new cursor, and whether there may be more.

    spared  subscriptions that get no copy

    The cursor belongs into the same transaction, the last one too: a chunk made twice would break the unique key.
    """
    place = {"group": group_id, "cursor": cursor}
    last, size = tx.execute(_CHUNK, {"most": limit, **place}).one()
    if not size:
        return cursor, False
    spared_ids = numbers(tx.dialect, spared)
    values = {"edition": edition_id, "now": now, "last": last, "spared": spared_ids, **place}
    ledger.made(tx, now.date(), group_id, tx.execute(_making(tx.dialect), values).rowcount)
    ring(tx, "deliveries")
    return int(last), size == limit


def _chunk() -> Select[Any, int]:
    """Its last subscription, and how many there are in it."""
    s = subscriptions.c
    beyond = select(s.id).where(s.group_id == bindparam("group"), s.id > bindparam("cursor"))
    chosen = beyond.order_by(s.id).limit(bindparam("most")).subquery()
    return select(func.max(chosen.c.id), func.count()).select_from(chosen)


_CHUNK = _chunk()


@cache
def _making(dialect: Dialect) -> Executable:
    s, m, d = subscriptions.c, mailboxes.c, deliveries.c
    edition, now = bindparam("edition", type_=d.edition_id.type), bindparam("now", type_=d.due.type)
    there = exists().where(d.edition_id == edition, d.recipient == m.address)  # of who left and came back meanwhile
    chunk = (s.group_id == bindparam("group"), s.id > bindparam("cursor"), s.id <= bindparam("last"))
    source = (
        select(m.id, m.address, m.domain, edition, literal("due"), now, now)
        .join(mailboxes, m.id == s.mailbox_id)
        .where(*chunk, s.mode == Mode.EACH.value, ~there, ~among(dialect, s.id, "spared"))
        .order_by(s.id)
    )
    columns = ["mailbox_id", "recipient", "destination", "edition_id", "state", "due", "made_at"]
    return insert(deliveries).from_select(columns, source).execution_options(preserve_rowcount=True)


def claim(tx: Tx, node: str, now: datetime, limit: int, after: int = 0, avoid: Collection[str] = ()) -> list[Delivery]:
    """Due deliveries, this node's for the time of a lease: up to `limit`, none for a destination in `avoid`.

    Editions take turns, the first one after the edition `after`, so that a small one does not wait behind a big one.
    What was tried before, longest due first, gets a quarter, and all that the others leave.
    """
    claimed: list[Delivery] = []
    wanted = {"avoid": tuple(avoid)} if avoid else {}
    again, fresh = _taking(fresh=False, choosy=bool(avoid)), _taking(fresh=True, choosy=bool(avoid))

    def take(these: Executable, most: int, **values: Any) -> int:
        found = queue.take(tx, these, node, now, most=most, **wanted, **values)
        claimed.extend(map(Delivery._make, found))
        return len(found)

    quarter = max(1, limit // 4)
    there_are_more = take(again, quarter) == quarter
    editions_ = _fresh(tx, after)
    share = max(limit // max(1, len(editions_[:EDITIONS])), SHARE)
    for edition_id in editions_:
        if len(claimed) < limit:
            take(fresh, min(share, limit - len(claimed)), edition=edition_id)
    if there_are_more and len(claimed) < limit // 2:
        take(again, limit - len(claimed))
    return claimed


@cache
def _taking(*, fresh: bool, choosy: bool) -> Executable:
    """Takes what is due: of one edition what nobody has tried, else what was tried before, the longest due first."""
    d = deliveries.c
    ready = select(d.id).limit(bindparam("most"))
    if choosy:
        ready = ready.where(d.destination.not_in(bindparam("avoid", expanding=True)))
    if fresh:
        ready = ready.where(_FRESH, d.edition_id == bindparam("edition")).order_by(d.id)
    else:
        ready = ready.where(_TRIED).order_by(d.due, d.id)
    return queue.taking(deliveries, ready, *(d[name] for name in Delivery._fields))


def _fresh(tx: Tx, after: int) -> list[int]:
    """Editions with deliveries that nobody has tried: those after this one, then those before; not all when many."""
    found = list(tx.execute(_FRESH_FROM, {"after": after}).scalars())
    if after and len(found) < MOST_EDITIONS:
        before = tx.execute(_FRESH_FROM, {"after": 0}).scalars()
        found += [id for id in before if id <= after][: MOST_EDITIONS - len(found)]
    return found


def _fresh_from() -> Select[int]:
    """Each is one look into the index of the fresh, however many deliveries it has."""
    e = deliveries.c.edition_id
    smallest = select(func.min(e)).where(is_due(deliveries), _FRESH)
    first = smallest.where(e > bindparam("after")).scalar_subquery()
    found = select(first.label("id"), literal(1).label("n")).cte(recursive=True)
    next_ = smallest.where(e > found.c.id).scalar_subquery()
    found = found.union_all(select(next_, found.c.n + 1).where(found.c.id.is_not(None), found.c.n < MOST_EDITIONS))
    return select(found.c.id).where(found.c.id.is_not(None))


_FRESH_FROM = _fresh_from()


def addressed(tx: Tx, id: int) -> Addressed | None:
    """None when the delivery has been forgotten."""
    e, d = editions.c, deliveries.c
    columns = select(d.mailbox_id, d.recipient, e.group_id, e.message_id).join(editions, e.id == d.edition_id)
    row = tx.execute(columns.where(d.id == id)).one_or_none()
    return Addressed(*row) if row else None


def copies(tx: Tx, edition_id: int) -> int:
    return int(tx.execute(_COPIES, {"edition": edition_id}).scalar_one())


_COPIES = select(func.count()).where(deliveries.c.edition_id == bindparam("edition"))


def settle(tx: Tx, settled: Sequence[Settled], now: datetime) -> None:
    """Write down how these claims ended; a claim that is no longer ours changes nothing."""
    for how, replies in _alike(settled).items():
        _stroke(how, replies, now)(tx)
    ended = {s.notice for s in settled if s.notice is not None and s.state != "due"}
    if ended:
        _forget_words(tx, ended)


def settling(settled: Sequence[Settled], now: datetime) -> Stroke | None:
    """The same as a stroke, where it is one: they ended alike, but for their replies, and are of no notice."""
    alike = _alike(settled)
    if len(alike) != 1 or any(s.notice is not None for s in settled):
        return None
    [(how, replies)] = alike.items()
    return _stroke(how, replies, now)


def _alike(settled: Sequence[Settled]) -> dict[_How, dict[int, str]]:
    """The replies by delivery, of those that ended alike."""
    alike: dict[_How, dict[int, str]] = {}
    for s in settled:
        how = s.tries, s.state, s.due if s.state == "due" else None
        alike.setdefault(how, {}).update(dict.fromkeys(s.ids, s.reply[:500]))
    return alike


def _stroke(how: _How, replies: Mapping[int, str], now: datetime) -> Stroke:
    tries, state, again = how

    def says(dialect: Dialect) -> tuple[Update, Mapping[str, Any]]:
        values = {
            "b_ended": mapped(replies),
            "b_tries": tries,
            "b_state": state,
            "b_due": native(dialect, deliveries.c.due.type, again or now),
            "b_done_at": None if again else native(dialect, deliveries.c.done_at.type, now),
        }
        return _settling(dialect), values

    return Stroke(says)


@cache
def _settling(dialect: Dialect) -> Update:
    c, ended = deliveries.c, entries(dialect, "b_ended")
    mine = update(deliveries).where(c.id == ended.c.number, c.tries == bindparam("b_tries"), is_taken(deliveries))
    values: dict[str, Any] = {name: bindparam(f"b_{name}") for name in ("state", "due", "done_at")}
    return mine.values(lease=null(), node=null(), reply=ended.c.words, **values)


def _forget_words(tx: Tx, ids: Collection[int]) -> None:
    """Notices that nobody waits for any more let go of their words: a token may stand in them."""
    d, e = deliveries.c, editions.c
    waiting = exists().where(d.edition_id == e.id, is_due(deliveries) | is_taken(deliveries) | is_aside(deliveries))
    ended = update(editions).where(e.id.in_(ids), e.kind == "notice", ~waiting)
    tx.execute(ended.values(fields=b"", before=b"", after=b"", digest=None))


def hurry(tx: Tx, now: datetime, id: int | None = None) -> int:
    """Deliveries that wait for a retry, or the one of this id, are due now; how many."""
    waiting = update(deliveries).where(is_due(deliveries), deliveries.c.due > now)
    if id is not None:
        waiting = waiting.where(deliveries.c.id == id)
    ring(tx, "deliveries")
    return tx.execute(waiting.values(due=now)).rowcount


def drop(tx: Tx, id: int, now: datetime) -> bool:
    """The operator gives up a delivery that is due, failed or aside; False when there is none."""
    chosen = update(deliveries).where(deliveries.c.id == id, deliveries.c.state.in_(("due", "failed", "aside")))
    return tx.execute(chosen.values(state="dropped", done_at=now, reply="dropped by the operator")).rowcount == 1


def sweep(tx: Tx, before: datetime, now: datetime, limit: int = 10_000) -> int:
    """Remove deliveries that ended before this time, then editions that have none left and will get none."""
    d = deliveries.c
    over = select(d.id).where(d.state.not_in(("due", "taken", "aside")), d.done_at < before).limit(limit)
    states = Counter(tx.execute(delete(deliveries).where(d.id.in_(over)).returning(d.state)).scalars())
    ledger.gone(tx, now.date(), deliveries, states)
    needed = exists().where(d.edition_id == editions.c.id)
    handed_out = exists().where(posts.c.id == editions.c.post_id, posts.c.state.in_(("due", "taken", "aside")))
    tx.execute(delete(editions).where(editions.c.made_at < before, ~needed, ~handed_out))
    return states.total()
