"""Tokens: kept as their SHA-256, redeemed once."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row, delete, insert, select, update

from listserv.model.token import Action, Token
from listserv.store import requests
from listserv.store.db import Tx
from listserv.store.schema import tokens


def add(
    tx: Tx,
    digest: bytes,
    action: Action,
    actor: str,
    doc: Mapping[str, Any],
    now: datetime,
    *,
    expires_at: datetime | None,
    group_id: int | None = None,
    hold_id: int | None = None,
) -> None:
    tx.execute(
        insert(tokens).values(
            digest=digest,
            action=action.value,
            actor=actor,
            doc=dict(doc),
            state="open",
            made_at=now,
            expires_at=expires_at,
            group_id=group_id,
            hold_id=hold_id,
        )
    )


def find(tx: Tx, digest: bytes) -> Token | None:
    row = tx.execute(select(tokens).where(tokens.c.digest == digest)).one_or_none()
    return _token(row) if row else None


def redeem(tx: Tx, digest: bytes, now: datetime) -> bool:
    """True for exactly one caller, and only while the token is open and young."""
    t = tokens.c
    young = t.expires_at.is_(None) | (t.expires_at > now)
    used = update(tokens).where(t.digest == digest, t.state == "open", young)
    return tx.execute(used.values(state="used", used_at=now)).rowcount == 1


def decline(tx: Tx, digest: bytes) -> None:
    """Its owner said no: the token is dead, and the question is not asked again for its term."""
    tx.execute(update(tokens).where(tokens.c.digest == digest, tokens.c.state == "open").values(state="declined"))


def unanswered_since(
    tx: Tx, actor: str, since: datetime, action: Action, *, group_id: int | None = None, hold_id: int | None = None
) -> bool:
    """Whether this mailbox was asked so since then, in this group or about this hold, and has not said yes."""
    t = tokens.c
    asked = select(t.digest).where(t.actor == actor, t.action == action.value, t.made_at >= since)
    asked = asked.where(t.state.in_(("open", "declined")))
    if group_id is not None:
        asked = asked.where(t.group_id == group_id)
    if hold_id is not None:
        asked = asked.where(t.hold_id == hold_id)
    return tx.execute(asked.limit(1)).first() is not None


def latest(tx: Tx, actor: str, action: Action) -> Token | None:
    """The newest token of this kind that this mailbox was sent, whatever became of it."""
    t = tokens.c
    sent = select(tokens).where(t.actor == actor, t.action == action.value).order_by(t.made_at.desc()).limit(1)
    row = tx.execute(sent).one_or_none()
    return _token(row) if row else None


def sent_since(tx: Tx, actor: str, since: datetime, actions: Sequence[Action]) -> list[Token]:
    """What this mailbox was sent since then, newest first, whatever became of it."""
    t = tokens.c
    sent = select(tokens).where(t.actor == actor, t.made_at >= since, t.action.in_([each.value for each in actions]))
    return [_token(row) for row in tx.execute(sent.order_by(t.made_at.desc()))]


def open_ones(tx: Tx, action: Action, now: datetime) -> list[Token]:
    """All of this kind that may be redeemed still."""
    t = tokens.c
    young = select(tokens).where(t.action == action.value, t.state == "open", t.expires_at > now)
    return [_token(row) for row in tx.execute(young)]


def any_open(tx: Tx, digests: Collection[bytes]) -> bool:
    """Whether one of these can still be redeemed, as far as its state says."""
    t = tokens.c
    return tx.execute(select(t.digest).where(t.digest.in_(digests), t.state == "open").limit(1)).first() is not None


def end_all(tx: Tx, keys: Collection[str], actions: Collection[Action] = tuple(Action)) -> int:
    """Every open right of these mailboxes ends, and what waits to be asked goes; how many rights."""
    requests.remove_of(tx, keys)
    t = tokens.c
    mine = update(tokens).where(t.actor.in_(keys), t.state == "open", t.action.in_([each.value for each in actions]))
    return tx.execute(mine.values(state="ended")).rowcount


def end(tx: Tx, actor: str, group_id: int, actions: Collection[Action]) -> None:
    """What these were about was settled otherwise: neither they nor a wish of that kind can be confirmed."""
    t = tokens.c
    mine = update(tokens).where(t.actor == actor, t.group_id == group_id, t.state == "open")
    tx.execute(mine.where(t.action.in_([each.value for each in actions])).values(state="ended"))
    requests.settle(tx, actor, group_id, actions)


def expire(tx: Tx, now: datetime) -> int:
    old = update(tokens).where(tokens.c.state == "open", tokens.c.expires_at <= now)
    return tx.execute(old.values(state="expired")).rowcount


def sweep(tx: Tx, before: datetime) -> int:
    """Remove what has been used or has expired long ago; until then a repeat is answered kindly."""
    t = tokens.c
    return tx.execute(delete(tokens).where(t.state != "open", t.made_at < before)).rowcount


def _token(row: Row[Any]) -> Token:
    return Token(
        row.digest,
        Action(row.action),
        row.group_id,
        row.hold_id,
        row.actor,
        row.doc,
        row.state,
        row.made_at,
        row.expires_at,
        row.used_at,
    )
