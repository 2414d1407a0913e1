"""How often a stranger may be written to: help once a day over all groups, and a no is a no."""

from datetime import timedelta
from pathlib import Path

from listserv.flows import governing
from listserv.flows.governing import Added, Invited, Refused
from listserv.model.address import parse
from listserv.model.group import Group
from tests.kit.house import House, house, read

ADA = "ada@a.example"
NEW = "nina@n.example"
WALKERS = "walkers@lists.example"
NAMES = ("walkers", "sailors", "runners")


async def help_of_all(here: House, author: str) -> int:
    """How many answers came to three requests for help."""
    before = len(here.inbox(author))
    for name in NAMES:
        assert (await here.post(author, f"{name}-help@lists.example")).startswith("250")
    await here.quiet()
    return len(here.inbox(author)) - before


async def test_who_is_not_proven_gets_one_help_a_day_over_all_groups_member_or_not(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        for name in NAMES:
            here.group(f"{name}@lists.example", [ADA])
        assert await help_of_all(here, NEW) == 1
        assert await help_of_all(here, ADA) == 1
        assert await help_of_all(here, ADA) == 0
        await here.later(days=1)
        assert await help_of_all(here, NEW) == 1


async def test_help_that_a_stranger_asked_for_counts_as_his_mail_of_the_day_and_can_be_ended(
    url: str, folder: Path
) -> None:
    async with house(url, folder) as here:
        here.group(WALKERS, [ADA])
        assert await asked(here) == 1
        await here.post(NEW, "walkers-help@lists.example")
        await here.quiet()
        assert len(here.inbox(NEW)) == 1
        await here.answer(NEW, here.notice(NEW), "yes")
        await here.quiet()
        await here.later(days=2)
        other = "otto@o.example"
        await here.post(other, "walkers-help@lists.example")
        await here.quiet()
        help = here.notice(other)
        # what is said to it goes to the admins, and “never” is kept
        await here.answer(other, help, "How far do you walk?")
        await here.quiet()
        assert "How far do you walk?" in here.notice("owner@o.example").decode()
        await here.answer(other, help, "Never write to me again.")
        await here.later(days=2)
        await here.post(other, "walkers-help@lists.example")
        assert (await here.post(other, "walkers-subscribe@lists.example")).startswith("250 2.0.0 received")
        await here.quiet()
        assert len(here.inbox(other)) == 1


async def asked(here: House, group: str = "walkers") -> int:
    """How many questions came to one request to join."""
    before = len(here.inbox(NEW))
    await here.post(NEW, f"{group}-subscribe@lists.example")
    await here.quiet()
    return len(here.inbox(NEW)) - before


async def test_a_no_to_a_question_is_a_no_to_all_that_strangers_ask(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        group = here.group(WALKERS)
        here.group("sailors@lists.example")
        assert await asked(here) == 1
        assert (await here.answer(NEW, here.notice(NEW), "no")).startswith("250")
        assert (await here.post(NEW, "walkers-subscribe@lists.example")).startswith("250 2.0.0 received")
        for days in (1, 6, 40):
            await here.later(days=days)
            assert await asked(here) == await asked(here, "sailors") == 0
        # a reply to the old question changes nothing any more
        question = next(copy for copy in here.inbox(NEW) if "confirm+" in str(read(copy)["Reply-To"]))
        await here.answer(NEW, question, "yes")
        await here.quiet()
        assert here.members(group) == []
        # but an admin may still invite, and the yes to that makes all well
        await here.later(days=1)
        assert isinstance(invite(here, group), Invited)
        await here.quiet()
        await here.answer(NEW, here.notice(NEW), "")
        await here.later(days=2)
        assert here.members(group) == [NEW]
        assert await asked(here, "sailors") == 1


def invite(here: House, group: Group) -> Added:
    address = parse(NEW)
    assert address is not None
    return here.node.db.write_now(lambda tx: governing.add(here.act(tx), group, address, confirmed=False))


async def test_an_invitation_is_not_repeated_within_fourteen_days_answered_or_not(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        group, other = here.group(WALKERS), here.group("sailors@lists.example")
        assert isinstance(invite(here, group), Invited)
        await here.later(days=8)
        refused = invite(here, group)
        assert isinstance(refused, Refused)
        assert "14 days" in refused.why[0]
        assert isinstance(invite(here, other), Invited)
        await here.later(days=5)
        assert isinstance(invite(here, group), Refused)
        assert len(here.inbox(NEW)) == 2
        await here.later(days=2)
        assert isinstance(invite(here, group), Invited)
        await here.quiet()
        assert len(here.inbox(NEW)) == 3

        # and a no is kept for the same time
        assert (await here.answer(NEW, here.notice(NEW), "no, thanks")).startswith("250")
        await here.later(days=13)
        assert isinstance(invite(here, group), Refused)
        here.clock.ahead += timedelta(days=1)
        assert isinstance(invite(here, group), Invited)
