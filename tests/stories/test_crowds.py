"""Many at once, many in one transaction, and people who come and go while copies are made."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

import pytest

from listserv.flows import distributing, joining
from listserv.model.address import parse
from listserv.store import accounts
from listserv.store.db import Tx
from listserv.store.posts import Post
from tests.kit.house import House, house, mail, read

ADA = "ada@a.example"
BOB = "bob@b.example"
EVE = "eve@e.example"
NEW = "nina@n.example"
OWNER = "owner@o.example"
WALKERS = "walkers@lists.example"


@pytest.fixture
def deadlocks(url: str, request: pytest.FixtureRequest) -> Callable[[], int]:
    """How many deadlocks PostgreSQL has found since the story began; SQLite knows none."""
    if not url.startswith("postgresql"):
        return lambda: 0
    log = request.getfixturevalue("server").folder / "log"
    before = log.stat().st_size
    return lambda: log.read_bytes()[before:].count(b"deadlock detected")


def posts_of(here: House, address: str) -> list[str]:
    """Subjects of the posts (no notices) that this address got."""
    copies = (read(copy) for copy in here.inbox(address))
    return [str(said["Subject"]) for said in copies if said["List-Id"]]


async def test_ninety_posts_at_once_to_eight_groups_are_taken_and_nobody_waits_for_a_deadlock(
    url: str, folder: Path, deadlocks: Callable[[], int]
) -> None:
    # given eight groups of the same three people
    people = [ADA, BOB, NEW]
    names = [f"group{n}@lists.example" for n in range(8)]
    async with house(url, folder) as here:
        for name in names:
            here.group(name, people)

        # when ninety posts come at once, each on a connection of its own
        async with asyncio.timeout(20):
            told = await asyncio.gather(
                *(here.post(people[n % 3], names[n % 8], f"text {n}", f"post {n}") for n in range(90))
            )

        # then each is taken, everybody gets it once, and no group has left out or doubled a number
        assert {reply[:9] for reply in told} == {"250 2.0.0"}
        await here.quiet(30)
        for address in people:
            assert Counter(posts_of(here, address)) == {f"post {n}": 1 for n in range(90)}
        numbers = Counter(line["group"] for line in here.log() if line["action"] == "post.accepted")
        assert numbers == {name: len(range(place, 90, 8)) for place, name in enumerate(names)}
        assert deadlocks() == 0


async def test_who_leaves_and_returns_while_copies_are_made_gets_one_as_everybody_does(
    url: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given nine people, copies made three at a time, and Bob, who has his already when he leaves and comes back
    people = [ADA, BOB, *(f"m{n}@m.example" for n in range(7))]
    fan_out = distributing.fan_out
    away: list[bool] = []

    async with house(url, folder) as here:
        group = here.group(WALKERS, people)
        bob = parse(BOB)
        assert bob is not None

        def with_bob_on_the_move(
            tx: Tx, post: Post, edition_id: int, now: datetime, spared: Sequence[int]
        ) -> bool | None:
            more = fan_out(tx, post, edition_id, now, spared)
            if not away:
                away.append(True)
                act = here.act(tx)
                mailbox = accounts.mailbox(tx, BOB)
                assert mailbox is not None
                assert joining.leave_by_tag(act, group, here.node.site.tags.leave(group.id, mailbox.id))
                assert isinstance(joining.join(act, group, bob, "came back"), joining.Joined)
            return more

        monkeypatch.setattr(distributing, "CHUNK", 3)  # the owner, Ada, Bob
        monkeypatch.setattr(distributing, "fan_out", with_bob_on_the_move)

        # when Ada posts
        await here.post(ADA, WALKERS)
        await here.quiet()

        # then each has one copy, and nothing is left in anybody's hand
        assert away
        assert {address: posts_of(here, address) for address in people} == {address: ["A walk"] for address in people}
        assert sorted(here.members(group)) == sorted(people)


async def test_who_is_named_three_hundred_times_is_served_once(url: str, folder: Path) -> None:
    # given four doors, who speaks there and who hears of it
    doors = {"": (ADA, BOB), "-owner": (NEW, OWNER), "-help": (NEW, NEW), "-subscribe": (EVE, EVE)}
    async with house(url, folder) as here:
        here.group(WALKERS, [ADA, BOB])
        for place, (word, (author, reader)) in enumerate(doors.items(), 1):
            # when one mail names its door over and over, in three spellings
            plain = f"walkers{word}@lists.example"
            spellings = [plain, plain.upper().replace("LISTS", "Lists"), plain.replace("-", "+")]
            assert (await here.send(author, spellings * (100 if author is EVE else 5), mail(author, plain))).startswith(
                "250"
            )
            await here.quiet()

            # then it counts once
            assert len(here.inbox(reader)) == 1, word
            assert len(here.log()) == place


async def test_the_same_mail_to_the_owners_sent_again_goes_to_them_once(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        here.group(WALKERS, [ADA])
        here.group("sailors@lists.example", [ADA])
        content = mail(NEW, "walkers-owner@lists.example", "Who are you?", "A question")
        for door in ("walkers-owner", "walkers-owner", "walkers-admin", "sailors-owner"):
            assert (await here.send(NEW, f"{door}@lists.example", content)).startswith("250")
        await here.quiet()
        assert len(here.inbox(OWNER)) == 2
        # another mail is another mail
        await here.post(NEW, "walkers-owner@lists.example", "Who are you?", "A question")
        await here.quiet()
        assert len(here.inbox(OWNER)) == 3
