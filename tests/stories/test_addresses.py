"""Several mailboxes of one person: added, removed, changed, taken back; and all open rights ended."""

from pathlib import Path

from sqlalchemy import func, select

from listserv.model.account import Member
from listserv.model.envelope import Evidence, Proof
from listserv.model.group import Role
from listserv.store import accounts, groups, schema
from tests.kit.house import House, house, mail, read, words

ADA = "ada@a.example"
WORK = "ada@work.example"
HOME = "ada@home.example"
BOB = "bob@b.example"
EVE = "eve@e.example"
WALKERS = "walkers@lists.example"
SAILING = "sailing@lists.example"
LISTSERV = "listserv@lists.example"

GENUINE = Evidence(Proof.PROVEN)


async def say(here: House, text: str, author: str = ADA) -> str:
    reply = await here.hand_in(LISTSERV, mail(author, LISTSERV, text, ""), GENUINE)
    await here.quiet()
    return reply


async def agree(here: House, address: str, number: int = -1) -> bytes:
    """The mail that is answered with nothing but its quote."""
    asked = here.inbox(address)[number]
    await here.answer(address, asked, "")
    await here.quiet()
    return asked


def told(here: House, address: str) -> str:
    return " ".join(words(here.notice(address)).split())


def place(here: House, address: str, group: str = WALKERS) -> Member | None:
    known = here.node.db.read_now(groups.find, group)
    assert known is not None
    return here.member(known, address)


def subjects(here: House, address: str) -> list[str]:
    return [str(read(each)["Subject"]) for each in here.inbox(address)]


async def test_a_second_mailbox_acts_when_both_have_said_so(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        group = here.group(WALKERS, [ADA, BOB])
        assert (await here.post(WORK, WALKERS)).startswith("550")
        # when Ada wants it and its owner agrees
        await say(here, f"address add {WORK}")
        assert f"A question is on its way to {WORK}" in told(here, ADA)
        assert ADA in told(here, WORK)
        assert (await here.post(WORK, WALKERS)).startswith("550")
        await agree(here, WORK)
        assert f"{WORK} belongs to your account now" in subjects(here, ADA)
        # then it posts, commands and leaves as she does, and her copies go where they went
        assert (await here.post(WORK, WALKERS)).startswith("250")
        await here.quiet()
        assert read(here.notice(ADA))["Subject"] == "A walk"
        await say(here, "which", WORK)
        assert f"Your mailboxes: {ADA}, {WORK}." in told(here, WORK)
        await say(here, "unsubscribe walkers", WORK)
        assert here.members(group) == [BOB]
        assert "You have left walkers" in subjects(here, ADA)


async def test_a_mailbox_that_has_not_agreed_is_nobodys(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        here.group(WALKERS, [ADA, BOB])
        # Eve, first as nobody we know, wants Bob's mailbox many times
        await say(here, f"address add {BOB}", EVE)
        assert here.inbox(BOB) == []
        here.group(SAILING, [EVE])
        for _ in range(4):
            await say(here, f"address add {BOB}", EVE)
            await say(here, f"address change {BOB}", EVE)
        assert len(here.inbox(BOB)) == 1
        await here.answer(BOB, here.notice(BOB), "no")
        await here.quiet()
        await say(here, "unsubscribe walkers", EVE)
        found = place(here, BOB)
        assert found is not None
        assert found.address == BOB


async def test_two_accounts_become_one_and_each_group_has_him_once(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        walkers, sailing = here.group(WALKERS, [ADA]), here.group(SAILING, [WORK])
        await here.later(minutes=1)
        here.node.db.write_now(lambda tx: accounts.subscribe(tx, walkers.id, mailbox(tx, WORK), here.clock(), "later"))
        here.node.db.write_now(
            lambda tx: accounts.change(tx, accounts.member(tx, walkers.id, WORK).subscription_id, role="owner")  # type: ignore[union-attr]
        )
        await say(here, "set name Ada at home")
        await say(here, "set name Ada at work\nset country UK", WORK)
        await say(here, f"address add {WORK}")
        await agree(here, WORK)
        assert here.members(walkers) == [ADA]
        assert here.members(sailing) == [WORK]
        kept = place(here, WORK)
        assert kept is not None
        assert (kept.address, kept.name, kept.country, kept.role) == (ADA, "Ada at home", "", Role.OWNER)
        everybody = here.node.db.read_now(lambda tx: tx.execute(select(func.count(schema.accounts.c.id))).scalar_one())
        assert everybody == 2  # she and the owner


def mailbox(tx: object, key: str) -> int:
    found = accounts.mailbox(tx, key)  # type: ignore[arg-type]
    assert found is not None
    return found.id


async def test_a_change_of_address_moves_everything_and_ends_old_rights(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        walkers, sailing = here.group(WALKERS, [ADA, BOB], moderated=True), here.group(SAILING, [ADA])
        here.admin(walkers, HOME)
        await say(here, "set walkers own posts no\nset name Ada Lovelace")
        await say(here, f"address change {WORK}")
        assert here.members(sailing) == [ADA]
        await here.post(ADA, "sailing-unsubscribe@lists.example")  # a question to the old mailbox stays open
        await here.quiet()
        leave = here.notice(ADA)
        await agree(here, WORK)
        assert here.members(walkers) == [WORK, BOB] or here.members(walkers) == sorted([WORK, BOB])
        assert here.members(sailing) == [WORK]
        moved = place(here, WORK)
        assert moved is not None
        assert (moved.own_posts, moved.name) == (False, "Ada Lovelace")
        assert f"{WORK} has taken the place of this mailbox" in subjects(here, ADA)
        # the old mailbox is nobody's, and its old rights are void
        await here.answer(ADA, leave, "")
        await here.quiet()
        assert here.members(sailing) == [WORK]
        await say(here, "which")
        assert "You are in no group." in told(here, ADA)
        assert (await here.post(ADA, SAILING)).startswith("550")


async def test_the_old_mailbox_objects_and_all_is_as_it_was(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        # given Eve, who is in Ada's group since before, and for a moment had Ada's mailbox
        group = here.group(WALKERS, [EVE], owner=ADA)
        here.group(SAILING, [ADA])
        await here.later(minutes=1)
        await say(here, "set name Ada Lovelace\nset country UK")
        await say(here, "set name Eve", EVE)
        await say(here, f"address change {EVE}")
        await agree(here, EVE)
        taken = place(here, EVE)
        assert taken is not None
        assert taken.role is Role.OWNER
        objection = next(each for each in here.inbox(ADA) if "has taken the place" in str(read(each)["Subject"]))
        # when Eve cannot hurry on, to another mailbox and another account
        await say(here, f"address change {WORK}\naddress add {HOME}", EVE)
        assert told(here, EVE).count("may still object") == 2
        here.group("chess@lists.example", [HOME])
        await say(here, f"address add {EVE}", HOME)
        await agree(here, EVE)
        # but leaves nothing where it was
        await say(here, f"unsubscribe sailing\nset walkers mode none\naddress remove {EVE}", EVE)
        # and Ada objects
        await here.later(days=13)
        await here.answer(ADA, objection, "")
        await here.quiet()
        # then she is the owner again, and nobody else acts for her
        ada, eve = place(here, ADA), place(here, EVE)
        assert ada is not None
        assert eve is not None
        assert (ada.address, ada.role, eve.address, eve.role) == (ADA, Role.OWNER, EVE, Role.MEMBER)
        assert (ada.name, ada.country, eve.name, eve.country) == ("Ada Lovelace", "UK", "Eve", "")
        assert here.members(group) == [EVE]
        assert place(here, HOME) is None
        assert place(here, EVE, SAILING) is None
        back = place(here, ADA, SAILING)
        assert back is not None
        assert back.address == ADA
        assert "All is as it was" in subjects(here, ADA)


async def test_after_fourteen_days_a_change_stands(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        group = here.group(WALKERS, [ADA])
        await say(here, f"address change {WORK}")
        await agree(here, WORK)
        objection = here.notice(ADA)
        await here.later(days=15)
        await here.answer(ADA, objection, "")
        await here.quiet()
        assert here.members(group) == [WORK]


async def test_a_mailbox_that_is_removed_acts_no_more_and_keeps_its_bans(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        walkers, sailing = here.group(WALKERS, [ADA]), here.group(SAILING)
        await say(here, f"address add {WORK}")
        await agree(here, WORK)
        here.node.db.write_now(groups.ban, sailing.id, ADA, here.clock())
        await say(here, f"address remove {ADA}", WORK)
        assert f"{ADA} acts for you no more" in told(here, WORK)
        assert here.members(walkers) == [WORK]
        assert place(here, ADA) is None
        for key in (ADA, WORK):
            assert here.node.db.read_now(groups.is_banned, sailing.id, key)
        await say(here, f"address remove {WORK}\naddress remove {BOB}", WORK)
        assert "is your only proven mailbox" in told(here, WORK)
        assert f"{BOB} is no mailbox of yours" in told(here, WORK)
        # and the removed one may object
        await here.answer(ADA, here.notice(ADA), "")
        await here.quiet()
        assert here.members(walkers) == [ADA]


async def test_ending_all_sessions_ends_every_open_right_but_that_to_leave(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        group = here.group(WALKERS, [ADA, BOB])
        await here.post(BOB, WALKERS)
        await here.quiet()
        link = str(read(here.notice(ADA))["List-Unsubscribe"]).rpartition("mailto:")[2].rstrip(">")
        await say(here, f"address add {WORK}")
        offer = here.notice(WORK)
        await here.post(ADA, LISTSERV, "set walkers nomail", "")
        await here.quiet()
        question = here.notice(ADA)
        await say(here, "end sessions")
        assert "1 open question or link of yours has ended" in told(here, ADA)
        # neither the question nor the offer to the other mailbox can be answered any more
        await here.answer(ADA, question, "")
        await here.answer(WORK, offer, "")
        await here.quiet()
        assert here.members(group) == [ADA, BOB]
        assert place(here, WORK) is None
        # but who has a link to leave may leave
        await here.post("any@x.example", link.replace("%2B", "+"))
        await here.quiet()
        assert here.members(group) == [BOB]


async def test_ending_all_sessions_leaves_the_right_to_come_back_and_to_object(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        walkers, sailing = here.group(WALKERS, [ADA, BOB]), here.group(SAILING, [ADA, BOB])
        # when somebody who has Bob's mailbox for a moment leaves a group and ends all his rights
        await say(here, "unsubscribe sailing", BOB)
        undo = here.inbox(BOB)[subjects(here, BOB).index("You have left sailing")]
        await say(here, "end sessions", BOB)
        # then Bob comes back all the same
        await here.answer(BOB, undo, "")
        await here.quiet()
        assert sorted(here.members(sailing)) == [ADA, BOB]
        # and when one who has Ada's lets Eve, who is nobody here, take her place, and both end all
        await say(here, f"address change {EVE}")
        await agree(here, EVE)
        objection = next(each for each in here.inbox(ADA) if "has taken the place" in str(read(each)["Subject"]))
        await say(here, "end sessions")
        await say(here, "end sessions", EVE)
        assert sorted(here.members(walkers)) == [BOB, EVE]
        # then she objects, and Eve has nothing of hers
        await here.answer(ADA, objection, "")
        await here.quiet()
        assert sorted(here.members(walkers)) == sorted(here.members(sailing)) == [ADA, BOB]


async def test_a_mailbox_is_asked_for_by_itself(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        for name in (WALKERS, SAILING, "chess@lists.example"):
            here.group(name, [ADA])
        # given Bob's question of the day, and others that wait
        await here.post(BOB, "walkers-subscribe@lists.example")
        await here.quiet()
        await here.post(BOB, "sailing-subscribe@lists.example")
        await say(here, f"address add {BOB}")
        await here.post(BOB, "chess-subscribe@lists.example")
        await here.quiet()
        assert len(here.inbox(BOB)) == 1
        # when he answers each with a mere reply
        for _ in range(3):
            await agree(here, BOB)
            await here.later(days=8)
        # then the two groups came together, and what gives Ada a say in all that is his came alone
        assert [each for each in subjects(here, BOB) if each.startswith("Please")] == [
            "Please confirm: join walkers?",
            "Please confirm: 2 requests",
            "Please confirm: add this mailbox to an account?",
        ]
