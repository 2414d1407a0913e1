"""Whoever proves nothing learns nothing: SMTP says the same of a member as of somebody who is nobody here.

What there is to say goes by mail to the mailbox in question, and only its owner reads it.
"""

from pathlib import Path

import pytest

from listserv.model.envelope import Evidence, Proof
from tests.kit.house import House, house, mail, read

MEMBER, NOBODY = "mia@m.example", "zoe@z.example"
OPEN, SHUT = "walkers@lists.example", "council@lists.example"
LISTSERV = "listserv@lists.example"
UNKNOWN = Evidence(Proof.UNKNOWN)
TWO = ("walkers", "council")
ASKED = (
    *((f"{name}-{door}@lists.example", "") for name in TWO for door in ("subscribe", "unsubscribe", "help", "mail")),
    *((f"{name}-nomail@lists.example", "") for name in TWO),
    *(
        (f"{name}-request@lists.example", text)
        for name in TWO
        for text in (
            "subscribe",
            "unsubscribe",
            "which",
            "who",
            "info",
            "set nomail",
            "set name Ann",
            "which\nhelp",
            "",
        )
    ),
    *(
        (LISTSERV, text)
        for text in (
            *("which", "signoff *", "mydata", "end sessions", "address add x@x.example", "unsubscribe walkers"),
            *(
                "subscribe walkers",
                "subscribe council\nwhich",
                "subscribe council",
                "subscribe x\nwho council",
                "hello",
            ),
        )
    ),
)


async def said(here: House, author: str, to: str, text: str) -> str:
    reply = await here.hand_in(to, mail(author, to, text, ""), UNKNOWN)
    return reply.replace(author, "…")


@pytest.mark.parametrize("word", ["no", "never"])
async def test_a_door_says_the_same_of_a_member_and_of_nobody(url: str, folder: Path, word: str) -> None:
    async with house(url, folder) as here:
        here.group(OPEN, [MEMBER])
        here.group(SHUT, [MEMBER], joining="closed")
        for to, text in ASKED:
            for _ in range(2):  # and when it is asked again
                assert await said(here, MEMBER, to, text) == await said(here, NOBODY, to, text), (to, text)
            await here.later(days=2)
        # nor does it tell that somebody has said no, or never, to what strangers ask
        fresh = "new@n.example"
        door = "walkers-subscribe@lists.example"
        asked = await said(here, fresh, door, "")
        await here.quiet()
        await here.answer(fresh, here.notice(fresh), word)
        assert await said(here, fresh, door, "") == asked
        await here.quiet()
        assert len(here.inbox(fresh)) == 1


async def test_it_costs_the_same_to_ask_about_a_member_and_about_nobody(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        here.group(OPEN, [MEMBER])
        doors = [(to, text) for to, text in ASKED if "council" not in to + text] * 2
        codes = []
        for author in (MEMBER, NOBODY):
            codes.append([(await said(here, author, to, text))[:3] for to, text in doors])
            await here.later(days=1)  # what the network may ask for is full again
        assert codes[0] == codes[1]
        assert "450" in codes[0]


async def test_a_refuted_author_is_refused_whoever_he_claims_to_be(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        here.group(OPEN, [MEMBER])
        for to, text in ASKED:
            refuted = Evidence(Proof.REFUTED)
            of_member, of_nobody = [
                (await here.hand_in(to, mail(author, to, text, ""), refuted)).replace(author, "…")
                for author in (MEMBER, NOBODY)
            ]
            assert of_member == of_nobody, (to, text)
        await here.quiet()
        assert here.world.count == 0


async def test_the_member_reads_it_in_his_own_mailbox(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        here.group(OPEN, [MEMBER])
        await said(here, MEMBER, "walkers-subscribe@lists.example", "")
        await said(here, NOBODY, "walkers-unsubscribe@lists.example", "")
        await here.quiet()
        assert [str(read(copy)["Subject"]) for copy in here.inbox(MEMBER)] == ["You are a member of walkers already"]
        assert here.inbox(NOBODY) == []
