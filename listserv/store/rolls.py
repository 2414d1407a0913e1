"""Groups and their members by the thousand: counted, enrolled in sets, and what goes when a group goes."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, bindparam, func, insert, select, union, update

from listserv.model.address import Address
from listserv.model.group import Mode, Role
from listserv.store import ledger
from listserv.store.db import Tx
from listserv.store.schema import accounts, bans, deliveries, editions, mailboxes, posts, subscriptions


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who is to have a place in a group."""

    address: Address
    name: str = ""
    mode: Mode = Mode.EACH
    role: Role = Role.MEMBER
    moderated: bool = False


@dataclass(frozen=True, slots=True)
class Enrolled:
    """What became of a number of people; `joined` and `banned` are keys."""

    joined: tuple[str, ...]
    already: int
    banned: tuple[str, ...]


def sizes(tx: Tx) -> dict[int, int]:
    """How many have joined each group; a role alone is not counted, and groups without members are left out."""
    s = subscriptions.c
    joined = ~((s.role != Role.MEMBER) & (s.mode == Mode.NONE))
    counted = select(s.group_id, func.count()).where(joined).group_by(s.group_id)
    return {row[0]: int(row[1]) for row in tx.execute(counted)}


def enrol(tx: Tx, group_id: int, people: Sequence[Person], now: datetime, how: str) -> Enrolled:
    """Give these people, each named once and at most some thousands, their places in a few statements.

    Who has a place keeps it as it is, but an admin who had a role only gets the posts from now on.
    """
    by_key = {person.address.key: person for person in people}
    banned = _banned(tx, group_id, list(by_key))
    for key in banned:
        del by_key[key]
    ids = _mailboxes(tx, by_key, now)
    s = subscriptions.c
    places = select(s.mailbox_id, s.id, s.role, s.mode).where(s.group_id == group_id, s.mailbox_id.in_(ids.values()))
    known = {row.mailbox_id: row for row in tx.execute(places)}
    fresh = [(ids[key], person) for key, person in by_key.items() if ids[key] not in known]
    if fresh:
        fixed = {"group_id": group_id, "joined_at": now, "how": how}
        rows = [
            {"mailbox_id": id, "role": p.role.value, "mode": p.mode.value, "moderated": p.moderated, **fixed}
            for id, p in fresh
        ]
        tx.execute(insert(subscriptions), rows)
    places_kept = ((known[ids[key]], person) for key, person in by_key.items() if ids[key] in known)
    woken = {row.id: person for row, person in places_kept if _is_woken(row.role, row.mode, person)}
    if woken:
        tx.execute(update(subscriptions).where(s.id.in_(woken)).values(mode=Mode.EACH.value))
    joined = [person.address.key for person in (*(person for _, person in fresh), *woken.values())]
    return Enrolled(tuple(joined), len(known) - len(woken), banned)


def under_way(tx: Tx, group_id: int) -> tuple[int, int]:
    """Posts that are not handed out yet, and copies that are not delivered yet, what is set aside included."""
    waiting = select(func.count()).where(posts.c.group_id == group_id, posts.c.state.in_(("due", "taken", "aside")))
    copies = select(func.count()).select_from(_copies(group_id).subquery())
    return int(tx.execute(waiting).scalar_one()), int(tx.execute(copies).scalar_one())


def messages_under_way(tx: Tx, group_id: int) -> list[str]:
    """The Message-IDs of the posts that are held, not handed out or not delivered to everybody yet."""
    p, e = posts.c, editions.c
    waiting = select(p.message_id).where(p.group_id == group_id, p.state.in_(ledger.OPEN))
    copies = _copies(group_id).subquery()
    sent = select(e.message_id).join(copies, copies.c.edition_id == e.id).where(e.kind == "post")
    return list(tx.execute(union(waiting, sent)).scalars())


def _banned(tx: Tx, group_id: int, keys: Sequence[str]) -> tuple[str, ...]:
    """Those of these keys that are banned, or whose person is by another mailbox."""
    m, other = mailboxes.c, mailboxes.alias("other")
    outright = select(bans.c.key).where(bans.c.group_id == group_id, bans.c.key.in_(keys))
    by_person = (
        select(m.key)
        .join(other, other.c.account_id == m.account_id)
        .join(bans, bans.c.key == other.c.key)
        .where(bans.c.group_id == group_id, m.key.in_(keys))
    )
    return tuple(sorted(tx.execute(union(outright, by_person)).scalars()))


def _copies(group_id: int) -> Select[Any]:
    d, e = deliveries.c, editions.c
    joined = select(d.edition_id).join(editions, e.id == d.edition_id)
    return joined.where(e.group_id == group_id, d.state.in_(ledger.OPEN))


def _mailboxes(tx: Tx, people: dict[str, Person], now: datetime) -> dict[str, int]:
    """The ids of their mailboxes by key, made with accounts of their own where they are new, and proven."""
    m, a = mailboxes.c, accounts.c
    chosen = select(m.id, m.key, m.account_id, m.proven_at, a.name).join(accounts, a.id == m.account_id)
    known = {row.key: row for row in tx.execute(chosen.where(m.key.in_(people)))}
    unproven = [row.id for row in known.values() if row.proven_at is None]
    if unproven:
        tx.execute(update(mailboxes).where(m.id.in_(unproven)).values(proven_at=now))
    named = [(row.account_id, people[key].name) for key, row in known.items() if people[key].name and not row.name]
    if named:
        mine = update(accounts).where(a.id == bindparam("b_id")).values(name=bindparam("b_name"))
        tx.execute(mine, [{"b_id": id, "b_name": name} for id, name in named])
    made = _make(tx, [person for key, person in people.items() if key not in known], now)
    return {**{key: int(row.id) for key, row in known.items()}, **made}


def _make(tx: Tx, people: Sequence[Person], now: datetime) -> dict[str, int]:
    if not people:
        return {}
    made = insert(accounts).returning(accounts.c.id, sort_by_parameter_order=True)
    names = [{"name": person.name, "made_at": now} for person in people]
    ids: Iterable[Any] = tx.execute(made, names).scalars()
    rows = [
        {
            "account_id": id,
            "address": str(person.address),
            "key": person.address.key,
            "domain": person.address.domain,
            "proven_at": now,
        }
        for id, person in zip(ids, people, strict=True)
    ]
    boxes = insert(mailboxes).returning(mailboxes.c.id, mailboxes.c.key)
    return {key: int(id) for id, key in tx.execute(boxes, rows)}


def _is_woken(role: str, mode: str, person: Person) -> bool:
    """An admin by role only, who is to get the posts too."""
    return role != Role.MEMBER and mode == Mode.NONE and person.mode is Mode.EACH
