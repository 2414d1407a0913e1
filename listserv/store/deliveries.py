"""Editions and their deliveries: written once, fanned out in chunks, settled in batches."""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, bindparam, delete, exists, func, insert, literal, select, update

from listserv.model.group import Group, Mode
from listserv.store import groups, ledger
from listserv.store.db import Tx, carried, octets
from listserv.store.queue import is_due, is_taken
from listserv.store.schema import deliveries, editions, mailboxes, messages, posts, subscriptions


@dataclass(frozen=True, slots=True)
class Edition:
    """A message rendered for all who get the same bytes.

    Its header is `top`, the stamp of each delivery, then `fields`; its body is
    `before` + content[start:] + `after`, where content is the message of that digest.
    """

    kind: str  # post, notice, forward
    style: str  # personal, verp, bulk: what kind of stamp
    message_id: str
    fields: bytes
    before: bytes = b""
    after: bytes = b""
    top: bytes = b""
    digest: bytes | None = None
    start: int = 0
    mail_from: str = ""  # of bulk posts and notices; else the return path is the delivery's own
    post_id: int | None = None
    group_id: int | None = None
    ad_id: int | None = None


@dataclass(frozen=True, slots=True)
class Loaded:
    """An edition ready to be stamped: its body is whole."""

    id: int
    kind: str
    group: Group | None
    style: str
    mail_from: str
    top: bytes
    fields: bytes
    body: bytes
    domain: str  # whose key signs it
    made_at: datetime


@dataclass(frozen=True, slots=True)
class Delivery:
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


@dataclass(frozen=True, slots=True)
class Settled:
    """How a claim ended: state due (again at `due`), sent, failed or dropped."""

    id: int
    tries: int
    state: str
    due: datetime
    reply: str


def add_edition(tx: Tx, edition: Edition, now: datetime) -> int:
    values = {name: getattr(edition, name) for name in Edition.__slots__}
    carried(tx, edition.before)
    # As parameters, not in values(): SQLAlchemy's cache of statements would keep the first body for ever.
    return int(tx.execute(insert(editions).returning(editions.c.id), {"made_at": now, **values}).scalar_one())


def address_to(tx: Tx, edition_id: int, recipients: Iterable[tuple[int | None, str]], now: datetime) -> None:
    """Deliveries of a notice to (mailbox id or None, address)."""
    rows = [
        {"mailbox_id": mailbox_id, "recipient": address, "destination": address.rpartition("@")[2].lower()}
        for mailbox_id, address in recipients
    ]
    if rows:
        tx.execute(insert(deliveries).values(edition_id=edition_id, state="due", due=now, made_at=now, tries=0), rows)
        ledger.made(tx, now.date(), edition_id, len(rows))


def spared(tx: Tx, group_id: int, author: str, named: Collection[str]) -> tuple[int, ...]:
    """The subscriptions that want no copy of a post: its author's own, and of those whom its To or Cc name.

    author, named  keys; a person is named by any mailbox of his
    """
    s, m, other = subscriptions.c, mailboxes.c, mailboxes.alias("other")
    boxes = select(m.key, other.c.id).join(other, other.c.account_id == m.account_id).where(m.key.in_({author, *named}))
    owners: dict[int, set[str]] = {}
    for key, id in tx.execute(boxes):
        owners.setdefault(id, set()).add(key)
    theirs = select(s.id, s.mailbox_id, s.own_posts, s.copies).where(s.group_id == group_id, s.mailbox_id.in_(owners))
    return tuple(
        row.id
        for row in (tx.execute(theirs) if owners else ())
        if (author in owners[row.mailbox_id] and not row.own_posts)
        or (not owners[row.mailbox_id].isdisjoint(named) and not row.copies)
    )


def fan_out(
    tx: Tx, edition_id: int, group_id: int, cursor: int, limit: int, now: datetime, spared: Sequence[int] = ()
) -> tuple[int, bool]:
    """Make up to `limit` deliveries, for subscriptions after `cursor`; the new cursor, and whether there may be more.

    spared  subscriptions that get no copy

    The cursor belongs into the same transaction, the last one too: a chunk made twice would break the unique key.
    """
    s, m = subscriptions.c, mailboxes.c
    chosen = select(s.id).where(s.group_id == group_id, s.id > cursor).order_by(s.id).limit(limit).subquery()
    last, size = tx.execute(select(func.max(chosen.c.id), func.count()).select_from(chosen)).one()
    if not size:
        return cursor, False
    fixed = [
        literal(edition_id),
        literal("due"),
        literal(now, deliveries.c.due.type),
        literal(now, deliveries.c.due.type),
    ]
    d = deliveries.c  # who left and came back during the fan-out has a copy already
    there = exists().where(d.edition_id == edition_id, d.recipient == m.address)
    source = (
        select(m.id, m.address, m.domain, *fixed)
        .join(mailboxes, m.id == s.mailbox_id)
        .where(s.group_id == group_id, s.id > cursor, s.id <= last, s.mode == Mode.EACH.value, ~there)
        .order_by(s.id)
    )
    if spared:
        source = source.where(s.id.not_in(spared))
    columns = ["mailbox_id", "recipient", "destination", "edition_id", "state", "due", "made_at"]
    made = insert(deliveries).from_select(columns, source).execution_options(preserve_rowcount=True)
    ledger.made(tx, now.date(), edition_id, tx.execute(made).rowcount)
    return int(last), size == limit


def delivery(row: Row[Any]) -> Delivery:
    return Delivery(row.id, row.tries, row.edition_id, row.mailbox_id, row.recipient, row.destination, row.made_at)


def addressed(tx: Tx, id: int) -> Addressed | None:
    """None when the delivery has been forgotten."""
    e, d = editions.c, deliveries.c
    columns = select(d.mailbox_id, d.recipient, e.group_id, e.message_id).join(editions, e.id == d.edition_id)
    row = tx.execute(columns.where(d.id == id)).one_or_none()
    return Addressed(*row) if row else None


def copies(tx: Tx, edition_id: int) -> int:
    return int(tx.execute(select(func.count()).where(deliveries.c.edition_id == edition_id)).scalar_one())


def ad_of(tx: Tx, edition_id: int) -> int | None:
    """The ad that stands in it: none where the post took nothing below its text."""
    return tx.execute(select(editions.c.ad_id).where(editions.c.id == edition_id)).scalar_one_or_none()


def size(tx: Tx, edition_id: int) -> int:
    """Octets that loading it takes."""
    e = editions.c
    parts = func.length(e.before) + func.length(e.after) + func.coalesce(messages.c.size, 0)
    found = select(parts).outerjoin(messages, messages.c.digest == e.digest).where(e.id == edition_id)
    return int(tx.execute(found).scalar_one_or_none() or 0)


def load(tx: Tx, edition_id: int, site_domain: str) -> Loaded | None:
    """None when the edition, its words or its message have gone.  A site's own mail is signed by `site_domain`."""
    e = editions.c
    row = tx.execute(select(*(c for c in e if c is not e.before)).where(e.id == edition_id)).one_or_none()
    if row is None or not row.fields:
        return None
    content = octets(tx, messages.c.content, messages.c.digest == row.digest) if row.digest is not None else b""
    if content is None:
        return None
    body = octets(tx, e.before, e.id == edition_id) or b""
    if content or row.after:
        body = b"".join((body, memoryview(content)[row.start :], row.after))
    group = groups.get(tx, row.group_id) if row.group_id is not None else None
    domain = group.domain if group else site_domain
    return Loaded(row.id, row.kind, group, row.style, row.mail_from, row.top, row.fields, body, domain, row.made_at)


def settle(tx: Tx, settled: Sequence[Settled], now: datetime) -> None:
    """Write down how these claims ended; a claim that is no longer ours changes nothing."""
    d = deliveries.c
    mine = update(deliveries).where(d.id == bindparam("b_id"), d.tries == bindparam("b_tries"), is_taken(deliveries))
    values: dict[str, Any] = {name: bindparam("b_" + name) for name in ("state", "due", "reply", "done_at")}
    tx.execute(
        mine.values(lease=None, node=None, **values),
        [
            {
                "b_id": s.id,
                "b_tries": s.tries,
                "b_state": s.state,
                "b_due": s.due,
                "b_reply": s.reply[:500],
                "b_done_at": None if s.state == "due" else now,
            }
            for s in settled
        ],
    )
    _forget_words(tx, [s.id for s in settled if s.state != "due"])


def _forget_words(tx: Tx, ids: Sequence[int]) -> None:
    """Notices that nobody waits for any more let go of their words: a token may stand in them."""
    d, e = deliveries.c, editions.c
    theirs = select(d.edition_id).where(d.id.in_(ids))
    waiting = exists().where(d.edition_id == e.id, d.state.in_(("due", "taken", "aside")))
    ended = update(editions).where(e.id.in_(theirs), e.kind == "notice", ~waiting)
    tx.execute(ended.values(fields=b"", before=b"", after=b"", digest=None))


def hurry(tx: Tx, now: datetime, id: int | None = None) -> int:
    """Deliveries that wait for a retry, or the one of this id, are due now; how many."""
    waiting = update(deliveries).where(is_due(deliveries), deliveries.c.due > now)
    if id is not None:
        waiting = waiting.where(deliveries.c.id == id)
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
