"""What the database knows of a post before it is judged, and that it was answered.

One round trip, two for an answer.

What shares a commit is known too, though its rows are not written yet.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import BindParameter, Integer, and_, bindparam, exists, func, insert, literal, select

from listserv.model.account import Member
from listserv.store import accounts, groups, rows, schema
from listserv.store.db import Tx, known, later
from listserv.store.schema import bans, mailboxes, posts, seen, subscriptions


@dataclass(frozen=True, slots=True)
class Known:
    """`answered`: of the keys asked about those that were seen, with what was said.  The rest is about the author."""

    answered: Mapping[bytes, str]
    is_banned: bool
    member: Member | None
    lately: int = 0
    alike: int = 0


@dataclass(frozen=True, slots=True)
class Recent:
    """Which posts of the author to the group are counted, up to `most`: `lately`, and of these those `alike`."""

    since: datetime
    until: datetime
    subject_key: bytes
    most: int


_GROUP: BindParameter[int] = bindparam("group")
_AUTHOR: BindParameter[str] = bindparam("author")
_OTHER = seen.alias("other")
_P = posts.c
_RECENT = (
    select(_P.subject_key)
    .where(_P.group_id == _GROUP, _P.author == _AUTHOR, _P.subject_key.is_not(None))
    .where(
        _P.received_at.between(
            bindparam("since", type_=_P.received_at.type), bindparam("until", type_=_P.received_at.type)
        )
    )
    .limit(bindparam("most", type_=Integer))
    .subquery("recent")
)
_IS_ALIKE = _RECENT.c.subject_key == bindparam("subject_key")
_COUNTED = (func.count().label("lately"), func.count().filter(_IS_ALIKE).label("alike"))
_COUNT = select(*_COUNTED).select_from(_RECENT)
_HERE = select(literal(1).label("one")).subquery("here")
_MORE = mailboxes.alias("more")
_HAS_MORE = exists().where(_MORE.c.account_id == mailboxes.c.account_id, _MORE.c.id != mailboxes.c.id)
_ASKED = (
    seen.c.reply.label("first"),
    _OTHER.c.reply.label("second"),
    bans.c.key.label("banned"),
    _HAS_MORE.label("has_more"),
)
_PERSON = schema.accounts
_LOOK = select(*_ASKED, *accounts.member_columns()).select_from(
    _HERE.outerjoin(seen, and_(seen.c.group_id == _GROUP, seen.c.key == bindparam("post")))
    .outerjoin(_OTHER, and_(_OTHER.c.group_id == _GROUP, _OTHER.c.key == bindparam("other_post")))
    .outerjoin(bans, and_(bans.c.group_id == _GROUP, bans.c.key == _AUTHOR))
    .outerjoin(mailboxes, mailboxes.c.key == _AUTHOR)
    .outerjoin(_PERSON, _PERSON.c.id == mailboxes.c.account_id)
    .outerjoin(subscriptions, and_(subscriptions.c.group_id == _GROUP, subscriptions.c.mailbox_id == mailboxes.c.id))
)
_REMEMBER = insert(seen)


def look(tx: Tx, group_id: int, keys: tuple[bytes, bytes], author: str, recent: Recent | None = None) -> Known:
    """`keys` are those by which a repeat is known; `author` the key of a mailbox, "" for nobody in particular.

    Without `recent` nothing is counted.
    """
    row = rows.first(tx, _LOOK, {"group": group_id, "post": keys[0], "other_post": keys[1], "author": author})
    assert row is not None  # whatever is known
    stored = dict(zip(keys, (row.first, row.second), strict=True))
    fresh = {key: known(tx).get(("seen", group_id, key)) for key in keys}
    answered = {key: reply for key in keys if (reply := stored[key] or fresh[key]) is not None}
    counted = _counted(tx, group_id, author, recent) if recent else (0, 0)
    if row.has_more:  # another mailbox of the same person may be the member, or be banned
        banned, member = groups.is_banned(tx, group_id, author), accounts.member(tx, group_id, author)
        return Known(answered, banned, member, *counted)
    member = accounts.member_of(row) if row.id is not None else None
    return Known(answered, row.banned is not None, member, *counted)


def _counted(tx: Tx, group_id: int, author: str, recent: Recent) -> tuple[int, int]:
    """`lately` and `alike`, with those that share the commit."""
    span = {"since": recent.since, "until": recent.until, "subject_key": recent.subject_key, "most": recent.most}
    row = rows.first(tx, _COUNT, {"group": group_id, "author": author, **span})
    assert row is not None
    posted = known(tx).get(("posted", group_id, author), [])
    return min(row.lately + len(posted), recent.most), row.alike + posted.count(recent.subject_key)


def remember(tx: Tx, group_id: int, key: bytes, reply: str, now: datetime) -> None:
    """What was answered to this post.  When another transaction remembered it first, the caller is run again."""
    known(tx)["seen", group_id, key] = reply[:200]
    later(tx, _REMEMBER, {"group_id": group_id, "key": key, "reply": reply[:200], "at": now})
