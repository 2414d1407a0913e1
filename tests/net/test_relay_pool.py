"""Connections: kept, counted, given back; nothing is lost, doubled or left open."""

import asyncio
from collections import Counter
from typing import Any

import pytest

from listserv.model.delivery import Copy, Deferred, Outcome, Sent
from listserv.net.relay import Patience, Relay, Smarthost, Tls
from tests.kit.patience import PATIENCE
from tests.kit.peer import Act, Peer
from tests.kit.world import World

HASTE = Patience(connect=1, greeting=1, envelope=1, data=1, block=1, final=1)


def relay_to(port: int, connections: int = 5, **more: Any) -> Relay:
    smarthost = Smarthost("127.0.0.1", port, Tls.NONE, hostname="lists.example", connections=connections)
    return Relay(smarthost, **{"patience": HASTE, **more})


def copy(number: int = 0, body: bytes = b"Hi.\r\n") -> Copy:
    return Copy("g-bounces@lists.example", (f"m{number}@a.example",), b"X-Number: %d\r\n\r\n" % number, body)


async def five_hundred_copies(pipelining: bool) -> tuple[World, list[tuple[Outcome, ...]]]:
    async with World(pipelining=pipelining) as world:
        relay = relay_to(world.port, max_transactions=20)
        outcomes = await asyncio.gather(*(relay.send(copy(number)) for number in range(500)))
        await relay.close(1)
    return world, outcomes


def assert_each_arrived_once(world: World, outcomes: list[tuple[Outcome, ...]]) -> None:
    assert Counter(type(outcome) for (outcome,) in outcomes) == {Sent: 500}
    expected = {f"m{number}@a.example": [b"X-Number: %d\r\n\r\nHi.\r\n" % number] for number in range(500)}
    assert world.messages == expected
    assert world.faults == []
    assert world.peak == 5
    assert 25 <= world.visits < 35


@pytest.mark.parametrize("pipelining", [True, False])
async def test_500_copies_over_5_connections_arrive_once_each(pipelining: bool) -> None:
    assert_each_arrived_once(*await five_hundred_copies(pipelining))


async def test_copies_one_after_another_share_a_connection() -> None:
    async with World() as world:
        relay = relay_to(world.port)
        for number in range(7):
            await relay.send(copy(number))
        assert world.visits == 1
        await relay.close(1)


async def test_a_connection_ends_politely_after_its_share_of_transactions() -> None:
    async with Peer() as peer:
        relay = relay_to(peer.port, connections=1, max_transactions=2)
        for number in range(5):
            assert isinstance((await relay.send(copy(number)))[0], Sent)
        await relay.close(1)
    assert [line.partition(" ")[0] for line in peer.heard].count("QUIT") == 3
    assert peer.visits == 3


async def test_a_connection_that_says_goodbye_still_counts() -> None:
    async with World() as world:
        world.delay = 0.005
        relay = relay_to(world.port, connections=2, max_transactions=1)
        await asyncio.gather(*(relay.send(copy(number)) for number in range(10)))
        await relay.close(1)
    assert (world.count, world.visits, world.peak) == (10, 10, 2)


async def test_an_idle_connection_is_closed_quietly_and_the_next_copy_opens_another() -> None:
    async with World() as world:
        relay = relay_to(world.port, idle_seconds=0.05)
        await relay.send(copy())
        assert world.guests
        await world.deserted()
        assert isinstance((await relay.send(copy()))[0], Sent)
        assert world.visits == 2
        await relay.close(1)


async def test_who_finds_nothing_to_send_ends_no_session_in_which_another_sends() -> None:
    class Nothing:
        def take(self) -> None:
            return None

        def ended(self, _copy: Copy, _outcomes: tuple[Outcome, ...]) -> None:
            raise AssertionError("nothing was sent")

    async with World() as world:
        relay = relay_to(world.port, connections=1, idle_seconds=0.2, patience=Patience())
        await relay.send(copy(0))
        await relay.work(Nothing())
        world.delay = 0.3
        async with asyncio.timeout(10):
            assert isinstance((await relay.send(copy(1)))[0], Sent)
        await relay.close(1)
    assert world.count == 2


async def test_a_peer_that_hung_up_while_idle_costs_nobody_a_try() -> None:
    async with World() as world:
        relay = relay_to(world.port)
        await relay.send(copy())
        await world.down()
        await world.up()
        assert isinstance((await relay.send(copy()))[0], Sent)
        await relay.close(1)
    assert world.count == 2


@pytest.mark.parametrize("offers", [("PIPELINING",), ()], ids=["pipelining", "one by one"])
@pytest.mark.parametrize("step", [Act.CLOSE, "421 4.4.2 idle too long"])
async def test_a_peer_that_hangs_up_at_the_next_mail_costs_nobody_a_try(step: Any, offers: tuple[str, ...]) -> None:
    async with Peer({"MAIL": ["250 ok", step, "250 ok"]}, offers=offers) as peer:
        relay = relay_to(peer.port)
        await relay.send(copy())
        assert isinstance((await relay.send(copy()))[0], Sent)
        await relay.close(1)
    assert peer.visits == 2
    assert len(peer.messages) == 2


async def test_the_second_try_is_the_last() -> None:
    async with Peer({"MAIL": ["250 ok", Act.CLOSE]}) as peer:
        relay = relay_to(peer.port)
        await relay.send(copy())
        (outcome,) = await relay.send(copy())
        await relay.close(1)
    assert isinstance(outcome, Deferred)
    assert peer.visits == 2


async def test_silence_on_a_kept_connection_is_not_tried_again() -> None:
    async with Peer({"MAIL": ["250 ok", Act.HANG]}) as peer:
        relay = relay_to(peer.port, patience=Patience(envelope=0.1))
        await relay.send(copy())
        (outcome,) = await relay.send(copy())
        await relay.close(1)
    assert isinstance(outcome, Deferred)
    assert peer.visits == 1


async def test_a_world_that_went_down_and_came_back_gets_each_copy_once() -> None:
    async with World() as world:
        relay = relay_to(world.port)
        await relay.send(copy(0))
        await world.down()
        (outcome,) = await relay.send(copy(1))
        assert isinstance(outcome, Deferred)
        assert outcome.unreachable
        await world.up()
        await relay.send(copy(1))
        await relay.close(1)
    assert {recipient: len(copies) for recipient, copies in world.messages.items()} == {
        "m0@a.example": 1,
        "m1@a.example": 1,
    }


@pytest.mark.parametrize("verb", ["banner", "EHLO", "MAIL", "RCPT", "DATA", "."])
async def test_cancelling_a_copy_leaves_nothing_open_and_harms_nobody(verb: str) -> None:
    async with Peer({verb: [Act.HANG, "220 ok" if verb == "banner" else "250 ok"]}) as peer:
        relay = relay_to(peer.port, connections=1)
        sending = asyncio.create_task(relay.send(copy(1)))
        await asyncio.sleep(0.05)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        # then the one connection is free for the next copy
        if verb != "DATA":
            assert isinstance((await relay.send(copy(2)))[0], Sent)
        await relay.close(1)


async def test_cancelling_who_waits_for_a_connection_does_not_lose_the_connection() -> None:
    async with World() as world:
        world.delay = 0.02
        relay = relay_to(world.port, connections=1)
        first = asyncio.create_task(relay.send(copy(1)))
        waiting = asyncio.create_task(relay.send(copy(2)))
        await asyncio.sleep(0.01)
        waiting.cancel()
        assert isinstance((await first)[0], Sent)
        assert isinstance((await relay.send(copy(3)))[0], Sent)
        await relay.close(1)
    assert set(world.messages) == {"m1@a.example", "m3@a.example"}


async def test_close_lets_the_copies_on_the_wire_end_and_turns_the_waiting_ones_away() -> None:
    async with World() as world:
        world.delay = 0.1
        relay = relay_to(world.port, connections=2)
        sending = [asyncio.create_task(relay.send(copy(number))) for number in range(4)]
        await asyncio.sleep(0.02)
        await relay.close(5)
        outcomes = [(await task)[0] for task in sending]
        late = (await relay.send(copy(9)))[0]
    turned_away = Deferred("421 4.3.2 this server is shutting down", unreachable=True)
    assert [type(outcome) for outcome in outcomes[:2]] == [Sent, Sent]
    assert [*outcomes[2:], late] == [turned_away] * 3
    assert world.count == 2


@pytest.mark.parametrize(
    ("steps", "in_doubt"), [({"banner": Act.HANG}, False), ({"RCPT": Act.HANG}, False), ({".": Act.HANG}, True)]
)
async def test_close_gives_up_after_its_grace(steps: dict[str, Act], in_doubt: bool) -> None:
    async with Peer(steps) as peer:
        relay = relay_to(peer.port, patience=Patience())
        sending = asyncio.create_task(relay.send(copy()))
        await asyncio.sleep(0.05)
        async with asyncio.timeout(PATIENCE):
            await relay.close(0.05)
        (outcome,) = await sending
    assert isinstance(outcome, Deferred)
    assert outcome.in_doubt is in_doubt


async def test_a_peer_that_ignores_quit_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("listserv.net.dialogue.PARTING_SECONDS", 0.05)
    async with Peer({"QUIT": Act.HANG}) as peer:
        relay = relay_to(peer.port)
        await relay.send(copy())
        async with asyncio.timeout(PATIENCE):
            await relay.close(1)
    assert peer.heard[-1] == "QUIT"


async def test_one_hanging_connection_delays_no_other() -> None:
    async with Peer({"MAIL": [Act.HANG, "250 ok"]}) as peer:
        relay = relay_to(peer.port, connections=2)
        stuck = asyncio.create_task(relay.send(copy(0)))
        await asyncio.sleep(0.02)
        async with asyncio.timeout(PATIENCE):
            for number in range(20):
                assert isinstance((await relay.send(copy(number)))[0], Sent)
        assert not stuck.done()
        assert isinstance((await stuck)[0], Deferred)
        await relay.close(1)
