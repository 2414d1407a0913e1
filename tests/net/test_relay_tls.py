"""TLS and AUTH towards the next hop: what is tried, what is refused, and what the operator is told."""

import base64
import ssl
from dataclasses import replace
from typing import Any

import pytest
import trustme

from listserv.model.delivery import Copy, Deferred, Sent
from listserv.net.relay import Patience, Relay, Smarthost, Tls
from tests.kit.peer import Act, Peer
from tests.kit.world import World

COPY = Copy("g-bounces@lists.example", ("ada@a.example",), b"Subject: Sunday\r\n\r\n", b"Hi.\r\n")
HASTE = Patience(connect=1, greeting=1, envelope=1, data=1, block=1, final=1)


def relay_to(port: int, tls: Tls, trust: ssl.SSLContext | None = None, **login: Any) -> Relay:
    smarthost = replace(Smarthost("localhost", port, tls, hostname="lists.example"), **login)
    return Relay(smarthost, patience=HASTE, trust=trust)


async def send(relay: Relay) -> Any:
    (outcome,) = await relay.send(COPY)
    await relay.close(1)
    return outcome


@pytest.fixture
def server_tls() -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("localhost").configure_cert(context)
    return context


@pytest.mark.parametrize(("offered", "tls"), [("starttls", Tls.REQUIRED), ("implicit", Tls.IMPLICIT)])
async def test_a_verified_certificate_is_good(offered: str, tls: Tls) -> None:
    async with World(tls=offered) as world:
        assert isinstance(await send(relay_to(world.port, tls, world.client_tls)), Sent)
    assert world.count == 1


@pytest.mark.parametrize(("offered", "tls"), [("starttls", Tls.REQUIRED), ("implicit", Tls.IMPLICIT)])
async def test_an_unknown_certificate_is_refused_where_tls_is_required(offered: str, tls: Tls) -> None:
    async with World(tls=offered) as world:
        outcome = await send(relay_to(world.port, tls))
    assert isinstance(outcome, Deferred)
    assert outcome.unreachable
    assert f"relay localhost:{world.port}: " in outcome.reply
    assert "certificate verify failed" in outcome.reply
    assert world.count == 0


async def test_opportunistic_takes_any_certificate() -> None:
    async with World(tls="starttls") as world:
        relay = relay_to(world.port, Tls.OPPORTUNISTIC)
        assert isinstance((await relay.send(COPY))[0], Sent)
        assert all(guest.secured for guest in world.guests)
        await relay.close(1)
    assert world.visits == 1


async def test_opportunistic_without_starttls_goes_plain() -> None:
    async with World() as world:
        assert isinstance(await send(relay_to(world.port, Tls.OPPORTUNISTIC)), Sent)
    assert world.visits == 1


BROKEN: list[Any] = ["454 4.7.0 not now", b"220 go ahead\r\nnonsense instead of TLS\r\n", Act.CLOSE, Act.STALL]


@pytest.mark.parametrize("step", BROKEN)
async def test_opportunistic_goes_plain_when_tls_fails_midway(step: Any) -> None:
    async with Peer({"STARTTLS": step}, offers=("STARTTLS", "PIPELINING")) as peer:
        assert isinstance(await send(relay_to(peer.port, Tls.OPPORTUNISTIC)), Sent)
    assert peer.visits == 2
    assert sum("STARTTLS" in line for line in peer.heard) == 1


@pytest.mark.parametrize("step", BROKEN)
async def test_required_never_goes_plain(step: Any) -> None:
    async with Peer({"STARTTLS": step}, offers=("STARTTLS", "PIPELINING")) as peer:
        outcome = await send(relay_to(peer.port, Tls.REQUIRED))
    assert isinstance(outcome, Deferred)
    assert outcome.unreachable
    assert "4.7.0 " in outcome.reply
    assert "TLS failed" in outcome.reply
    assert peer.messages == []


@pytest.mark.parametrize(
    ("steps", "in_doubt"),
    [
        ({"EHLO": ["250-peer.example\r\n250 STARTTLS", Act.CLOSE]}, False),
        ({"EHLO": ["250-peer.example\r\n250 STARTTLS", Act.HANG]}, False),
        ({"MAIL": Act.CLOSE}, False),
        ({"RCPT": Act.HANG}, False),
        ({"message": Act.CLOSE}, False),
        ({".": Act.CLOSE}, True),
        ({".": Act.HANG}, True),
    ],
    ids=str,
)
async def test_a_session_that_breaks_off_within_tls_ends_as_one_without(steps: dict[str, Any], in_doubt: bool) -> None:
    ours, theirs, authority = ssl.create_default_context(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), trustme.CA()
    authority.configure_trust(ours)
    authority.issue_cert("localhost").configure_cert(theirs)
    # given that a session which has begun to speak TLS does not go on in clear when it breaks off
    steps = {verb: list(step) if isinstance(step, list) else step for verb, step in steps.items()}
    async with Peer(steps, offers=("STARTTLS", "PIPELINING"), tls=theirs) as peer:
        relay = relay_to(peer.port, Tls.REQUIRED, ours)
        body = b"x" * 998 + b"\r\n"  # in the middle of a message there is only where it is a long one
        (outcome,) = await relay.send(COPY._replace(body=body * (20_000 if "message" in steps else 1)))
        await relay.close(1)
    assert isinstance(outcome, Deferred)
    assert outcome.in_doubt is in_doubt
    assert peer.visits == 1


async def test_required_without_starttls_says_what_to_mend() -> None:
    async with World() as world:
        outcome = await send(relay_to(world.port, Tls.REQUIRED))
    reason = 'does not offer STARTTLS, and [relay] tls = "required"'
    assert outcome == Deferred(f"451 4.7.0 relay localhost:{world.port}: {reason}", unreachable=True)


async def test_what_was_offered_before_tls_is_forgotten(server_tls: ssl.SSLContext) -> None:
    ehlos = ["250-peer.example\r\n250-8BITMIME\r\n250 STARTTLS", "250-peer.example\r\n250 SIZE 1000"]
    async with Peer({"EHLO": ehlos}, tls=server_tls) as peer:
        relay = relay_to(peer.port, Tls.OPPORTUNISTIC)
        assert isinstance((await relay.send(COPY._replace(body=b"\xe9\r\n")))[0], Sent)
        await relay.close(1)
    assert "MAIL FROM:<g-bounces@lists.example> SIZE=22" in peer.heard


async def test_a_plain_banner_where_tls_is_implicit_is_unreachable() -> None:
    async with Peer() as peer:
        outcome = await send(relay_to(peer.port, Tls.IMPLICIT))
    assert isinstance(outcome, Deferred)
    assert outcome.unreachable


@pytest.mark.parametrize("method", ["PLAIN", "LOGIN"])
async def test_a_login_precedes_the_mail(method: str, server_tls: ssl.SSLContext) -> None:
    steps = {"AUTH": "235 2.7.0 welcome" if method == "PLAIN" else "334 UGFzc3dvcmQ6", "c2VjcmV0": "235 2.7.0 welcome"}
    # the second line of AUTH LOGIN is the password alone; verbs are heard in upper case
    steps["C2VJCMV0"] = steps.pop("c2VjcmV0")
    async with Peer(steps, offers=("STARTTLS", "PIPELINING", f"AUTH {method}"), tls=server_tls) as peer:
        relay = relay_to(peer.port, Tls.OPPORTUNISTIC, username="lists", password="secret")
        assert isinstance(await send(relay), Sent)
    said = next(line for line in peer.heard if line.startswith("AUTH"))
    secret = b"\0lists\0secret" if method == "PLAIN" else b"lists"
    assert said == f"AUTH {method} {base64.b64encode(secret).decode()}"


async def test_a_wrong_password_is_the_operators_to_mend_and_no_mail_is_lost() -> None:
    async with Peer({"AUTH": "535 5.7.8 wrong"}, offers=("AUTH PLAIN",)) as peer:
        outcome = await send(relay_to(peer.port, Tls.NONE, username="lists", password="hidden"))
    reason = "login failed, see [relay] username and password_file: 535 5.7.8 wrong"
    assert outcome == Deferred(f"451 4.7.0 relay localhost:{peer.port}: {reason}", unreachable=True)


async def test_a_relay_that_knows_no_login_is_named() -> None:
    async with Peer() as peer:
        outcome = await send(relay_to(peer.port, Tls.NONE, username="lists", password="hidden"))
    assert "AUTH extension is not supported" in outcome.reply
    assert outcome.unreachable


@pytest.mark.parametrize(
    "steps", [{}, {"EHLO": "250-peer.example\r\n250-STARTTLS\r\n250 AUTH PLAIN", "STARTTLS": "454 no"}]
)
async def test_a_password_is_not_said_in_clear_unless_the_operator_wrote_so(steps: dict[str, str]) -> None:
    async with Peer(steps, offers=("AUTH PLAIN",)) as peer:
        outcome = await send(relay_to(peer.port, Tls.OPPORTUNISTIC, username="lists", password="hidden"))
    assert isinstance(outcome, Deferred)
    assert outcome.unreachable
    assert ("TLS failed: 454 no" if steps else "offers no TLS") in outcome.reply
    assert not any("AUTH" in line for line in peer.heard)


def test_a_password_is_not_printed() -> None:
    assert "hidden" not in repr(Smarthost("relay.example", 25, username="lists", password="hidden"))
