"""People, their mailboxes and their subscriptions.

A person is an account, and acts from any mailbox of it that is proven; one that is not acts for itself alone.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, delete, func, insert, select, true, update

from listserv.model.account import Account, Mailbox, Member
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
            describe(tx, known.account_id, {"name": name})
    found = mailbox(tx, address.key)
    assert found is not None
    return found


def account(tx: Tx, id: int) -> Account:
    a = accounts.c
    return Account(*tx.execute(select(a.id, a.name, a.region, a.country, a.made_at).where(a.id == id)).one())


def describe(tx: Tx, account_id: int, said: Mapping[str, str]) -> None:
    """Of name, region and country, those given; what others may see."""
    if said:
        tx.execute(update(accounts).where(accounts.c.id == account_id).values(dict(said)))


def speak(tx: Tx, account_id: int, language: str) -> None:
    """Notices to all mailboxes of this person are in this language."""
    tx.execute(update(mailboxes).where(mailboxes.c.account_id == account_id).values(language=language))


def mailboxes_of(tx: Tx, account_id: int) -> list[Mailbox]:
    """The first is the oldest."""
    chosen = _mailboxes().where(mailboxes.c.account_id == account_id).order_by(mailboxes.c.id)
    return [_mailbox(row) for row in tx.execute(chosen)]


def member(tx: Tx, group_id: int, key: str) -> Member | None:
    """The place in the group of the person with this mailbox: its own, else that of another mailbox of his."""
    row = tx.execute(_members(group_id).where(mailboxes.c.key == key)).one_or_none()
    return member_of(row) if row else next(iter(_others(tx, group_id, key)), None)


def places(tx: Tx, account_id: int) -> list[tuple[int, Member]]:
    """All places of a person, by group: (group id, member)."""
    chosen = _members(None).add_columns(subscriptions.c.group_id).where(mailboxes.c.account_id == account_id)
    return [(row.group_id, member_of(row)) for row in tx.execute(chosen.order_by(subscriptions.c.group_id))]


def member_by_id(tx: Tx, group_id: int, mailbox_id: int) -> Member | None:
    row = tx.execute(_members(group_id).where(mailboxes.c.id == mailbox_id)).one_or_none()
    return member_of(row) if row else None


def members(tx: Tx, group_id: int) -> Iterable[Member]:
    """Ordered by address; read while the transaction is open, so that memory does not grow with the group."""
    by_address = _members(group_id).order_by(mailboxes.c.key).execution_options(yield_per=1000)
    return (member_of(row) for row in tx.execute(by_address))


def order(tx: Tx, group_id: int) -> list[int]:
    """Ids of all subscriptions, by address: what `some` is asked for page by page, without a transaction held open."""
    s, m = subscriptions.c, mailboxes.c
    chosen = select(s.id).join(mailboxes, m.id == s.mailbox_id).where(s.group_id == group_id).order_by(m.key)
    return list(tx.execute(chosen).scalars())


def some(tx: Tx, group_id: int, ids: Sequence[int]) -> list[Member]:
    """In the order of `ids`; those who have left meanwhile are left out."""
    found = {row.id: member_of(row) for row in tx.execute(_members(group_id).where(subscriptions.c.id.in_(ids)))}
    return [found[id] for id in ids if id in found]


def admins(tx: Tx, group_id: int) -> list[Member]:
    """Moderators and owners: those who may decide, and who get the notices."""
    chosen = _members(group_id).where(subscriptions.c.role.in_(ADMIN_ROLES)).order_by(subscriptions.c.id)
    return [member_of(row) for row in tx.execute(chosen)]


def admin(tx: Tx, group_id: int, key: str) -> Member | None:
    """The admin's place of the person with this mailbox."""
    own = member(tx, group_id, key)
    if own is None or own.role.is_admin:
        return own
    return next((other for other in _others(tx, group_id, key) if other.role.is_admin), None)


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
    """Of role, mode, moderated, own_posts, copies and visible, those given."""
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


def _members(group_id: int | None) -> Select[Any]:
    """Of one group, or of all."""
    s, m, a = subscriptions.c, mailboxes.c, accounts.c
    return (
        select(*member_columns())
        .select_from(subscriptions)
        .join(mailboxes, m.id == s.mailbox_id)
        .join(accounts, a.id == m.account_id)
        .where(true() if group_id is None else s.group_id == group_id)
    )


def member_columns() -> list[ColumnElement[Any]]:
    """What `member_of` needs of a subscription, its mailbox and its account."""
    s, m, a = subscriptions.c, mailboxes.c, accounts.c
    own = [s.id, s.role, s.mode, s.moderated, s.joined_at, s.how, s.own_posts, s.copies, s.visible]
    box = [m.id.label("mailbox_id"), m.address, m.key, m.language, m.bounces, m.bounce_reply]
    return [*own, *box, a.name, a.region, a.country, a.id.label("account_id")]


def _others(tx: Tx, group_id: int, key: str) -> list[Member]:
    """The places in the group of the other mailboxes that act for the same person; one that is not proven has none.

    Two small queries, because every planner gets them right.
    """
    m, writing = mailboxes.c, mailboxes.alias("writing")
    proven = m.proven_at.is_not(None) & writing.c.proven_at.is_not(None)
    his = select(m.id).join(writing, writing.c.account_id == m.account_id).where(writing.c.key == key, proven)
    ids = list(tx.execute(his.where(m.key != key)).scalars())
    if not ids:
        return []
    theirs = _members(group_id).where(subscriptions.c.mailbox_id.in_(ids)).order_by(subscriptions.c.id)
    return [member_of(row) for row in tx.execute(theirs)]


def member_of(row: Row[Any]) -> Member:
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
        account_id=row.account_id,
        region=row.region,
        country=row.country,
        own_posts=row.own_posts,
        copies=row.copies,
        visible=row.visible,
    )
