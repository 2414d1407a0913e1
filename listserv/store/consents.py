"""The consent record: append-only, each row's digest covers the one before.

    personal = SHA-256(salt || canonical [key, facts])
    digest   = SHA-256(digest of the row before || canonical [act, group, way, at] || personal)

Canonical is JSON (RFC 8259) without blanks, keys in order.  What is a person's stands beside the row, with its salt;
when both are erased the chain can still be verified, and nobody can find out by trying who it was.  The digest of the
last row stands in `secrets`: whoever appends holds that row until the commit, so that the chain has one order whatever
the number of processes, and rows that are cut off its end are missed.
"""

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec
from sqlalchemy import Row, Select, and_, delete, func, insert, or_, select, update

from listserv.model.consent import Consent, Step
from listserv.store.db import Tx
from listserv.store.schema import consent_details, consents, secrets

HEAD = "consents"  # the secret that holds the last digest
BEGINNING = bytes(32)
SALT_BYTES = 16


@dataclass(frozen=True, slots=True)
class Entry:
    """A row to be; `facts` are JSON."""

    step: Step
    group: str
    way: str
    at: datetime
    key: str
    facts: Mapping[str, Any]
    salt: bytes


@dataclass(frozen=True, slots=True)
class Sound:
    """So many rows were looked at, and each follows from the one before."""

    rows: int


@dataclass(frozen=True, slots=True)
class Broken:
    """The first row that is not what was written, and how that shows."""

    id: int
    why: str


def append(tx: Tx, entries: Sequence[Entry]) -> None:
    """Some more at the end, in this order."""
    if not entries:
        return
    head = tx.execute(select(secrets.c.value).where(secrets.c.name == HEAD).with_for_update()).scalar_one_or_none()
    last = bytes(head) if head is not None else BEGINNING
    rows = []
    for entry in entries:
        personal = _personal(entry.salt, entry.key, entry.facts)
        last = _digest(last, entry.step.value, entry.group, entry.way, entry.at, personal)
        public = {"act": entry.step.value, "group": entry.group, "way": entry.way, "at": entry.at}
        rows.append({**public, "personal": personal, "digest": last})
    made = insert(consents).returning(consents.c.id, sort_by_parameter_order=True)
    ids: Sequence[Any] = tx.execute(made, rows).scalars().all()
    details = [
        {"consent_id": id, "key": entry.key, "salt": entry.salt, "facts": dict(entry.facts)}
        for id, entry in zip(ids, entries, strict=True)
    ]
    tx.execute(insert(consent_details), details)
    if head is None:  # whoever comes second at once is called again
        tx.execute(insert(secrets).values(name=HEAD, value=last, made_at=entries[-1].at))
    else:
        tx.execute(update(secrets).where(secrets.c.name == HEAD).values(value=last, made_at=entries[-1].at))


def of(tx: Tx, keys: Collection[str], group: str | None = None) -> list[Consent]:
    """What is on record of these mailboxes, oldest first: in one group, or everywhere; and the ends of its groups."""
    c = consents.c
    mine = select(c.group).join(consent_details).where(consent_details.c.key.in_(keys))
    ended = and_(c.act == Step.ENDED.value, c.group.in_(mine))
    chosen = _all().where(or_(consent_details.c.key.in_(keys), ended))
    if group is not None:
        chosen = chosen.where(c.group == group)
    return [
        Consent(row.id, Step(row.act), row.group, row.way, row.at, row.facts)
        for row in tx.execute(chosen.order_by(c.id))
    ]


def erase(tx: Tx, keys: Collection[str]) -> int:
    """What is personal goes; the rows stay, and say of nobody that it was he.  How many."""
    return tx.execute(delete(consent_details).where(consent_details.c.key.in_(keys))).rowcount


def count(tx: Tx) -> int:
    return int(tx.execute(select(func.count()).select_from(consents)).scalar_one())


def verify(tx: Tx, last: int | None = None) -> Iterator[Sound | Broken]:
    """After each thousand rows, and at the end, what was found so far; nothing follows what is broken.

    last  look at this many of the newest rows only, and take the one before them as it is
    """
    c = consents.c
    start, before = 0, BEGINNING
    if last is not None:
        edge = tx.execute(select(c.id, c.digest).order_by(c.id.desc()).offset(last).limit(1)).one_or_none()
        start, before = (edge.id, bytes(edge.digest)) if edge else (0, BEGINNING)
    seen = 0
    chosen = _all().where(c.id > start).order_by(c.id).execution_options(yield_per=1000)
    with tx.execute(chosen) as rows:
        for row in rows:
            if why := _fault(row, before):
                yield Broken(row.id, why)
                return
            before, seen = bytes(row.digest), seen + 1
            if seen % 1000 == 0:
                yield Sound(seen)
    head = tx.execute(select(secrets.c.value).where(secrets.c.name == HEAD)).scalar_one_or_none()
    if bytes(head or BEGINNING) != before:
        newest = tx.execute(select(func.max(c.id))).scalar_one_or_none() or 0
        yield Broken(newest, "rows after it are missing, or the mark of the last one was changed")
        return
    yield Sound(seen)


def _all() -> Select[Any]:
    d = consent_details.c
    return select(consents, d.key, d.salt, d.facts).outerjoin(consent_details, d.consent_id == consents.c.id)


def _fault(row: Row[Any], before: bytes) -> str | None:
    personal = bytes(row.personal)
    if _digest(before, row.act, row.group, row.way, row.at, personal) != bytes(row.digest):
        return "it does not follow from the row before it: one of the two was changed, or one between them is missing"
    if row.key is not None and _personal(bytes(row.salt), row.key, row.facts) != personal:
        return "the details beside it are not those that were written with it"
    return None


def _personal(salt: bytes, key: str, facts: Mapping[str, Any]) -> bytes:
    return hashlib.sha256(salt + msgspec.json.encode([key, facts], order="sorted")).digest()


def _digest(before: bytes, step: str, group: str, way: str, at: datetime, personal: bytes) -> bytes:
    moment = at.astimezone(UTC).isoformat(timespec="microseconds")
    return hashlib.sha256(before + msgspec.json.encode([step, group, way, moment]) + personal).digest()
