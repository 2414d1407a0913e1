"""Decisions over the weeks in which they can be taken back."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from listserv.access_log.line import Way
from listserv.flows import distributing, expiring, moderating
from listserv.flows.moderating import Decided, NotDecided
from listserv.flows.site import Act
from listserv.mail.command import Approve, Discard, Reject, Undo
from listserv.model.post import HoldKind
from listserv.store import holds, posts
from listserv.store.db import Database, Tx
from tests.kit.database import NOW, group, opened, post
from tests.kit.site import site

SITE = site()


def act(tx: Tx, now: datetime) -> Act:
    return Act(tx, SITE, now, SITE.who(Way.SHELL))


@pytest.fixture
def db(url: str, tmp_path: Path) -> Iterator[Database]:
    with opened(url, tmp_path) as database:
        yield database


@pytest.mark.parametrize(
    ("verb", "days", "undone"),
    [(Discard(), 1, True), (Reject(""), 10, True), (Discard(), 13, True), (Reject(""), 15, False)],
)
def test_what_is_taken_back_in_time_can_still_be_handed_out(
    db: Database, verb: Discard | Reject, days: int, undone: bool
) -> None:
    # given a post that an admin has rejected or discarded
    walkers = db.write_now(group, members=["ada@a.example"])
    content = b"From: ada@a.example\r\nMessage-ID: <1@a.example>\r\n\r\nHi\r\n"
    id = db.write_now(post, walkers.id, content, state="held")

    def hold(tx: Tx) -> int:
        digest = posts.get(tx, id).digest
        values = {"group_id": walkers.id, "post_id": id, "digest": digest, "author": "ada@a.example", "reasons": ["x"]}
        return holds.add(tx, HoldKind.POST, values, NOW, NOW + timedelta(days=14))

    held = db.write_now(hold)
    db.write_now(lambda tx: moderating.decide(act(tx, NOW), walkers, held, verb, "ann@a.example"))

    # when some days go by, each with its sweep, and then it is taken back and approved
    for day in range(1, days):
        db.write_now(lambda tx, now=NOW + timedelta(days=day): expiring.forget(act(tx, now)))
    later = NOW + timedelta(days=days)
    result = db.write_now(lambda tx: moderating.decide(act(tx, later), walkers, held, Undo(), "ann@a.example"))

    # then within fourteen days it goes out as it came, and after them it is said that it is too late
    assert isinstance(result, Decided if undone else NotDecided)
    if undone:
        db.write_now(lambda tx: moderating.decide(act(tx, later), walkers, held, Approve(), "ann@a.example"))
        claimed = db.write_now(distributing.claim_post, "node", later)
        assert claimed is not None
        draft = db.read_now(distributing.load, SITE, claimed, later)
        assert draft is not None
        assert draft.content == content
