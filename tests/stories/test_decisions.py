"""Two who decide at once: the clock and an admin, and an admin's answers from a mailbox that is not his."""

import threading
from datetime import datetime
from pathlib import Path

import pytest

from listserv.flows import moderating
from listserv.flows.moderating import Decided, DecidedBefore, Decision
from listserv.mail.command import Approve
from listserv.model.post import HoldState
from listserv.store import holds, posts
from listserv.store.db import Tx
from listserv.store.holds import Held
from tests.kit.house import house, read

ANN = "ann@a.example"
ELSEWHERE = "ann.private@home.example"
MEMBER = "mia@m.example"
OTHER = "otto@o.example"
SAILING = "sailing@lists.example"


async def test_an_approval_beside_the_expiry_is_kept_or_comes_too_late_and_is_never_overwritten(
    url: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given a hold that is over its time, and an approval in a transaction of its own as soon as the clock has seen it
    overdue = holds.overdue
    said: list[Decision] = []
    async with house(url, folder) as here:
        group = here.group(SAILING, [MEMBER, OTHER], owner=ANN, moderated=True)
        await here.post(MEMBER, SAILING, subject="Regatta")
        await here.quiet()
        (held,) = here.held()
        before = len(here.inbox(MEMBER))

        def approve() -> None:
            work = here.node.db.write_now
            said.append(work(lambda tx: moderating.decide(here.act(tx), group, held.id, Approve(), ANN)))

        admin = threading.Thread(target=approve)

        def seen(tx: Tx, now: datetime, limit: int) -> list[Held]:
            found = overdue(tx, now, limit)
            if found and not admin.ident:
                admin.start()
                admin.join(0.5)  # on SQLite it has to wait for the clock's transaction
            return found

        monkeypatch.setattr(holds, "overdue", seen)

        # when the clock closes what is overdue
        await here.later(days=15)
        admin.join()
        await here.quiet()

        # then one of them has decided, the post agrees with the hold, and nobody is told otherwise
        after = here.node.db.read_now(holds.get, held.id)
        assert after is not None
        assert after.post_id is not None
        post = here.node.db.read_now(posts.get, after.post_id)
        told = [str(read(copy)["Subject"]) for copy in here.inbox(MEMBER)[before:]]
        if url.startswith("postgresql"):
            assert isinstance(said[0], Decided)
            assert (after.state, post.state) == (HoldState.APPROVED, "done")
            assert told == ["Regatta"]
            assert len(here.inbox(OTHER)) == 1
        else:
            assert isinstance(said[0], DecidedBefore)
            assert (after.state, post.state) == (HoldState.EXPIRED, "expired")
            assert len(told) == 1
            assert here.inbox(OTHER) == []


async def test_each_hold_that_is_answered_from_another_mailbox_is_asked_about(url: str, folder: Path) -> None:
    # given two posts that wait
    async with house(url, folder) as here:
        here.group(SAILING, [MEMBER, OTHER], owner=ANN, moderated=True)
        for subject in ("Regatta", "Dinner"):
            await here.post(MEMBER, SAILING, subject, subject)
        await here.quiet()
        notices = list(here.inbox(ANN))
        assert len(notices) == 2

        # when Ann answers both from home, the first one twice
        for notice in (*notices, notices[0]):
            assert (await here.answer(ELSEWHERE, notice, "approve")).startswith("250")
        await here.quiet()

        # then her own mailbox is asked about each, once, and nothing is decided before it says yes
        questions = here.inbox(ANN)[2:]
        assert len(questions) == 2
        assert here.inbox(ELSEWHERE) == []
        assert len(here.held()) == 2
        for question in questions:
            await here.answer(ANN, question, "yes")
        await here.quiet()
        assert here.held() == []
        assert {str(read(copy)["Subject"]) for copy in here.inbox(OTHER)} == {"Regatta", "Dinner"}
