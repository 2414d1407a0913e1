"""Admins approve by replying: held, told, decided, repeated, undone, and by nobody else."""

from pathlib import Path

import pytest

from tests.kit.house import House, house, mail, read, words

ANN = "ann@a.example"
BEN = "ben@b.example"
MEMBER = "mia@m.example"
OTHER = "otto@o.example"
SAILING = "sailing@lists.example"


async def held(here: House) -> bytes:
    """A moderated group with two admins, a post that waits, and Ann's notice of it."""
    group = here.group(SAILING, [MEMBER, OTHER], owner=ANN, moderated=True, title="Sailing")
    here.admin(group, BEN)
    reply = await here.post(MEMBER, SAILING, subject="Regatta on Sunday")
    assert reply.startswith("250 2.0.0 held")
    await here.quiet()
    assert here.inbox(OTHER) == []
    return here.notice(ANN)


async def test_a_notice_says_who_what_and_why_and_brings_the_message(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        notice = await held(here)
        said = read(notice)
        text = words(notice)
        assert MEMBER in text
        assert "Regatta on Sunday" in text
        assert "waits for an admin" in text
        assert "Regatta on Sunday" in said["Subject"]
        assert said["Auto-Submitted"] == "auto-generated"
        assert said["Reply-To"].startswith("sailing-confirm+")
        attached = [part for part in said.walk() if part.get_content_type() == "message/rfc822"]
        assert attached[0].get_payload()[0]["Subject"] == "Regatta on Sunday"  # type: ignore[index, union-attr]
        for word in ("approve", "reject", "discard"):
            assert f"mailto:sailing-confirm%2B{token(notice)}@lists.example?subject={word}" in text
        assert here.inbox(BEN)
        assert token(here.notice(BEN)) != token(notice)
        # the author, a member, is told that it waits
        assert "waits" in words(here.notice(MEMBER)).lower()


async def test_approved_by_a_reply_it_goes_to_all_members(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        notice = await held(here)
        reply = await here.answer(ANN, notice, "Approve")
        assert reply.startswith("250")
        await here.quiet()
        assert read(here.notice(OTHER))["Subject"] == "Regatta on Sunday"
        assert read(here.inbox(MEMBER)[-1])["Subject"] == "Regatta on Sunday"
        assert here.held() == []
        # Ben hears once that Ann has decided
        assert "ann@a.example" in words(here.notice(BEN))
        assert [line["action"] for line in here.log()][-1] == "hold.approved"


async def test_an_empty_reply_approves_when_moderation_is_the_only_reason(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        notice = await held(here)
        await here.answer(ANN, notice, "")
        await here.quiet()
        assert here.inbox(OTHER)


async def test_rejected_with_a_reason_the_author_reads_it(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        notice = await held(here)
        await here.answer(BEN, here.notice(BEN), "Reject: please post this\nin the racing group")
        await here.quiet()
        assert here.inbox(OTHER) == []
        said = words(here.notice(MEMBER))
        assert "please post this" in said
        assert "in the racing group" in said
        # a repeat from Ann changes nothing and says who decided
        await here.answer(ANN, notice, "approve")
        await here.quiet()
        assert here.inbox(OTHER) == []
        assert BEN in words(here.notice(ANN))


async def test_discarded_the_author_hears_nothing_and_undo_brings_it_back(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        notice = await held(here)
        before = len(here.inbox(MEMBER))
        await here.answer(ANN, notice, "spam")
        await here.quiet()
        assert len(here.inbox(MEMBER)) == before
        await here.answer(ANN, notice, "undo")
        await here.quiet()
        assert [hold.subject for hold in here.held()] == ["Regatta on Sunday"]
        await here.answer(ANN, notice, "ok")
        await here.quiet()
        assert here.inbox(OTHER)


async def test_nonsense_changes_nothing_and_is_answered_with_what_can_be_said(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        notice = await held(here)
        await here.answer(ANN, notice, "hm, what do the others think?")
        await here.quiet()
        assert len(here.held()) == 1
        said = words(here.notice(ANN)).lower()
        assert "approve" in said
        assert "reject" in said


async def test_a_stranger_with_the_right_token_decides_nothing_and_the_admin_is_asked(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        notice = await held(here)
        await here.answer("eve@e.example", notice, "approve")
        await here.quiet()
        assert len(here.held()) == 1
        assert here.inbox("eve@e.example") == []
        question = here.notice(ANN)
        assert question != notice
        # one tap from Ann's own mailbox, and it is so
        await here.answer(ANN, question, "")
        await here.quiet()
        assert here.held() == []
        assert here.inbox(OTHER)


async def test_a_forged_token_is_refused_at_rcpt(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        notice = await held(here)
        right = token(notice)
        wrong = ("a" if right[0] != "a" else "b") + right[1:]
        reply = await here.post(ANN, f"sailing-confirm+{wrong}@lists.example", "approve")
        assert reply.startswith("550 5.1.1")
        assert len(here.held()) == 1


async def test_a_vacation_responder_decides_nothing_and_gets_no_answer(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        notice = await held(here)
        before = here.world.count
        await here.answer(ANN, notice, "I am away until Monday", Auto_Submitted="auto-replied")
        await here.answer(ANN, notice, "", Auto_Submitted="auto-replied")
        await here.quiet()
        assert len(here.held()) == 1
        assert here.world.count == before


async def test_a_reply_to_the_owner_door_counts_by_its_reference(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        notice = await held(here)
        reference = str(read(notice)["Message-ID"])
        content = mail(ANN, "sailing-owner@lists.example", "approve", "Re: HELD", In_Reply_To=reference)
        await here.send(ANN, "sailing-owner@lists.example", content)
        await here.quiet()
        assert here.held() == []
        assert here.inbox(OTHER)


async def test_after_a_restart_the_same_token_decides(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        notice = await held(here)
    async with house(url, folder) as again:
        await again.answer(ANN, notice, "approve")
        await again.quiet()
        assert again.held() == []
        assert again.inbox(OTHER)


async def test_a_hold_expires_and_the_author_is_told(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        await held(here)
        before = len(here.inbox(MEMBER))
        await here.later(days=15)
        assert here.held() == []
        assert len(here.inbox(MEMBER)) == before + 1
        assert here.log()[-1]["action"] == "hold.expired"


async def test_many_holds_make_one_summary_that_one_line_answers(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        group = here.group(SAILING, [MEMBER, OTHER], owner=ANN, moderated=True)
        assert group
        await here.idle()  # no summary that was due at the start comes between the posts
        for number in range(1, 10):
            await here.post(MEMBER, SAILING, subject=f"Post {number}", text=f"text {number}")
        await here.quiet()
        assert len(here.inbox(ANN)) == 5
        await here.later(seconds=30)
        assert len(here.inbox(ANN)) == 6
        summary = here.notice(ANN)
        assert "Post 6" in words(summary)
        assert "Post 9" in words(summary)
        await here.answer(ANN, summary, "approve all but 4")
        await here.quiet()
        assert [read(copy)["Subject"] for copy in here.inbox(OTHER)] == ["Post 6", "Post 7", "Post 8"]
        assert len(here.held()) == 6


@pytest.mark.parametrize("word", ["Discard", "discard.", "SPAM!"])
async def test_case_and_punctuation_do_not_matter(url: str, folder: Path, word: str) -> None:
    async with house(url, folder) as here:
        notice = await held(here)
        await here.answer(ANN, notice, word)
        await here.quiet()
        assert here.held() == []
        assert here.inbox(OTHER) == []


def token(notice: bytes) -> str:
    return str(read(notice)["Reply-To"]).partition("+")[2].partition("@")[0]
