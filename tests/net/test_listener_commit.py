"""From the final dot to the reply: what is taken is finished, what fails is an opaque 451, and stopping is polite."""

import asyncio
import logging
import socket

import pytest

from listserv.model.envelope import Peer, Reply
from listserv.net import session
from listserv.net.listener import Door, Listener
from tests.kit.patience import PATIENCE
from tests.kit.rounds import Rounds
from tests.net.listening import HOSTNAME, NOW, UNKNOWN, Client, Ledger, doors, until

SMALL = b"Subject: x\r\n\r\nx\r\n"


async def waiting(here, door=0) -> Client:
    """A client whose message the house is just taking."""
    here.house.gate = asyncio.Event()
    client = await here.enter(door)
    await client.begin(hello="LHLO c" if door else "EHLO c")
    await client.write(SMALL + b".\r\n")
    await asyncio.wait_for(here.house.accepting.wait(), PATIENCE)
    return client


async def test_the_house_gets_envelope_and_message():
    async with doors() as here:
        await (await here.enter()).send(SMALL, "walkers@Lists.example", "Sailors@lists.example")
        envelope, content = here.house.messages[0]
        assert content == SMALL
        assert (envelope.mail_from, envelope.at) == ("ada@a.example", NOW)
        assert envelope.rcpt_to == ("walkers@lists.example", "Sailors@lists.example")
        assert envelope.peer == Peer("127.0.0.1", "client.example")


async def test_smtputf8_reaches_the_house():
    async with doors() as here:
        client = await here.enter()
        await client.say("EHLO c")
        assert (await client.say("MAIL FROM:<jürgen@a.example>")).startswith("553 5.6.7 ")
        assert (await client.say("MAIL FROM:<jürgen@bücher.example> SMTPUTF8")).startswith("250 ")
        await client.say("RCPT TO:<walkers@lists.example>")
        await client.say("DATA")
        await client.write(SMALL + b".\r\n")
        await client.reply()
        envelope = here.house.messages[0][0]
        assert (envelope.mail_from, envelope.smtputf8) == ("jürgen@xn--bcher-kva.example", True)


async def test_lmtp_answers_once_for_each_recipient_and_is_trusted():
    async with doors() as here:
        here.house.answers = [Reply(250, "2.0.0", "one"), UNKNOWN, Reply(451, "4.3.0", "three")]
        client = await here.enter(1)
        assert (await client.say("EHLO c")).startswith("500 5.5.1 ")
        await client.begin("a@lists.example", "b@lists.example", "c@lists.example", hello="LHLO c")
        await client.write(SMALL + b".\r\n")
        assert [await client.reply() for _ in range(3)] == ["250 2.0.0 one", str(UNKNOWN), "451 4.3.0 three"]
        assert await client.say("NOOP") == "250 2.0.0 OK"
        assert here.house.messages[0][0].peer == Peer("127.0.0.1", "c", lmtp=True, trusted=True)


async def test_lmtp_refuses_a_bad_message_once_for_each_recipient():
    async with doors() as here:
        client = await here.enter(1)
        await client.begin("a@lists.example", "b@lists.example", hello="LHLO c")
        await client.write(b"bare\n\r\n.\r\n")
        assert [(await client.reply())[:9] for _ in range(2)] == ["550 5.5.2"] * 2
        assert await client.say("NOOP") == "250 2.0.0 OK"


async def test_smtp_does_not_know_lhlo():
    async with doors() as here:
        assert (await (await here.enter()).say("LHLO c")).startswith("500 5.5.1 ")


@pytest.mark.parametrize("door", [0, 1])
async def test_a_fault_of_ours_is_an_opaque_451(door, caplog):
    async with doors() as here:
        here.house.fault = RuntimeError("password and path")
        client = await here.enter(door)
        await client.begin(hello="LHLO c" if door else "EHLO c")
        await client.write(SMALL + b".\r\n")
        assert await client.reply() == "451 4.3.0 Internal error; try again later"
        assert await client.say("NOOP") == "250 2.0.0 OK"
        assert [(record.name, record.levelname) for record in caplog.records] == [("listserv.listener", "ERROR")]


async def test_where_many_messages_are_being_taken_the_next_begin_one_in_each_round(monkeypatch):
    # given a house that takes its time, and clients whose messages are all there at once
    monkeypatch.setattr(session, "CROWD", 2)
    async with doors() as here, Rounds() as rounds:
        here.house.gate, begun, accept = asyncio.Event(), [], here.house.accept

        async def noted(envelope, content):
            begun.append(rounds.number)
            return await accept(envelope, content)

        monkeypatch.setattr(here.house, "accept", noted)
        clients = [await here.enter() for _ in range(12)]
        for client in clients:
            await client.begin()
        for client in clients:
            client.writer.write(SMALL + b".\r\n")
        await until(lambda: len(begun) == 12)

        # then but for the first nobody begins with somebody else
        assert len(set(begun[2:])) == 10
        here.house.gate.set()
        assert {(await client.reply())[:4] for client in clients} == {"250 "}


async def test_a_fault_before_the_hand_over_is_a_451_for_each_recipient_and_ends_the_transaction():
    def clock():
        raise RuntimeError("no time")

    listener = Listener([Door(("127.0.0.1", 0), lmtp=True)], HOSTNAME, Ledger(), clock)
    await listener.start()
    client = Client(*await asyncio.open_connection(*listener.bound[0]))
    await client.reply()
    await client.begin("a@lists.example", "b@lists.example", hello="LHLO c")
    await client.write(SMALL + b".\r\n")
    assert [(await client.reply())[:9] for _ in range(2)] == ["451 4.3.0"] * 2
    assert (await client.say("MAIL FROM:<>")).startswith("250 ")
    budget = listener._desk.budget
    assert (await asyncio.wait_for(budget.take(budget.total), PATIENCE)).share == budget.total
    client.close()
    await listener.stop(1.0)


async def test_a_house_whose_database_hangs_up_does_not_look_like_a_client_that_does():
    async with doors() as here:
        here.house.fault = ConnectionResetError("the database is gone")
        assert (await (await here.enter()).send(SMALL)).startswith("451 4.3.0 ")


async def test_a_house_that_answers_too_often_is_a_fault_of_ours():
    async with doors() as here:
        here.house.answers = [Reply(250, "2.0.0", "one")] * 2
        assert (await (await here.enter()).send(SMALL)).startswith("451 4.3.0 ")


async def test_a_fault_at_rcpt_is_a_451_for_that_recipient_only():
    async with doors() as here:
        client = await here.enter()
        await client.say("EHLO c")
        await client.say("MAIL FROM:<>")
        assert await client.say("RCPT TO:<fault@lists.example>") == "451 4.3.0 Internal error; try again later"
        assert (await client.say("RCPT TO:<walkers@lists.example>")).startswith("250 ")


@pytest.mark.parametrize("how", ["fin", "rst"])
async def test_a_client_that_hangs_up_during_the_commit_does_not_stop_it(how):
    async with doors() as here:
        client = await waiting(here)
        if how == "rst":
            client.reset()
            await until(lambda: not here.listener._desk.guests)
        else:
            client.close()
        assert here.house.messages == []
        assert here.listener._desk.budget.held == 0  # what the house has is not held twice
        here.house.gate.set()
        await until(lambda: here.house.messages)
        await until(lambda: not here.listener._desk.commits)


async def test_the_session_timer_does_not_stop_a_commit():
    async with doors(session_timeout=0.2) as here:
        client = await waiting(here)
        assert await client.ended()
        here.house.gate.set()
        await until(lambda: here.house.messages)


async def test_a_message_that_never_ends_is_never_handed_over_and_no_fault_of_ours(caplog):
    async with doors() as here:
        client = await here.enter()
        await client.begin()
        await client.write(SMALL + b".\r")
        client.writer.write_eof()
        assert await client.ended()
        assert here.house.messages == []
    assert caplog.records == []


async def test_stopping_sends_the_idle_away_and_serves_who_waits_for_a_commit():
    async with doors() as here:
        busy = await waiting(here)
        idle, in_transaction, in_data = [await here.enter() for _ in range(3)]
        await in_transaction.say("EHLO c")
        await in_transaction.say("MAIL FROM:<>")
        await in_data.begin()
        stopping = asyncio.create_task(here.listener.stop(5.0))
        for client in (idle, in_transaction):
            assert (await client.reply()).startswith("421 4.3.2 ")
            assert await client.reply() == ""
        await in_data.write(SMALL + b".\r\n")
        here.house.gate.set()
        for client in (busy, in_data):
            assert (await client.reply()).startswith("250 ")
            assert (await client.reply()).startswith("421 4.3.2 ")
        await asyncio.wait_for(stopping, PATIENCE)
        with pytest.raises(ConnectionRefusedError):
            await here.connect()
        assert len(here.house.messages) == 2


async def test_stopping_waits_no_longer_than_its_grace():
    async with doors() as here:
        slow = await here.enter()
        await slow.begin()
        hanging = await waiting(here)
        began = asyncio.get_running_loop().time()
        await here.listener.stop(0.2)
        assert 0.15 < asyncio.get_running_loop().time() - began < PATIENCE
        assert await slow.ended()
        assert await hanging.ended()
        assert here.house.messages == []


async def test_stopping_waits_for_a_commit_whose_client_has_gone():
    async with doors() as here:
        client = await waiting(here)
        client.reset()
        await until(lambda: not here.listener._desk.guests)
        stopping = asyncio.create_task(here.listener.stop(5.0))
        await asyncio.sleep(0.05)
        assert not stopping.done()
        here.house.gate.set()
        await asyncio.wait_for(stopping, PATIENCE)
        assert len(here.house.messages) == 1


async def test_a_taken_port_is_one_clear_line_and_leaves_no_door_open():
    async with doors() as here:
        host, port = here.listener.bound[0]
        free = socket.create_server(("127.0.0.1", 0))
        free_port = free.getsockname()[1]
        free.close()
        second = Listener(
            [Door(("127.0.0.1", free_port)), Door((host, port), lmtp=True)], HOSTNAME, Ledger(), lambda: NOW
        )
        with pytest.raises(OSError, match=rf"\[lmtp\] listen: cannot listen on {host}:{port}: is in use") as refused:
            await second.start()
        assert "\n" not in str(refused.value)
        socket.create_server(("127.0.0.1", free_port)).close()


async def test_an_address_that_is_not_ours_is_one_clear_line():
    with pytest.raises(OSError, match=r"\[smtp\] listen: cannot listen on \[2001:db8::1\]:25: "):
        await Listener([Door(("2001:db8::1", 25))], HOSTNAME, Ledger(), lambda: NOW).start()


async def test_a_unix_socket_serves_replaces_a_dead_one_and_never_a_live_one(tmp_path):
    path = str(tmp_path / "lmtp")
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(path)
    dead.close()
    house = Ledger()
    listener = Listener([Door(path, lmtp=True)], HOSTNAME, house, lambda: NOW)
    await listener.start()
    assert listener.bound == (path,)
    client = Client(*await asyncio.open_unix_connection(path))
    assert await client.reply() == "220 lists.example LMTP"
    await client.begin(hello="LHLO c")
    await client.write(SMALL + b".\r\n")
    assert (await client.reply()).startswith("250 ")
    assert house.messages[0][0].peer == Peer("", "c", lmtp=True, trusted=True)
    with pytest.raises(OSError, match="is in use"):
        await Listener([Door(path)], HOSTNAME, Ledger(), lambda: NOW).start()
    await listener.stop(1.0)
    assert not (tmp_path / "lmtp").exists()
    client.close()


async def test_no_log_ever_sees_recipients_tokens_or_bodies(caplog):
    with caplog.at_level(logging.DEBUG):
        async with doors() as here:
            logging.getLogger("mail.log").setLevel(logging.DEBUG)
            logging.getLogger("mail.log").info("recip: canary")
            client = await here.enter()
            await client.send(b"Subject: canary-subject\r\n\r\ncanary-body\r\n", "g-confirm+canary-token@lists.example")
            await client.say("RCPT TO:<nobody-canary@lists.example>")
            await client.begin("g-confirm+canary-token@lists.example")
            await client.write(b"canary-body\n\r\n.\r\n")
            await client.reply()
            await client.say("QUIT")
    assert "canary" not in caplog.text


async def test_replies_to_commands_that_came_together_go_together(monkeypatch):
    async with doors() as here:
        client = await here.enter()
        await client.say("EHLO client.example")
        writer = next(iter(here.listener._desk.guests))._writer
        write, written = writer.write, []
        monkeypatch.setattr(writer, "write", lambda octets: (written.append(octets), write(octets)))
        await client.write(b"MAIL FROM:<ada@a.example>\r\nRCPT TO:<walkers@lists.example>\r\nDATA\r\n")
        assert [(await client.reply())[:3] for _ in range(3)] == ["250", "250", "354"]
        assert len(written) == 1


async def test_the_reply_to_data_waits_for_nothing_though_the_message_came_along():
    async with doors() as here:
        client = await here.enter()
        await client.say("EHLO client.example")
        await client.write(b"MAIL FROM:<ada@a.example>\r\nRCPT TO:<walkers@lists.example>\r\nDATA\r\nSubject: x\r\n")
        assert [(await client.reply())[:3] for _ in range(3)] == ["250", "250", "354"]
        await client.write(b"\r\nx\r\n.\r\n")
        assert (await client.reply()).startswith("250 ")
