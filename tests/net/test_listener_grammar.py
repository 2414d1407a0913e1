"""What a client may say, by tables; and that no line makes the grammar raise or dawdle."""

import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from listserv.model.envelope import Reply
from listserv.net import grammar, replies
from listserv.net.gate import Gate, Limits, network_of
from listserv.net.grammar import (
    BAD_PARAMETER,
    BAD_RECIPIENT,
    BAD_SENDER,
    NEEDS_UTF8,
    TOO_BIG,
    UNKNOWN_PARAMETER,
    Command,
    Mail,
)


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        (b"NOOP\r\n", Command("NOOP", "")),
        (b"noop  hello \t\r\n", Command("NOOP", "hello")),
        (b"MAIL FROM:<a@b>\r\n", Command("MAIL", "FROM:<a@b>")),
        ("RCPT TO:<jürgen@x>\r\n".encode(), Command("RCPT", "TO:<jürgen@x>")),
        (b"NOOP\n", grammar.BARE),
        (b"NOOP\r\r\n", grammar.BARE),
        (b"EHLO c\rNOOP\r\n", grammar.BARE),
        (b"NO\0OP\r\n", grammar.BARE),
        (b"NOOP \xff\r\n", grammar.NOT_UTF8),
        (b"\r\n", grammar.NO_COMMAND),
        (b" NOOP\r\n", grammar.NO_COMMAND),
        (b"Host: localhost\r\n", grammar.NO_COMMAND),
        ("ＮＯＯＰ\r\n".encode(), grammar.NO_COMMAND),
        (b"NOOP " + b"x" * 2041 + b"\r\n", Command("NOOP", "x" * 2041)),
        (b"NOOP " + b"x" * 2042 + b"\r\n", grammar.TOO_LONG),
    ],
)
def test_only_a_line_that_ends_in_crlf_is_a_command(line, meant):
    assert grammar.command(line) == meant


@pytest.mark.parametrize(
    ("argument", "meant"),
    [
        ("FROM:<ada@A.Example>", Mail("ada@a.example")),
        ("from: <ada@a.example>", Mail("ada@a.example")),
        ("FROM:<>", Mail("")),
        ("FROM:<> SIZE=1000 BODY=8BITMIME", Mail("")),
        ("FROM:<> body=7bit  size=0 smtputf8", Mail("", utf8=True)),
        ("FROM:<@relay.example,@hub.example:ada@a.example>", Mail("ada@a.example")),
        ('FROM:<"a> b"@a.example> SIZE=1', Mail('"a> b"@a.example')),
        ("FROM:<ada@[192.0.2.1]>", Mail("ada@[192.0.2.1]")),
        ("FROM:<ada@[IPv6:2001:DB8::1]>", Mail("ada@[IPv6:2001:db8::1]")),
        ("FROM:<ada>", BAD_SENDER),
        ("FROM:<postmaster>", BAD_SENDER),
        ("FROM:ada@a.example", BAD_SENDER),
        ("FROM:<ada@a.example", BAD_SENDER),
        ("FROM:<ada(comment)@a.example>", BAD_SENDER),
        ("FROM:<ada @a.example>", BAD_SENDER),
        ("FROM:Ada <ada@a.example>", BAD_SENDER),
        ("FROM:<a@b><c@d>", BAD_SENDER),
        ("FROM:<a@b>SIZE=1", BAD_SENDER),
        ("FROM:<<a@b>>", BAD_SENDER),
        ("FROM:<a@b@c.example>", BAD_SENDER),
        ("FROM:<ada@a\x01.example>", BAD_SENDER),
        ("FROM <a@b>", BAD_SENDER),
        ("", BAD_SENDER),
        ("FROM:<ürsel@a.example>", NEEDS_UTF8),
        ("FROM:<a@bücher.example>", NEEDS_UTF8),
        ("FROM:<ürsel@bücher.example> SMTPUTF8", Mail("ürsel@xn--bcher-kva.example", utf8=True)),
        ("FROM:<> SIZE=1001", TOO_BIG),
        ("FROM:<> SIZE=99999999999999999999", TOO_BIG),
        ("FROM:<> SIZE=999999999999999999999", BAD_PARAMETER),
        ("FROM:<> SIZE=-1", BAD_PARAMETER),
        ("FROM:<> SIZE=²", BAD_PARAMETER),
        ("FROM:<> SIZE", BAD_PARAMETER),
        ("FROM:<> SIZE=", BAD_PARAMETER),
        ("FROM:<> SIZE=1 SIZE=2", BAD_PARAMETER),
        ("FROM:<> BODY=BINARYMIME", BAD_PARAMETER),
        ("FROM:<> SMTPUTF8=1", BAD_PARAMETER),
        ("FROM:<> AUTH=<>", UNKNOWN_PARAMETER),
        ("FROM:<> RET=HDRS", UNKNOWN_PARAMETER),
    ],
)
def test_mail_is_understood_or_refused(argument, meant):
    assert grammar.mail(argument, 1000, extended=True) == meant


def test_parameters_need_ehlo():
    assert grammar.mail("FROM:<a@b> SIZE=1", 1000, extended=False) == UNKNOWN_PARAMETER
    assert grammar.mail("FROM:<a@b>", 1000, extended=False) == Mail("a@b")


@pytest.mark.parametrize(
    ("argument", "meant"),
    [
        ("TO:<walkers@Lists.Example>", "walkers@lists.example"),
        ("TO:<g-confirm+AbC@lists.example>", "g-confirm+AbC@lists.example"),
        ("TO:<Postmaster>", "postmaster"),
        ("TO:<@x.example:postmaster>", "postmaster"),
        ("TO:<>", BAD_RECIPIENT),
        ("TO:<webmaster>", BAD_RECIPIENT),
        ("TO:walkers@lists.example", BAD_RECIPIENT),
        ("TO:<walkers@lists.example> NOTIFY=NEVER", UNKNOWN_PARAMETER),
        ("TO:<wälkers@lists.example>", NEEDS_UTF8),
        ("FROM:<a@b>", BAD_RECIPIENT),
    ],
)
def test_rcpt_is_understood_or_refused(argument, meant):
    assert grammar.rcpt(argument, utf8=False) == meant


@pytest.mark.parametrize("name", ["client.example", "[192.0.2.1]", "[IPv6:::1]", "DESKTOP_7", "localhost"])
def test_names_of_real_clients_pass(name):
    assert grammar.host(name) == name


@pytest.mark.parametrize("name", ["", "a b", "a(b", "a;b", "a\x7fb", "ä", "x" * 256, "<a>", 'a"'])
def test_names_that_would_spoil_a_received_line_do_not_pass(name):
    assert grammar.host(name) is None


@given(st.binary(max_size=80), st.sampled_from([b"", b"MAIL FROM:<", b"RCPT TO:<", b"EHLO "]))
@example(b'"' * 60, b"MAIL FROM:<")
def test_no_line_makes_the_grammar_raise(octets, start):
    command = grammar.command(start + octets + b"\r\n")
    if isinstance(command, Command):
        for known in (
            grammar.mail(command.argument, 10, extended=True),
            grammar.rcpt(command.argument, utf8=True),
            grammar.host(command.argument),
        ):
            assert known is None or isinstance(known, Reply | Mail | str)


@pytest.mark.parametrize("piece", ['"', "\\", '"\\', "@", ",@a", ":", "a.", " ", "<", "=", "@a:"])
def test_no_line_of_the_longest_length_takes_long(piece):
    argument = "FROM:<" + piece * (2000 // len(piece))
    began = time.process_time()
    grammar.mail(argument, 10, extended=True)
    grammar.mail(argument + "> " + piece * 100, 10, extended=True)
    assert time.process_time() - began < 0.5


@pytest.mark.parametrize(
    ("reply", "octets"),
    [
        (Reply(250, "2.0.0", "OK"), b"250 2.0.0 OK\r\n"),
        (Reply(250, "", "a\nb"), b"250-a\r\n250 b\r\n"),
        (Reply(550, "5.7.1", "no\r\nhow to join"), b"550-5.7.1 no\r\n550 5.7.1 how to join\r\n"),
        (Reply(550, "5.7.1", "b\0d \x1b[31m Jürgen"), b"550 5.7.1 b?d ?[31m J?rgen\r\n"),
        (Reply(550, "5.7.1", "x\u20282"), b"550-5.7.1 x\r\n550 5.7.1 2\r\n"),
        (Reply(550, "5.7.1", ""), b"550 5.7.1 \r\n"),
    ],
)
def test_a_reply_is_lines_of_printable_ascii_with_the_status_on_each(reply, octets):
    assert replies.wire_form(reply) == octets


def test_a_reply_cannot_be_endless():
    written = replies.wire_form(Reply(550, "5.7.1", ("x" * 1000 + "\n") * 1000))
    assert max(map(len, written.split(b"\r\n"))) <= 510
    assert written.count(b"\r\n") == 20


@pytest.mark.parametrize(
    ("ip", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
    ],
)
def test_a_client_is_counted_by_what_it_can_own(ip, network):
    assert network_of(ip) == network


def test_the_gate_counts_networks_and_forgets_who_left():
    gate, limits = Gate(), Limits(max_connections=4, max_connections_per_address=2)
    assert [gate.enter(f"2001:db8::{n}", limits, exempt=False) is None for n in range(3)] == [True, True, False]
    assert gate.enter("2001:db8::9", limits, exempt=True) is None
    assert gate.enter("192.0.2.1", limits, exempt=False) is None
    assert gate.enter("192.0.2.2", limits, exempt=True) is not None  # the house is full for everybody
    for _ in range(2):
        gate.leave("2001:db8::1", exempt=False)
    assert gate.enter("2001:db8::7", limits, exempt=False) is None
