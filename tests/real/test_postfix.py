"""Behind a real Postfix, set up by config/examples/postfix: in by swaks, handed over by LMTP, relayed back, and read
from the Maildirs.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiosmtplib
import dkim
import pytest

from listserv.mail import signature
from listserv.settings import Settings
from tests.kit import postfix
from tests.kit.house import House, house, mail, read, words
from tests.kit.postfix import Postfix

ADA, BOB, CY, ANN = (f"{person}@home.example" for person in postfix.PEOPLE)
FAR = "fay@far.example"
WALKERS = "walkers@lists.example"
ON_SQLITE = pytest.mark.parametrize("url", ["sqlite"], indirect=True)


@pytest.fixture(scope="module")
def running() -> Iterator[Postfix]:
    with postfix.running() as mta:
        yield mta


@pytest.fixture
def mta(running: Postfix) -> Iterator[Postfix]:
    yield running
    running.empty()


@pytest.fixture
async def by_socket(mta: Postfix) -> AsyncIterator[Postfix]:
    """The same Postfix, which hands over through a unix socket, named as one in its chroot has to name it."""
    mta.configure(lmtp="unix:listserv/lmtp")
    await mta.reload()
    yield mta
    mta.configure()
    await mta.reload()


@asynccontextmanager
async def behind(mta: Postfix, url: str, folder: Path, **changes: Any) -> AsyncIterator[House]:
    async with house(url, folder, world=mta.world(), **{**mta.settings(), **changes}) as here:
        yield here


async def test_a_post_goes_in_by_swaks_and_ends_signed_in_three_maildirs(mta: Postfix, url: str, folder: Path) -> None:
    async with behind(mta, url, folder) as here:
        # given a group of three, when Ada posts from outside
        here.group(WALKERS, [ADA, BOB, CY], title="Walkers")
        content = mail(ADA, WALKERS, "Grüße an alle.\n.ends with a dot\n", "Wohin?")
        assert "250 2.0.0 Ok: queued" in await mta.swaks(ADA, WALKERS, content)

        # then each has a copy, and the author is in From
        paths = set()
        for member in (ADA, BOB, CY):
            [copy] = await mta.arrived(member)
            said = read(copy)
            assert said["From"] == ADA
            assert said["List-Id"] == "Walkers <walkers.lists.example>"
            assert said["List-Post"] == f"<mailto:{WALKERS}>"
            assert said["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
            # the author's own lines and text, byte for byte
            head, _, body = content.partition(b"\r\n\r\n")
            assert head in copy
            assert copy.endswith(b"\r\n\r\n" + body)
            # our signature holds behind two passages through Postfix
            assert said["DKIM-Signature"].count("d=lists.example;") == 1
            assert dkim.verify(copy, dnsfunc=published(here))
            paths.add(str(said["Return-Path"]))
        assert len(paths) == 3
        assert all(re.fullmatch(r"<walkers-bounces\+[a-z2-7]+@lists\.example>", path) for path in paths)


@ON_SQLITE
async def test_what_we_refuse_postfix_refuses_in_the_dialogue(mta: Postfix, url: str, folder: Path) -> None:
    async with behind(mta, url, folder) as here:
        here.group(WALKERS, [ADA], joining="invite")
        unknown = "nobody@lists.example"
        assert refusal(await mta.swaks(ADA, unknown, mail(ADA, unknown))).startswith("550 5.1.1 ")
        closed = "walkers-subscribe@lists.example"
        said = refusal(await mta.swaks(ADA, closed, mail(ADA, closed)))
        assert said.startswith("550 5.")
        assert "people join walkers@lists.example by invitation" in said
        # and it relays for nobody
        assert refusal(await mta.swaks(ADA, FAR, mail(ADA, FAR))).startswith("454 4.7.1 ")
        # nor may what we send come back to us
        said = refusal(await mta.swaks(ADA, WALKERS, mail(ADA, WALKERS), mta.private))
        assert said.startswith("554 5.7.1 ")
        assert said.endswith("a loop")
        assert mta.waiting() == []


@ON_SQLITE
async def test_while_we_are_down_postfix_keeps_mail_for_known_groups(mta: Postfix, url: str, folder: Path) -> None:
    async with behind(mta, url, folder) as here:
        here.group(WALKERS, [ADA])
        await mta.swaks(ADA, WALKERS, mail(ADA, WALKERS, subject="before"))
        await mta.arrived(ADA)
    # what it does not know, it asks the sender to keep, for it may be an address of ours
    late = "late@lists.example"
    assert refusal(await mta.swaks(ADA, late, mail(ADA, late))).startswith("450 4.")
    assert "250 2.0.0 Ok: queued" in await mta.swaks(ADA, WALKERS, mail(ADA, WALKERS, subject="meanwhile"))
    async with behind(mta, url, folder):
        assert [read(copy)["Subject"] for copy in await mta.arrived(ADA, 2)] == ["before", "meanwhile"]


@ON_SQLITE
async def test_postfix_bounces_a_dead_member_and_the_mailbox_is_charged(mta: Postfix, url: str, folder: Path) -> None:
    async with behind(mta, url, folder) as here:
        # given a member whose server says 550 to Postfix, one whom Postfix does not know, and one with a full mailbox
        here.group(WALKERS, [ADA, FAR, "gone@home.example", "full@far.example"])
        here.world.answers[FAR] = "550 5.1.1 no such mailbox"
        here.world.answers["full@far.example"] = ["452 4.2.2 mailbox full"]
        await mta.swaks(ADA, WALKERS, mail(ADA, WALKERS))

        # then both are charged: one on the wire, one by the report that Postfix sends to the return path
        def charged() -> set[tuple[str, str]]:
            return {(line["member"], line["status"]) for line in here.log() if line["action"] == "bounce.reported"}

        await mta.until(lambda: len(charged()) == 2)
        assert charged() == {(FAR, "5.1.1"), ("gone@home.example", "5.1.1")}
        await mta.until(lambda: "full@far.example" in here.world.messages)
        assert here.states() == {ADA: "sent", FAR: "sent", "gone@home.example": "failed", "full@far.example": "sent"}
        await mta.until(lambda: mta.waiting() == [])
        assert not [line for line in here.log() if line["action"] == "bounce.forged"]


@ON_SQLITE
async def test_an_admin_approves_by_a_reply_through_postfix(mta: Postfix, url: str, folder: Path) -> None:
    async with behind(mta, url, folder) as here:
        here.group(WALKERS, [ADA, BOB], owner=ANN, moderated=True)
        await mta.swaks(ADA, WALKERS, mail(ADA, WALKERS, subject="Regatta"))
        [notice] = await mta.arrived(ANN)
        assert mta.inbox(BOB) == []

        to = str(read(notice)["Reply-To"])
        reference = str(read(notice)["Message-ID"])
        quoted = "".join(f"> {line}\n" for line in words(notice).splitlines())
        reply = mail(ANN, to, f"Approve\n\n{quoted}", "Re: Regatta", In_Reply_To=reference)
        assert "250 2.0.0 Ok: queued" in await mta.swaks(ANN, to, reply)

        [copy] = await mta.arrived(BOB)
        assert read(copy)["Subject"] == "Regatta"
        assert here.held() == []
        await here.quiet()
        assert [line["account"] for line in here.log() if line["action"] == "hold.approved"] == [ANN]


@ON_SQLITE
async def test_a_strangers_post_is_held_and_nothing_bounces_to_him(mta: Postfix, url: str, folder: Path) -> None:
    async with behind(mta, url, folder) as here:
        # strangers=reject, but what came through Postfix was taken already
        here.group(WALKERS, [BOB], owner=ANN, strangers="reject")
        assert "250 2.0.0 Ok: queued" in await mta.swaks(FAR, WALKERS, mail(FAR, WALKERS, subject="Hello"))
        [notice] = await mta.arrived(ANN)
        assert "not a member" in words(notice)
        assert [hold.reasons for hold in here.held()] == [("the author is not a member",)]
        await here.quiet()
        await mta.until(lambda: mta.waiting() == [])
        assert here.world.messages == {}
        assert mta.inbox(BOB) == []


@ON_SQLITE
async def test_while_postfix_is_down_copies_wait_here(mta: Postfix, url: str, folder: Path) -> None:
    async with behind(mta, url, folder) as here:
        here.group(WALKERS, [BOB])
        await asyncio.to_thread(mta.stop)
        await here.post(BOB, WALKERS)
        await here.quiet()
        assert here.states() == {BOB: "due"}
        await asyncio.to_thread(mta.start)
        await here.later(minutes=1)
        await mta.arrived(BOB)
        assert here.states() == {BOB: "sent"}


@ON_SQLITE
async def test_postfix_hands_over_through_a_unix_socket(by_socket: Postfix, url: str, folder: Path) -> None:
    door = f"unix:{by_socket.folder}/queue/listserv/lmtp"
    async with behind(by_socket, url, folder, lmtp={"listen": [door]}) as here:
        here.group("sailors@lists.example", [BOB])
        said = await by_socket.swaks(BOB, "sailors@lists.example", mail(BOB, "sailors@lists.example"))
        assert "250 2.0.0 Ok: queued" in said
        [copy] = await by_socket.arrived(BOB)
        assert read(copy)["From"] == BOB


@ON_SQLITE
async def test_letters_beyond_ascii_pass_through_postfix(mta: Postfix, url: str, folder: Path) -> None:
    author = "grüße@far.example"
    async with behind(mta, url, folder) as here:
        here.group(WALKERS, [BOB, author])
        async with aiosmtplib.SMTP(hostname="127.0.0.1", port=mta.public, local_hostname="o.example") as client:
            await client.sendmail(author, [WALKERS], mail(author, WALKERS), mail_options=["SMTPUTF8", "BODY=8BITMIME"])
        [copy] = await mta.arrived(BOB)
        assert read(copy)["From"] == author
        assert dkim.verify(copy, dnsfunc=published(here))
        await mta.until(lambda: author in here.world.messages)


@ON_SQLITE
async def test_a_post_with_as_many_hops_as_postfix_allows_has_hops_left(mta: Postfix, url: str, folder: Path) -> None:
    hop = b"Received: from a.example by b.example; Sun, 22 Nov 2026 10:00:00 +0000\r\n"
    allowed = int(mta.parameter("hopcount_limit")) - 2  # Postfix counts its own, and stops at the limit
    async with behind(mta, url, folder) as here:
        here.group(WALKERS, [BOB])
        said = await mta.swaks(BOB, WALKERS, hop * (allowed + 1) + mail(BOB, WALKERS))
        assert refusal(said).startswith("554 5.4.0 ")
        assert "250 2.0.0 Ok: queued" in await mta.swaks(BOB, WALKERS, hop * allowed + mail(BOB, WALKERS))
        [copy] = await mta.arrived(BOB)
        assert len(read(copy).get_all("Received", [])) == allowed + 3


@ON_SQLITE
async def test_the_largest_post_that_postfix_takes_reaches_a_member(mta: Postfix, url: str, folder: Path) -> None:
    limit = int(mta.parameter("message_size_limit"))
    private = mta.parameter_of(f"127.0.0.1:{mta.private}/inet", "message_size_limit")
    assert private == mta.parameter_of("listserv-cleanup/unix", "message_size_limit")
    assert limit < Settings.default(folder).smtp.max_message_bytes < int(private)
    async with behind(mta, url, folder) as here:
        here.group(WALKERS, [BOB], footer="Walkers, since 1920")
        line = "x" * 70 + "\n"
        most = mail(BOB, WALKERS, line * ((limit - 2000) // 72))
        assert "250 2.0.0 Ok: queued" in await mta.swaks(BOB, WALKERS, most)
        [copy] = await mta.arrived(BOB)
        assert len(copy) > len(most)


def published(here: House):  # type: ignore[no-untyped-def]
    """A DNS that knows our keys, as dkimpy asks it."""
    signers = here.node.keys.signers.values()
    records = {
        f"{signature.dns_name(signer.domain, signer.selector)}.".encode(): signature.dns_record(signer.key).encode()
        for signer in signers
    }
    return lambda name, timeout=5: records.get(name)


def refusal(dialogue: str) -> str:
    """The first reply that swaks marks as an error."""
    found = re.search(r"^<\*\* (.*)$", dialogue, re.MULTILINE)
    assert found, dialogue
    return found[1]
