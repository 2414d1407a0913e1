"""How much, how many, how long: what a client may not do, and that the others do not notice."""

import asyncio
import socket
import time

import pytest

from listserv.model.envelope import Reply
from tests.kit.patience import PATIENCE
from tests.net.listening import UNKNOWN, Client, doors, until

SMALL = b"Subject: x\r\n\r\nx\r\n"


async def test_the_101st_connection_of_an_address_is_a_421_and_the_first_hundred_stay():
    async with doors() as here:
        clients = [await here.enter() for _ in range(100)]
        late = await here.connect()
        assert (await late.reply()).startswith("421 4.7.0 ")
        assert await late.ended()
        assert await clients[0].say("NOOP") == "250 2.0.0 OK"
        clients[1].close()
        await until(lambda: len(here.listener._desk.guests) < 100)
        assert (await (await here.connect()).reply()).startswith("220 ")


async def test_trusted_peers_and_lmtp_have_no_limit_per_address_but_the_house_has_one():
    async with doors(max_connections_per_address=1, max_connections=4) as here:
        for _ in range(3):
            await here.enter(1)
        await here.enter(0)
        for door in (0, 1):
            assert (await (await here.connect(door)).reply()).startswith("421 4.7.0 ")


async def test_after_a_flood_of_connections_the_door_is_open_again():
    async with doors(max_connections=20) as here:
        sockets = await asyncio.gather(*(here.connect() for _ in range(300)))
        greetings = [(await client.reply())[:3] for client in sockets]
        assert greetings.count("220") == 20
        assert set(greetings) == {"220", "421"}
        for client in sockets:
            client.close()
        await until(lambda: not here.listener._desk.guests)
        assert await (await here.enter()).say("NOOP") == "250 2.0.0 OK"


async def test_too_many_recipients_are_a_452_and_cost_the_others_nothing():
    async with doors(max_recipients=5) as here:
        client = await here.enter()
        await client.say("EHLO c")
        await client.say("MAIL FROM:<>")
        replies = [await client.say(f"RCPT TO:<g{n}@lists.example>") for n in range(40)]
        assert [reply[:9] for reply in replies] == ["250 2.1.5"] * 5 + ["452 4.5.3"] * 35
        await client.say("DATA")
        await client.write(SMALL + b".\r\n")
        assert (await client.reply()).startswith("250 ")
        assert len(here.house.messages[0][0].rcpt_to) == 5


async def test_ten_errors_end_the_session_and_the_later_ones_are_slow():
    async with doors(error_delay=0.05) as here:
        client = await here.enter()
        began, replies, times = time.monotonic(), [], []
        for _ in range(10):
            replies.append(await client.say("JUNK"))
            times.append(time.monotonic() - began)
        assert [reply[:9] for reply in replies] == ["500 5.5.1"] * 9 + ["421 4.7.0"]
        assert await client.ended()
        assert times[8] > 4 * 0.05


async def test_who_harvests_addresses_is_slowed_down_and_shown_the_door():
    async with doors(error_delay=0.02) as here:
        client = await here.enter()
        await client.say("EHLO c")
        await client.say("MAIL FROM:<>")
        replies = [await client.say(f"RCPT TO:<nobody{n}@lists.example>") for n in range(10)]
        assert replies[:9] == [str(UNKNOWN)] * 9
        assert replies[9].startswith("421 4.7.0 ")
        assert len(here.house.asked) == 10


async def test_a_trusted_peer_speaks_for_many_and_is_not_blamed_for_unknown_recipients():
    async with doors(error_delay=5.0) as here:
        client = await here.enter(1)
        await client.say("LHLO c")
        await client.say("MAIL FROM:<>")
        for number in range(30):
            assert await client.say(f"RCPT TO:<nobody{number}@lists.example>") == str(UNKNOWN)


async def test_a_message_taken_forgives_the_errors_before_it():
    async with doors() as here:
        client = await here.enter()
        for _ in range(3):
            for _ in range(8):
                assert (await client.say("JUNK")).startswith("500 ")
            assert (await client.send(SMALL)).startswith("250 ")


async def test_noop_for_ever_ends():
    async with doors(max_idle_commands=20) as here:
        client = await here.enter()
        assert [(await client.say("NOOP"))[:3] for _ in range(21)] == ["250"] * 20 + ["421"]
        assert await client.ended()


async def test_a_browser_that_is_made_to_speak_smtp_is_cut_off_at_its_first_line():
    async with doors() as here:
        client = await here.enter()
        await client.write(b"POST / HTTP/1.1\r\nHost: x\r\n\r\nEHLO c\r\nMAIL FROM:<>\r\n")
        assert (await client.reply()).startswith("500 5.5.1 ")
        assert await client.reply() == ""
        assert here.house.asked == []


async def test_a_message_that_says_it_is_too_big_is_refused_before_it_is_sent():
    async with doors(max_message_bytes=1000) as here:
        client = await here.enter()
        assert "250-SIZE 1000" in await client.say("EHLO c")
        assert (await client.say("MAIL FROM:<> SIZE=1001")).startswith("552 5.3.4 ")
        assert (await client.say("MAIL FROM:<> SIZE=1000")).startswith("250 ")


async def test_a_message_that_is_too_big_is_read_to_its_end_and_the_session_goes_on():
    async with doors(max_message_bytes=100_000) as here:
        client = await here.enter()
        assert (await client.send(b"Subject: x\r\n\r\n" + b"x" * 3_000_000 + b"\r\n")).startswith("552 5.3.4 ")
        assert (await client.send(SMALL)).startswith("250 ")
        assert here.house.contents == [SMALL]


async def test_long_lines_and_many_megabytes_are_taken_as_they_are():
    async with doors() as here:
        client = await here.enter()
        message = b"Subject: x\r\n\r\n" + b"x" * 5_000_000 + b"\r\n" + b".y\r\n" * 100_000
        assert (await client.send(message.replace(b"\r\n.", b"\r\n.."))).startswith("250 ")
        assert here.house.contents == [message]


async def test_a_header_bomb_is_refused():
    async with doors() as here:
        client = await here.enter()
        assert (await client.send(b"X: y\r\n" * 100_000 + b"\r\n")).startswith("552 5.3.4 ")


@pytest.mark.parametrize("size", [2100, 70_000, 3_000_000])
async def test_a_command_line_that_is_too_long_is_a_500_and_the_session_goes_on(size):
    async with doors() as here:
        client = await here.enter()
        assert (await client.say("NOOP " + "x" * size)).startswith("500 5.5.2 ")
        assert await client.say("NOOP") == "250 2.0.0 OK"


async def test_a_command_line_that_is_too_long_is_so_however_it_comes():
    async with doors() as here:
        client = await here.enter()
        await client.write(b"NOOP " + b"x" * 40_000)
        await asyncio.sleep(0.05)
        await client.write(b"\r\n")
        assert await client.reply() == "500 5.5.2 Line too long"


async def test_refused_messages_are_errors_too():
    async with doors(max_errors=3) as here:
        client = await here.enter()
        for _ in range(2):
            assert (await client.send(b"bare\n\r\n")).startswith("550 5.5.2 ")
        assert (await client.say("JUNK")).startswith("421 4.7.0 ")


async def test_more_messages_than_memory_wait_for_each_other_and_all_arrive():
    async with doors(memory=300_000, spool_over=1000) as here:
        message = b"Subject: x\r\n\r\n" + b"x" * 200_000 + b"\r\n"
        clients = [await here.enter() for _ in range(8)]
        replies = await asyncio.gather(*(client.send(message) for client in clients))
        assert {reply[:3] for reply in replies} == {"250"}
        assert here.house.contents == [message] * 8
        assert here.listener._desk.budget.held == 0
        assert (await here.listener._desk.budget.take(300_000)).share == 300_000


async def test_a_message_bigger_than_the_memory_passes_alone():
    async with doors(memory=10_000) as here:
        message = b"Subject: x\r\n\r\n" + b"x" * 200_000 + b"\r\n"
        assert (await (await here.enter()).send(message)).startswith("250 ")


@pytest.mark.parametrize("busy", [Reply(452, "4.3.1", "Queue too long"), Reply(421, "4.3.1", "Disk full")])
async def test_a_busy_house_says_so_before_the_message(busy):
    async with doors() as here:
        client = await here.enter()
        await client.say("EHLO c")
        await client.say("MAIL FROM:<>")
        await client.say("RCPT TO:<walkers@lists.example>")
        here.house.is_busy = busy
        assert await client.say("DATA") == str(busy)
        other = await here.enter()
        await other.say("EHLO c")
        assert await other.say("MAIL FROM:<>") == str(busy)
        assert await other.reply() == "" if busy.code == 421 else (await other.say("NOOP")).startswith("250")


async def test_who_says_nothing_is_cut_off():
    async with doors(idle_timeout=0.2) as here:
        client = await here.enter()
        began = time.monotonic()
        await client.write(b"EHL")
        for _ in range(20):  # octets alone are no progress of a command
            await asyncio.sleep(0.02)
            if not client.writer.is_closing():
                client.writer.write(b"O")
        assert await client.ended()
        assert time.monotonic() - began < PATIENCE
        assert not here.listener._desk.guests


async def test_who_goes_on_for_ever_is_cut_off():
    async with doors(session_timeout=0.4) as here:
        client = await here.enter()
        began = time.monotonic()
        while await client.say("RCPT TO:<x>"):
            await asyncio.sleep(0.06)
        assert time.monotonic() - began < PATIENCE


async def test_a_dribble_in_data_is_cut_off():
    async with doors(idle_timeout=0.3, min_data_rate=500.0) as here:
        client = await here.enter()
        await client.begin()
        began = time.monotonic()
        for _ in range(100):
            client.writer.write(b"x")
            await asyncio.sleep(0.02)  # 50 octets a second
            if client.reader.at_eof() or not here.listener._desk.guests:
                break
        assert await client.ended()
        assert time.monotonic() - began < PATIENCE
        assert here.house.messages == []


async def test_a_slow_but_steady_upload_is_welcome():
    async with doors(idle_timeout=0.2, min_data_rate=500.0) as here:
        client = await here.enter()
        await client.begin()
        for _ in range(20):
            await client.write(b"x" * 98 + b"\r\n")
            await asyncio.sleep(0.03)  # three times as long as idle_timeout altogether
        await client.write(b"\r\n.\r\n")
        assert (await client.reply()).startswith("250 ")


async def test_a_slow_commit_is_not_the_clients_idleness():
    async with doors(idle_timeout=0.1) as here:
        here.house.gate = asyncio.Event()
        client = await here.enter()
        await client.begin()
        await client.write(SMALL + b".\r\n")
        await asyncio.sleep(0.35)
        here.house.gate.set()
        assert (await client.reply()).startswith("250 ")


async def test_a_peer_that_never_reads_is_cut_off():
    async with doors(idle_timeout=0.5, max_idle_commands=10**9, max_errors=10**9) as here:
        host, port = here.listener.bound[0]
        loop = asyncio.get_running_loop()
        with socket.socket() as peer:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            peer.setblocking(False)
            await loop.sock_connect(peer, (host, port))
            await until(lambda: here.listener._desk.guests)

            async def talk() -> None:
                while True:
                    await loop.sock_sendall(peer, b"VRFY x\r\n" * 1000)

            with pytest.raises(ConnectionError):
                await asyncio.wait_for(talk(), 10)
            assert not here.listener._desk.guests


async def test_a_connection_that_is_reset_leaves_nothing_behind(caplog):
    async with doors() as here:
        for _ in range(20):
            client = await here.enter()
            await client.begin()
            await client.write(b"half a message")
            client.reset()
        await until(lambda: not here.listener._desk.guests)
        assert here.listener._desk.budget.held == 0
        assert here.house.messages == []
    assert caplog.records == []


async def test_who_speaks_before_the_greeting_is_heard():
    async with doors() as here:
        client = await here.connect()
        await client.write(b"EHLO early\r\n")
        assert (await client.reply()).startswith("220 ")
        assert (await client.reply()).startswith("250-")


async def test_new_limits_hold_for_new_sessions():
    async with doors() as here:
        old = await here.enter()
        here.listener.reload(here.listener._desk.limits.__class__(max_message_bytes=77))
        new: Client = await here.enter()
        assert "SIZE 10485760" in await old.say("EHLO c")
        assert "SIZE 77" in await new.say("EHLO c")
