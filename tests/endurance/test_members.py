"""A thousand members, personal mode, signed: every copy differs only in its stamp, and verifies."""

import re
from pathlib import Path

import dkim

from tests.kit.house import house, mail
from tests.stories.test_editions import ADA, WALKERS, published, without_stamp

MEMBERS = 1000
LEAVE = re.compile(rb"\r\nList-Unsubscribe: (.*?)\r\n(?![ \t])", re.DOTALL)


async def test_a_thousand_copies_differ_only_in_their_stamps_and_verify(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        here.group(WALKERS, [ADA, *(f"m{n}@d{n % 10}.example" for n in range(MEMBERS - 1))], footer="Since 1920")
        await here.send(ADA, WALKERS, mail(ADA, WALKERS, "Grüße\n.\n..dots\n", "Wohin?").replace(b"\r\n.", b"\r\n.."))
        await here.quiet(60)
        copies = [received.content for received in here.world.envelopes]
        assert len(copies) == len(here.world.messages) == MEMBERS
        assert not here.world.faults
        assert len(set(map(without_stamp, copies))) == 1
        assert len({copy.partition(b"\r\n\r\n")[2] for copy in copies}) == 1
        # what is personal is personal: no two share a return path or a link
        assert len({received.mail_from for received in here.world.envelopes}) == MEMBERS
        assert len({LEAVE.findall(copy)[0] for copy in copies}) == MEMBERS
        dns = published(here)
        assert all(dkim.verify(copy, dnsfunc=dns) for copy in copies)
        assert not dkim.verify(copies[0].replace(b"Since 1920", b"Since 1921"), dnsfunc=dns)
