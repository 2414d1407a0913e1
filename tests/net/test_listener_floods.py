"""Clients that say much at once, and many of them: they get their share of the listener, and nobody loses his."""

import asyncio
import gc
import weakref

import pytest

from listserv.net.content import SMALL, TINY, Budget
from listserv.net.gate import DEFAULTS
from listserv.net.shares import CHUNK, COMMANDS, RECEIVING, Shares
from tests.net.listening import Client, doors, until
from tests.net.test_listener_endurance import process

NO_LIMITS = {"max_idle_commands": 10**9, "max_errors": 10**9, "slow_after": 10**9}
CROWD = 300


@pytest.mark.parametrize("flood", [b"NOOP\r\n", b"BLAH\r\n", b"RCPT TO:<walkers@lists.example>\r\n", b"\r\n"])
async def test_who_says_one_thing_is_heard_while_others_say_thousands(flood):
    async with doors(**NO_LIMITS) as here:
        floods, honest = [await here.enter() for _ in range(3)], await here.enter()
        for client in floods:
            await client.say("EHLO c")
            await client.say("MAIL FROM:<>")
            client.writer.write(flood * 10_000)
        replies = await read_some(floods)
        assert (await honest.say("NOOP")).startswith("250 ")
        assert await read_some(floods) - replies < 6_000  # of 30,000


async def read_some(clients: list[Client]) -> int:
    """How many replies have come so far."""
    await asyncio.sleep(0)
    return sum(bytes(client.reader._buffer).count(b"\n") for client in clients)


async def test_what_never_reads_a_crowd_says_is_not_kept():
    async with process(max_connections_per_address=1000, max_idle_commands=10**9) as here:
        before = here.resident()
        crowd = [await here.enter() for _ in range(CROWD)]
        for client in crowd:
            client.writer.write(b"VRFY x\r\n" * 40_000)
        bystander = await here.enter()
        for _ in range(50):
            assert (await bystander.say("NOOP")).startswith("250 ")
        assert here.resident() - before < CROWD * 0.06


async def test_a_crowd_that_uploads_is_held_in_little_memory():
    async with process(max_connections_per_address=1000) as here:
        before = here.resident()
        crowd = [await here.enter() for _ in range(CROWD)]
        for client in crowd:
            client.writer.write(b"EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<walkers@lists.example>\r\nDATA\r\n")
            client.writer.write((b"x" * 98 + b"\r\n") * 3_000)
        bystander = await here.enter()
        for _ in range(50):
            assert (await bystander.say("NOOP")).startswith("250 ")
        assert here.resident() - before < 32
        for client in crowd[::50]:
            client.writer.write(b"\r\n.\r\n")
            for _ in range(4):
                await client.reply()
            assert (await client.reply()).startswith("552 ")  # all of it was header


def test_the_more_messages_come_in_the_less_is_read_of_each_at_once():
    shares = Shares()
    assert shares.chunk == CHUNK
    shares.messages = 200
    assert shares.chunk == RECEIVING // 200
    shares.messages = 10_000
    assert shares.chunk == COMMANDS


async def test_whoever_asks_first_has_the_first_turn():
    shares, had = Shares(), []

    async def turn(number: int) -> None:
        for _ in range(3):
            await shares.turn()
            had.append(number)

    await asyncio.gather(*(turn(number) for number in range(4)))
    assert had == [0, 1, 2, 3] * 3


async def test_who_ignores_a_thousand_refusals_of_recipients_is_to_blame():
    async with doors(max_recipients=2, slow_after=10**9) as here:
        client = await here.enter()
        await client.say("EHLO c")
        await client.say("MAIL FROM:<>")
        client.writer.write(b"RCPT TO:<walkers@lists.example>\r\n" * (2 + 1_000 + DEFAULTS.max_errors))
        codes = []
        while reply := await client.reply():
            codes.append(reply[:3])
        assert codes == ["250"] * 2 + ["452"] * (1_000 + DEFAULTS.max_errors - 1) + ["421"]


@pytest.mark.parametrize("farewell", ["QUIT", "", "RST"])
async def test_a_session_that_is_over_leaves_no_work_for_the_garbage_collector(farewell):
    async with doors() as here:
        client = await here.enter()
        await client.say("EHLO c")
        await client.say("MAIL FROM:<>")
        session = weakref.ref(next(iter(here.listener._desk.guests)))
        gc.collect()
        gc.disable()
        try:
            if farewell == "RST":
                client.reset()
            else:
                await client.say(farewell) if farewell else client.close()
                assert await client.ended()
            await until(lambda: session() is None)
        finally:
            gc.enable()


async def test_who_has_hung_up_is_told_nothing_when_the_listener_stops():
    async with doors() as here:
        client = await here.enter()
        session = next(iter(here.listener._desk.guests))
        client.close()
        await until(lambda: session.conversation is None)
        session.retire()


async def test_tiny_messages_do_not_wait_for_large_ones_whose_dns_is_silent():
    budget = Budget(DEFAULTS.memory)
    async with asyncio.TaskGroup() as tasks:
        large = [tasks.create_task(budget.take(SMALL)) for _ in range(40)]
        await asyncio.sleep(0)
        assert (await asyncio.wait_for(budget.take(TINY), 5)).share == TINY
        for each in large:
            budget.give(await each)
    budget.close()
