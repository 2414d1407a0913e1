"""One daemon for each kind of work on a folder: two of the same are one too many, three different ones are a server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from sqlalchemy import select

from listserv.daemon import Daemon
from listserv.node import Node
from listserv.roles import AlreadyRunning, Role
from listserv.settings import Settings
from listserv.store import schema
from tests.kit.house import Clock, House, house, sections, serving
from tests.kit.world import World

ADA = "ada@a.example"
BOB = "bob@b.example"
WALKERS = "walkers@lists.example"


@asynccontextmanager
async def daemon(url: str, folder: Path, role: Role, world: World) -> AsyncIterator[Daemon]:
    """A daemon of this role on this database, whose copies go to this world."""
    relay = {"host": world.host, "port": world.port}
    node = Node.open(Settings.default(folder, sections(url, {"relay": relay})))
    async with serving(node, role) as made:
        yield made


def in_hand(here: House) -> list[str | None]:
    """Whose the taken deliveries are."""
    d = schema.deliveries.c
    return list(here.node.db.read_now(lambda tx: tx.execute(select(d.node).where(d.state == "taken")).scalars()))


@pytest.mark.parametrize("role", list(Role))
async def test_a_daemon_of_work_that_is_done_already_ends_before_it_takes_anything(
    url: str, folder: Path, role: Role
) -> None:
    # given a daemon that does everything and has a delivery in hand
    async with house(url, folder) as here:
        here.group(WALKERS, [ADA])
        here.world.hang_after_dot = True
        await here.post(ADA, WALKERS)
        await here.world.wait_for(1)
        assert in_hand(here) == [here.node.site.node]

        # when another of any role begins on the same folder
        with pytest.raises(AlreadyRunning, match="stop it first"):
            async with daemon(url, folder, role, here.world):
                pass

        # then the delivery is in the same hand, and the first daemon serves as before
        assert in_hand(here) == [here.node.site.node]
        assert (await here.post(ADA, WALKERS, "again")).startswith("250")
        here.world.hang_after_dot = False
        await here.world.down()


async def test_one_that_does_everything_ends_beside_one_that_does_a_part_and_holds_nothing(
    url: str, folder: Path
) -> None:
    async with World() as world, daemon(url, folder, Role.DELIVERY, world):
        with pytest.raises(AlreadyRunning):
            async with daemon(url, folder, Role.ALL, world):
                pass
        async with daemon(url, folder, Role.SMTP, world):
            pass
        async with daemon(url, folder, Role.WEB, world):
            pass


async def test_three_that_share_the_work_are_a_server_that_writes_each_line_once(url: str, folder: Path) -> None:
    async with (
        World() as world,
        daemon(url, folder, Role.WEB, world) as web,
        daemon(url, folder, Role.DELIVERY, world),
        daemon(url, folder, Role.SMTP, world) as smtp,
    ):
        here = House(smtp.node, smtp, world, Clock())
        here.group(WALKERS, [ADA, BOB])
        assert web.pages is not None
        assert smtp.pages is None
        told = await asyncio.gather(*(here.post(ADA, WALKERS, f"text {n}", f"post {n}") for n in range(20)))
        assert {reply[:9] for reply in told} == {"250 2.0.0"}
        await here.quiet()
        assert len(here.inbox(ADA)) == len(here.inbox(BOB)) == 20
        posts = [line["post"] for line in here.log() if line["action"] == "post.accepted"]
        assert sorted(posts) == list(range(1, 21))
        assert len({line["node"] for line in here.log()}) == 1
