"""Groups: found by address, made, changed, numbered."""

from collections.abc import Sequence
from dataclasses import asdict, fields
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, bindparam, delete, insert, select, update

from listserv.model.group import DEFAULTS, Group, Kind, Policy
from listserv.store import rows
from listserv.store.db import Tx, known, later
from listserv.store.schema import bans, groups, mailboxes

_FIND = select(groups).where(groups.c.address == bindparam("address"))
_GET = select(groups).where(groups.c.id == bindparam("id"))
_RAISE = update(groups).where(groups.c.id == bindparam("group")).values(last_number=groups.c.last_number + 1)
_NUMBER = _RAISE.returning(groups.c.last_number)


def find(tx: Tx, address: str) -> Group | None:
    """The group of this address, in lower case, or None."""
    place = ("group", address)
    found: Group | None = known(tx).get(place)
    if found is None and (row := rows.first(tx, _FIND, {"address": address})):
        found = known(tx)[place] = _group(row)
    return found


def longest(tx: Tx, addresses: Sequence[str]) -> Group | None:
    """Of these addresses the group with the longest name: `a-b` wins over `a` with the word `b`."""
    if len(addresses) == 1:
        return find(tx, addresses[0])
    rows = tx.execute(select(groups).where(groups.c.address.in_(addresses))).all()
    return _group(max(rows, key=lambda row: len(row.address))) if rows else None


def get(tx: Tx, id: int) -> Group:
    return _group(tx.execute(_GET, {"id": id}).one())


def everyone(tx: Tx) -> list[Group]:
    return [_group(row) for row in tx.execute(select(groups).order_by(groups.c.address))]


def add(tx: Tx, address: str, kind: Kind, policy: Policy, now: datetime) -> Group:
    """Raises IntegrityError when there is one of this address."""
    made = insert(groups).values(address=address, kind=kind, policy=_differences(policy), made_at=now).returning(groups)
    return _group(tx.execute(made).one())


def change(tx: Tx, id: int, policy: Policy) -> None:
    _look_again(tx)
    tx.execute(update(groups).where(groups.c.id == id).values(policy=_differences(policy)))


def remove(tx: Tx, id: int) -> None:
    """With its subscriptions, posts, holds and tokens; deliveries under way go on their own row."""
    _look_again(tx)
    tx.execute(delete(groups).where(groups.c.id == id))


def next_number(tx: Tx, id: int) -> int:
    """The number of the next post; the row is locked until the transaction ends, so there is no gap."""
    place = ("number", id)
    if place in known(tx):
        later(tx, _RAISE, {"group": id})
        number = known(tx)[place] + 1
    else:
        number = int(tx.execute(_NUMBER, {"group": id}).scalar_one())
    known(tx)[place] = number
    return int(number)


def ban(tx: Tx, id: int, key: str, now: datetime) -> bool:
    """False: was banned already."""
    if is_banned(tx, id, key):
        return False
    tx.execute(insert(bans).values(group_id=id, key=key, made_at=now))
    return True


def unban(tx: Tx, id: int, key: str) -> bool:
    """False: was not banned.  With one mailbox the person's others are free again."""
    return tx.execute(delete(bans).where(bans.c.group_id == id, _is_persons(key))).rowcount > 0


def is_banned(tx: Tx, id: int, key: str) -> bool:
    """This mailbox, or another of the same person."""
    return tx.execute(select(bans.c.key).where(bans.c.group_id == id, _is_persons(key)).limit(1)).first() is not None


def spread_bans(tx: Tx, key: str, other: str, now: datetime) -> None:
    """Where the person with the one mailbox is banned, the other mailbox is too: nobody sheds a ban with an address."""
    theirs = tx.execute(select(bans.c.group_id).where(_is_persons(key)).distinct()).scalars().all()
    known = set(tx.execute(select(bans.c.group_id).where(bans.c.key == other)).scalars())
    rows = [{"group_id": id, "key": other, "made_at": now} for id in theirs if id not in known]
    if rows:
        tx.execute(insert(bans), rows)


def _is_persons(key: str) -> ColumnElement[bool]:
    """A ban of this mailbox, or of another of the same person."""
    one, writing = mailboxes.alias("one"), mailboxes.alias("writing")
    same = select(one.c.key).join(writing, writing.c.account_id == one.c.account_id).where(writing.c.key == key)
    return (bans.c.key == key) | bans.c.key.in_(same)


def banned(tx: Tx, id: int) -> list[str]:
    return list(tx.execute(select(bans.c.key).where(bans.c.group_id == id).order_by(bans.c.key)).scalars())


def _look_again(tx: Tx) -> None:
    """What this transaction knows of groups is not so any more; numbers it has given stay given."""
    for place in [place for place in known(tx) if place[0] == "group"]:
        del known(tx)[place]


def _group(row: Row[Any]) -> Group:
    return Group(row.id, row.address, Kind(row.kind), _policy(row.policy))


def _policy(differences: dict[str, Any]) -> Policy:
    """A key of a newer or older program is left alone; values go through the types of the defaults."""
    known = {
        f.name: _typed(getattr(DEFAULTS, f.name), differences[f.name]) for f in fields(Policy) if f.name in differences
    }
    return Policy(**known)


def _typed(default: Any, value: Any) -> Any:
    return tuple(value) if isinstance(default, tuple) else type(default)(value)


def _differences(policy: Policy) -> dict[str, Any]:
    default = asdict(DEFAULTS)
    return {key: value for key, value in asdict(policy).items() if value != default[key]}
