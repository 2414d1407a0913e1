"""More than there is room for: senders hear it before they send their message, keep it, and try again."""

import asyncio
from pathlib import Path

import pytest

from listserv.workers import reception
from tests.kit.house import House, house, mail
from tests.net.listening import Client

ADA, WALKERS = "ada@a.example", "walkers@lists.example"


async def enter(here: House) -> Client:
    client = Client(*await asyncio.open_connection("127.0.0.1", here.port))
    assert (await client.reply()).startswith("220 ")
    await client.say("EHLO outside.example")
    return client


@pytest.fixture(autouse=True)
def looks_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a daemon looks up every few seconds, it looks up at once."""
    monkeypatch.setattr(reception, "BUSY_CHECKED_EVERY", 0.0)


async def test_a_disk_without_room_for_the_largest_message_is_a_452_before_it_is_sent(
    url: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given a transaction that has begun, when the disk is nearly full
    async with house(url, folder) as here:
        here.group(WALKERS, [ADA])
        begun, late = await enter(here), await enter(here)
        await begun.say(f"MAIL FROM:<{ADA}>")
        await begun.say(f"RCPT TO:<{WALKERS}>")
        enough, beyond = reception.WRITTEN_ANEW, 10**12
        monkeypatch.setattr(reception, "WRITTEN_ANEW", beyond)

        # then neither it nor a new one may send anything
        assert await begun.say("DATA") == str(reception.NO_SPACE)
        assert await late.say(f"MAIL FROM:<{ADA}>") == str(reception.NO_SPACE)

        # and both go on when there is room
        monkeypatch.setattr(reception, "WRITTEN_ANEW", enough)
        await begun.say("DATA")
        await begun.write(mail(ADA, WALKERS) + b".\r\n")
        assert (await begun.reply()).startswith("250 ")
        assert (await late.send(mail(ADA, WALKERS), WALKERS)).startswith("250 ")
        for client in (begun, late):
            client.close()
        await here.quiet()


async def test_a_queue_that_is_too_long_is_a_452_until_it_is_shorter(
    url: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given copies that wait for their next try
    async with house(url, folder) as here:
        members = [ADA, "bob@b.example", "cy@c.example"]
        here.group(WALKERS, members)
        here.world.answers.update({member: ["452 4.2.2 mailbox full"] for member in members})
        assert "accepted" in await here.post(ADA, WALKERS)
        await here.quiet()
        monkeypatch.setattr(reception, "CROWDED", len(members) - 1)

        # when somebody wants to post, then not now
        client = await enter(here)
        assert await client.say(f"MAIL FROM:<{ADA}>") == str(reception.OVERLOADED)

        # but when they have gone
        await here.later(hours=2)
        assert (await client.send(mail(ADA, WALKERS), WALKERS)).startswith("250 ")
        client.close()
        await here.quiet()
