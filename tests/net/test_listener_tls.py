"""STARTTLS: a fresh session inside, nothing smuggled in from outside, and no AUTH on either side."""

import asyncio
import ssl

import pytest
import trustme

from tests.kit.patience import PATIENCE
from tests.net.listening import Client, doors, until

SMALL = b"Subject: x\r\n\r\nx\r\n"


@pytest.fixture(scope="module")
def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """The server's and the client's."""
    authority = trustme.CA()
    server, client = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
    authority.issue_cert("lists.example").configure_cert(server)
    authority.configure_trust(client)
    return server, client


async def upgrade(client: Client, context: ssl.SSLContext) -> Client:
    await client.writer.start_tls(context, server_hostname="lists.example")
    return client


async def test_a_message_over_tls_says_so(contexts):
    async with doors(tls=contexts[0]) as here:
        client = await here.enter()
        assert "250-STARTTLS" in await client.say("EHLO before")
        assert await client.say("STARTTLS") == "220 2.0.0 Ready to start TLS"
        await upgrade(client, contexts[1])
        offers = await client.say("EHLO inside")
        assert "STARTTLS" not in offers
        assert "AUTH" not in offers
        assert (await client.send(SMALL)).startswith("250 ")
        peer = here.house.messages[0][0].peer
        assert (peer.tls, peer.helo, peer.ip) == (True, "client.example", "127.0.0.1")
        assert (await client.say("STARTTLS")).startswith("502 5.5.1 ")
        assert (await client.say("AUTH PLAIN AGEAYg==")).startswith("502 5.5.1 ")
        assert await client.say("QUIT") == "221 2.0.0 Bye"


async def test_what_was_said_before_tls_is_forgotten(contexts):
    async with doors(tls=contexts[0]) as here:
        client = await here.enter()
        await client.say("EHLO before")
        await client.say("MAIL FROM:<evil@e.example>")
        await client.say("STARTTLS")
        await upgrade(client, contexts[1])
        assert (await client.say("RCPT TO:<walkers@lists.example>")).startswith("503 5.5.1 ")
        assert (await client.say("MAIL FROM:<>")).startswith("503 5.5.1 ")


async def test_commands_sent_along_in_the_clear_are_dropped(contexts):
    """CVE-2024-34083, CVE-2021-38371."""
    async with doors(tls=contexts[0]) as here:
        client = await here.enter()
        await client.say("EHLO before")
        await client.write(
            b"STARTTLS\r\nEHLO evil\r\nMAIL FROM:<evil@e.example>\r\nRCPT TO:<walkers@lists.example>\r\n"
        )
        assert (await client.reply()).startswith("220 ")
        await asyncio.sleep(0.02)
        await upgrade(client, contexts[1])
        assert (await client.say("NOOP")) == "250 2.0.0 OK"
        assert (await client.say("DATA")).startswith("503 5.5.1 ")
        assert here.house.asked == []


async def test_without_a_certificate_there_is_no_starttls(contexts):
    async with doors() as here:
        client = await here.enter()
        assert "STARTTLS" not in await client.say("EHLO c")
        assert (await client.say("STARTTLS")).startswith("502 5.5.1 ")


async def test_lmtp_has_no_starttls(contexts):
    async with doors(tls=contexts[0]) as here:
        client = await here.enter(1)
        assert "STARTTLS" not in await client.say("LHLO c")


@pytest.mark.parametrize("octets", [b"this is no handshake\r\n" * 10, b"\x16\x03\x01\x00\x05", b""])
async def test_a_failed_handshake_ends_the_session_and_frees_its_place(contexts, octets):
    async with doors(tls=contexts[0], idle_timeout=0.3) as here:
        client = await here.enter()
        await client.say("EHLO c")
        await client.say("STARTTLS")
        conversation = next(iter(here.listener._desk.guests)).conversation
        await client.write(octets)
        if not octets:
            client.close()
        assert await client.ended()
        await until(lambda: not here.listener._desk.guests)
        await until(conversation.done)
        assert await (await here.enter()).say("NOOP") == "250 2.0.0 OK"


async def test_who_hangs_up_after_the_dot_over_tls_does_not_stop_the_commit(contexts):
    async with doors(tls=contexts[0]) as here:
        client = await here.enter()
        await client.say("EHLO c")
        await client.say("STARTTLS")
        await upgrade(client, contexts[1])
        here.house.gate = asyncio.Event()
        await client.begin()
        await client.write(SMALL + b".\r\n")
        await here.house.accepting.wait()
        client.close()
        await until(lambda: not here.listener._desk.guests)
        here.house.gate.set()
        await until(lambda: here.house.messages)


async def test_a_big_message_over_tls_arrives_whole(contexts):
    async with doors(tls=contexts[0]) as here:
        client = await here.enter()
        await client.say("EHLO c")
        await client.say("STARTTLS")
        await upgrade(client, contexts[1])
        message = b"Subject: x\r\n\r\n" + b"line\r\n" * 500_000
        assert (await client.send(message)).startswith("250 ")
        assert here.house.contents == [message]


async def test_stopping_says_goodbye_inside_tls(contexts):
    async with doors(tls=contexts[0]) as here:
        client = await here.enter()
        await client.say("EHLO c")
        await client.say("STARTTLS")
        await upgrade(client, contexts[1])
        await client.say("EHLO c")
        stopping = asyncio.create_task(here.listener.stop(3.0))
        assert (await client.reply()).startswith("421 4.3.2 ")
        await asyncio.wait_for(stopping, PATIENCE)
