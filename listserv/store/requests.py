"""What somebody is to be asked: each wish a row, until it is answered or lapses."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, delete, exists, func, insert, or_, select, update

from listserv.model.token import Action, Request
from listserv.store.db import Tx
from listserv.store.schema import requests, tokens


def add(tx: Tx, key: str, action: Action, group_id: int | None, doc: Mapping[str, Any], now: datetime) -> Request:
    """One more that waits for a mail to name it."""
    row = {"key": key, "action": action.value, "group_id": group_id, "doc": dict(doc), "made_at": now}
    return _request(tx.execute(insert(requests).values(row).returning(requests)).one())


def open_of(tx: Tx, key: str) -> list[Request]:
    """All of this mailbox, oldest first: those that a mail has named, and those that wait."""
    chosen = select(requests).where(requests.c.key == key).order_by(requests.c.id)
    return [_request(row) for row in tx.execute(chosen)]


def named_by(tx: Tx, token: bytes) -> list[Request]:
    """What the mail with this token asks, in the order in which it says so."""
    chosen = select(requests).where(requests.c.token == token).order_by(requests.c.id)
    return [_request(row) for row in tx.execute(chosen)]


def of_kind(tx: Tx, actions: Collection[Action]) -> list[Request]:
    """All of these kinds, whoever is asked."""
    chosen = select(requests).where(requests.c.action.in_([action.value for action in actions]))
    return [_request(row) for row in tx.execute(chosen)]


def name(tx: Tx, ids: Sequence[int], token: bytes) -> None:
    """The mail with this token names these."""
    tx.execute(update(requests).where(requests.c.id.in_(ids)).values(token=token))


def waiting(tx: Tx, now: datetime, rest: timedelta, limit: int) -> list[str]:
    """Keys of mailboxes with requests that no mail has named, longest waiting first.

    Left out are those with an open question, and those that were sent one less than `rest` ago.
    """
    r, t = requests.c, tokens.c
    is_open = (t.action == Action.ASK.value) & (t.state == "open") & (t.expires_at > now)
    is_new = t.action.in_((Action.ASK.value, Action.INVITE.value)) & (t.made_at > now - rest)
    busy = exists().where(t.actor == r.key, or_(is_open, is_new))
    chosen = select(r.key).where(r.token.is_(None), ~busy).group_by(r.key).order_by(func.min(r.id)).limit(limit)
    return list(tx.execute(chosen).scalars())


def remove(tx: Tx, ids: Sequence[int]) -> None:
    tx.execute(delete(requests).where(requests.c.id.in_(ids)))


def remove_named(tx: Tx, token: bytes) -> None:
    """The mail with this token has been answered."""
    tx.execute(delete(requests).where(requests.c.token == token))


def remove_of(tx: Tx, keys: Collection[str]) -> int:
    """All of these mailboxes, named and waiting."""
    return tx.execute(delete(requests).where(requests.c.key.in_(keys))).rowcount


def settle(tx: Tx, key: str, group_id: int, actions: Collection[Action]) -> None:
    """What somebody was to be asked about this group has been settled otherwise; a question without any is over."""
    r, t = requests.c, tokens.c
    gone = delete(requests).where(
        r.key == key, r.group_id == group_id, r.action.in_([action.value for action in actions])
    )
    questions = {row.token for row in tx.execute(gone.returning(r.token)) if row.token is not None}
    still = set(tx.execute(select(r.token).where(r.token.in_(questions))).scalars()) if questions else set()
    empty = questions - still
    if empty:
        tx.execute(update(tokens).where(t.digest.in_(empty), t.state == "open").values(state="ended"))


def lapse(tx: Tx, since: datetime) -> int:
    """What was asked and not answered goes, and with it what waited for the answer; how many."""
    r, t = requests.c, tokens.c
    over = select(t.digest).where(t.action.in_((Action.ASK.value, Action.CONFIRM.value)), t.state != "open")
    unanswered = select(t.actor).where(t.action == Action.ASK.value, t.state == "expired", t.expires_at > since)
    gone = r.token.is_not(None) & ~exists().where(t.digest == r.token)  # with the group at whose door it was answered
    asked = delete(requests).where(or_(r.token.in_(over), gone))
    behind = delete(requests).where(r.token.is_(None), r.key.in_(unanswered))
    return tx.execute(asked).rowcount + tx.execute(behind).rowcount


def _request(row: Row[Any]) -> Request:
    return Request(row.id, row.key, Action(row.action), row.group_id, row.doc, row.made_at, row.token)
