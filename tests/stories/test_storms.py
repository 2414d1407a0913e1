"""Machines that answer whatever they get, and do not say so: what they send each other ends by itself, and soon."""

import asyncio
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from listserv.model.envelope import Evidence, Proof
from listserv.model.group import Mode
from listserv.store import accounts
from tests.kit.house import House, house, mail, read, words

ANN, BEN = "ann@a.example", "ben@b.example"  # admins
NINA, NORA = "nina@n.example", "nora@n.example"  # away, and their responders are naive
MIA = "mia@m.example"
WALKERS = "walkers@lists.example"
RUNNERS = "runners@lists.example"
FAST = "it came too fast after other answers of its author"
FORGED, GENUINE = Evidence(Proof.REFUTED), Evidence(Proof.PROVEN)
ROUNDS = 40  # far beyond what a storm may have


async def storm(
    here: House, responders: Sequence[str], subject: str = "Re: {}", rounds: int = ROUNDS, already: int = 0
) -> int:
    """How many rounds it took until nobody got anything more: each answers each mail, where Reply-To or From says."""
    read_already = dict.fromkeys(responders, already)
    for number in range(rounds):
        await here.idle()
        answered = False
        for person in responders:
            fresh = here.inbox(person)[read_already[person] :]
            read_already[person] += len(fresh)
            for copy in fresh:
                await here.post(
                    person,
                    _whereto(copy),
                    "I am hiking.",
                    subject.format(read(copy)["Subject"]),
                    In_Reply_To=str(read(copy)["Message-ID"]),
                )
                answered = True
        if not answered:
            return number
    return rounds


def _whereto(copy: bytes) -> str:
    said = read(copy)
    found = re.search(r"[^\s<>]+@[^\s<>]+", str(said["Reply-To"] or said["From"]))
    assert found
    return found[0]


@pytest.mark.parametrize("subject", ["Re: {}", "Hills: {}", "Gone hiking"])
async def test_a_naive_responder_ends_after_eight_copies_and_the_admins_are_told_why(
    url: str, folder: Path, subject: str
) -> None:
    async with house(url, folder) as here:
        # given a group whose replies go to all, and a member with a responder that says nothing of itself
        group = here.group(WALKERS, [NINA, MIA], owner=ANN, reply_to="group", subject_tag="[walk]")
        here.admin(group, BEN)
        # when somebody posts
        await here.post(MIA, WALKERS, subject="A walk")
        rounds = await storm(here, [NINA], subject)
        # then it ends, as does what it answers to our notice
        assert rounds == 10
        assert len(here.inbox(MIA)) == 1 + 8
        assert [hold.reasons for hold in here.held()] == [(f"{FAST} with this subject, 8 in 10 minutes",)]
        assert len(here.inbox(NINA)) == 1 + 8 + 1
        assert "8 in 10 minutes" in words(here.notice(NINA))
        for admin in (ANN, BEN):
            notice, forwarded = here.inbox(admin)
            assert "with this subject, 8 in 10 minutes" in " ".join(words(notice).split())
            assert "hiking" in forwarded.decode()
        # and an admin may let it through all the same
        await here.answer(ANN, here.inbox(ANN)[0], "approve")
        await here.quiet()
        assert len(here.inbox(MIA)) == 1 + 9


async def test_two_naive_responders_end_after_eight_copies_of_each(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        here.group(WALKERS, [NINA, NORA, MIA], owner=ANN, reply_to="group")
        await here.post(MIA, WALKERS, subject="A walk")
        rounds = await storm(here, [NINA, NORA], rounds=6)
        assert rounds < 6  # the next would have had 93 posts
        assert len(here.inbox(MIA)) == 1 + 8 + 8
        assert len(here.inbox(NINA)) == len(here.inbox(NORA)) == 1 + 8 + 8 + 1
        assert len(here.inbox(ANN)) <= 5 + 1 + 2  # notices, a summary, and what they answered to ours


async def test_an_admins_own_responder_ends_as_well(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        # given an admin who gets the posts, and is away
        group = here.group(WALKERS, [MIA], owner=ANN, reply_to="group", pace=1)
        here.admin(group, NINA)
        member = here.member(group, NINA)
        assert member is not None
        here.node.db.write_now(lambda tx: accounts.change(tx, member.subscription_id, mode=Mode.EACH.value))
        # when what her responder answers is held, and she is asked about it
        await here.post(MIA, WALKERS, subject="A walk")
        rounds = await storm(here, [NINA])
        # then what it says to that is answered twice
        said = Counter(str(read(copy)["Subject"]).partition(":")[0] for copy in here.inbox(NINA))
        assert rounds < 10
        assert said["[walkers] Not understood"] == 2
        assert len(here.held()) == 1


async def test_a_responder_that_answers_a_summary_ends_as_well(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        here.group(WALKERS, [MIA], owner=NINA, pace=1)
        await here.idle()
        for number in range(9):
            await here.post(MIA, WALKERS, subject=f"Re: post {number}")
        await here.later(seconds=30)
        summary = here.notice(NINA)
        before = len(here.inbox(NINA))
        rounds = await storm(here, [NINA], already=before - 1)
        assert rounds == 3
        assert len(here.inbox(NINA)) == before + 2
        await here.answer(NINA, summary, "discard all")
        await here.quiet()
        assert len(here.held()) == 5


async def test_who_comes_back_from_a_flight_is_not_held(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        here.group(WALKERS, [NINA, MIA])
        letters = [mail(NINA, WALKERS, f"text {n}", f"Re: thread {n % 3}") for n in range(20)]
        said = await asyncio.gather(*(here.send(NINA, WALKERS, each) for each in letters))
        assert {reply.partition(" as ")[0] for reply in said} == {"250 2.0.0 accepted"}


async def test_too_many_at_once_are_held_whatever_they_are_about_and_later_ones_pass(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        here.group(WALKERS, [NINA, MIA])
        here.group(RUNNERS, [NINA, MIA], pace=0)
        letters = [mail(NINA, WALKERS, f"text {n}", f"Re: post {n}") for n in range(30)]
        said = await asyncio.gather(*(here.send(NINA, WALKERS, each) for each in letters))
        assert sum("accepted" in reply for reply in said) == 24
        assert {hold.reasons for hold in here.held()} == {(f"{FAST}, 24 in 10 minutes",)}
        # what waits counts as well: while it goes on, so does this
        await here.later(minutes=9, seconds=55)
        assert "held" in await here.post(NINA, WALKERS, subject="Re: another")
        # nobody else is held, nor in a group that wants no limit, nor when it is over
        assert "accepted" in await here.post(MIA, WALKERS, subject="Re: it")
        for _ in range(9):
            assert "accepted" in await here.post(NINA, RUNNERS, subject="Re: it")
        assert "accepted" in await here.post(NINA, WALKERS, subject="something new")
        await here.later(minutes=10)
        assert "accepted" in await here.post(NINA, WALKERS, subject="Re: it")


async def test_what_others_send_in_somebodys_name_uses_up_nothing(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        here.group(WALKERS, [NINA, MIA], pace=3)
        for n in range(5):
            assert "held until" in await here.hand_in(WALKERS, mail(NINA, WALKERS, f"buy {n}", "Re: it"), FORGED)
        assert "accepted" in await here.hand_in(WALKERS, mail(NINA, WALKERS, subject="Re: it"), GENUINE)


async def test_a_long_storm_is_few_mails_to_an_admin(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        here.group(WALKERS, [NINA, MIA], owner=ANN, pace=1)
        await here.idle()
        for number in range(40):
            await here.post(NINA, WALKERS, subject=f"Re: post {number}")
            await here.later(seconds=15)
        await here.later(minutes=5)
        assert len(here.held()) == 39
        assert 5 < len(here.inbox(ANN)) <= 5 + 7
        assert "Subject:  Re: post 39" in words(here.notice(ANN))
