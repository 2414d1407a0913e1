"""Copies in a row over one connection: the next envelope goes behind the dot, the next message does not."""

import asyncio
from copy import deepcopy as copy_of
from typing import Any

import pytest

from listserv.model.delivery import Copy, Deferred, Failed, Outcome, Sent
from listserv.net.relay import Patience, Relay, Smarthost, Tls
from tests.kit.patience import PATIENCE
from tests.kit.peer import Act, Peer
from tests.kit.world import World

HASTE = Patience(connect=5, greeting=5, envelope=5, data=5, block=5, final=5)


class Row:
    """Some copies, and what became of them; `gate` is passed before the next message may go."""

    def __init__(self, number: int, *to: str, body: bytes = b"Hi.\r\n") -> None:
        self.waiting = [copy(n, to[n] if n < len(to) else f"m{n}@a.example", body) for n in range(number)]
        self.outcomes: list[Outcome] = []
        self.gate = asyncio.Event()
        self.gate.set()

    def take(self) -> Copy | None:
        return self.waiting.pop(0) if self.waiting else None

    async def ended(self, copy: Copy, outcomes: tuple[Outcome, ...]) -> None:
        self.outcomes += outcomes
        await self.gate.wait()


def copy(number: int, to: str, body: bytes = b"Hi.\r\n") -> Copy:
    return Copy("g-bounces@lists.example", (to,), b"Subject: x\r\n\r\n", body, own=b"X-Number: %d\r\n" % number)


def relay_to(port: int, connections: int = 1, patience: Patience = HASTE, **more: Any) -> Relay:
    smarthost = Smarthost("127.0.0.1", port, Tls.NONE, hostname="lists.example", connections=connections)
    return Relay(smarthost, patience=patience, **more)


async def work(peer: Peer, row: Row, **more: Any) -> list[str]:
    """What became of them, by kind."""
    relay = relay_to(peer.port, **more)
    await relay.work(row)
    await relay.close(1)
    return [type(outcome).__name__ for outcome in row.outcomes]


def numbers(peer: Peer) -> list[int]:
    """Whose messages came, up to their dot."""
    return [int(message.split(b"X-Number: ")[1].split(b"\r\n")[0]) for message in peer.messages if message != b".\r\n"]


@pytest.mark.parametrize("offers", [("PIPELINING",), ()], ids=["pipelining", "one by one"])
async def test_a_row_goes_over_one_connection_in_its_order(offers: tuple[str, ...]) -> None:
    async with Peer(offers=offers) as peer:
        assert await work(peer, Row(5)) == ["Sent"] * 5
    assert (numbers(peer), peer.visits) == ([0, 1, 2, 3, 4], 1)


async def test_the_next_envelope_is_there_before_the_dot_is_answered() -> None:
    behind: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answers nothing after the dot until the next DATA is there."""
        writer.write(b"220 x\r\n")
        await reader.readline()
        writer.write(b"250-x\r\n250 PIPELINING\r\n")
        await reader.readuntil(b"DATA\r\n")
        writer.write(b"250 ok\r\n250 ok\r\n354 go\r\n")
        await reader.readuntil(b"\r\n.\r\n")
        behind.set_result(await reader.readuntil(b"DATA\r\n"))
        writer.write(b"250 kept\r\n250 ok\r\n250 ok\r\n354 go\r\n")
        await reader.readuntil(b"\r\n.\r\n")
        writer.write(b"250 kept\r\n")
        await reader.readline()
        writer.close()

    async with await asyncio.start_server(peer, "127.0.0.1", 0) as server:
        row, relay = Row(2), relay_to(server.sockets[0].getsockname()[1])
        await relay.work(row)
        await relay.close(1)
    assert row.outcomes == [Sent("250 kept"), Sent("250 kept")]
    assert behind.result() == b"MAIL FROM:<g-bounces@lists.example>\r\nRCPT TO:<m1@a.example>\r\nDATA\r\n"


async def test_the_next_message_waits_until_the_outcome_before_it_has_a_place() -> None:
    async with Peer() as peer:
        row, relay = Row(3), relay_to(peer.port)
        row.gate.clear()
        working = asyncio.create_task(relay.work(row))
        async with asyncio.timeout(PATIENCE):
            while [line.partition(" ")[0] for line in peer.heard].count("DATA") < 2:
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        assert numbers(peer) == [0]
        row.gate.set()
        await working
        await relay.close(1)
    assert numbers(peer) == [0, 1, 2]


DEATHS: dict[str, tuple[dict[str, Any], list[str], list[int]]] = {
    # steps, outcomes, messages whose dot came
    "hangs up at the dot": ({".": ["250 ok", Act.CLOSE, "250 ok"]}, ["Sent", "Deferred", "Sent", "Sent"], [0, 1, 2, 3]),
    "421 at the dot": ({".": ["250 ok", "421 bye", "250 ok"]}, ["Sent", "Deferred", "Sent", "Sent"], [0, 1, 2, 3]),
    "hangs up at the next MAIL": ({"MAIL": ["250 ok", Act.CLOSE, "250 ok"]}, ["Sent"] * 4, [0, 1, 2, 3]),
    "421 at the next MAIL": ({"MAIL": ["250 ok", "421 4.3.2 bye", "250 ok"]}, ["Sent"] * 4, [0, 1, 2, 3]),
    "hangs up at the next RCPT": (
        {"RCPT": ["250 ok", Act.CLOSE, "250 ok"]},
        ["Sent", "Deferred", "Sent", "Sent"],
        [0, 2, 3],
    ),
    "hangs up at the next DATA": (
        {"DATA": ["354 go", Act.CLOSE, "354 go"]},
        ["Sent", "Deferred", "Sent", "Sent"],
        [0, 2, 3],
    ),
    "refuses one": ({"RCPT": ["250 ok", "550 5.1.1 no", "250 ok"], "DATA": ["354 go", "554 5.5.1 nobody", "354 go"]},
                    ["Sent", "Failed", "Sent", "Sent"], [0, 2, 3]),
    "refuses one and waits for a message": (
        {"RCPT": ["250 ok", "550 5.1.1 no", "250 ok"]}, ["Sent", "Failed", "Sent", "Sent"], [0, 2, 3]
    ),
    "refuses one at the dot": ({".": ["250 ok", "554 no", "250 ok"]}, ["Sent", "Failed", "Sent", "Sent"], [0, 1, 2, 3]),
    "puts one off at MAIL": (
        {"MAIL": ["250 ok", "451 4.7.1 later", "250 ok"], "RCPT": ["250 ok", "503 MAIL first", "250 ok"],
         "DATA": ["354 go", "503 MAIL first", "354 go"]},
        ["Sent", "Deferred", "Sent", "Sent"], [0, 2, 3],
    ),
}  # fmt: skip


@pytest.mark.parametrize("death", DEATHS)
async def test_wherever_the_peer_fails_each_copy_has_its_own_outcome(death: str) -> None:
    steps, outcomes, arrived = DEATHS[death]
    async with Peer(copy_of(steps)) as peer:
        assert await work(peer, Row(4)) == outcomes
    assert numbers(peer) == arrived


async def test_silence_at_the_dot_is_doubt_about_one_and_not_about_the_next() -> None:
    async with Peer({".": ["250 ok", Act.HANG, "250 ok"]}) as peer:
        row = Row(3)
        await work(peer, row, patience=Patience(final=0.3))
    sent, doubtful, after = row.outcomes
    assert isinstance(sent, Sent)
    assert isinstance(doubtful, Deferred)
    assert doubtful.in_doubt
    assert isinstance(after, Sent)
    assert numbers(peer) == [0, 1, 2]


async def test_an_answer_too_many_at_the_dot_sends_nothing_twice() -> None:
    async with Peer({".": [b"250 ok\r\n250 ok again\r\n", "250 ok"]}) as peer:
        await work(peer, row := Row(4))
    assert len(row.outcomes) == 4
    assert isinstance(row.outcomes[0], Sent)
    assert len(set(numbers(peer))) == len(numbers(peer))
    assert [n for n, outcome in enumerate(row.outcomes) if isinstance(outcome, Sent)] == numbers(peer)


async def test_a_copy_that_no_relay_can_have_does_not_stop_its_row() -> None:
    async with Peer() as peer:
        row = Row(4, "m0@a.example", "no address", "ünï@a.example")
        await work(peer, row)
    assert [type(outcome) for outcome in row.outcomes] == [Sent, Failed, Failed, Sent]
    assert numbers(peer) == [0, 3]


async def test_a_session_ends_politely_after_its_share_in_the_middle_of_a_row() -> None:
    async with Peer() as peer:
        assert await work(peer, Row(5), max_transactions=2) == ["Sent"] * 5
    assert peer.visits == 3
    assert peer.heard.count("QUIT") == 3


@pytest.mark.parametrize("lines", [1, 3_000])
async def test_a_row_of_big_messages(lines: int) -> None:
    async with Peer() as peer:
        assert await work(peer, Row(3, body=(b"x" * 70 + b"\r\n") * lines)) == ["Sent"] * 3
    assert numbers(peer) == [0, 1, 2]


async def test_cancelling_a_row_whose_next_envelope_is_said_leaves_nothing_open() -> None:
    async with World() as world:
        row, relay = Row(3), relay_to(world.port)
        row.gate.clear()
        working = asyncio.create_task(relay.work(row))
        await world.wait_for(1)
        await asyncio.sleep(0.05)
        working.cancel()
        with pytest.raises(asyncio.CancelledError):
            await working
        await world.deserted()
        assert isinstance((await relay.send(copy(9, "z@a.example")))[0], Sent)
        await relay.close(1)
    assert world.count == 2
