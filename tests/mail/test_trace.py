"""Received fields and loops."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from listserv.mail import header, message, trace
from listserv.model.envelope import Envelope, Peer
from listserv.model.group import Group, Kind

NOON = datetime(2026, 11, 22, 12, 0, 0, 500, UTC)
SAILING = Group(1, "sailing@lists.example.org", Kind.DISCUSSION)


def received(peer, smtputf8=False, recipient="", at=NOON):
    envelope = Envelope("ada@a.example", ("sailing@lists.example.org",), peer, at, smtputf8)
    (field,) = message.parse(trace.received(envelope, "lists.example.org", "17ab", recipient) + b"\r\n").fields
    assert field.name == "received"
    return field.value.decode()


@pytest.mark.parametrize(
    ("peer", "smtputf8", "line"),
    [
        (Peer("192.0.2.1", "mx.a.example"), False, "from mx.a.example ([192.0.2.1]) by lists.example.org with ESMTP"),
        (
            Peer("192.0.2.1", "mx.a.example", tls=True),
            False,
            "from mx.a.example ([192.0.2.1]) by lists.example.org with ESMTPS",
        ),
        (
            Peer("2001:db8::1", "[IPv6:2001:db8::1]"),
            True,
            "from [IPv6:2001:db8::1] ([IPv6:2001:db8::1]) by lists.example.org with UTF8SMTP",
        ),
        (Peer("", "mail", lmtp=True), False, "from mail by lists.example.org with LMTP"),
        (Peer("", "mail", lmtp=True, tls=True), True, "from mail by lists.example.org with UTF8LMTPS"),
        (Peer(""), False, "by lists.example.org with ESMTP"),
        (Peer("192.0.2.1", ""), False, "from unknown ([192.0.2.1]) by lists.example.org with ESMTP"),
        (
            Peer("192.0.2.1", "x (forged [127.0.0.1]) by evil"),
            False,
            "from unknown ([192.0.2.1]) by lists.example.org with ESMTP",
        ),
        (
            Peer("192.0.2.1", "x\r\nBcc: eve@e.example"),
            False,
            "from unknown ([192.0.2.1]) by lists.example.org with ESMTP",
        ),
        (Peer("\r\nX: y", "mail"), False, "from mail by lists.example.org with ESMTP"),
    ],
)
def test_our_line_says_who_brought_it_and_how(peer, smtputf8, line):
    assert received(peer, smtputf8) == f"{line} id 17ab; Sun, 22 Nov 2026 12:00:00 +0000"


def test_it_names_the_recipient_when_there_is_one():
    assert " id 17ab for <sailing@lists.example.org>; " in received(
        Peer("192.0.2.1", "a"), recipient="sailing@lists.example.org"
    )


def test_a_time_without_a_zone_is_refused_and_another_zone_is_kept():
    with pytest.raises(ValueError, match="zone"):
        received(Peer("192.0.2.1", "a"), at=NOON.replace(tzinfo=None))
    berlin = NOON.astimezone(timezone(timedelta(hours=1)))
    assert received(Peer("192.0.2.1", "a"), at=berlin).endswith("13:00:00 +0100")


def test_hops_are_counted():
    assert trace.hops(message.parse(b"Received: a\r\nX: y\r\nRECEIVED: b\r\n\r\nReceived: c\r\n")) == 2
    assert trace.hops(message.parse(b"\r\n")) == 0


@pytest.mark.parametrize(
    ("head", "ours"),
    [
        (b"X-Loop: our-guard\r\n", True),
        (b"X-Loop: theirs\r\nx-loop:   our-guard \r\n", True),
        (b"X-Loop: our-guard-not\r\n", False),
        (b"X-Loop: sailing@lists.example.org\r\n", False),
        (b"List-Id: Sailing <Sailing.Lists.Example.Org>\r\n", True),
        (b"List-Id: <sailing.lists.example.org>\r\n", True),
        (b"List-Id: <notsailing.lists.example.org>\r\n", False),
        (b"List-Id: <sailing.lists.example.org> x <y.example>\r\n", False),
        (b"Delivered-To: sailing@lists.example.org\r\n", False),
        (b"\r\nX-Loop: our-guard\r\n", False),
    ],
)
def test_our_own_post_is_known_when_it_comes_back(head, ours):
    assert trace.own_loop(message.parse(head + b"\r\nbody\r\n"), SAILING.list_id, "our-guard") is ours


def test_what_the_edition_carries_is_what_the_guard_looks_for():
    sent = b"".join(field.raw for field in header.edition_fields(SAILING, "our-guard"))
    for kept in (sent, sent[sent.index(b"X-Loop") :], sent[: sent.index(b"X-Loop")]):
        assert trace.own_loop(message.parse(kept + b"\r\n"), SAILING.list_id, "our-guard")


def test_date_and_message_id_are_added_where_they_are_missing():
    added = trace.missing(message.parse(b"From: ada@a.example\r\n\r\n"), "lists.example.org", "17ab", NOON)
    assert [field.raw for field in added] == [
        b"Date: Sun, 22 Nov 2026 12:00:00 +0000\r\n",
        b"Message-ID: <17ab@lists.example.org>\r\n",
    ]
    assert trace.missing(message.parse(b"Date: x\r\nMessage-ID: y\r\n\r\n"), "lists.example.org", "17ab", NOON) == ()
