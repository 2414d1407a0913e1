"""People, their mailboxes and their subscriptions."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row, Select, delete, func, insert, select, update

from listserv.model.account import Mailbox, Member
from listserv.model.address import Address
from listserv.model.group import Mode, Role
from listserv.store.db import Tx
from listserv.store.schema import accounts, mailboxes, subscriptions

ADMIN_ROLES = (Role.MODERATOR, Role.OWNER)


def mailbox(tx: Tx, key: str) -> Mailbox | None:
    """The mailbox of this key (an address in lower case), or None."""
    row = tx.execute(_mailboxes().where(mailboxes.c.key == key)).one_or_none()
    return _mailbox(row) if row else None


def lock(tx: Tx, key: str) -> None:
    """Whoever else locks this mailbox waits until this transaction has ended."""
    tx.execute(select(mailboxes.c.id).where(mailboxes.c.key == key).with_for_update(key_share=True))


def ensure(tx: Tx, address: Address, now: datetime, name: str = "", *, proven: bool) -> Mailbox:
    """The mailbox of this address, made with an account of its own when it is new.

    A name is taken only by an account that has none: nobody renames somebody else by writing.
    """
    known = mailbox(tx, address.key)
    if known is None:
        account = tx.execute(insert(accounts).values(name=name, made_at=now).returning(accounts.c.id)).scalar_one()
        values = {"address": str(address), "key": address.key, "domain": address.domain}
        tx.execute(insert(mailboxes).values(account_id=account, proven_at=now if proven else None, **values))
    else:
        if proven and not known.proven:
            tx.execute(update(mailboxes).where(mailboxes.c.id == known.id).values(proven_at=now))
        if name and not known.name:
            rename(tx, known.account_id, name)
    found = mailbox(tx, address.key)
    assert found is not None
    return found


def rename(tx: Tx, account_id: int, name: str) -> None:
    tx.execute(update(accounts).where(accounts.c.id == account_id).values(name=name))


def describe(tx: Tx, account_id: int, said: Mapping[str, str]) -> None:
    """What somebody says about himself, of name, region and country; what he leaves out stays as it is."""
    known = {name: said[name] for name in ("name", "region", "country") if said.get(name)}
    if known:
        tx.execute(update(accounts).where(accounts.c.id == account_id).values(known))


def about(tx: Tx, account_id: int) -> Mapping[str, str]:
    """Name, region and country: what others may see."""
    a = accounts.c
    row = tx.execute(select(a.name, a.region, a.country).where(a.id == account_id)).one()
    return {"name": row.name, "region": row.region, "country": row.country}


def member(tx: Tx, group_id: int, key: str) -> Member | None:
    row = tx.execute(_members(group_id).where(mailboxes.c.key == key)).one_or_none()
    return _member(row) if row else None


def member_by_id(tx: Tx, group_id: int, mailbox_id: int) -> Member | None:
    row = tx.execute(_members(group_id).where(mailboxes.c.id == mailbox_id)).one_or_none()
    return _member(row) if row else None


def members(tx: Tx, group_id: int) -> Iterable[Member]:
    """Ordered by address; read while the transaction is open, so that memory does not grow with the group."""
    by_address = _members(group_id).order_by(mailboxes.c.key).execution_options(yield_per=1000)
    return (_member(row) for row in tx.execute(by_address))


def order(tx: Tx, group_id: int) -> list[int]:
    """Ids of all subscriptions, by address: what `some` is asked for page by page, without a transaction held open."""
    s, m = subscriptions.c, mailboxes.c
    chosen = select(s.id).join(mailboxes, m.id == s.mailbox_id).where(s.group_id == group_id).order_by(m.key)
    return list(tx.execute(chosen).scalars())


def some(tx: Tx, group_id: int, ids: Sequence[int]) -> list[Member]:
    """In the order of `ids`; those who have left meanwhile are left out."""
    found = {row.id: _member(row) for row in tx.execute(_members(group_id).where(subscriptions.c.id.in_(ids)))}
    return [found[id] for id in ids if id in found]


def admins(tx: Tx, group_id: int) -> list[Member]:
    """Moderators and owners: those who may decide, and who get the notices."""
    chosen = _members(group_id).where(subscriptions.c.role.in_(ADMIN_ROLES)).order_by(subscriptions.c.id)
    return [_member(row) for row in tx.execute(chosen)]


def admin(tx: Tx, group_id: int, key: str) -> Member | None:
    found = member(tx, group_id, key)
    return found if found and found.role.is_admin else None


def count(tx: Tx, group_id: int) -> int:
    """Those who have joined; a role alone is not counted."""
    s = subscriptions.c
    joined = select(func.count()).where(s.group_id == group_id, ~((s.role != Role.MEMBER) & (s.mode == Mode.NONE)))
    return int(tx.execute(joined).scalar_one())


def subscribe(
    tx: Tx,
    group_id: int,
    mailbox_id: int,
    now: datetime,
    how: str,
    *,
    role: Role = Role.MEMBER,
    mode: Mode = Mode.EACH,
    moderated: bool = False,
) -> None:
    """Raises IntegrityError when this mailbox has a place in the group already."""
    values = {"group_id": group_id, "mailbox_id": mailbox_id, "joined_at": now, "how": how[:200]}
    tx.execute(insert(subscriptions).values(role=role, mode=mode, moderated=moderated, **values))


def change(tx: Tx, subscription_id: int, **values: Any) -> None:
    """Of role, mode and moderated, those given."""
    tx.execute(update(subscriptions).where(subscriptions.c.id == subscription_id).values(**values))


def unsubscribe(tx: Tx, subscription_id: int) -> bool:
    """True for exactly one caller."""
    return tx.execute(delete(subscriptions).where(subscriptions.c.id == subscription_id)).rowcount == 1


def silence(tx: Tx, subscription_id: int) -> bool:
    """No posts any more, the role stays.  True for exactly one caller."""
    s = subscriptions.c
    loud = update(subscriptions).where(s.id == subscription_id, s.mode != Mode.NONE.value)
    return tx.execute(loud.values(mode=Mode.NONE.value)).rowcount == 1


def charge(tx: Tx, mailbox_id: int, now: datetime, reply: str) -> None:
    """One bounce more, and what was said; nothing is suspended by it yet."""
    seen_at = {"bounced_at": now, "bounce_reply": reply[:500]}
    tx.execute(update(mailboxes).where(mailboxes.c.id == mailbox_id).values(bounces=mailboxes.c.bounces + 1, **seen_at))


def _mailboxes() -> Select[Any]:
    return select(mailboxes, accounts.c.name).join(accounts, accounts.c.id == mailboxes.c.account_id)


def _mailbox(row: Row[Any]) -> Mailbox:
    proven = row.proven_at is not None
    return Mailbox(
        row.id, row.account_id, row.address, row.key, row.name, row.language, proven, row.bounces, row.bounce_reply
    )


def _members(group_id: int) -> Select[Any]:
    s, m, a = subscriptions.c, mailboxes.c, accounts.c
    return (
        select(s.id, s.role, s.mode, s.moderated, s.joined_at, s.how, m.id.label("mailbox_id"), m.address, m.key)
        .add_columns(m.language, m.bounces, m.bounce_reply, a.name)
        .join(mailboxes, m.id == s.mailbox_id)
        .join(accounts, a.id == m.account_id)
        .where(s.group_id == group_id)
    )


def _member(row: Row[Any]) -> Member:
    return Member(
        subscription_id=row.id,
        mailbox_id=row.mailbox_id,
        address=row.address,
        key=row.key,
        name=row.name,
        language=row.language,
        role=Role(row.role),
        mode=Mode(row.mode),
        moderated=row.moderated,
        joined_at=row.joined_at,
        how=row.how,
        bounces=row.bounces,
        bounce_reply=row.bounce_reply,
    )
