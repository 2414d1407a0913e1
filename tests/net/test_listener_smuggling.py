"""SMTP smuggling (CVE-2023-51764, CVE-2024-27305): malformed ends of DATA × every place where TCP can cut them.

The endings are those of the published tools and of the USENIX Security 2025 laboratory, without repeats.
"""

import asyncio
import re

import pytest

from tests.net.listening import doors

BARE = re.compile(rb"\r(?!\n)|(?<!\r)\n|\0")
HEAD = b"Subject: outer\r\n\r\nbefore"
SMUGGLED = b"MAIL FROM:<evil@e.example>\r\nRCPT TO:<walkers@lists.example>\r\nDATA\r\nSubject: smuggled\r\n\r\nx"
END = b"\r\n.\r\n"

MALFORMED = [
    b"\n.\n",
    b"\n.\r\n",
    b"\r\n.\n",
    b"\r.\r",
    b"\r.\n",
    b"\n.\r",
    b"\r.\r\n",
    b"\r\n.\r",
    b"\r\n.\r\r\n",
    b"\r\r\n.\r\r\n",
    b"\r\r\n.\n",
    b"\n\r\n.\n",
    b"\n\n.\r\n",
    b"\n\n.\n\n",
    b"\r\n\n.\n",
    b"\r\n\r.\r\n",
    b"\n\r.\n\r",
    b"\r\n.\n\r",
    b"\n.\r\r\n",
    b"\r\n\0.\r\n",
    b"\r\n.\0\r\n",
    b"\0.\0",
    b"\r\0\n.\r\n",
    b"\r\n.\r\0\n",
    b"\n..\r\n",
]
HARMLESS = [b"\r\n..\r\n", b"\r\n .\r\n", b"\r\n. \r\n", b"\r\n.\t\r\n", b"\r\n.\x0b\r\n", b"\x85.\x85", b"\r\n.x\r\n"]


def cuts(stream: bytes, ending: bytes) -> list[int]:
    start = stream.index(HEAD) + len(HEAD)
    return list(range(start - 1, start + len(ending) + 2))


@pytest.mark.parametrize("door", [0, 1], ids=["smtp", "lmtp"])
@pytest.mark.parametrize("ending", MALFORMED, ids=repr)
async def test_a_malformed_end_never_ends_a_message_and_never_gets_in(ending, door):
    async with doors(max_errors=1000, slow_after=1000) as here:
        client = await here.enter(door)
        hello = "LHLO client.example" if door else "EHLO client.example"
        stream = HEAD + ending + SMUGGLED + END
        for place in cuts(stream, ending):
            await client.begin(hello=hello)
            await client.write(stream[:place])
            for _ in range(4):
                await asyncio.sleep(0)  # the server reads the first half before the second is sent
            await client.write(stream[place:])
            assert (await client.reply()).startswith("550 5.5.2 "), place
            assert await client.say("NOOP") == "250 2.0.0 OK"
        assert here.house.messages == []
        assert {sender for _, sender, _ in here.house.asked} == {"ada@a.example"}


@pytest.mark.parametrize("ending", HARMLESS, ids=repr)
async def test_what_only_looks_like_an_end_is_content(ending):
    async with doors() as here:
        client = await here.enter()
        stream = HEAD + ending + SMUGGLED + END
        places = cuts(stream, ending)
        for place in places:
            await client.begin()
            await client.write(stream[:place])
            await asyncio.sleep(0)
            await client.write(stream[place:])
            assert (await client.reply()).startswith("250 ")
        assert len(here.house.messages) == len(places)
        expected = (HEAD + ending + SMUGGLED + b"\r\n").replace(b"\r\n.", b"\r\n")
        assert set(here.house.contents) == {expected}
        assert not BARE.search(expected)


async def test_a_whole_session_in_one_packet_is_answered_in_order():
    async with doors() as here:
        client = await here.connect()
        message = b"MAIL FROM:<a@a.example>\r\nRCPT TO:<walkers@lists.example>\r\nDATA\r\nSubject: x\r\n\r\n%d\r\n.\r\n"
        await client.write(b"EHLO c\r\n" + message % 1 + message % 2 + b"QUIT\r\n")
        codes = [(await client.reply())[:3] for _ in range(11)]
        assert codes == ["220", "250", *["250", "250", "354", "250"] * 2, "221"]
        assert [content[-3:] for content in here.house.contents] == [b"1\r\n", b"2\r\n"]


async def test_a_client_that_hangs_up_after_its_last_word_is_still_served():
    async with doors() as here:
        client = await here.connect()
        await client.write(
            b"EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<walkers@lists.example>\r\nDATA\r\nSubject: x\r\n\r\nx\r\n.\r\nQUIT\r\n"
        )
        client.writer.write_eof()
        assert [(await client.reply())[:3] for _ in range(7)] == ["220", "250", "250", "250", "354", "250", "221"]
        assert here.house.messages[0][0].mail_from == ""


@pytest.mark.parametrize("line", [b"NOOP\n", b"EHLO c\rNOOP\r\n", b"NOOP\0\r\n", b"\r\r\n"])
async def test_a_command_line_with_a_bare_end_is_a_500(line):
    async with doors() as here:
        client = await here.enter()
        await client.write(line)
        assert (await client.reply()).startswith("500 5.5.2 ")
        assert await client.say("NOOP") == "250 2.0.0 OK"
