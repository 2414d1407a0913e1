"""Out and back in: what somebody had is there again, and who gets no posts can have them."""

import re
from pathlib import Path
from typing import Any

import pytest

from listserv.flows import governing, reading, receiving
from listserv.model.address import parse
from listserv.model.envelope import Envelope, Evidence, Peer, Proof, Reply
from listserv.model.group import DeliveryStyle, Group, Mode, Role
from listserv.store import accounts
from listserv.store.db import Tx
from tests.kit import responders
from tests.kit.house import House, house, mail, read, words

ADA = "ada@a.example"
BOB = "bob@b.example"
OWNER = "owner@o.example"
WALKERS = "walkers@lists.example"


def set_member(here: House, group: Group, name: str, **pairs: str) -> None:
    address = parse(name)
    assert address is not None
    done = here.node.db.write_now(
        lambda tx: governing.alter(
            here.act(tx),
            group,
            address,
            list(pairs.items()),
        )
    )
    assert not isinstance(done, governing.Refused), done


def place(here: House, group: Group, name: str) -> tuple[Mode, Role, bool] | None:
    member = here.member(group, name)
    return (member.mode, member.role, member.moderated) if member else None


def leave_door(copy: bytes) -> str:
    return str(read(copy)["List-Unsubscribe"]).rpartition("mailto:")[2].rstrip(">").replace("%2B", "+")


SETTINGS = {
    "m1@a.example": {},
    "m2@a.example": {"moderated": "yes"},
    "m3@a.example": {"mode": "none"},
    "m4@a.example": {"mode": "none", "moderated": "yes"},
}


@pytest.mark.parametrize("delivery", [DeliveryStyle.PERSONAL, DeliveryStyle.VERP])
async def test_who_comes_back_by_the_undo_has_the_settings_there_were(
    url: str, folder: Path, delivery: DeliveryStyle
) -> None:
    async with house(url, folder) as here:
        # given people with settings of their own, who leave: by their own link, or by the answer to a question
        group = here.group(WALKERS, [ADA, *SETTINGS], delivery=delivery)
        await here.post(ADA, WALKERS)
        await here.quiet()
        for name, pairs in SETTINGS.items():
            set_member(here, group, name, **pairs)
        before = {name: place(here, group, name) for name in SETTINGS}
        assert len(set(before.values())) == len(SETTINGS)
        for name in SETTINGS:
            if delivery is DeliveryStyle.PERSONAL:
                await here.post(name, leave_door(here.notice(name)))
            else:
                await here.post(name, "walkers-unsubscribe@lists.example")
                await here.quiet()
                await here.answer(name, here.notice(name), "")
        await here.quiet()
        assert {place(here, group, name) for name in SETTINGS} == {None}

        # when they answer the farewell, and once more
        farewells = {name: here.notice(name) for name in SETTINGS}
        for name, farewell in [*farewells.items()] * 2:
            await here.answer(name, farewell, "")
        await here.quiet()

        # then all is as it was
        assert {name: place(here, group, name) for name in SETTINGS} == before
        assert [line["action"] for line in here.log()].count("member.returned") == len(SETTINGS)


async def test_an_admin_who_leaves_keeps_the_role_and_has_the_posts_again_by_the_undo(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        group = here.group(WALKERS, [ADA, OWNER])
        await here.post(ADA, WALKERS)
        await here.quiet()
        await here.post(OWNER, leave_door(here.notice(OWNER)))
        await here.quiet()
        assert place(here, group, OWNER) == (Mode.NONE, Role.OWNER, False)
        await here.answer(OWNER, here.notice(OWNER), "")
        await here.quiet()
        assert place(here, group, OWNER) == (Mode.EACH, Role.OWNER, False)


async def test_a_member_without_posts_who_asks_to_join_gets_them(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        group = here.group(WALKERS, [ADA, BOB])
        set_member(here, group, BOB, mode="none", moderated="yes")
        await here.post(BOB, "walkers-subscribe@lists.example")
        await here.quiet()
        await here.answer(BOB, here.notice(BOB), "")
        await here.quiet()
        assert place(here, group, BOB) == (Mode.EACH, Role.MEMBER, True)
        await here.post(ADA, WALKERS)
        await here.quiet()
        assert read(here.notice(BOB))["Subject"] == "A walk"


async def test_a_group_has_its_own_words_for_who_comes_and_who_goes(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        said = "Ahoy {{ name }}!\nBe kind.\n\nno <b>shouting</b>"
        group = here.group(WALKERS, welcome=said, farewell="Fair winds.")
        await here.post(ADA, "walkers-subscribe@lists.example")
        await here.quiet()
        await here.answer(ADA, here.notice(ADA), "Yes please!\nName: Ada L.\nregion: Kent\nCountry: England")
        await here.quiet()
        welcome = words(here.notice(ADA))
        for line in ("    Ahoy {{ name }}!", "    Be kind.", "    no <b>shouting</b>"):
            assert line in welcome.splitlines()
        member = here.member(group, ADA)
        assert member is not None
        assert member.name == "Ada L."
        mailbox = here.node.db.read_now(accounts.mailbox, ADA)
        assert mailbox is not None
        about = here.node.db.read_now(accounts.account, mailbox.account_id)
        assert (about.name, about.region, about.country) == ("Ada L.", "Kent", "England")
        door = re.search(r"walkers-unsubscribe\+[a-z2-7]+@lists\.example", welcome)
        assert door is not None
        await here.post(ADA, door[0])
        await here.quiet()
        assert "    Fair winds." in words(here.notice(ADA)).splitlines()
        # the farewell, quoted without a mark, is no refusal: the mere reply brings her back
        await here.post(ADA, str(read(here.notice(ADA))["Reply-To"]), "\n".join(words(here.notice(ADA)).splitlines()))
        await here.quiet()
        assert here.members(group) == [ADA]


def proven(here: House, author: str, to: str, proof: Proof = Proof.PROVEN, why: str = "", **peer: Any) -> Reply:
    """A message whose author has been looked into, taken at the door behind the wire."""
    envelope = Envelope(
        author, (to,), Peer("192.0.2.1", "out.example", **peer), here.clock(), evidence=Evidence(proof, why=(why,))
    )
    return here.node.db.write_now(
        receiving.take, here.node.site, envelope, reading.read(mail(author, to), envelope, "lists.example")
    )[0]


async def test_a_proven_leave_is_at_once_and_can_be_undone(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        group = here.group(WALKERS, [ADA, BOB])
        assert proven(here, ADA, "walkers-unsubscribe@lists.example").positive
        assert here.members(group) == [BOB]
        await here.quiet()
        assert "left" in str(read(here.notice(ADA))["Subject"])
        await here.answer(ADA, here.notice(ADA), "")
        assert sorted(here.members(group)) == [ADA, BOB]
        # of a stranger nothing is made, however proven
        assert proven(here, "eve@e.example", "walkers-unsubscribe@lists.example").positive
        await here.quiet()
        assert here.inbox("eve@e.example") == []


async def test_a_responder_of_hers_neither_joins_nor_leaves_in_her_name(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        group = here.group(WALKERS, [ADA])
        subscribe, unsubscribe = "walkers-subscribe@lists.example", "walkers-unsubscribe@lists.example"
        robots = list(responders.all_of_them("Welcome to Walkers", "<welcome.1@lists.example>"))
        assert len(robots) >= 100

        def come(tx: Tx, author: str, to: str) -> None:
            name = author.encode()
            for sender, content in robots:
                proof = Evidence(Proof.PROVEN)  # as it is: her own server sends them
                mail_from = sender.replace("nina@n.example", author)
                envelope = Envelope(mail_from, (to,), Peer("192.0.2.9", "mx.a.example"), here.clock(), evidence=proof)
                said = reading.read(content.replace(b"nina@n.example", name), envelope, "lists.example")
                assert all(reply.positive for reply in receiving.take(tx, here.node.site, envelope, said))

        here.node.db.write_now(come, ADA, unsubscribe)
        here.node.db.write_now(come, BOB, subscribe)
        here.node.db.write_now(come, ADA, "walkers-nomail@lists.example")
        # nor by the address that leaves without a question, but for what her own program sent there
        tag = here.node.site.tags.leave(group.id, here.member(group, ADA).mailbox_id)  # type: ignore[union-attr]
        at_once = f"walkers-unsubscribe+{tag}@lists.example"
        for marks in ("auto-replied", "auto-replied (vacation)"):
            assert (await here.post(ADA, at_once, Auto_Submitted=marks)).startswith("250")
        assert (await here.send("", at_once, mail(ADA, at_once))).startswith("250")
        await here.quiet()
        assert here.members(group) == [ADA]
        assert here.world.count == 0
        # while she leaves, whatever she answers to
        assert (await here.post(ADA, at_once, Auto_Submitted="auto-generated")).startswith("250")
        assert here.members(group) == []


async def test_who_goes_on_vacation_may_say_so_as_she_leaves(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        group = here.group(WALKERS, [ADA])
        away = mail(ADA, "walkers-unsubscribe@lists.example", "I am on vacation until May.", "Goodbye")
        await here.hand_in("walkers-unsubscribe@lists.example", away, Evidence(Proof.PROVEN))
        assert here.members(group) == []


async def test_a_refuted_author_neither_joins_nor_leaves_and_nobody_is_asked(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        group = here.group(WALKERS, [ADA])
        for door in ("subscribe", "unsubscribe"):
            author = ADA if door == "unsubscribe" else BOB
            said = proven(here, author, f"walkers-{door}@lists.example", Proof.REFUTED, "SPF fails for b.example")
            assert str(said).startswith("550 5.7.1")
            assert "SPF fails for b.example" in said.text
            # a peer that we trust would make a bounce of it
            said = proven(here, author, f"walkers-{door}@lists.example", Proof.REFUTED, "SPF fails", trusted=True)
            assert str(said).startswith("250")
        await here.quiet()
        assert here.world.messages == {}
        assert here.members(group) == [ADA]
        assert [(line["action"], line["why"]) for line in here.log()] == [("mail.ignored", "refuted")] * 2


async def test_nobody_is_kept_in_a_group_by_a_no(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        group = here.group(WALKERS, [ADA])
        await here.post(ADA, "walkers-unsubscribe@lists.example")
        await here.quiet()
        await here.answer(ADA, here.notice(ADA), "no, I stay")
        said = await here.post(ADA, "walkers-unsubscribe@lists.example")
        assert said.startswith("250 2.0.0 received")
        assert "List-Unsubscribe" in said
        assert "walkers-owner@lists.example" in said
        await here.later(days=31)
        assert (await here.post(ADA, "walkers-unsubscribe@lists.example")).startswith("250")
        await here.quiet()
        await here.answer(ADA, here.notice(ADA), "yes")
        assert here.members(group) == []
