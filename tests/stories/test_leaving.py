"""Out and back in: what somebody had is there again, and who gets no posts can have them."""

from pathlib import Path

import pytest

from listserv.flows import governing
from listserv.model.address import parse
from listserv.model.group import DeliveryStyle, Group, Mode, Role
from tests.kit.house import House, house, read

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
