"""Who hears of a refusal: the author who is known here, once, and nobody's account for what a relay says of us."""

from pathlib import Path

from tests.kit.house import House, house, mail, read, words

ADA = "ada@a.example"
BOB = "bob@b.example"
EVE = "eve@e.example"
WALKERS, SAILORS, CLUB, OPEN = (f"{name}@lists.example" for name in ("walkers", "sailors", "club", "open"))


async def four_groups(here: House) -> None:
    """Ada is in two of them; `club` takes posts by its members only, and `open` has her not and takes everybody's."""
    here.group(WALKERS, [ADA])
    here.group(SAILORS, [ADA])
    here.group(CLUB, [BOB])
    here.group(OPEN, [BOB], posting="anyone")


def refusals(here: House, address: str) -> list[str]:
    """What this address was told about refusals."""
    return [words(copy) for copy in here.inbox(address) if str(read(copy)["Subject"]).startswith("Not accepted")]


async def post(here: House, author: str, to: list[str], text: str) -> str:
    reply = await here.send(author, to, mail(author, to[0], text, Cc=", ".join(to[1:])))
    await here.quiet()
    return reply


async def test_where_one_group_takes_it_and_one_does_not_a_member_is_told_once_a_day(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        await four_groups(here)
        assert (await post(here, ADA, [WALKERS, CLUB], "one")).startswith("250 2.0.0 accepted for 1 of 2")
        assert [CLUB in told for told in refusals(here, ADA)] == [True]
        await post(here, ADA, [CLUB, WALKERS], "two")
        assert len(refusals(here, ADA)) == 1
        await here.later(days=1)
        await post(here, ADA, [WALKERS, CLUB], "three")
        assert len(refusals(here, ADA)) == 2


async def test_who_is_a_member_of_none_of_them_is_not_written_to(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        await four_groups(here)
        assert (await post(here, EVE, [OPEN, CLUB], "hello")).startswith("250 2.0.0 accepted for 1 of 2")
        assert here.inbox(EVE) == []


async def test_a_robot_is_not_written_to(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        await four_groups(here)
        content = mail(ADA, WALKERS, Auto_Submitted="auto-replied")
        await here.send(ADA, [WALKERS, CLUB], content)
        await here.quiet()
        assert refusals(here, ADA) == []


async def test_however_often_the_refusing_group_is_named_there_is_one_mail_about_it(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        await four_groups(here)
        spellings = [CLUB, CLUB.upper(), "Club@lists.example"]
        assert (await post(here, ADA, [WALKERS, *spellings * 6], "one")).startswith("250")
        assert len(refusals(here, ADA)) == 1


async def test_one_mail_a_day_counts_over_all_groups(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        await four_groups(here)
        await post(here, ADA, [WALKERS, CLUB], "one")
        await post(here, ADA, [SAILORS, CLUB], "two")
        assert len(refusals(here, ADA)) == 1


SAID = {
    # who is written to: what the relay says, bounces charged for it
    "m1@a.example": ("554 5.7.1 Client host [203.5.1.44] blocked", 0),
    "m2@a.example": ("554 5.7.1 blocked, see https://bl.example/5.1.1", 0),
    "m3@a.example": ("550 5.1.8 sender rejected", 0),
    "m4@a.example": ("550 no such user (5.1.1)", 0),
    "m5@a.example": ("550 5.1.1 no such user", 1),
    "m6@a.example": ("550 5.1.10 recipient not found", 1),
}


async def test_a_mailbox_is_charged_for_what_the_status_says_of_it_and_for_nothing_else(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        group = here.group(WALKERS, [ADA, *SAID])
        here.world.answers |= {address: reply for address, (reply, _) in SAID.items()}
        await here.post(ADA, WALKERS)
        await here.quiet()
        assert here.states() == {ADA: "sent", **dict.fromkeys(SAID, "failed")}
        charged = {address: member.bounces for address in SAID if (member := here.member(group, address))}
        assert charged == {address: bounces for address, (_, bounces) in SAID.items()}
        assert [line["action"] for line in here.log()].count("bounce.reported") == 2
