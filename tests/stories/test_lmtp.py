"""Behind another mail server: LMTP has one reply for each recipient, and what came in was taken already by somebody."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.kit.house import House, house, mail, read, words
from tests.net.listening import Client

ADA = "ada@a.example"
EVE = "eve@e.example"
OWNER = "owner@o.example"
WALKERS = "walkers@lists.example"
SAILORS = "sailors@lists.example"
READERS = "readers@lists.example"
LMTP = {"listen": ["127.0.0.1:0"]}


@asynccontextmanager
async def visit(here: House) -> AsyncIterator[Client]:
    """A mail server that has said LHLO."""
    listener = here.daemon.listener
    assert listener is not None
    bound = listener.bound[-1]
    assert isinstance(bound, tuple)
    client = Client(*await asyncio.open_connection(*bound))
    try:
        assert (await client.reply()).startswith("220 lists.example LMTP")
        assert (await client.say("LHLO mx.example")).endswith("ENHANCEDSTATUSCODES")
        yield client
    finally:
        client.close()


async def hand_over(client: Client, mail_from: str, recipients: list[str], content: bytes) -> list[str]:
    """The replies to each recipient: at RCPT where it was refused there, else after the dot."""
    assert (await client.say(f"MAIL FROM:<{mail_from}>")).startswith("250 2.1.0")
    said = [await client.say(f"RCPT TO:<{recipient}>") for recipient in recipients]
    if any(reply.startswith("250") for reply in said):
        assert (await client.say("DATA")).startswith("354")
        await client.write(content + b".\r\n")
    return [await client.reply() if reply.startswith("250") else reply for reply in said]


async def test_each_recipient_has_its_own_fate_and_its_own_reply(url: str, folder: Path) -> None:
    # given three groups: one takes Ada's post, one waits for its admin, and one takes nothing so large
    async with house(url, folder, lmtp=LMTP) as here:
        here.group(WALKERS, [ADA])
        here.group(SAILORS, [ADA], moderated=True)
        here.group(READERS, [ADA], max_message_bytes=100)

        # when a mail server hands over one message for all of them, and for nobody
        everybody = [READERS, WALKERS, "nobody@lists.example", SAILORS]
        content = mail(ADA, WALKERS, Cc=f"{SAILORS}, {READERS}")
        async with visit(here) as client:
            said = await hand_over(client, ADA, everybody, content)
            assert [reply[:9] for reply in said] == ["552 5.3.4", "250 2.0.0", "550 5.1.1", "250 2.0.0"]
            assert "accepted as post 1 of walkers@" in said[1]
            assert "held for the admins of sailors@" in said[3]
            # and the session goes on, with nothing said too much
            assert (await client.say("NOOP")).startswith("250")

        # then each went its way; nothing about the refusals is mailed: the mail server tells its client
        await here.quiet()
        assert [hold.group for hold in here.held()] == [SAILORS]
        assert [read(copy)["Subject"] for copy in here.inbox(ADA) if b"List-Post:" in copy] == ["A walk"]
        assert not any(READERS in words(copy) for copy in here.inbox(ADA))
        actions = sorted((line["action"], line["group"]) for line in here.log())
        assert actions == [("post.accepted", WALKERS), ("post.held", SAILORS), ("post.rejected", READERS)]


async def test_what_comes_again_gets_the_same_replies_and_goes_out_once(url: str, folder: Path) -> None:
    # a mail server that has not heard our replies tries again with all its recipients
    async with house(url, folder, lmtp=LMTP) as here:
        here.group(WALKERS, [ADA])
        here.group(SAILORS, [ADA], moderated=True)
        content = mail(ADA, WALKERS, Cc=SAILORS)
        async with visit(here) as client:
            first = await hand_over(client, ADA, [WALKERS, SAILORS], content)
            again = await hand_over(client, ADA, [WALKERS, SAILORS], content)
        assert again == [f"{reply} (known already)" for reply in first]
        await here.quiet()
        assert len(here.held()) == 1
        assert len([copy for copy in here.inbox(ADA) if b"List-Post:" in copy]) == 1


async def test_a_stranger_is_held_where_a_refusal_would_become_a_bounce(url: str, folder: Path) -> None:
    async with house(url, folder, lmtp=LMTP) as here:
        here.group(WALKERS, [ADA], strangers="reject")
        content = mail(EVE, WALKERS)
        # SMTP itself can tell him
        assert (await here.send(EVE, WALKERS, content)).startswith("550 5.7.1")
        # behind a mail server nobody could but by a bounce, to whomever he says he is
        async with visit(here) as client:
            [said] = await hand_over(client, EVE, [WALKERS], content)
        assert said.startswith("250 2.0.0 held")
        await here.quiet()
        assert [hold.author for hold in here.held()] == [EVE]
        assert "not a member" in words(here.notice(OWNER))
        assert here.inbox(EVE) == []


async def test_a_question_about_an_address_leaves_no_trace(url: str, folder: Path) -> None:
    # as Postfix asks before it takes a message: MAIL, RCPT, and away
    async with house(url, folder, lmtp=LMTP) as here:
        here.group(WALKERS, [ADA], joining="closed")
        async with visit(here) as client:
            for address, reply in (
                (WALKERS, "250 2.1.5"),
                ("walkers-help@lists.example", "250 2.1.5"),
                ("postmaster@lists.example", "250 2.1.5"),
                ("walkers-subscribe@lists.example", "550 5.7.1"),
                ("nobody@lists.example", "550 5.1.1"),
                ("ada@elsewhere.example", "550 5.7.1"),
            ):
                await client.say("MAIL FROM:<double-bounce@mx.example>")
                assert (await client.say(f"RCPT TO:<{address}>")).startswith(reply), address
                assert (await client.say("RSET")).startswith("250")
        await here.quiet()
        assert here.log() == []
        assert here.held() == []
        assert here.world.messages == {}
