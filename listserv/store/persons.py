"""Accounts joined, divided, and moved from one mailbox to another; and all that is kept about one person."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import delete, exists, insert, select, update

from listserv.model.group import Mode, Role
from listserv.store.db import Tx
from listserv.store.schema import accounts, bans, groups, holds, mailboxes, posts, requests, subscriptions, tokens

_RANK = {Role.MEMBER: 0, Role.MODERATOR: 1, Role.OWNER: 2}


def unite(tx: Tx, account_id: int, other_id: int) -> list[int]:
    """The mailboxes of the other account, which belong to this one now, with one place in each group.

    Name, region and country stay as this account has them.
    """
    m = mailboxes.c
    came = list(tx.execute(select(m.id).where(m.account_id == other_id).order_by(m.id)).scalars())
    tx.execute(update(mailboxes).where(m.account_id == other_id).values(account_id=account_id))
    tx.execute(delete(accounts).where(accounts.c.id == other_id))
    _one_place_each(tx, account_id)
    return came


def separate(tx: Tx, mailbox_ids: Sequence[int], now: datetime) -> int:
    """The new account of these mailboxes, which take their places with them."""
    account = tx.execute(insert(accounts).values(name="", made_at=now).returning(accounts.c.id)).scalar_one()
    tx.execute(update(mailboxes).where(mailboxes.c.id.in_(mailbox_ids)).values(account_id=account))
    return int(account)


def snapshot(tx: Tx, account_ids: Collection[int]) -> list[dict[str, Any]]:
    """All places of these persons, as `restore` takes them; fit for JSON."""
    s, m = subscriptions.c, mailboxes.c
    theirs = (
        select(s.group_id, s.mailbox_id, s.role, s.mode, s.moderated, s.joined_at, s.how, s.own_posts, s.copies)
        .add_columns(s.visible)
        .join(mailboxes, m.id == s.mailbox_id)
        .where(m.account_id.in_(account_ids))
        .order_by(s.id)
    )
    return [{**row, "joined_at": row["joined_at"].isoformat()} for row in tx.execute(theirs).mappings()]


def restore(
    tx: Tx, mailbox_ids: Sequence[int], involved: Collection[int], places: Sequence[Mapping[str, Any]], now: datetime
) -> int:
    """The new account of these mailboxes, which were one person's; in the groups he was in, `places` are as they were.

    involved  the mailboxes that had a part in it, those of who came to this person too: they have there what they had
    """
    m, s = mailboxes.c, subscriptions.c
    account = separate(tx, mailbox_ids, now)
    then = {place["group_id"] for place in places if place["mailbox_id"] in mailbox_ids}
    tx.execute(delete(subscriptions).where(s.group_id.in_(then), s.mailbox_id.in_(involved)))
    still_groups = set(tx.execute(select(groups.c.id).where(groups.c.id.in_(then))).scalars())
    still_boxes = set(tx.execute(select(m.id).where(m.id.in_(involved))).scalars())
    rows = [
        {**place, "joined_at": datetime.fromisoformat(place["joined_at"])}
        for place in places
        if place["group_id"] in still_groups and place["mailbox_id"] in still_boxes
    ]
    if rows:
        tx.execute(insert(subscriptions), rows)
    _sweep_accounts(tx)
    return account


def transfer(tx: Tx, from_id: int, to_id: int) -> list[int]:
    """Every place of the one mailbox is the other's now; the ids of these groups.

    Both belong to one account, which has one place in each group from now on, the earliest.
    """
    account = tx.execute(select(mailboxes.c.account_id).where(mailboxes.c.id == from_id)).scalar_one()
    _one_place_each(tx, int(account))
    s = subscriptions.c
    moved = update(subscriptions).where(s.mailbox_id == from_id).values(mailbox_id=to_id).returning(s.group_id)
    return list(tx.execute(moved).scalars())


def dossier(tx: Tx, account_id: int, keys: Sequence[str]) -> Mapping[str, Sequence[Mapping[str, Any]]]:
    """What the database holds about a person besides account and places: one list of rows for each kind of thing."""
    m, t, r, h, p = mailboxes.c, tokens.c, requests.c, holds.c, posts.c
    about = {
        "mailboxes": select(m.address, m.language, m.proven_at, m.bounces, m.bounced_at, m.bounce_reply)
        .where(m.account_id == account_id)
        .order_by(m.id),
        "open_tokens": select(t.action, t.actor.label("address"), t.made_at, t.expires_at)
        .where(t.actor.in_(keys), t.state == "open")
        .order_by(t.made_at),
        "requests": select(r.action, r.key.label("address"), r.made_at).where(r.key.in_(keys)).order_by(r.id),
        "bans": select(groups.c.address.label("group"), bans.c.key.label("address"), bans.c.made_at)
        .join(groups, groups.c.id == bans.c.group_id)
        .where(bans.c.key.in_(keys)),
        "held": select(h.kind, h.subject, h.state, h.since).where(h.author.in_(keys)).order_by(h.id),
        "posts": select(groups.c.address.label("group"), p.number, p.message_id, p.received_at)
        .join(groups, groups.c.id == p.group_id)
        .where(p.author.in_(keys))
        .order_by(p.id),
    }
    return {name: [dict(row) for row in tx.execute(chosen).mappings()] for name, chosen in about.items()}


def visible(tx: Tx, group_id: int, limit: int) -> list[tuple[str, str, str]]:
    """Name, region and country of the members who allow it, by name; who has given no name is left out."""
    s, m, a = subscriptions.c, mailboxes.c, accounts.c
    chosen = (
        select(a.name, a.region, a.country)
        .join(mailboxes, m.account_id == a.id)
        .join(subscriptions, s.mailbox_id == m.id)
        .where(s.group_id == group_id, s.visible, a.name != "")
        .order_by(a.name, a.id)
        .limit(limit)
    )
    return [(row.name, row.region, row.country) for row in tx.execute(chosen)]


def _sweep_accounts(tx: Tx) -> None:
    """Nobody is left in these."""
    anybody = exists().where(mailboxes.c.account_id == accounts.c.id)
    tx.execute(delete(accounts).where(~anybody))


def _one_place_each(tx: Tx, account_id: int) -> None:
    """Of several places in one group the earliest stays, with the highest role and the posts that any of them had."""
    s, m = subscriptions.c, mailboxes.c
    theirs = (
        select(s.id, s.group_id, s.role, s.mode, s.moderated)
        .join(mailboxes, m.id == s.mailbox_id)
        .where(m.account_id == account_id)
        .order_by(s.joined_at, s.id)
    )
    by_group: dict[int, list[Any]] = {}
    for row in tx.execute(theirs):
        by_group.setdefault(row.group_id, []).append(row)
    for first, *others in by_group.values():
        if others:
            _keep(tx, first, others)


def _keep(tx: Tx, first: Any, others: Iterable[Any]) -> None:
    s = subscriptions.c
    every = [first, *others]
    mode = first.mode
    if mode == Mode.NONE and first.role != Role.MEMBER:  # a role alone
        mode = next((row.mode for row in every if row.mode != Mode.NONE), mode)
    tx.execute(delete(subscriptions).where(s.id.in_([row.id for row in others])))
    values = {"role": max((row.role for row in every), key=lambda role: _RANK[Role(role)]), "mode": mode}
    moderated = any(row.moderated for row in every)
    tx.execute(update(subscriptions).where(s.id == first.id).values(moderated=moderated, **values))
