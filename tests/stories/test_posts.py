"""A post goes through: taken, numbered, rewritten, signed, delivered to each member."""

from pathlib import Path

from tests.kit.house import house, read

WALKERS = "walkers@lists.example"


async def test_a_post_reaches_every_member(url: str, folder: Path) -> None:
    # given a group of three: Bob's mailbox is full, Cy's is gone
    async with house(url, folder) as here:
        here.group(WALKERS, ["ada@a.example", "bob@b.example", "cy@c.example"])
        here.world.answers["bob@b.example"] = "452 4.2.2 mailbox full"
        here.world.answers["cy@c.example"] = "550 5.1.1 no such mailbox"

        # when Ada posts
        reply = await here.post("ada@a.example", WALKERS)

        # then the wire says yes, and each delivery ends as its far side said
        assert reply.startswith("250 2.0.0 accepted as post 1")
        await here.quiet()
        assert here.states() == {"ada@a.example": "sent", "bob@b.example": "due", "cy@c.example": "failed"}
        copy = here.notice("ada@a.example")
        assert copy.endswith(b"Shall we walk?\r\n")
        assert read(copy)["From"] == "ada@a.example"
