"""Messages as they came, and the posts that they are."""

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Executable, Integer, Row, bindparam, delete, exists, insert, select, update

from listserv.store import ledger, queue
from listserv.store.bells import ring
from listserv.store.db import Tx, known, later
from listserv.store.dialects import Upsert
from listserv.store.large import carried, octets
from listserv.store.schema import editions, holds, messages, posts, seen

OVER = ("done", "rejected", "discarded", "expired", "dropped")
AGEING = timedelta(minutes=30)  # well below the age at which a message nobody needs is swept


@dataclass(frozen=True, slots=True)
class Post:
    """A post as the database knows it; `envelope` says how it came, for its Received line."""

    id: int
    group_id: int
    number: int | None
    digest: bytes
    message_id: str
    author: str
    state: str
    tries: int
    node: str | None
    cursor: int
    edition_id: int | None
    envelope: Mapping[str, Any]
    received_at: datetime


def _renew(insert: Any) -> Executable:
    """The same bytes are stored once; a sweep beside this transaction must not take what it is to refer to."""
    made = insert(messages)
    renewed: Executable = made.on_conflict_do_update(
        index_elements=[messages.c.digest],
        set_={"stored_at": made.excluded.stored_at},
        where=messages.c.stored_at < bindparam("aged", type_=messages.c.stored_at.type),
    )
    return renewed


_KEEP = Upsert(_renew)
_ADD = insert(posts)
_SIZE = select(messages.c.size).where(messages.c.digest == bindparam("digest"))
_OCTETS = select(messages.c.size).where(messages.c.digest == posts.c.digest).scalar_subquery()
_TAKE_SMALL = queue.taking(
    posts,
    select(posts.c.id)
    .where(posts.c.tries == 0, bindparam("octets", type_=Integer) >= _OCTETS)
    .order_by(posts.c.due, posts.c.id)
    .limit(1),
    *posts.c,
)
_GET = select(posts).where(posts.c.id == bindparam("id"))
_GO_ON = (
    update(posts)
    .where(posts.c.id == bindparam("b_id"))
    .values(edition_id=bindparam("b_edition"), cursor=bindparam("b_cursor"), lease=bindparam("b_lease"))
)


def keep(tx: Tx, content: bytes, now: datetime) -> bytes:
    """The digest of these bytes, which are in the database with this transaction's commit."""
    digest = hashlib.sha256(content).digest()
    row = {"digest": digest, "content": content, "size": len(content), "stored_at": now, "aged": now - AGEING}
    later(tx, _KEEP(tx), row)
    carried(tx, content)
    return digest


def content(tx: Tx, digest: bytes) -> bytes | None:
    """The bytes, or None when they have gone."""
    return octets(tx, messages.c.content, messages.c.digest, digest)


def size(tx: Tx, digest: bytes) -> int:
    """Octets of these bytes; 0 when they have gone."""
    return int(tx.execute(_SIZE, {"digest": digest}).scalar_one_or_none() or 0)


def sweep(tx: Tx, before: datetime) -> int:
    """Remove messages older than `before`, an hour ago or more, that no post, hold or edition needs any more."""
    used = [exists().where(table.c.digest == messages.c.digest) for table in (posts, holds, editions)]
    return tx.execute(delete(messages).where(messages.c.stored_at < before, *(~u for u in used))).rowcount


def add(tx: Tx, *, state: str, now: datetime, **values: Any) -> int:
    """The id of a new post; values are the columns of `posts`."""
    if state == "due":
        ring(tx, "posts")
    ledger.taken(tx, now.date(), values["group_id"])
    made = insert(posts).values(state=state, due=now, received_at=now, **values).returning(posts.c.id)
    return int(tx.execute(made).scalar_one())


def accept(tx: Tx, now: datetime, **values: Any) -> None:
    """A new due post whose id nobody asks for: it is written with those who share the commit, and known to them."""
    if values.get("subject_key") is not None:
        known(tx).setdefault(("posted", values["group_id"], values["author"]), []).append(values["subject_key"])
    ledger.taken(tx, now.date(), values["group_id"])
    later(tx, _ADD, {"state": "due", "due": now, "received_at": now, **values})
    ring(tx, "posts")


def get(tx: Tx, id: int) -> Post:
    return post(tx.execute(_GET, {"id": id}).one())


def of_message(tx: Tx, group_id: int, message_id: str, author: str) -> list[Post]:
    """What came to the group in this author's name under this Message-ID, oldest first."""
    p = posts.c
    named = select(posts).where(p.message_id == message_id, p.group_id == group_id, p.author == author)
    return [post(row) for row in tx.execute(named.order_by(p.id))]


def claim_small(tx: Tx, node: str, now: datetime, octets: int) -> Post | None:
    """As `queue.claim`: of the due posts that nobody has tried and that are no larger, the one that waits longest."""
    rows = queue.take(tx, _TAKE_SMALL, node, now, octets=octets)
    return post(rows[0]) if rows else None


def go_on(tx: Tx, id: int, edition_id: int, cursor: int, lease: datetime) -> None:
    """So far its edition has been handed out, and it is ours so long."""
    tx.execute(_GO_ON, {"b_id": id, "b_edition": edition_id, "b_cursor": cursor, "b_lease": lease})


def move(tx: Tx, id: int, **values: Any) -> None:
    """A decision: held to due, rejected, discarded, expired, or back."""
    tx.execute(update(posts).where(posts.c.id == id).values(**values))
    if values.get("state") == "due":
        ring(tx, "posts")


def forget_content(tx: Tx, before: datetime) -> int:
    """Finished posts from before this time let go of their bytes."""
    over = posts.c.state.in_(OVER)
    done = update(posts).where(over, posts.c.done_at < before, posts.c.digest.is_not(None))
    return tx.execute(done.values(digest=None)).rowcount


def seen_before(tx: Tx, group_id: int, key: bytes) -> str | None:
    """What was answered to the same post before, or None."""
    known = select(seen.c.reply).where(seen.c.group_id == group_id, seen.c.key == key)
    return tx.execute(known).scalar_one_or_none()


def forget(tx: Tx, before: datetime, now: datetime) -> int:
    """Remove posts that ended before this time and that no hold or edition needs; their number is not used again."""
    over = posts.c.state.in_(OVER)
    used = [exists().where(table.c.post_id == posts.c.id) for table in (holds, editions)]
    removed = delete(posts).where(over, posts.c.done_at < before, *(~u for u in used)).returning(posts.c.state)
    states = Counter(tx.execute(removed).scalars())
    ledger.gone(tx, now.date(), posts, states)
    return states.total()


def doubted(key: bytes) -> bytes:
    """The key of the same post from an unproven author: it must not stand in the way of the real one."""
    return hashlib.sha256(b"doubted" + key).digest()


def remember(tx: Tx, group_id: int, key: bytes, reply: str, now: datetime) -> None:
    """Raises IntegrityError when another transaction remembered it first: the caller is run again and finds it."""
    tx.execute(insert(seen).values(group_id=group_id, key=key, reply=reply[:200], at=now))


def forget_seen(tx: Tx, now: datetime, keep_for: timedelta) -> int:
    return tx.execute(delete(seen).where(seen.c.at < now - keep_for)).rowcount


def post(row: Row[Any]) -> Post:
    return Post(
        row.id,
        row.group_id,
        row.number,
        row.digest,
        row.message_id,
        row.author,
        row.state,
        row.tries,
        row.node,
        row.cursor,
        row.edition_id,
        row.envelope,
        row.received_at,
    )
