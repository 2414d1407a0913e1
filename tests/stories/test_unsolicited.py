"""Nothing unsolicited: bombs, responders and machines that answer each other (RELIABILITY T17, T18, T20, T21)."""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from listserv.flows import governing, reading, receiving
from listserv.flows.governing import Added, Refused
from listserv.model.address import parse
from listserv.model.envelope import Envelope, Evidence, Peer, Proof, Reply
from listserv.store import requests
from listserv.store.db import Tx
from tests.kit import responders
from tests.kit.house import House, house, mail, read, words

VICTIM = "victim@v.example"
NINA = "nina@n.example"
WALKERS = "walkers@lists.example"
TOGETHER = 500  # requests in one transaction, as the group commit of a busy server makes them


def group_names(count: int) -> list[str]:
    return [f"group{number:02}@lists.example" for number in range(count)]


def bomb(
    here: House, names: Sequence[str], count: int, author: str = VICTIM, proof: Proof = Proof.UNKNOWN
) -> list[str]:
    """So many requests to join in turn, from as many networks and domains as it takes: the codes of the answers."""
    doors = [name.replace("@", "-subscribe@") for name in names]
    envelope = Envelope("bot@d.example", (), Peer("10.0.0.1", "bot.example"), here.clock())
    plain = {door: reading.read(mail(author, door), envelope, "lists.example") for door in doors}

    def some(tx: Tx, numbers: range) -> list[str]:
        said = []
        for number in numbers:
            door = doors[number % len(doors)]
            peer = Peer(f"10.{number // 2500 % 250}.{number // 10 % 250}.7", "bot.example")
            sender = f"bot@d{number // 90}.example"
            envelope = Envelope(sender, (door,), peer, here.clock(), evidence=Evidence(proof))
            read_ = replace(plain[door], mail_from=sender)
            said.append(str(receiving.take(tx, here.node.site, envelope, read_)[0])[:3])
        return said

    answers: list[str] = []
    for at in range(0, count, TOGETHER):
        answers += here.node.db.write_now(some, range(at, min(count, at + TOGETHER)))
    return answers


async def test_thousands_of_requests_that_name_one_victim_make_one_mail(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        names = group_names(100)
        for name in names:
            here.group(name)
        # the bomb, and a smaller one on each of the following days
        answers = bomb(here, names, 3_000 if url.startswith("sqlite") else 600)
        assert set(answers) == {"250", "450"}
        for _ in range(3):
            await here.later(days=1)
            bomb(here, names, 100)
        await here.quiet()
        assert here.world.count == 1
        question = here.notice(VICTIM)
        assert str(read(question)["Subject"]) == "Please confirm: join group00?"
        assert len(here.node.db.read_now(requests.open_of, VICTIM)) <= 1 + 20, "what waits is bounded, too"

        # his one word ends it for good
        assert (await here.answer(VICTIM, question, "never")).startswith("250")
        for days in (1, 40, 400):
            await here.later(days=days)
            assert set(bomb(here, names, 100)) <= {"250", "450"}
        await here.quiet()
        assert here.world.count == 1
        assert here.node.db.read_now(requests.open_of, VICTIM) == []


@pytest.mark.parametrize("word", ["no", "Never write to me again!", "Schreibt mir nie wieder", ""])
async def test_one_word_stops_it_for_ever_and_so_does_silence_for_a_month(url: str, folder: Path, word: str) -> None:
    async with house(url, folder) as here:
        names = group_names(5)
        for name in names:
            here.group(name)
        bomb(here, names, 50)
        await here.quiet()
        if word:
            await here.answer(VICTIM, here.notice(VICTIM), word)
        for _ in range(5):
            await here.later(days=7)
            bomb(here, names, 10)
        await here.quiet()
        assert here.world.count == 1
        await here.later(days=3)
        bomb(here, names, 10)
        await here.quiet()
        assert here.world.count == (1 if word else 2)


async def test_what_is_asked_later_joins_the_next_mail_and_only_after_a_yes(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        groups = [here.group(name) for name in group_names(4)]
        bomb(here, [group.address for group in groups[:3]], 3, NINA)
        await here.quiet()
        assert here.world.count == 1
        await here.answer(NINA, here.notice(NINA), "")
        await here.quiet()
        assert [here.members(group) == [NINA] for group in groups] == [True, False, False, False], "only what it named"
        await here.later(hours=23)
        assert here.world.count == 2, "the question and the welcome"
        await here.later(hours=2)
        assert here.world.count == 3
        second = here.notice(NINA)
        assert "group01@lists.example" in words(second)
        assert "group02@lists.example" in words(second)
        # asked for after it had left: not in what it confirms
        bomb(here, [groups[3].address], 1, NINA)
        await here.answer(NINA, second, "ok")
        assert [here.members(group) == [NINA] for group in groups] == [True, True, True, False]


async def test_a_proven_author_is_asked_at_once_for_each(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        groups = [here.group(name) for name in group_names(3)]
        bomb(here, [groups[0].address], 1, NINA)
        await here.quiet()
        await here.answer(NINA, here.notice(NINA), "never")
        bomb(here, [group.address for group in groups], 3, NINA, Proof.PROVEN)
        await here.quiet()
        assert here.world.count == 1 + 3
        # a yes to what she asked for herself takes the objection back
        for question in here.inbox(NINA)[1:4]:
            await here.answer(NINA, question, "yes")
        assert all(here.members(group) == [NINA] for group in groups)
        other = here.group("other@lists.example")
        await here.later(days=2)
        bomb(here, [other.address], 1, NINA)
        await here.quiet()
        assert "other" in str(read(here.notice(NINA))["Subject"])


async def test_a_member_is_not_told_a_hundred_times_that_he_is_one(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        names = group_names(10)
        for name in names:
            here.group(name, [VICTIM])
        bomb(here, names, 50)
        await here.quiet()
        assert here.world.count == 1
        assert "already" in str(read(here.notice(VICTIM))["Subject"])
        # whoever proves that it is he who asks is told, in each group once a day
        bomb(here, names[:3], 6, proof=Proof.PROVEN)
        await here.quiet()
        assert here.world.count == 4


async def test_who_never_wants_mail_cannot_be_added_or_invited(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        group = here.group(WALKERS)
        nina = parse(NINA)
        assert nina is not None
        bomb(here, [WALKERS], 1, NINA)
        await here.quiet()
        await here.answer(NINA, here.notice(NINA), "never")

        def add(tx: Tx, confirmed: bool) -> Added:
            return governing.add(here.act(tx), group, nina, confirmed=confirmed)

        for confirmed in (True, False):
            done = here.node.db.write_now(add, confirmed)
            assert isinstance(done, Refused)
            assert "never wants to be written to again" in done.why[0]


async def test_a_hundred_responders_confirm_nothing_and_get_no_answer(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        group = here.group(WALKERS)
        bomb(here, [WALKERS], 1, NINA)
        await here.quiet()
        question = here.notice(NINA)
        door, id = str(read(question)["Reply-To"]), str(read(question)["Message-ID"])
        robots = list(responders.all_of_them(str(read(question)["Subject"]), id))
        assert len(robots) >= 100

        def come(tx: Tx) -> list[Reply]:
            replies = []
            for sender, content in robots:
                envelope = Envelope(sender, (door,), Peer("192.0.2.9", "mx.n.example"), here.clock())
                read_ = reading.read(content, envelope, "lists.example")
                replies += receiving.take(tx, here.node.site, envelope, read_)
            return replies

        assert all(reply.positive for reply in here.node.db.write_now(come))
        await here.quiet()
        assert here.members(group) == []
        assert here.world.count == 1
        # but Nina does, on the same token
        await here.answer(NINA, question, "Yes, please. I was on a boat.")
        assert here.members(group) == [NINA]


async def test_the_same_token_works_once_whoever_comes_at_once(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        group = here.group(WALKERS)
        bomb(here, [WALKERS], 1, NINA)
        await here.quiet()
        question = here.notice(NINA)
        await asyncio.gather(*(here.answer(NINA, question, f"yes {number}") for number in range(10)))
        await here.quiet()
        assert here.members(group) == [NINA]
        subjects = [str(read(copy)["Subject"]) for copy in here.inbox(NINA)]
        assert sorted(subjects) == sorted(
            ["Please confirm: join walkers?", "Welcome to walkers", "[walkers] Done already"]
        )


@pytest.mark.parametrize(("late", "joined"), [(-1, True), (1, False)])
async def test_a_question_is_open_to_the_second(url: str, folder: Path, late: int, joined: bool) -> None:
    async with house(url, folder) as here:
        group = here.group(WALKERS)
        at = here.clock()

        def ask(tx: Tx) -> None:
            envelope = Envelope(NINA, ("walkers-subscribe@lists.example",), Peer("192.0.2.1", "x.example"), at)
            read_ = reading.read(mail(NINA, envelope.rcpt_to[0]), envelope, "lists.example")
            assert receiving.take(tx, here.node.site, envelope, read_)[0].positive

        here.node.db.write_now(ask)
        await here.quiet()
        door = str(read(here.notice(NINA))["Reply-To"])

        def answer(tx: Tx) -> None:
            when = at + timedelta(days=7, seconds=late)
            envelope = Envelope(NINA, (door,), Peer("192.0.2.1", "x.example"), when)
            receiving.take(tx, here.node.site, envelope, reading.read(mail(NINA, door), envelope, "lists.example"))

        here.node.db.write_now(answer)
        assert (here.members(group) == [NINA]) == joined


async def test_a_token_opens_no_other_door_and_one_wrong_letter_opens_none(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        group = here.group(WALKERS)
        other = here.group("sailors@lists.example")
        bomb(here, [WALKERS], 1, NINA)
        await here.quiet()
        door = str(read(here.notice(NINA))["Reply-To"])
        assert (await here.post(NINA, door.replace("walkers", "sailors"))).startswith("550 5.1.1")
        for at in range(26):
            start = door.index("+") + 1 + at
            wrong = door[:start] + ("a" if door[start] != "a" else "b") + door[start + 1 :]
            said = await here.post(NINA, wrong)
            assert said.startswith("550 5.1.1" if at < 20 else "450 4.7.1"), at
        assert here.members(group) == here.members(other) == []
        # after ten minutes the right one works from there, too
        assert (await here.post(NINA, door)).startswith("450 4.7.1")
        await here.later(minutes=11)
        assert (await here.post(NINA, door)).startswith("250")
        assert here.members(group) == [NINA]


async def test_a_network_that_asks_too_much_is_asked_to_come_back(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        here.group(WALKERS)
        said = [
            await here.post(f"p{number}@d{number}.example", "walkers-subscribe@lists.example") for number in range(25)
        ]
        assert [reply[:9] for reply in said] == ["250 2.0.0"] * 20 + ["450 4.7.1"] * 5
        await here.quiet()
        assert here.world.count == 20
        await here.later(minutes=13)
        assert (await here.post(NINA, "walkers-subscribe@lists.example")).startswith("250")


async def test_a_question_is_marked_as_rfc_3834_wants(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        here.group(WALKERS)
        await here.post(NINA, "walkers-subscribe@lists.example", Message_ID="<ask@n.example>")
        await here.quiet()
        assert [(each.mail_from, each.rcpt_to) for each in here.world.envelopes] == [("", [NINA])]
        said = read(here.notice(NINA))
        assert said["Auto-Submitted"] == "auto-replied"
        assert said["In-Reply-To"] == "<ask@n.example>"
        assert "<ask@n.example>" in str(said["References"])
        assert re.match(r"walkers-confirm\+[a-z2-7]{26}@", str(said["Reply-To"]))
