"""T2, T12: what a copy looks like on the wire, byte by byte."""

from typing import Any

import pytest

from listserv.model.delivery import Copy, Failed, Sent
from listserv.net.dialogue import BLOCK_BYTES
from listserv.net.relay import Relay, Smarthost, Tls
from tests.kit.peer import Peer
from tests.kit.world import World

HEAD = b"Subject: Sunday\r\n\r\n"


def relay_to(port: int) -> Relay:
    return Relay(Smarthost("127.0.0.1", port, Tls.NONE, hostname="lists.example"))


def copy(**changes: Any) -> Copy:
    values = {"mail_from": "g-bounces@lists.example", "rcpt_to": ("ada@a.example",), "head": HEAD, "body": b"Hi.\r\n"}
    return Copy(**{**values, **changes})


async def deliver(peer: Peer, copy: Copy) -> Any:
    relay = relay_to(peer.port)
    outcomes = await relay.send(copy)
    await relay.close(1)
    return outcomes


BODIES = [
    b"",
    b".\r\n",
    b"..\r\n",
    b"\r\n.\r\n",
    b"\r\n.\r\nMAIL FROM:<evil@e.example>\r\n",
    b".a\r\n.b\r\n..c\r\na.b\r\n",
    b"no end of line",
    b"\r\n\r\n\r\n",
    b"\x80\xff\r\n",
    b"x" * (BLOCK_BYTES - 1) + b"\r\n.\r\n" + b"y" * BLOCK_BYTES,
    (b"." * 70 + b"\r\n") * 3000,
]


@pytest.mark.parametrize("offers", [("PIPELINING",), ()], ids=["pipelining", "one by one"])
@pytest.mark.parametrize("body", BODIES)
async def test_what_is_received_is_what_was_sent(body: bytes, offers: tuple[str, ...]) -> None:
    async with World(pipelining=bool(offers)) as world:
        relay = relay_to(world.port)
        assert isinstance((await relay.send(copy(body=body)))[0], Sent)
        await relay.close(1)
    assert world.messages == {
        "ada@a.example": [HEAD + body + (b"\r\n" if body == b"no end of line" or body[-1:] == b"y" else b"")]
    }
    assert world.faults == []


SMUGGLING = [
    b"\n.\r\n",
    b"\r.\r\n",
    b"\n.\n",
    b"\r.\r",
    b"\r\n.\r",
    b"\r\n.\n",
    b"\r.\n",
    b"\n\n.\r\n",
    b"\r\r\n.\r\r\n",
    b"\r",
    b"\n",
]


@pytest.mark.parametrize("half", ["head", "body"])
@pytest.mark.parametrize("ending", SMUGGLING)
async def test_a_bare_cr_or_lf_never_reaches_the_wire_and_holds_up_nobody(ending: bytes, half: str) -> None:
    poison = b"Subject: a" + ending + b"MAIL FROM:<evil@e.example>\r\n\r\n"
    async with Peer() as peer:
        relay = relay_to(peer.port)
        (bad,) = await relay.send(copy(**{half: poison}))
        (good,) = await relay.send(copy())
        await relay.close(1)
    assert isinstance(bad, Failed)
    assert bad.reply == "554 5.6.0 not sent, because this server made the message wrongly: bare CR or LF"
    assert isinstance(good, Sent)
    assert peer.messages == [HEAD + b"Hi.\r\n.\r\n"]


async def test_a_header_without_an_end_is_our_mistake_and_is_not_sent() -> None:
    async with Peer() as peer:
        (outcome,) = await deliver(peer, copy(head=b"Subject: Sunday\r\n"))
    assert isinstance(outcome, Failed)
    assert outcome.reply.startswith("554 5.6.0 ")
    assert peer.visits == 0


@pytest.mark.parametrize(
    "address",
    [
        "a@x.example>\r\nRCPT TO:<evil@z.example",
        "a@x.example> SIZE=1",
        "a@x.example\nDATA",
        "<a@x.example>",
        "a b@x.example",
        "a@x.example\x00",
        "a@x.example\u2028",
        "@x.example",
        "a@",
        "",
        "a@x..example",
    ],
)
async def test_what_is_not_an_address_is_never_said(address: str) -> None:
    async with Peer() as peer:
        outcomes = await deliver(peer, copy(rcpt_to=("ada@a.example", address, "bob@b.example")))
        assert outcomes[1] == Failed("553 5.1.3 not an e-mail address")
        assert [type(outcome) for outcome in outcomes] == [Sent, Failed, Sent]
        if address:
            (refused,) = await deliver(peer, copy(mail_from=address))
            assert isinstance(refused, Failed)
            assert refused.reply.startswith("554 5.6.0 ")
    said = [line for line in peer.heard if line.startswith(("MAIL", "RCPT"))]
    assert said == ["MAIL FROM:<g-bounces@lists.example>", "RCPT TO:<ada@a.example>", "RCPT TO:<bob@b.example>"]


EVERYTHING = ("PIPELINING", "SIZE 1000000", "8BITMIME", "SMTPUTF8")

MAILS: dict[str, tuple[tuple[str, ...], dict[str, Any], str]] = {
    "nothing is offered": ((), {}, "MAIL FROM:<g-bounces@lists.example>"),
    "the null sender": ((), {"mail_from": ""}, "MAIL FROM:<>"),
    "a plain message": (EVERYTHING, {}, "MAIL FROM:<g-bounces@lists.example> SIZE=24"),
    "dots are not counted twice": (EVERYTHING, {"body": b".\r\n"}, "MAIL FROM:<g-bounces@lists.example> SIZE=22"),
    "an end of line that we add is counted": (
        EVERYTHING,
        {"body": b"Hi."},
        "MAIL FROM:<g-bounces@lists.example> SIZE=24",
    ),
    "an 8-bit body": (
        EVERYTHING,
        {"body": b"\xe9\r\n"},
        "MAIL FROM:<g-bounces@lists.example> SIZE=22 BODY=8BITMIME",
    ),
    "an 8-bit body, but no 8BITMIME": (("SMTPUTF8",), {"body": b"\xe9\r\n"}, "MAIL FROM:<g-bounces@lists.example>"),
    "a UTF-8 header": (
        EVERYTHING,
        {"head": "Subject: é\r\n\r\n".encode()},
        "MAIL FROM:<g-bounces@lists.example> SIZE=20 BODY=8BITMIME SMTPUTF8",
    ),
    "a UTF-8 header, but no SMTPUTF8": (
        ("8BITMIME",),
        {"head": "Subject: é\r\n\r\n".encode()},
        "MAIL FROM:<g-bounces@lists.example> BODY=8BITMIME",
    ),
    "a Latin-1 header is no SMTPUTF8 message": (
        EVERYTHING,
        {"head": b"Subject: \xe9\r\n\r\n"},
        "MAIL FROM:<g-bounces@lists.example> SIZE=19 BODY=8BITMIME",
    ),
    "a recipient beyond ASCII": (
        EVERYTHING,
        {"rcpt_to": ("jürgen@a.example",)},
        "MAIL FROM:<g-bounces@lists.example> SIZE=24 SMTPUTF8",
    ),
    "a domain beyond ASCII goes as A-labels": (
        (),
        {"rcpt_to": ("ada@bücher.example",)},
        "MAIL FROM:<g-bounces@lists.example>",
    ),
}


@pytest.mark.parametrize("case", MAILS)
async def test_mail_says_what_the_message_needs_and_the_peer_offers(case: str) -> None:
    offers, changes, expected = MAILS[case]
    async with Peer(offers=offers) as peer:
        (outcome,) = await deliver(peer, copy(**changes))
    assert isinstance(outcome, Sent)
    assert peer.heard[1] == expected


async def test_without_smtputf8_only_the_addresses_that_need_it_fail() -> None:
    async with Peer() as peer:
        outcomes = await deliver(peer, copy(rcpt_to=("ada@a.example", "jürgen@a.example")))
    assert [type(outcome) for outcome in outcomes] == [Sent, Failed]
    assert outcomes[1].reply.startswith("553 5.6.7 ")
    assert [line for line in peer.heard if "RCPT" in line] == ["RCPT TO:<ada@a.example>"]


async def test_without_smtputf8_a_return_path_that_needs_it_fails_for_all() -> None:
    async with Peer() as peer:
        outcomes = await deliver(peer, copy(mail_from="jürgen@a.example", rcpt_to=("a@a.example", "b@a.example")))
    assert [outcome.reply[:10] for outcome in outcomes] == ["553 5.6.7 "] * 2
    assert not any("MAIL" in line for line in peer.heard)


async def test_a_copy_for_nobody_has_no_outcome() -> None:
    async with Peer() as peer:
        assert await deliver(peer, copy(rcpt_to=())) == ()
    assert peer.messages == []


async def test_a_thousand_recipients_go_in_one_transaction() -> None:
    recipients = tuple(f"m{number}@a.example" for number in range(1000))
    async with World() as world:
        world.answers["m7@a.example"] = "550 5.1.1 gone"
        relay = relay_to(world.port)
        outcomes = await relay.send(copy(rcpt_to=recipients))
        await relay.close(1)
    assert [type(outcome) for outcome in outcomes] == [Failed if number == 7 else Sent for number in range(1000)]
    assert len(world.envelopes) == 1
    assert world.count == 999
