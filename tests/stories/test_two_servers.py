"""Two servers with one world between them: what goes round in a circle stops, and a post arrives once."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from listserv.flows import moderating
from listserv.mail.command import Approve
from listserv.model.group import Group
from listserv.store.db import Tx
from tests.kit.house import House, house, read
from tests.kit.world import World

ADA, BOB, CY, DAN = "ada@a.example", "bob@b.example", "cy@c.example", "dan@d.example"
ONE, TWO = "walkers@one.example", "sailors@two.example"


@asynccontextmanager
async def two(url: str, folder: Path) -> AsyncIterator[tuple[House, House]]:
    """A server for one.example on this database, another for two.example beside it; each gets the other's mail."""
    sites = [{"hostname": name, "domains": [name]} for name in ("one.example", "two.example")]
    async with (
        house(url, folder / "one", site=sites[0]) as one,
        house("sqlite:///listserv.db", folder / "two", site=sites[1]) as other,
    ):
        one.world.elsewhere["two.example"] = other.port
        other.world.elsewhere["one.example"] = one.port
        yield one, other


async def settled(*houses: House) -> None:
    """Back when none of them has anything to do, and nothing is on its way."""
    async with asyncio.timeout(60):
        quiet = 0
        while quiet < 2:
            for here in houses:
                await here.quiet(60)
            busy = [carrier for here in houses for carrier in here.world.carriers]
            await asyncio.gather(*busy)
            quiet = 0 if busy else quiet + 1


def approve(here: House, group: Group) -> int:
    """What is held there goes to the members; how many that were."""
    held = here.held()

    def work(tx: Tx) -> None:
        for one in held:
            moderating.decide(here.act(tx), group, one.id, Approve(), "owner@o.example")

    here.node.db.write_now(work)
    return len(held)


def copies(world: World, message_id: str) -> Counter[str]:
    """How many copies of one post came to each mailbox."""
    found = [(recipient, read(content)["Message-ID"]) for recipient, all_ in world.messages.items() for content in all_]
    return Counter(recipient for recipient, id in found if str(id) == message_id)


async def test_two_groups_on_two_servers_subscribed_to_each_other_deliver_once(url: str, folder: Path) -> None:
    async with two(url, folder) as (one, other):
        # given two groups, each a member of the other, open to everybody and with footers that change what they pass on
        walkers = one.group(ONE, [ADA, BOB, TWO], posting="anyone", footer="of the walkers", subject_tag="[walkers]")
        sailors = other.group(TWO, [CY, DAN, ONE], posting="anyone", footer="of the sailors", subject_tag="[sailors]")

        # when Ada posts to the one, and what the other holds, because it comes from a list, is let through everywhere
        await one.post(ADA, ONE, Message_ID="<walk@a.example>")
        for _ in range(4):
            await settled(one, other)
            if approve(other, sailors) + approve(one, walkers) == 0:
                break
        await settled(one, other)

        # then each member has it once, and what came back was known
        assert copies(one.world, "<walk@a.example>") == {ADA: 1, BOB: 1, TWO: 1}
        assert copies(other.world, "<walk@a.example>") == {CY: 1, DAN: 1, ONE: 1}
        assert [reply[:3] for _, reply in (*one.world.carried, *other.world.carried)] == ["250", "250"]
        assert one.held() == other.held() == []


async def test_two_servers_that_answer_each_other_stop_after_the_first_round(url: str, folder: Path) -> None:
    async with two(url, folder) as (one, other):
        walkers = one.group(ONE, [ADA])
        sailors = other.group(TWO, [CY])
        # when somebody writes to every door of each in the name of every door of the other
        doors = ("", "-subscribe", "-unsubscribe", "-help", "-owner", "-confirm")
        for here, mine, theirs in ((one, ONE, TWO), (other, TWO, ONE)):
            for to in doors:
                for author in doors:
                    await here.post(theirs.replace("@", f"{author}@"), mine.replace("@", f"{to}@"))
        await settled(one, other)
        first = sum(len(here.world.carried) for here in (one, other))
        assert 0 < first <= 2 * len(doors), "at most one mail to each door that was named"
        for hours in (1, 25, 24 * 8):
            for here in (one, other):
                await here.later(hours=hours)
            await settled(one, other)

        # then nobody has joined, and no answer had an answer
        assert sum(len(here.world.carried) for here in (one, other)) == first
        assert one.members(walkers) == [ADA]
        assert other.members(sailors) == [CY]
