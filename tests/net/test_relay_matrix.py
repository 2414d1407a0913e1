"""T34: whatever a next hop does, each recipient gets the right outcome, with and without pipelining."""

from dataclasses import fields
from typing import Any

import pytest

from listserv.model.delivery import Copy, Deferred, Failed, Outcome, Sent
from listserv.net.relay import Patience, Relay, Smarthost, Tls
from tests.kit.patience import PATIENCE
from tests.kit.peer import Act, Peer

HASTE = Patience(connect=1, greeting=0.4, envelope=0.4, data=0.4, block=0.4, final=0.8)  # for peers that are silent
CALM = Patience(*[PATIENCE] * len(fields(Patience)))  # for those who will say something
LARGE = b"x" * 76 + b"\r\n"

Seen = tuple[type[Outcome], str, str]  # the kind, a piece of the reply, and its flags: d(oubt), u(nreachable)


def seen(outcome: Outcome) -> tuple[type[Outcome], str]:
    flags = ""
    if isinstance(outcome, Deferred):
        flags = "d" * outcome.in_doubt + "u" * outcome.unreachable
    return type(outcome), flags


def copy(body: bytes = b"Shall we walk?\r\n", recipients: tuple[str, ...] = ("ada@a.example", "bob@b.example")) -> Copy:
    return Copy("walkers-bounces@lists.example", recipients, b"Subject: Sunday\r\n\r\n", body)


def relay_to(port: int, patience: Patience = CALM) -> Relay:
    return Relay(Smarthost("127.0.0.1", port, Tls.NONE, hostname="lists.example", connections=2), patience=patience)


def both(kind: type[Outcome], text: str, flags: str = "") -> list[Seen]:
    return [(kind, text, flags)] * 2


MATRIX: dict[str, tuple[dict[str, Any], list[Seen]]] = {
    "all is well": ({}, both(Sent, "250 2.0.0 ok")),
    "no banner": ({"banner": Act.HANG}, both(Deferred, "no service", "u")),
    "421 at the banner": ({"banner": "421 4.3.2 busy"}, both(Deferred, "421 4.3.2 busy", "u")),
    "554 at the banner": ({"banner": "554 5.7.1 no service for you"}, both(Deferred, "554 5.7.1 no service", "u")),
    "a garbage banner": ({"banner": b"SSH-2.0-OpenSSH_9.2\r\n"}, both(Deferred, "no service", "u")),
    "an endless banner": ({"banner": Act.ENDLESS}, both(Deferred, "no service", "u")),
    "closed at the banner": ({"banner": Act.CLOSE}, both(Deferred, "no service", "u")),
    "closed at EHLO": ({"EHLO": Act.CLOSE}, both(Deferred, "no service", "u")),
    "421 at EHLO": ({"EHLO": "421 4.3.2 busy", "HELO": "421 4.3.2 busy"}, both(Deferred, "421 4.3.2 busy", "u")),
    "silence at EHLO": ({"EHLO": Act.HANG}, both(Deferred, "no service", "u")),
    "an endless reply to EHLO": ({"EHLO": Act.ENDLESS}, both(Deferred, "no service", "u")),
    "only HELO is known": ({"EHLO": "502 5.5.1 what?"}, both(Sent, "250 2.0.0 ok")),
    "neither EHLO nor HELO": ({"EHLO": "502 no", "HELO": "550 no"}, both(Deferred, "550 no", "u")),
    "4xx at MAIL": ({"MAIL": "451 4.3.0 later"}, both(Deferred, "451 4.3.0 later")),
    "421 at MAIL": ({"MAIL": "421 4.7.0 too fast"}, both(Deferred, "421 4.7.0 too fast", "u")),
    "5xx at MAIL": ({"MAIL": "550 5.7.1 not you"}, both(Failed, "550 5.7.1 not you")),
    "3xx at MAIL": ({"MAIL": "354 what"}, both(Deferred, "another question")),
    "closed at MAIL": ({"MAIL": Act.CLOSE}, both(Deferred, "closed the connection before the message", "u")),
    "a slow 250 to MAIL": ({"MAIL": Act.SLOW}, both(Sent, "250 2.0.0 ok")),
    "silence at MAIL": ({"MAIL": Act.HANG}, both(Deferred, "silent for 0.4 s", "u")),
    "garbage at MAIL": ({"MAIL": b"hello there\r\n"}, both(Deferred, "does not speak SMTP: hello there", "u")),
    "an endless reply to MAIL": ({"MAIL": Act.ENDLESS}, both(Deferred, "a reply without end", "u")),
    "an endless line for MAIL": ({"MAIL": Act.BABBLE}, both(Deferred, "a reply without end", "u")),
    "a reply whose lines disagree": ({"MAIL": b"250-ok\r\n550 no\r\n"}, both(Deferred, "does not speak SMTP", "u")),
    "421 at RCPT": ({"RCPT": "421 4.7.0 too fast"}, both(Deferred, "421 4.7.0 too fast")),
    "closed at RCPT": ({"RCPT": Act.CLOSE}, both(Deferred, "closed the connection before the message")),
    "silence at RCPT": ({"RCPT": Act.HANG}, both(Deferred, "silent for 0.4 s before the message")),
    "garbage at RCPT": ({"RCPT": b"hello there\r\n"}, both(Deferred, "does not speak SMTP: hello there", "u")),
    "an endless reply to RCPT": ({"RCPT": Act.ENDLESS}, both(Deferred, "a reply without end", "u")),
    "a slow 250 to RCPT": ({"RCPT": Act.SLOW}, both(Sent, "250 2.0.0 ok")),
    "4xx at RCPT": ({"RCPT": "450 4.2.1 greylisted"}, both(Deferred, "450 4.2.1 greylisted")),
    "5xx at RCPT": ({"RCPT": "550 5.1.1 no such user"}, both(Failed, "550 5.1.1 no such user")),
    "3xx at RCPT": ({"RCPT": "354 what"}, both(Deferred, "another question")),
    "one refused, one taken": (
        {"RCPT": ["550 5.1.1 no such user", "250 ok"]},
        [(Failed, "550 5.1.1 no such user", ""), (Sent, "250 2.0.0 ok", "")],
    ),
    "one deferred, one refused": (
        {"RCPT": ["452 4.2.2 full", "550 5.1.1 gone"]},
        [(Deferred, "452 4.2.2 full", ""), (Failed, "550 5.1.1 gone", "")],
    ),
    "one taken, one too many": (
        {"RCPT": ["250 ok", "452 4.5.3 too many recipients"]},
        [(Sent, "250 2.0.0 ok", ""), (Deferred, "452 4.5.3 too many", "")],
    ),
    "one taken, one too many as old servers say it": (
        {"RCPT": ["250 ok", "552 too many recipients"]},
        [(Sent, "250 2.0.0 ok", ""), (Deferred, "552 too many", "")],
    ),
    "one taken, one mailbox full for good": (
        {"RCPT": ["250 ok", "552 5.2.2 full"]},
        [(Sent, "250 2.0.0 ok", ""), (Failed, "552 5.2.2 full", "")],
    ),
    "one taken, then 421": (
        {"RCPT": ["250 ok", "421 4.3.2 going down"]},
        [(Deferred, "421 4.3.2 going down", ""), (Deferred, "421 4.3.2 going down", "")],
    ),
    "one refused, then closed": (
        {"RCPT": ["550 5.1.1 gone", Act.CLOSE]},
        [(Failed, "550 5.1.1 gone", ""), (Deferred, "closed the connection before the message", "")],
    ),
    "one taken, then silence": (
        {"RCPT": ["250 ok", Act.HANG]},
        [(Deferred, "silent for 0.4 s before the message", ""), (Deferred, "silent for 0.4 s before the message", "")],
    ),
    "4xx at DATA": ({"DATA": "451 4.3.0 later"}, both(Deferred, "451 4.3.0 later")),
    "5xx at DATA": ({"DATA": "554 5.7.0 no"}, both(Failed, "554 5.7.0 no")),
    "2xx at DATA": ({"DATA": "250 fine"}, both(Deferred, "another question: 250 fine")),
    "421 at DATA": ({"DATA": "421 4.3.2 going down"}, both(Deferred, "421 4.3.2 going down")),
    "silence at DATA": ({"DATA": Act.HANG}, both(Deferred, "silent for 0.4 s before the message")),
    "garbage at DATA": ({"DATA": b"hello there\r\n"}, both(Deferred, "does not speak SMTP: hello there", "u")),
    "an endless reply to DATA": ({"DATA": Act.ENDLESS}, both(Deferred, "a reply without end", "u")),
    "closed at DATA": ({"DATA": Act.CLOSE}, both(Deferred, "closed the connection before the message")),
    "5xx at DATA for who is left": (
        {"RCPT": ["550 5.1.1 gone", "250 ok"], "DATA": "451 4.3.0 later"},
        [(Failed, "550 5.1.1 gone", ""), (Deferred, "451 4.3.0 later", "")],
    ),
    "354 although nobody is left": ({"RCPT": "550 5.1.1 gone", ".": "554 5.5.1 nobody"}, both(Failed, "5.1.1 gone")),
    "4xx at the dot": ({".": "451 4.3.0 disk full"}, both(Deferred, "451 4.3.0 disk full")),
    "5xx at the dot": ({".": "554 5.7.1 spam"}, both(Failed, "554 5.7.1 spam")),
    "421 at the dot": ({".": "421 4.3.2 going down"}, both(Deferred, "421 4.3.2 going down")),
    "3xx at the dot": ({".": "354 more"}, both(Deferred, "another question: 354 more", "d")),
    "closed after the dot": ({".": Act.CLOSE}, both(Deferred, "closed the connection after the final dot", "d")),
    "silence after the dot": ({".": Act.HANG}, both(Deferred, "silent for 0.8 s after the final dot", "d")),
    "garbage after the dot": ({".": b"\x00\xff\r\n"}, both(Deferred, "does not speak SMTP", "du")),
    "an endless reply to the dot": ({".": Act.ENDLESS}, both(Deferred, "a reply without end", "du")),
    "a slow 250": ({".": Act.SLOW}, both(Sent, "250 2.0.0 at last")),
    "a reply without text": ({".": b"250\r\n"}, both(Sent, "250")),
    "a reply of several lines": ({".": b"250-2.0.0 all\r\n250 2.0.0 done\r\n"}, both(Sent, "250 2.0.0 all done")),
    "a reply in pieces": ({".": b"25"}, both(Deferred, "silent for 0.8 s after the final dot", "d")),
}

ALIKE = [case for case, (steps, _) in MATRIX.items() if not isinstance(steps.get("RCPT"), list)]  # whoever it is for


@pytest.mark.parametrize("offers", [("PIPELINING",), ()], ids=["pipelining", "one by one"])
@pytest.mark.parametrize(("case", "recipients"), [*((case, 2) for case in MATRIX), *((case, 1) for case in ALIKE)])
async def test_every_ending_is_the_right_outcome(case: str, recipients: int, offers: tuple[str, ...]) -> None:
    steps, expected = MATRIX[case]
    expected = expected[:recipients]
    steps = {verb: list(step) if isinstance(step, list) else step for verb, step in steps.items()}
    async with Peer(steps, offers=offers) as peer:
        falls_silent = any("silent" in text or "no service" in text for _, text, _ in expected)
        relay = relay_to(peer.port, HASTE if falls_silent else CALM)
        outcomes = await relay.send(copy(recipients=("ada@a.example", "bob@b.example")[:recipients]))
        await relay.close(1)
    assert [seen(outcome) for outcome in outcomes] == [(kind, flags) for kind, _, flags in expected]
    for outcome, (_, text, _) in zip(outcomes, expected, strict=True):
        assert text in outcome.reply
        assert len(outcome.reply) <= 500
        assert outcome.reply.isprintable()


@pytest.mark.parametrize("offers", [("PIPELINING",), ()], ids=["pipelining", "one by one"])
@pytest.mark.parametrize("step", [Act.CLOSE, Act.HANG])
async def test_whose_turn_it_was_when_all_ended_is_known(step: Act, offers: tuple[str, ...]) -> None:
    async with Peer({"RCPT": ["250 ok", "550 5.1.1 gone", step]}, offers=offers) as peer:
        relay = relay_to(peer.port, HASTE if step is Act.HANG else CALM)
        outcomes = await relay.send(copy(recipients=tuple(f"m{number}@a.example" for number in range(5))))
        await relay.close(1)
    assert [isinstance(outcome, Deferred) and outcome.stalled for outcome in outcomes] == [False] * 2 + [True] + [
        False
    ] * 2


@pytest.mark.parametrize("offers", [("PIPELINING",), ()], ids=["pipelining", "one by one"])
@pytest.mark.parametrize(
    ("step", "kind", "text"),
    [
        (Act.CLOSE, Deferred, "before the final dot"),
        (Act.HANG, Deferred, "silent for 0.4 s before the final dot"),
        ("552 5.3.4 too big", Failed, "552 5.3.4 too big"),
        ("451 4.3.0 disk full", Deferred, "451 4.3.0 disk full"),
        ("250 2.0.0 thank you", Deferred, "said unasked 250 2.0.0 thank you before the final dot"),
    ],
)
async def test_before_the_dot_nothing_is_in_doubt(
    step: str | Act, kind: type[Outcome], text: str, offers: tuple[str, ...]
) -> None:
    # given a peer that does not read the whole of a message that fills every buffer on the way
    async with Peer({"message": [step, Act.HANG]}, offers=offers) as peer:
        relay = relay_to(peer.port, HASTE if step is Act.HANG else CALM)
        outcome, _ = await relay.send(copy(LARGE * 400_000))
        await relay.close(0)
    assert type(outcome) is kind
    assert text in outcome.reply or "lost the connection" in outcome.reply
    assert not (isinstance(outcome, Deferred) and outcome.in_doubt)
    assert peer.messages == []


async def test_a_refused_connection_names_the_relay_and_the_reason() -> None:
    async with Peer() as peer:
        port = peer.port
    outcome, _ = await relay_to(port).send(copy())
    assert isinstance(outcome, Deferred)
    assert outcome.unreachable
    assert outcome.reply == f"451 4.4.1 relay 127.0.0.1:{port}: cannot connect: Connection refused"


async def test_a_host_without_an_address_names_the_relay_and_the_reason() -> None:
    outcome, _ = await Relay(Smarthost("relay.invalid", 25, Tls.NONE)).send(copy())
    assert isinstance(outcome, Deferred)
    assert outcome.unreachable
    assert outcome.reply.startswith("451 4.4.1 relay relay.invalid:25: cannot connect: ")


@pytest.mark.parametrize("offers", [("PIPELINING",), ()], ids=["pipelining", "one by one"])
async def test_a_refused_transaction_leaves_nothing_behind_for_the_next(offers: tuple[str, ...]) -> None:
    # given a peer that takes MAIL, refuses everybody and then DATA
    steps = {"RCPT": ["550 5.1.1 gone", "550 5.1.1 gone", "250 ok"], "DATA": ["354 go ahead"]}
    if offers:
        steps["DATA"] = ["554 5.5.1 nobody", "354 go ahead"]
    async with Peer(steps, offers=offers) as peer:
        relay = relay_to(peer.port)
        assert [type(outcome) for outcome in await relay.send(copy())] == [Failed, Failed]
        # when the next message goes over the same connection
        assert [type(outcome) for outcome in await relay.send(copy())] == [Sent, Sent]
        await relay.close(1)
    # then the transaction that nobody finished was taken back first
    assert peer.visits == 1
    verbs = [line.partition(" ")[0] for line in peer.heard]
    assert verbs[verbs.index("RSET") + 1] == "MAIL"
    assert len(peer.messages) == 1


@pytest.mark.parametrize("offers", [("PIPELINING",), ()], ids=["pipelining", "one by one"])
@pytest.mark.parametrize("answer", ["451 4.3.0 not now", "500 5.5.1 what?", b"354 go ahead\r\n"])
async def test_a_peer_that_takes_nothing_back_is_left_and_the_next_message_goes_all_the_same(
    answer: str | bytes, offers: tuple[str, ...]
) -> None:
    steps: dict[str, Any] = {"RCPT": ["550 5.1.1 gone", "550 5.1.1 gone", "250 ok"], "RSET": answer}
    steps["DATA"] = ["554 5.5.1 nobody", "354 go ahead"] if offers else "354 go ahead"
    if offers:  # what is said behind RSET is answered, too
        steps["RCPT"][2:2] = ["250 ok", "250 ok"]
        steps["DATA"][1:1] = ["554 5.5.1 no"]
    async with Peer(steps, offers=offers) as peer:
        relay = relay_to(peer.port)
        assert [type(outcome) for outcome in await relay.send(copy())] == [Failed, Failed]
        assert [type(outcome) for outcome in await relay.send(copy())] == [Sent, Sent]
        await relay.close(1)
    assert (peer.visits, len(peer.messages)) == (2, 1)


async def test_a_peer_that_wants_a_message_for_nobody_gets_an_empty_one() -> None:
    async with Peer({"RCPT": "550 5.1.1 gone"}) as peer:
        relay = relay_to(peer.port)
        assert [type(outcome) for outcome in await relay.send(copy())] == [Failed, Failed]
        await relay.close(1)
    assert peer.messages == [b".\r\n"]


async def test_an_answer_that_nobody_asked_for_ends_the_session_not_the_next_copy() -> None:
    async with Peer({".": [b"250 2.0.0 one\r\n250 2.0.0 two\r\n", "250 2.0.0 three"]}) as peer:
        relay = relay_to(peer.port)
        assert (await relay.send(copy()))[0] == Sent("250 2.0.0 one")
        assert (await relay.send(copy()))[0] == Sent("250 2.0.0 three")
        await relay.close(1)
    assert peer.visits == 2


async def test_a_command_is_not_said_before_its_predecessor_is_answered_without_pipelining() -> None:
    async with Peer({"MAIL": "550 5.7.1 not you"}, offers=()) as peer:
        relay = relay_to(peer.port)
        await relay.send(copy())
        await relay.close(1)
    assert [line.partition(" ")[0] for line in peer.heard] == ["EHLO", "MAIL", "QUIT"]
