"""Groups: found by address, made, changed, numbered."""

from collections.abc import Sequence
from dataclasses import asdict, fields
from datetime import datetime
from typing import Any

from sqlalchemy import Row, delete, insert, select, update

from listserv.model.group import DEFAULTS, Group, Kind, Policy
from listserv.store.db import Tx
from listserv.store.schema import bans, groups


def find(tx: Tx, address: str) -> Group | None:
    """The group of this address, in lower case, or None."""
    row = tx.execute(select(groups).where(groups.c.address == address)).one_or_none()
    return _group(row) if row else None


def longest(tx: Tx, addresses: Sequence[str]) -> Group | None:
    """Of these addresses the group with the longest name: `a-b` wins over `a` with the word `b`."""
    rows = tx.execute(select(groups).where(groups.c.address.in_(addresses))).all()
    return _group(max(rows, key=lambda row: len(row.address))) if rows else None


def get(tx: Tx, id: int) -> Group:
    return _group(tx.execute(select(groups).where(groups.c.id == id)).one())


def everyone(tx: Tx) -> list[Group]:
    return [_group(row) for row in tx.execute(select(groups).order_by(groups.c.address))]


def add(tx: Tx, address: str, kind: Kind, policy: Policy, now: datetime) -> Group:
    """Raises IntegrityError when there is one of this address."""
    made = insert(groups).values(address=address, kind=kind, policy=_differences(policy), made_at=now).returning(groups)
    return _group(tx.execute(made).one())


def change(tx: Tx, id: int, policy: Policy) -> None:
    tx.execute(update(groups).where(groups.c.id == id).values(policy=_differences(policy)))


def remove(tx: Tx, id: int) -> None:
    """With its subscriptions, posts, holds and tokens; deliveries under way go on their own row."""
    tx.execute(delete(groups).where(groups.c.id == id))


def next_number(tx: Tx, id: int) -> int:
    """The number of the next post; the row is locked until the transaction ends, so there is no gap."""
    raised = update(groups).where(groups.c.id == id).values(last_number=groups.c.last_number + 1)
    return int(tx.execute(raised.returning(groups.c.last_number)).scalar_one())


def ban(tx: Tx, id: int, key: str, now: datetime) -> bool:
    """False: was banned already."""
    if is_banned(tx, id, key):
        return False
    tx.execute(insert(bans).values(group_id=id, key=key, made_at=now))
    return True


def unban(tx: Tx, id: int, key: str) -> bool:
    """False: was not banned."""
    return tx.execute(delete(bans).where(bans.c.group_id == id, bans.c.key == key)).rowcount == 1


def is_banned(tx: Tx, id: int, key: str) -> bool:
    return tx.execute(select(bans.c.key).where(bans.c.group_id == id, bans.c.key == key)).first() is not None


def banned(tx: Tx, id: int) -> list[str]:
    return list(tx.execute(select(bans.c.key).where(bans.c.group_id == id).order_by(bans.c.key)).scalars())


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
