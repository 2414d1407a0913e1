"""What a member decides for himself: no copies of his own posts, none of those that name him."""

from pathlib import Path

from listserv.flows import governing
from listserv.model.address import parse
from tests.kit.house import House, house

ADA = "ada@a.example"
BOB = "bob@b.example"
CY = "cy@c.example"
WALKERS = "walkers@lists.example"


def decide(here: House, member: str, **wishes: str) -> None:
    """As `listserv member set` does."""
    address = parse(member)
    assert address is not None
    group = here.node.db.read_now(lambda tx: governing.groups.find(tx, WALKERS))
    assert group is not None
    done = here.node.db.write_now(lambda tx: governing.alter(here.act(tx), group, address, wishes.items()))
    assert not isinstance(done, governing.Refused), done


async def test_authors_receive_their_own_posts_unless_they_want_none(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        here.group(WALKERS, [ADA, BOB])
        await here.post(ADA, WALKERS)
        await here.quiet()
        assert len(here.inbox(ADA)) == len(here.inbox(BOB)) == 1
        decide(here, ADA, own_posts="no")
        await here.post(ADA, WALKERS, "Or shall we run?")
        await here.post(BOB, WALKERS, "I cannot run.")
        await here.quiet()
        assert len(here.inbox(ADA)) == 2
        assert len(here.inbox(BOB)) == 3


async def test_who_is_named_in_to_or_cc_may_do_without_the_groups_copy(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        here.group(WALKERS, [ADA, BOB, CY])
        decide(here, BOB, copies="no")
        await here.post(ADA, WALKERS, Cc=f"Bob <{BOB}>, {CY}")
        await here.post(CY, WALKERS, To=f"{WALKERS}, BOB@b.example")
        await here.post(ADA, WALKERS, "To everybody")
        await here.quiet()
        assert [len(here.inbox(who)) for who in (ADA, BOB, CY)] == [3, 1, 3]
