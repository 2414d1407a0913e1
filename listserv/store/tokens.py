"""Tokens: kept as their SHA-256, redeemed once."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Row, delete, func, insert, select, update

from listserv.model.token import Action, Token
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


def asked_since(tx: Tx, actor: str, since: datetime) -> int:
    """How many questions of any kind this mailbox was sent since then, answered or not."""
    t = tokens.c
    questions = [action.value for action in (Action.JOIN, Action.INVITE, Action.LEAVE)]
    sent = select(func.count()).where(t.actor == actor, t.made_at >= since, t.action.in_(questions))
    return int(tx.execute(sent).scalar_one())


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
