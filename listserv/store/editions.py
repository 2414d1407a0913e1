"""Editions: a message rendered once for all who get the same bytes, written down and read back whole."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Select, bindparam, func, insert, select

from listserv.model.group import Group
from listserv.store import groups
from listserv.store.db import Tx
from listserv.store.large import carried, octets
from listserv.store.schema import editions, messages


@dataclass(frozen=True, slots=True)
class Edition:
    """A message rendered for all who get the same bytes.

    Its header is `top`, the stamp of each delivery, then `fields`; its body is
    `before` + content[start:] + `after`, where content is the message of that digest.
    """

    kind: str  # post, notice, forward
    style: str  # personal, verp, bulk: what kind of stamp
    message_id: str
    fields: bytes
    before: bytes = b""
    after: bytes = b""
    top: bytes = b""
    digest: bytes | None = None
    start: int = 0
    mail_from: str = ""  # of bulk posts and notices; else the return path is the delivery's own
    post_id: int | None = None
    group_id: int | None = None
    ad_id: int | None = None


@dataclass(frozen=True, slots=True)
class Loaded:
    """An edition ready to be stamped: its body is whole."""

    id: int
    kind: str
    group: Group | None
    style: str
    mail_from: str
    top: bytes
    fields: bytes
    body: bytes
    domain: str  # whose key signs it
    made_at: datetime


def add(tx: Tx, edition: Edition, now: datetime) -> int:
    values = {name: getattr(edition, name) for name in Edition.__slots__}
    carried(tx, edition.before)
    # As parameters, not in values(): SQLAlchemy's cache of statements would keep the first body for ever.
    return int(tx.execute(_ADD, {"made_at": now, **values}).scalar_one())


_ADD = insert(editions).returning(editions.c.id)


def ad_of(tx: Tx, edition_id: int) -> int | None:
    """The ad that stands in it: none where the post took nothing below its text."""
    return tx.execute(_AD, {"edition": edition_id}).scalar_one_or_none()


_AD = select(editions.c.ad_id).where(editions.c.id == bindparam("edition"))


def load_small(tx: Tx, edition_id: int, site_domain: str, most: int) -> Loaded | int | None:
    """As `load`, or how many octets that takes, when they are more than `most`."""
    size = int(tx.execute(_SIZE, {"edition": edition_id}).scalar_one_or_none() or 0)
    return load(tx, edition_id, site_domain) if size <= most else size


def _size() -> Select[int]:
    e = editions.c
    parts = func.length(e.before) + func.length(e.after) + func.coalesce(messages.c.size, 0)
    return select(parts).outerjoin(messages, messages.c.digest == e.digest).where(e.id == bindparam("edition"))


_SIZE = _size()
_LOAD = select(*(c for c in editions.c if c.name != "before")).where(editions.c.id == bindparam("edition"))


def load(tx: Tx, edition_id: int, site_domain: str) -> Loaded | None:
    """None when the edition, its words or its message have gone.  A site's own mail is signed by `site_domain`."""
    row = tx.execute(_LOAD, {"edition": edition_id}).one_or_none()
    if row is None or not row.fields:
        return None
    content = octets(tx, messages.c.content, messages.c.digest, row.digest) if row.digest is not None else b""
    if content is None:
        return None
    body = octets(tx, editions.c.before, editions.c.id, edition_id) or b""
    if content or row.after:
        body = b"".join((body, memoryview(content)[row.start :], row.after))
    group = groups.get(tx, row.group_id) if row.group_id is not None else None
    domain = group.domain if group else site_domain
    return Loaded(row.id, row.kind, group, row.style, row.mail_from, row.top, row.fields, body, domain, row.made_at)
