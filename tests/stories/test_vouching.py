"""Posts in the name of members whose domain does not vouch for them: they wait for the author, and for nobody else."""

import asyncio
import re
from dataclasses import replace
from pathlib import Path

from listserv.flows import budgeting, objecting
from listserv.flows.confirming import Answer
from listserv.mail.command import Consent
from listserv.model.envelope import DmarcPolicy, Evidence, Proof
from listserv.model.post import WaitsFor
from listserv.rules.authors import MODERATION, REFUTED, UNPROVEN
from listserv.store import schema
from listserv.web import confirm
from tests.kit.database import count
from tests.kit.house import House, house, mail, read, signed, words
from tests.kit.nameserver import nameserver

ANN = "ann@a.example"
MIA = "mia@m.example"
OTTO = "otto@o.example"
SAILING = "sailing@lists.example"
ROWING = "rowing@lists.example"

FORGED = Evidence(Proof.REFUTED, DmarcPolicy.REJECT, "dmarc=fail", ("SPF fails for x.example",))
GENUINE = Evidence(Proof.PROVEN, DmarcPolicy.REJECT, "dmarc=pass")
SILENT = Evidence(Proof.UNKNOWN, DmarcPolicy.UNKNOWN, "dmarc=temperror")


def subjects(here: House, address: str) -> list[str]:
    return [str(read(copy)["Subject"]) for copy in here.inbox(address)]


def questions(here: House) -> list[bytes]:
    return [copy for copy in here.inbox(MIA) if "Was this you?" in str(read(copy)["Subject"])]


def actions(here: House) -> list[str]:
    return [line["action"] for line in here.log()]


async def forged(here: House, subject: str = "Buy this", to: str = SAILING, evidence: Evidence = FORGED) -> str:
    said = await here.hand_in(to, mail(MIA, to, subject, subject), evidence)
    await here.quiet()
    return said


async def test_a_forged_post_waits_for_the_member_and_one_mail_asks_him(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        here.group(SAILING, [MIA, OTTO], owner=ANN)

        # when somebody posts in Mia's name, and her domain says that it was not she
        said = await forged(here)

        # then it waits for her, with the reason, and she is asked in words that the other did not write
        assert said == f"250 2.0.0 held until {MIA} has confirmed it"
        (held,) = here.held()
        assert held.waits_for is WaitsFor.AUTHOR
        assert held.reasons == (f"{REFUTED}: SPF fails for x.example",)
        (question,) = here.inbox(MIA)
        assert SAILING in words(question)
        assert b"Buy this" not in question
        assert b"x.example" not in question
        assert "In-Reply-To" not in read(question)
        # and neither the members nor the admins hear of it
        assert here.inbox(OTTO) == here.inbox(ANN) == []
        (line,) = here.log()
        assert (line["action"], line["waits_for"], line["rules"]) == ("post.held", "author", ["unproven_author"])


async def test_his_yes_posts_it_and_a_second_yes_is_answered_kindly(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        here.group(SAILING, [MIA, OTTO], owner=ANN)
        await forged(here, "Regatta")
        question = here.notice(MIA)
        assert (await here.answer(MIA, question, "")).startswith("250")
        await here.quiet()
        assert subjects(here, OTTO) == ["Regatta"]
        assert here.held() == []
        assert actions(here) == ["post.held", "post.vouched", "post.accepted"]
        await here.answer(MIA, question, "yes")
        await here.quiet()
        assert subjects(here, OTTO) == ["Regatta"]
        assert "before" in words(here.notice(MIA))


async def test_his_no_throws_it_away(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        here.group(SAILING, [MIA, OTTO], owner=ANN)
        await forged(here)
        await here.answer(MIA, here.notice(MIA), "That wasn't me!")
        await here.quiet()
        assert here.held() == []
        assert here.inbox(OTTO) == here.inbox(ANN) == []
        assert actions(here) == ["post.held", "post.disowned"]
        assert len(here.inbox(MIA)) == 1


async def test_an_answer_that_went_to_the_group_is_an_answer_and_no_post(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        here.group(SAILING, [MIA, OTTO], owner=ANN)
        await forged(here, "Regatta")
        reference = str(read(here.notice(MIA))["Message-ID"])
        await here.hand_in(SAILING, mail(MIA, SAILING, "yes", "Re: Was this you?", In_Reply_To=reference), FORGED)
        await here.quiet()
        assert subjects(here, OTTO) == ["Regatta"]
        assert here.held() == []


async def test_a_vacation_responder_does_not_vouch(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        here.group(SAILING, [MIA, OTTO], owner=ANN)
        await forged(here)
        await here.answer(MIA, here.notice(MIA), "I am away", Auto_Submitted="auto-replied")
        await here.quiet()
        assert len(here.held()) == 1
        assert here.inbox(OTTO) == []


async def test_five_forged_posts_in_two_groups_make_one_mail_and_the_next_day_one_more(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        here.group(SAILING, [MIA, OTTO], owner=ANN)
        here.group(ROWING, [MIA, OTTO], owner=ANN)
        for number in range(5):
            await forged(here, f"Offer {number}", SAILING if number % 2 else ROWING)
        assert len(here.held()) == 5
        assert len(here.inbox(MIA)) == 1

        # time alone brings no other mail, and neither does another post
        await here.later(days=2)
        await forged(here, "Offer 5")
        assert len(here.inbox(MIA)) == 1

        # her answer is about the one that the mail named; the others are named by the next
        await here.answer(MIA, here.notice(MIA), "no")
        await here.quiet()
        await here.later(minutes=1)
        assert len(here.held()) == 5
        assert len(here.inbox(MIA)) == 2
        assert "5 posts" in read(here.notice(MIA))["Subject"]
        # and for a day there is no third
        await here.answer(MIA, here.notice(MIA), "no")
        await here.quiet()
        await forged(here, "Offer 6")
        await here.later(hours=23)
        assert len(here.inbox(MIA)) == 2
        await here.later(hours=2)
        assert len(here.inbox(MIA)) == 3
        assert here.inbox(OTTO) == here.inbox(ANN) == []


async def test_of_several_posts_he_names_his_own(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        here.group(SAILING, [MIA, OTTO], owner=ANN)
        await forged(here, "First")
        await here.later(days=1)
        await here.answer(MIA, here.notice(MIA), "yes")
        for subject in ("Spam", "Mine", "More spam"):
            await here.hand_in(SAILING, mail(MIA, SAILING, subject, subject), FORGED)
        await here.quiet()
        await here.later(hours=1)
        # the first of the three came when the day was over and was asked about at once
        assert "1 post " in read(questions(here)[-1])["Subject"]
        await here.answer(MIA, questions(here)[-1], "no")
        await here.later(days=1, hours=1)
        assert "2 posts" in read(questions(here)[-1])["Subject"]
        await here.answer(MIA, questions(here)[-1], "yes 1")
        await here.quiet()
        assert subjects(here, OTTO) == ["First", "Mine"]
        assert here.held() == []


async def test_nobody_answers_and_it_is_over_without_another_word(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        here.group(SAILING, [MIA, OTTO], owner=ANN)
        await forged(here)
        await here.later(days=15)
        assert here.held() == []
        assert actions(here) == ["post.held", "hold.expired"]
        assert len(here.inbox(MIA)) == 1
        # one that comes now may be asked about again
        await forged(here, "Offer 2")
        assert len(here.inbox(MIA)) == 2


async def test_vouched_for_it_is_judged_like_any_other(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        here.group(SAILING, [MIA, OTTO], owner=ANN, moderated=True)
        await forged(here, "Regatta")
        assert here.inbox(ANN) == []
        await here.answer(MIA, here.notice(MIA), "")
        await here.quiet()
        (held,) = here.held()
        assert (held.waits_for, held.reasons) == (WaitsFor.ADMINS, (MODERATION,))
        assert "waits" in words(here.notice(MIA))  # she is told, as always
        await here.answer(ANN, here.notice(ANN), "reject: not here")
        await here.quiet()
        assert "not here" in words(here.notice(MIA))  # it is hers, so she is told that, too
        assert here.inbox(OTTO) == []


async def test_an_admin_who_vouches_for_his_own_post_is_as_good_as_proven(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        here.group(SAILING, [OTTO], owner=ANN, moderated=True)
        await here.hand_in(SAILING, mail(ANN, SAILING, "News", "News"), FORGED)
        await here.quiet()
        assert "Was this you?" in read(here.notice(ANN))["Subject"]
        await here.answer(ANN, here.notice(ANN), "")
        await here.quiet()
        assert subjects(here, OTTO) == ["News"]


async def test_the_genuine_post_goes_straight_on_and_replaces_a_forged_copy_that_waits(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        here.group(SAILING, [MIA, OTTO], owner=ANN)
        content = mail(MIA, SAILING, "Shall we sail?", "Regatta")

        # given that a forger was faster with the very same post
        assert "held until" in await here.hand_in(SAILING, content, FORGED)
        assert (await here.hand_in(SAILING, content, FORGED)).endswith("(known already)")
        question = await asked(here)

        # then the real one is not taken for a repeat
        assert "accepted as post 1" in await here.hand_in(SAILING, content, GENUINE)
        await here.quiet()
        assert subjects(here, OTTO) == ["Regatta"]
        assert here.held() == []
        # and her yes to the question brings no second copy, nor does any other copy
        await here.answer(MIA, question, "yes")
        for evidence in (FORGED, GENUINE, SILENT):
            assert (await here.hand_in(SAILING, content, evidence)).endswith("(known already)")
        await here.quiet()
        assert subjects(here, OTTO) == ["Regatta"]
        assert "post.replaced" in actions(here)


async def test_once_vouched_for_the_genuine_copy_is_a_repeat(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        here.group(SAILING, [MIA, OTTO], owner=ANN)
        content = mail(MIA, SAILING, "Shall we sail?", "Regatta")
        await here.hand_in(SAILING, content, FORGED)
        await here.answer(MIA, await asked(here), "")
        await here.quiet()
        assert (await here.hand_in(SAILING, content, GENUINE)).endswith("(known already)")
        await here.quiet()
        assert subjects(here, OTTO) == ["Regatta"]


async def test_a_copy_that_says_a_robot_sent_it_does_not_swallow_the_real_one(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        here.group(SAILING, [MIA, OTTO], owner=ANN)
        content = mail(MIA, SAILING, "Shall we sail?", "Regatta")
        for evidence in (FORGED, GENUINE):
            robot = b"Auto-Submitted: auto-generated\r\n" + content
            assert "does not distribute" in await here.hand_in(SAILING, robot, evidence)
        assert "accepted" in await here.hand_in(SAILING, content, GENUINE)


async def asked(here: House) -> bytes:
    await here.quiet()
    (question,) = here.inbox(MIA)
    return question


async def test_unknown_authors_are_believed_or_asked_as_the_operator_decides(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        here.group(SAILING, [MIA, OTTO], owner=ANN)
        assert "accepted" in await forged(here, evidence=SILENT)
    async with house(url, folder, smtp={"unknown_authors": "hold"}) as here:
        assert "held until" in await forged(here, "Another", evidence=SILENT)
        (held,) = here.held()
        assert held.reasons == (UNPROVEN,)
        assert "accepted" in await forged(here, "A third", evidence=GENUINE)


async def test_who_is_nobody_here_is_refused_or_held_and_never_written_to(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        here.group(SAILING, [OTTO], owner=ANN)
        here.group("open@lists.example", [OTTO], owner=ANN, posting="anyone")
        here.group("asking@lists.example", [OTTO], owner=ANN, strangers="hold")
        said = await forged(here)
        assert said.startswith("550 5.7.1")
        assert "sailing-subscribe@" in said
        said = await forged(here, to="open@lists.example")
        assert said.startswith("550 5.7.1")
        assert "SPF fails for x.example" in said
        assert "held for the admins" in await forged(here, to="asking@lists.example")
        assert here.world.messages.keys() == {ANN}
        assert "accepted" in await forged(here, to="open@lists.example", evidence=SILENT)


async def test_a_refuted_author_hears_nothing_of_refusals_and_decisions(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        here.group(SAILING, [MIA, OTTO], owner=ANN, strangers="hold", posting="owners")
        here.group(ROWING, [OTTO], owner=ANN)
        # one group holds it, the other refuses: the forger is told one thing, and Mia nothing
        said = await here.hand_in([SAILING, ROWING], mail(MIA, SAILING), FORGED)
        await here.quiet()
        assert said.startswith("250 2.0.0 accepted for 1 of 2")
        await here.answer(ANN, here.notice(ANN), "reject: no")
        await here.quiet()
        assert here.inbox(MIA) == []


async def test_who_is_named_by_many_posts_that_nothing_proves_hears_of_few(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        here.group(SAILING, [MIA, OTTO], owner=ANN, moderated=True)
        here.group(ROWING, [OTTO], owner=ANN)
        # one of them waits, the next is refused by one of two groups: one word of both
        for number in range(25):
            assert "held for the admins" in await forged(here, f"Buy {number}", evidence=SILENT)
        await here.hand_in([SAILING, ROWING], mail(MIA, SAILING), SILENT)
        await here.quiet()
        assert subjects(here, MIA) == ["[sailing] Waiting for an admin: Buy 0"]
        # nobody decides
        await here.later(days=14)
        expired = [each for each in subjects(here, MIA) if "Expired" in each]
        assert len(expired) == budgeting.FATE.burst < 25
        # what is proven to be hers she hears of in any case
        assert "held for the admins" in await forged(here, "Regatta", evidence=GENUINE)
        assert "Waiting for an admin: Regatta" in subjects(here, MIA)[-1]
        await here.later(days=14)
        assert "Expired: Regatta" in subjects(here, MIA)[-1]


async def test_who_never_wants_mail_hears_only_of_what_is_proven_to_be_hers(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        here.group(SAILING, [MIA, OTTO], owner=ANN, moderated=True)
        here.group(ROWING, [OTTO], owner=ANN)
        here.node.db.write_now(lambda tx: objecting.never_again(here.act(tx), MIA))
        assert "held for the admins" in await forged(here, evidence=SILENT)
        await here.answer(ANN, here.notice(ANN), "reject Not here")
        await here.hand_in([SAILING, ROWING], mail(MIA, SAILING, "Another"), SILENT)
        await here.quiet()
        await here.later(days=14)
        assert here.inbox(MIA) == []
        assert "held for the admins" in await forged(here, "Regatta", evidence=GENUINE)
        assert len(here.inbox(MIA)) == 1


async def test_a_forged_admin_decides_nothing_and_his_own_mailbox_is_asked_once(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        here.group(SAILING, [MIA, OTTO], owner=ANN, moderated=True)
        await here.post(MIA, SAILING, subject="Regatta")
        await here.quiet()
        notice = here.notice(ANN)
        to = str(read(notice)["Reply-To"])
        for _ in range(3):
            reply = await here.hand_in(to, mail(ANN, to, "approve", "Re: HELD"), FORGED)
            assert reply.startswith("250")
        await here.quiet()
        assert len(here.held()) == 1
        assert here.inbox(OTTO) == []
        assert [line["why"] for line in here.log() if line["action"] == "token.refused"] == ["unproven"] * 3
        (_, question) = here.inbox(ANN)
        assert "nothing proves that it was you" in " ".join(words(question).split())
        # his own mailbox says yes, and it is so
        await here.answer(ANN, question, "")
        await here.quiet()
        assert subjects(here, OTTO) == ["Regatta"]


async def test_a_forged_answer_to_a_summary_is_confirmed_as_a_whole_by_the_admins_own_mailbox(
    url: str, folder: Path
) -> None:
    async with house(url, folder) as here:
        here.group(SAILING, [MIA, OTTO], owner=ANN, moderated=True)
        await here.idle()  # no summary that was due at the start comes between the posts
        for number in range(1, 9):
            await here.post(MIA, SAILING, f"text {number}", f"Post {number}")
        await here.quiet()
        await here.later(seconds=30)
        to = str(read(here.notice(ANN))["Reply-To"])
        sent = len(here.inbox(ANN))
        for _ in range(3):
            await here.hand_in(to, mail(ANN, to, "approve 1-2\ndiscard 3", "Re: HELD"), FORGED)
        await here.quiet()
        assert len(here.held()) == 8
        assert len(here.inbox(ANN)) == sent + 1
        await here.answer(ANN, here.notice(ANN), "yes")
        await here.quiet()
        assert len(here.held()) == 5
        assert sorted(subjects(here, OTTO)) == ["Post 6", "Post 7"]
        assert "3 answers" in str(read(here.notice(ANN))["Subject"])


async def test_a_proven_admin_decides_at_once(url: str, folder: Path) -> None:
    async with house(url, folder, smtp={"unknown_authors": "hold"}) as here:
        here.group(SAILING, [MIA, OTTO], owner=ANN, moderated=True)
        await here.hand_in(SAILING, mail(MIA, SAILING, subject="Regatta"), GENUINE)
        await here.quiet()
        to = str(read(here.notice(ANN))["Reply-To"])
        await here.hand_in(to, mail(ANN, to, "approve", "Re: HELD"), replace(GENUINE, dmarc_policy=DmarcPolicy.NONE))
        await here.quiet()
        assert here.held() == []
        assert subjects(here, OTTO) == ["Regatta"]


async def test_two_forged_posts_at_once_are_one_mail(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        here.group(SAILING, [MIA, OTTO], owner=ANN)
        await asyncio.gather(
            *(here.hand_in(SAILING, mail(MIA, SAILING, f"text {n}", f"Offer {n}"), FORGED) for n in range(8))
        )
        await here.quiet()
        assert len(here.held()) == 8
        assert len(here.inbox(MIA)) == 1
        assert here.node.db.read_now(count, schema.tokens, action="vouch") == 1


async def test_with_real_records_the_forger_is_stopped_and_the_member_is_not(url: str, folder: Path) -> None:
    with nameserver() as dns:
        dns.zone('m.example TXT "v=spf1 ip4:127.0.0.1 -all"\n_dmarc.m.example TXT "v=DMARC1; p=reject"')
        async with house(url, folder, dns=dns) as here:
            here.group(SAILING, [MIA, OTTO], owner=ANN, title="Sailing", footer="Fair winds")
            here.group(ROWING, [MIA, OTTO], owner=ANN)

            # from her own server it goes on, in the group's name where the group changes it
            assert "accepted" in await here.post(MIA, SAILING, "one", "One")
            # by another way, too, where her domain has signed it, and then it stays hers
            sealed = signed(mail(MIA, ROWING, "two", "Two"), "m.example", dns)
            assert "accepted" in await here.send("x@x.example", ROWING, sealed, ip="127.0.0.2")
            # unsigned from elsewhere it waits for her
            assert "held until" in await here.post(MIA, ROWING, "three", "Three", ip="127.0.0.2")
            await here.quiet()
            assert [str(read(copy)["From"]) for copy in here.inbox(OTTO)] == [f"mia via Sailing <{SAILING}>", MIA]

            # her yes may come by any way: who has the token has her mailbox
            (question,) = questions(here)
            to = str(read(question)["Reply-To"])
            await here.post(MIA, to, "yes", "Re: Was this you?", ip="127.0.0.2")
            await here.quiet()
            # and as her domain does not vouch for it, it goes out in the group's name
            assert str(read(here.notice(OTTO))["From"]) == f"mia via rowing <{ROWING}>"
            assert str(read(here.notice(OTTO))["Reply-To"]) == MIA


async def test_never_is_no_yes_and_ends_the_questions_whose_post_it_is(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        here.group(SAILING, [MIA, OTTO], owner=ANN)
        await forged(here)
        # it was his mail of the day: who asks for something else in his name waits
        await here.hand_in("sailing-unsubscribe@lists.example", mail(MIA, "sailing-unsubscribe@lists.example"), SILENT)
        await here.quiet()
        assert len(here.inbox(MIA)) == 1
        await here.answer(MIA, here.notice(MIA), "Never write to me again")
        await here.quiet()
        assert here.held() == []
        assert here.inbox(OTTO) == []
        await here.later(days=30)
        await forged(here, "Once more")
        assert len(questions(here)) == 1


async def test_never_counts_when_its_question_is_long_over(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        here.group(SAILING, [MIA, OTTO], owner=ANN)
        await forged(here)
        (question,) = questions(here)
        await here.later(days=20)
        await here.answer(MIA, question, "Never write to me again")
        await here.quiet()
        await forged(here, "Once more")
        assert questions(here) == [question]
        assert here.inbox(OTTO) == []


async def test_a_tap_on_the_page_says_whose_post_it_is(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        here.group(SAILING, [MIA, OTTO], owner=ANN)
        await forged(here, "Regatta")
        link = re.search(r"/confirm/([a-z2-7]{26})", words(here.notice(MIA)))
        assert link is not None
        site, now = here.node.site, here.clock()
        question = here.node.db.read_now(confirm.find, site, link[1], now)
        assert question is not None
        assert [wish.action for wish in question.wishes] == ["vouch"]
        here.node.db.write_now(confirm.answer, site, question.token, Consent.YES, Answer(), now, "192.0.2.1")
        await here.quiet()
        assert subjects(here, OTTO) == ["Regatta"]
