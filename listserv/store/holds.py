"""The moderation queue: posts, join requests and operators' mail that wait for a person."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, delete, func, insert, select, update

from listserv.model.post import HoldKind, HoldState, WaitsFor
from listserv.store.db import Tx
from listserv.store.schema import groups, holds


@dataclass(frozen=True, slots=True)
class Held:
    """A hold and what became of it.  `group_id` is None for mail to the operators."""

    id: int
    kind: HoldKind
    group_id: int | None
    group: str  # address, "-" for the operators
    post_id: int | None
    digest: bytes | None
    author: str
    author_name: str
    subject: str
    reasons: tuple[str, ...]
    state: HoldState
    since: datetime
    expires_at: datetime
    noticed: bool
    decided_by: str
    decided_at: datetime | None
    waits_for: WaitsFor = WaitsFor.ADMINS


def add(tx: Tx, kind: HoldKind, values: Mapping[str, Any], now: datetime, expires_at: datetime) -> int:
    """The id of a new hold; `values` are columns of `holds`."""
    made = insert(holds).values(kind=kind.value, state="open", since=now, expires_at=expires_at, **values)
    return int(tx.execute(made.returning(holds.c.id)).scalar_one())


def get(tx: Tx, id: int) -> Held | None:
    row = tx.execute(_all().where(holds.c.id == id)).one_or_none()
    return _held(row) if row else None


def waiting(tx: Tx, group_id: int | None = None, *, operators: bool = False) -> list[Held]:
    """Open holds, oldest first: of one group, of the operators, or all."""
    chosen = _all().where(holds.c.state == "open").order_by(holds.c.id)
    if operators:
        chosen = chosen.where(holds.c.group_id.is_(None))
    elif group_id is not None:
        chosen = chosen.where(holds.c.group_id == group_id)
    return [_held(row) for row in tx.execute(chosen)]


def numbers(tx: Tx) -> dict[int, int]:
    """How many open holds each group has; groups without any are left out."""
    h = holds.c
    counted = select(h.group_id, func.count()).where(h.state == "open", h.group_id.is_not(None)).group_by(h.group_id)
    return {row[0]: int(row[1]) for row in tx.execute(counted)}


def some(tx: Tx, ids: Sequence[int]) -> list[Held | None]:
    """In the order of `ids`, None for those that are gone."""
    found = {row.id: _held(row) for row in tx.execute(_all().where(holds.c.id.in_(ids)))}
    return [found.get(id) for id in ids]


def decide(tx: Tx, id: int, was: HoldState, state: HoldState, by: str, now: datetime) -> bool:
    """True for exactly one caller: the hold was in state `was` and is in `state` now."""
    change = update(holds).where(holds.c.id == id, holds.c.state == was.value)
    return tx.execute(change.values(state=state.value, decided_by=by, decided_at=now)).rowcount == 1


def reopen(tx: Tx, id: int, expires_at: datetime) -> bool:
    """Undo of a rejection or discard."""
    closed = update(holds).where(holds.c.id == id, holds.c.state.in_(("rejected", "discarded")))
    again = {"state": "open", "decided_by": "", "decided_at": None, "expires_at": expires_at}
    return tx.execute(closed.values(**again)).rowcount == 1


def noticed_since(tx: Tx, group_id: int, since: datetime) -> int:
    """How many holds of this group came and were announced one by one since then."""
    h = holds.c
    counted = select(func.count()).where(h.group_id == group_id, h.since >= since, h.noticed, _for(WaitsFor.ADMINS))
    return int(tx.execute(counted).scalar_one())


def any_since(tx: Tx, author: str, since: datetime) -> bool:
    """Whether a post by this author was held for the admins since then, in any group."""
    h = holds.c
    held = select(h.id).where(h.author == author, h.since >= since, h.kind == "post", _for(WaitsFor.ADMINS))
    return tx.execute(held.limit(1)).first() is not None


def unnoticed(tx: Tx, group_id: int | None = None) -> list[Held]:
    """Open holds that still wait for a summary."""
    chosen = _all().where(holds.c.state == "open", ~holds.c.noticed, holds.c.group_id.is_not(None))
    chosen = chosen.where(_for(WaitsFor.ADMINS))
    if group_id is not None:
        chosen = chosen.where(holds.c.group_id == group_id)
    return [_held(row) for row in tx.execute(chosen.order_by(holds.c.id))]


def unasked(tx: Tx, author: str) -> list[Held]:
    """Open holds that wait for this author and that no mail to him has named, oldest first."""
    h = holds.c
    mine = _all().where(h.author == author, h.state == "open", ~h.noticed, _for(WaitsFor.AUTHOR))
    return [_held(row) for row in tx.execute(mine.order_by(h.id))]


def unasked_authors(tx: Tx, limit: int) -> list[str]:
    """Whom such holds wait for, longest first."""
    h = holds.c
    waiting = select(h.author).where(h.state == "open", ~h.noticed, _for(WaitsFor.AUTHOR)).group_by(h.author)
    return list(tx.execute(waiting.order_by(func.min(h.id)).limit(limit)).scalars())


def pass_on(tx: Tx, id: int, reasons: Sequence[str], expires_at: datetime) -> bool:
    """From the author to the admins, who have not heard of it; False when it does not wait for him any more."""
    mine = update(holds).where(holds.c.id == id, holds.c.state == "open", _for(WaitsFor.AUTHOR))
    values = {"waits_for": WaitsFor.ADMINS.value, "noticed": False, "expires_at": expires_at}
    return tx.execute(mine.values(reasons=list(reasons), **values)).rowcount == 1


def of_post(tx: Tx, post_id: int) -> Held | None:
    row = tx.execute(_all().where(holds.c.post_id == post_id)).one_or_none()
    return _held(row) if row else None


def mark_noticed(tx: Tx, ids: Sequence[int]) -> None:
    tx.execute(update(holds).where(holds.c.id.in_(ids)).values(noticed=True))


def overdue(tx: Tx, now: datetime, limit: int) -> list[Held]:
    chosen = _all().where(holds.c.state == "open", holds.c.expires_at <= now).order_by(holds.c.id).limit(limit)
    return [_held(row) for row in tx.execute(chosen)]


def forget_content(tx: Tx, before: datetime) -> int:
    """Decisions from before this time cannot be undone any more; their bytes may go."""
    done = update(holds).where(holds.c.state != "open", holds.c.decided_at < before, holds.c.digest.is_not(None))
    return tx.execute(done.values(digest=None)).rowcount


def forget(tx: Tx, before: datetime) -> int:
    """Holds decided before this time go, with the tokens of their notices; until then a repeat is answered kindly."""
    return tx.execute(delete(holds).where(holds.c.state != "open", holds.c.decided_at < before)).rowcount


def _for(whom: WaitsFor) -> ColumnElement[bool]:
    return holds.c.waits_for == whom.value


def _all() -> Select[Any]:
    return select(holds, groups.c.address.label("group_address")).outerjoin(groups, groups.c.id == holds.c.group_id)


def _held(row: Row[Any]) -> Held:
    return Held(
        id=row.id,
        kind=HoldKind(row.kind),
        group_id=row.group_id,
        group=row.group_address or "-",
        post_id=row.post_id,
        digest=row.digest,
        author=row.author,
        author_name=row.author_name,
        subject=row.subject,
        reasons=tuple(row.reasons),
        state=HoldState(row.state),
        since=row.since,
        expires_at=row.expires_at,
        noticed=row.noticed,
        decided_by=row.decided_by,
        decided_at=row.decided_at,
        waits_for=WaitsFor(row.waits_for),
    )
