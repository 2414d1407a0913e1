"""Ads and how often they were shown: counted by day and group, never by person."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import Row, delete, func, insert, or_, select, update

from listserv.store.db import Tx
from listserv.store.schema import ad_counts, ads, groups

RUNNING = "running"
PAUSED = "paused"


@dataclass(frozen=True, slots=True)
class NewAd:
    """What the operator says of an ad.  With neither groups nor topics it runs everywhere.

    `html` is "" or markup that `mail.harmless` has nothing against; `starts` and `ends` are both included.
    """

    title: str
    text: str
    html: str = ""
    advertiser: str = ""
    groups: tuple[str, ...] = ()  # addresses in lower case
    topics: tuple[str, ...] = ()
    starts: date | None = None
    ends: date | None = None


@dataclass(frozen=True, slots=True)
class Ad:
    """An ad as the database knows it."""

    id: int
    said: NewAd
    state: str  # running, paused
    made_at: datetime


@dataclass(frozen=True, slots=True)
class Count:
    """How often an ad was shown in one group on one day (UTC).  `group` is "" when the group is gone."""

    ad_id: int
    title: str
    advertiser: str
    day: date
    group: str
    editions: int
    copies: int


def add(tx: Tx, said: NewAd, now: datetime) -> int:
    """The id of the new ad, which runs from now on as far as its dates allow."""
    values = {name: getattr(said, name) for name in NewAd.__slots__}
    values |= {"groups": list(said.groups), "topics": list(said.topics)}
    return int(tx.execute(insert(ads).values(state=RUNNING, made_at=now, **values).returning(ads.c.id)).scalar_one())


def get(tx: Tx, id: int) -> Ad | None:
    row = tx.execute(select(ads).where(ads.c.id == id)).one_or_none()
    return _ad(row) if row else None


def everything(tx: Tx) -> list[Ad]:
    return [_ad(row) for row in tx.execute(select(ads).order_by(ads.c.id))]


def running(tx: Tx, day: date) -> list[Ad]:
    """Those that may be shown on this day, in the order of their ids."""
    a = ads.c
    begun, not_over = or_(a.starts.is_(None), a.starts <= day), or_(a.ends.is_(None), a.ends >= day)
    return [_ad(row) for row in tx.execute(select(ads).where(a.state == RUNNING, begun, not_over).order_by(a.id))]


def move(tx: Tx, id: int, was: str, state: str) -> bool:
    """True when the ad was in state `was` and is in `state` now."""
    return tx.execute(update(ads).where(ads.c.id == id, ads.c.state == was).values(state=state)).rowcount == 1


def remove(tx: Tx, id: int) -> bool:
    """With its counts; False when there is none."""
    return tx.execute(delete(ads).where(ads.c.id == id)).rowcount == 1


def shown(tx: Tx, group_id: int) -> dict[int, int]:
    """ad → how many editions it has had in this group; ads that had none are missing."""
    c = ad_counts.c
    counted = select(c.ad_id, func.sum(c.editions)).where(c.group_id == group_id).group_by(c.ad_id)
    return {id: int(editions) for id, editions in tx.execute(counted)}


def count(tx: Tx, id: int, group_id: int, day: date, copies: int) -> None:
    """One edition more with so many copies; an ad that was removed meanwhile has no counts any more."""
    if get(tx, id) is None:
        return
    c = ad_counts.c
    mine = update(ad_counts).where(c.ad_id == id, c.day == day, c.group_id == group_id)
    if tx.execute(mine.values(editions=c.editions + 1, copies=c.copies + copies)).rowcount == 0:
        first = {"ad_id": id, "day": day, "group_id": group_id, "editions": 1, "copies": copies}
        tx.execute(insert(ad_counts).values(**first))


def counts(tx: Tx, ids: Sequence[int] = ()) -> list[Count]:
    """By ad, day and group: of these ads, or of all."""
    c = ad_counts.c
    chosen = (
        select(c.ad_id, ads.c.title, ads.c.advertiser, c.day, groups.c.address, c.editions, c.copies)
        .join(ads, ads.c.id == c.ad_id)
        .outerjoin(groups, groups.c.id == c.group_id)
        .order_by(c.ad_id, c.day, groups.c.address, c.group_id)
    )
    if ids:
        chosen = chosen.where(c.ad_id.in_(ids))
    return [
        Count(row.ad_id, row.title, row.advertiser, row.day, row.address or "", row.editions, row.copies)
        for row in tx.execute(chosen)
    ]


def _ad(row: Row[Any]) -> Ad:
    said = NewAd(
        row.title, row.text, row.html, row.advertiser, tuple(row.groups), tuple(row.topics), row.starts, row.ends
    )
    return Ad(row.id, said, row.state, row.made_at)
