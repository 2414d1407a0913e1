"""DATA in any cuts: what is kept, what is refused, and that nothing depends on the cuts."""

import asyncio
import re
import tracemalloc
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from listserv.model.envelope import Reply
from listserv.net import content
from listserv.net.content import BARE, HEADER_TOO_BIG, NO_ROOM, Budget, Head, Scanner, Spool, Wire, receive
from listserv.net.gate import Limits
from listserv.net.grammar import TOO_BIG
from listserv.net.shares import CHUNK, Shares
from tests.kit.patience import PATIENCE

ROOMY = Limits()
TINY = Limits(spool_over=64)
_BARE = re.compile(rb"\r(?!\n)|(?<!\r)\n|\0")


async def read(pieces: list[bytes], limits: Limits = ROOMY) -> tuple[Reply | None, bytes, bytes]:
    """The fault, the content and what is left on the wire after DATA came in these pieces."""
    wire = Wire(limit=CHUNK, loop=asyncio.get_running_loop())
    spool, shares = Spool(Budget(limits.memory), limits), Shares()

    async def feed() -> None:
        for piece in pieces:
            wire.feed_data(piece)
            await asyncio.sleep(0)
        wire.feed_eof()

    try:
        feeding = asyncio.create_task(feed())
        fault = await receive(wire, spool, limits, shares, shares.turn)
        await feeding
        return fault, b"" if fault else await spool.load(), await wire.read()
    finally:
        spool.close()


def cut(octets: bytes, places: set[int]) -> list[bytes]:
    marks = sorted({0, len(octets), *(place % (len(octets) + 1) for place in places)})
    return [octets[start:end] for start, end in pairwise(marks)]


def expected(stream: bytes) -> tuple[Reply | None, bytes, bytes]:
    """The same by the letter of RFC 5321 §4.1.1.4 and §4.5.2, over the whole stream at once."""
    framed, _, rest = (b"\r\n" + stream).partition(b"\r\n.\r\n")
    lines = (framed + b"\r\n")[2:]
    if _BARE.search(lines):
        return BARE, b"", rest
    return None, b"".join(line.removeprefix(b".") for line in lines.splitlines(keepends=True)), rest


@given(
    st.lists(st.sampled_from([b"\r\n", b"\r", b"\n", b".", b"\0", b"a", b"\r\n.", b"..", b"bc"]), max_size=12),
    st.sets(st.integers(0, 99), max_size=6),
)
def test_the_cuts_make_no_difference(tokens, places):
    stream = b"".join(tokens) + b"\r\n.\r\nNOOP\r\n"
    assert asyncio.run(read(cut(stream, places), TINY)) == expected(stream)


@given(st.binary(max_size=400).map(lambda octets: _BARE.sub(b"", octets)), st.sets(st.integers(0, 400), max_size=5))
def test_a_good_message_comes_through_byte_for_byte(message, places):
    message += b"\r\n"
    stuffed = message.replace(b"\r\n.", b"\r\n..")
    stuffed = b"." + stuffed if stuffed.startswith(b".") else stuffed
    assert asyncio.run(read(cut(stuffed + b".\r\n", places), TINY)) == (None, message, b"")


@pytest.mark.parametrize("shift", [*range(-6, 7)])
@pytest.mark.parametrize("multiple", [1, 2, 3])
async def test_the_end_is_found_at_the_limits_of_the_reader(shift, multiple):
    message = b"\r\n" + b"x" * (CHUNK * multiple + shift - 4) + b"\r\n"
    assert await read([message + b".\r\nNOOP\r\n"]) == (None, message, b"NOOP\r\n")
    assert (await read([message + b"\n.\n", b".\r\n" * 2 + b"\r\n.\r\n"]))[0] is BARE


async def test_an_empty_message_is_a_message():
    assert await read([b".\r\n"]) == (None, b"", b"")
    assert await read([b".", b"\r", b"\nQUIT\r\n"]) == (None, b"", b"QUIT\r\n")


async def test_the_peer_may_vanish_in_the_middle():
    with pytest.raises(asyncio.IncompleteReadError):
        await read([b"half a message\r\n."])


@pytest.mark.parametrize(
    ("message", "fault"),
    [
        (b"A: b\r\n" * 1000 + b"\r\nbody\r\n", None),
        (b"A: b\r\n" * 1001 + b"\r\nbody\r\n", HEADER_TOO_BIG),
        (b"A: b\r\n" + b" folded\r\n" * 5000 + b"\r\n", None),
        (b"A: " + b"x" * 65_533 + b"\r\n\r\n", None),
        (b"A: " + b"x" * 65_534 + b"\r\n\r\n", HEADER_TOO_BIG),
        (b"A: " + b"x" * 65_000 + b"\r\n\tfolded" + b"y" * 1000 + b"\r\n\r\n", HEADER_TOO_BIG),
        ((b"A: " + b"x" * 997 + b"\r\n") * 102 + b"\r\n", None),
        ((b"A: " + b"x" * 997 + b"\r\n") * 103 + b"\r\n", HEADER_TOO_BIG),
        (b"\r\n" + b"no header at all\r\n" * 50_000, None),
        (b"\r\n" + b"x" * 1_000_000 + b"\r\n", None),
        (b"A: b\r\n" * 1000, None),
        (b"A: b\r\n" * 1001, HEADER_TOO_BIG),
        (b"nothing but a line of text\r\n" * 5000, HEADER_TOO_BIG),
    ],
)
async def test_a_header_has_limits_and_a_body_has_none(message, fault):
    for pieces in ([message + b".\r\n"], cut(message + b".\r\n", set(range(0, len(message), 30_011)))):
        assert (await read(pieces))[0] is fault


@given(st.lists(st.sampled_from([b"\r\n", b"a", b" ", b"bcd"]), max_size=14), st.sets(st.integers(0, 14), max_size=4))
def test_a_header_is_as_big_however_it_is_cut(tokens, places):
    limits = Limits(max_header_bytes=20, max_header_fields=3, max_field_bytes=8)
    whole, cut_up = Head(limits), Head(limits)
    ended = whole.feed(b"".join(tokens))
    marks = sorted({0, len(tokens), *(place for place in places if place < len(tokens))})
    for start, end in pairwise(marks):
        if cut_up.feed(b"".join(tokens[start:end])):
            assert ended
            break
    assert cut_up.is_too_big == whole.is_too_big


def test_a_header_that_ends_with_a_chunk_has_ended():
    for parts in ([b"\r\nA: b\r\n\r\n"], [b"\r\nA: b\r\n\r", b"\n"], [b"\r\nA: b\r\n", b"\r\n"], [b"\r\n\r\n"]):
        scanner = Scanner(ROOMY)
        for part in [*parts, b"x" * 200_000 + b"\r\n"]:
            scanner.feed(part)
        scanner.end()
        assert scanner.fault is None, parts


async def test_the_limit_of_size_is_exact_and_does_not_count_the_dots():
    limits = Limits(max_message_bytes=100)
    message = b"." + b"x" * 97 + b"\r\n"
    assert await read([b"." + message + b".\r\n"], limits) == (None, message, b"")
    assert (await read([b"." + b"y" + message + b".\r\n"], limits))[0] is TOO_BIG


async def test_a_refused_message_is_read_to_its_end_and_not_kept():
    limits = Limits(max_message_bytes=1000, spool_over=100)
    wire = Wire(limit=CHUNK, loop=asyncio.get_running_loop())
    budget = Budget(1000)
    spool, shares = Spool(budget, limits), Shares()
    wire.feed_data(b"x" * 900_000 + b"\r\n.\r\nNOOP\r\n")
    assert await receive(wire, spool, limits, shares, shares.turn) is TOO_BIG
    assert await spool.load() == b""
    assert budget.held == 0
    assert await wire.readline() == b"NOOP\r\n"


def test_a_scanner_gives_nothing_after_a_fault():
    scanner = Scanner(ROOMY)
    assert scanner.feed(b"\r\nfine\r\n") == b"fine"
    assert scanner.feed(b"bad\n") == b""
    assert scanner.feed(b"fine again\r\n") == scanner.end() == b""
    assert scanner.fault is BARE


async def test_a_big_message_goes_to_a_file_and_comes_back_whole():
    budget = Budget(1_000_000)
    spool = Spool(budget, Limits(spool_over=1000))
    parts = [bytes([number]) * 700 for number in range(10)]
    for part in parts:
        await spool.write(part)
        assert budget.held <= 1700
    assert (spool.size, await spool.load()) == (7000, b"".join(parts))
    spool.close()
    assert budget.held == 0


async def test_when_many_small_messages_fill_the_memory_they_are_spooled_too():
    budget = Budget(1000)
    spools = [Spool(budget, ROOMY) for _ in range(10)]
    for spool in spools:
        await spool.write(b"x" * 400)
    assert budget.held <= 1000
    assert [await spool.load() for spool in spools] == [b"x" * 400] * 10
    for spool in spools:
        spool.close()


async def test_a_full_disk_is_a_452_the_message_is_read_on_and_the_log_says_it_once(monkeypatch, tmp_path, caplog):
    monkeypatch.setattr(content.tempfile, "tempdir", str(tmp_path / "missing"))
    line = b"x" * 998 + b"\r\n"
    assert await read([b"\r\n" + line * 500 + b".\r\nNOOP\r\n"], TINY) == (NO_ROOM, b"", b"NOOP\r\n")
    assert [record.levelname for record in caplog.records] == ["ERROR"]


async def test_the_budget_serves_who_came_first_and_lets_a_giant_pass_alone():
    budget = Budget(10)
    order: list[str] = []

    async def message(name: str, octets: int) -> None:
        room = await budget.take(octets)
        order.append(name)
        await asyncio.sleep(0)
        budget.give(room)

    first = await budget.take(6)
    tasks = [asyncio.create_task(message(*what)) for what in [("giant", 50), ("small", 1), ("other", 9)]]
    await asyncio.sleep(0)
    assert order == []  # small does not overtake giant, or giant would wait for ever
    budget.give(first)
    await asyncio.gather(*tasks)
    assert order == ["giant", "small", "other"]


async def test_who_gives_up_waiting_takes_nothing_along():
    budget = Budget(10)
    room = await budget.take(10)
    gone, next_one = (asyncio.create_task(budget.take(10)) for _ in range(2))
    await asyncio.sleep(0)
    gone.cancel()
    budget.give(room)
    room = await asyncio.wait_for(next_one, PATIENCE)
    late = asyncio.create_task(budget.take(10))
    await asyncio.sleep(0)
    budget.give(room)
    late.cancel()  # in the very moment in which it was its turn
    await asyncio.gather(gone, late, return_exceptions=True)
    assert (await asyncio.wait_for(budget.take(10), PATIENCE)).share == 10


async def test_who_fills_the_memory_waits_for_himself_and_others_do_not_wait_for_him():
    budget = Budget(10)
    order: list[str] = []

    async def message(network: str | None) -> None:
        room = await budget.take(10, network)
        order.append(network or "we")
        await asyncio.sleep(0)
        budget.give(room)

    first = await budget.take(10, "crowd")
    tasks = [asyncio.create_task(message(who)) for who in ["crowd", "crowd", "crowd", "other", "another", None]]
    await asyncio.sleep(0)
    budget.give(first)
    await asyncio.gather(*tasks)
    # `other` and `another` came once, `crowd` had come before; and what we do ourselves makes room for all
    assert order == ["we", "other", "another", "crowd", "crowd", "crowd"]


async def test_what_counts_is_for_how_long_the_memory_was_held(monkeypatch):
    budget = Budget(10)
    now = 0.0
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: now)
    slow = await budget.take(2, "slow")
    for _ in range(3):
        budget.give(await budget.take(4, "busy"))
    now = 30.0
    budget.give(slow)  # as long as six of the others
    last = await budget.take(10, "last")
    waiting = [asyncio.create_task(budget.take(10, who)) for who in ("slow", "busy")]
    await asyncio.sleep(0)
    budget.give(last)
    assert (await waiting[1]).network == "busy"
    waiting[0].cancel()


async def test_who_has_had_little_need_not_wait_until_something_ends():
    budget = Budget(8_000)
    crowd = [asyncio.create_task(budget.take(1_000, f"crowd {number % 2}")) for number in range(20)]
    await asyncio.sleep(0)
    assert sum(each.done() for each in crowd) == 7
    room = await asyncio.wait_for(budget.take(1_000, "other"), PATIENCE)
    budget.give(room)
    for each in crowd:
        budget.give(await each)


async def test_who_waits_for_more_of_a_message_keeps_nothing_of_what_is_on_the_disk() -> None:
    # given clients who have each sent a chunk of a message, and then nothing
    piece, number = b"x" * 998 + b"\r\n", 40
    budget, shares, loop = Budget(TINY.memory), Shares(), asyncio.get_running_loop()
    wires = [Wire(limit=CHUNK, loop=loop) for _ in range(number)]
    spools = [Spool(budget, TINY) for _ in range(number)]
    tracemalloc.start()
    try:
        reading = [
            asyncio.create_task(receive(wire, spool, TINY, shares, shares.turn))
            for wire, spool in zip(wires, spools, strict=True)
        ]
        for wire in wires:
            wire.feed_data(b"Subject: x\r\n\r\n" + piece * 60)
        async with asyncio.timeout(PATIENCE):
            while min(spool.size for spool in spools) < 40_000:
                await asyncio.sleep(0.01)

        # then there is in memory what the stream holds, and not the chunk as it came and as it was written, too
        assert tracemalloc.get_traced_memory()[0] / number < 20_000
    finally:
        tracemalloc.stop()
        for task in reading:
            task.cancel()
        await asyncio.gather(*reading, return_exceptions=True)
        for spool in spools:
            spool.close()
        budget.close()
