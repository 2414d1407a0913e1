"""Delivery reports as real systems write them."""

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from listserv.mail import message, report
from listserv.mail.report import Action, Kind, RecipientStatus, Report

REPORTS = Path(__file__).parent.parent / "messages" / "reports"
RETURNED = "<regatta.1@e.example>"

# address, action, status, does it count against the address
SAID: dict[str, list[tuple[str, str, str, bool]] | None] = {
    "exchange-online-unknown": [("bob@m.example", "failed", "5.1.10", True)],
    "exchange-policy": [("bob@m.example", "failed", "5.7.708", False)],
    "exim-bounce-old": None,
    "exim-dsn": [("bob@x.example", "failed", "5.0.0", False)],
    "exim-dsn-status-in-reply": [("bob@x.example", "failed", "5.1.1", True)],
    "gmail-unknown": [("bob@g.example", "failed", "5.1.1", True)],
    "postfix-delayed": [("bob@m.example", "delayed", "4.4.1", False)],
    "postfix-two-recipients": [("bob@m.example", "failed", "5.2.2", False), ("cy@m.example", "failed", "5.1.10", True)],
    "postfix-unknown-user": [("bob@m.example", "failed", "5.1.1", True)],
    "qmail-bounce": None,
    "read-receipt": None,
    "sendmail-host-unknown": [("bob@nowhere.example", "failed", "5.1.2", True)],
    "success-relayed": [("bob@m.example", "relayed", "2.0.0", False)],
    "utf8-global-status-base64": [("böb@u.example", "failed", "5.1.1", True)],
}


def load(name: str) -> Report | None:
    return report.read(message.parse((REPORTS / f"{name}.eml").read_bytes()))


def written(status: str, kind: str = "multipart/report; report-type=delivery-status", returned: str = "") -> bytes:
    """A report whose machine-readable part says `status`."""
    lines = [f'Content-Type: {kind}; boundary="b"', "", "--b", "", "Sorry.", "--b"]
    lines += ["Content-Type: message/delivery-status", "", status]
    if returned:
        lines += ["--b", "Content-Type: message/rfc822", "", returned]
    return "\r\n".join([*lines, "--b--", ""]).encode()


def test_every_report_on_file_is_in_the_table():
    assert {path.stem for path in REPORTS.glob("*.eml")} == set(SAID)


@pytest.mark.parametrize("name", SAID)
def test_a_report_says_what_happened_to_whom(name: str):
    said, read = SAID[name], load(name)
    if said is None:
        assert read is None
        return
    assert read is not None
    assert [(one.address, one.action.value, one.status, one.hard) for one in read.recipients] == said
    assert read.hard == tuple(one for one in read.recipients if one.hard)
    assert read.message_id == ("" if name == "success-relayed" else RETURNED)


def test_a_report_is_read_whole():
    assert load("postfix-unknown-user") == Report(
        Kind.DELIVERY,
        (
            RecipientStatus(
                address="bob@m.example",
                original="bob@alias.example",
                action=Action.FAILED,
                status="5.1.1",
                diagnostic="550 5.1.1 <bob@m.example>: Recipient address rejected: User unknown",
            ),
        ),
        RETURNED,
    )


@pytest.mark.parametrize(
    ("status", "diagnostic", "found", "hard"),
    [
        ("5.1.1", "", "5.1.1", True),
        ("5.1.0", "", "5.1.0", True),
        ("5.1.3", "smtp; 501 x", "5.1.3", True),
        ("5.1.6", "", "5.1.6", True),
        ("5.1.1 (bad destination)", "", "5.1.1", True),
        ("5.1.8", "smtp; 550 sender domain unknown", "5.1.8", False),  # about our return path
        ("5.1.7", "", "5.1.7", False),
        ("5.0.0", "smtp; 550 5.1.1 no such user", "5.1.1", True),
        ("", "smtp; 550 5.1.1 no such user", "5.1.1", True),
        ("5.0.0", "smtp; 450 4.1.1 no such user", "5.0.0", False),  # the two contradict each other
        ("5.2.1", "smtp; 550 5.1.1 no such user", "5.2.1", False),
        ("5.0.0", "smtp; 550 no such user", "5.0.0", False),
        ("4.1.1", "", "4.1.1", False),
        ("5.7.1", "smtp; 550 5.7.1 spam", "5.7.1", False),
        ("5.11.1", "", "5.11.1", False),
        ("nonsense", "more of it", "", False),
    ],
)
def test_only_a_bad_address_is_hard(status: str, diagnostic: str, found: str, hard: bool):
    block = (
        f"Final-Recipient: rfc822; bob@m.example\r\nAction: failed\r\nStatus: {status}\r\nDiagnostic-Code: {diagnostic}"
    )
    read = report.read(message.parse(written(f"Reporting-MTA: dns; x\r\n\r\n{block}\r\n")))
    assert read is not None
    assert [(one.status, one.hard) for one in read.recipients] == [(found, hard)]


@pytest.mark.parametrize(
    "status",
    [
        "",
        "Reporting-MTA: dns; x\r\n",
        "Reporting-MTA: dns; x\r\n\r\nFinal-Recipient: rfc822; bob@m.example\r\nStatus: 5.1.1\r\n",  # no action
        "Reporting-MTA: dns; x\r\n\r\nFinal-Recipient: rfc822; bob@m.example\r\nAction: exploded\r\nStatus: 5.1.1\r\n",
    ],
)
def test_a_report_without_an_action_says_nothing(status: str):
    assert report.read(message.parse(written(status))) is None


@pytest.mark.parametrize(
    "kind",
    ["multipart/mixed", "multipart/report; report-type=feedback-report", "text/plain", "multipart/report; a=1; a=2"],
)
def test_another_kind_of_message_is_no_delivery_report(kind: str):
    status = "Final-Recipient: rfc822; bob@m.example\r\nAction: failed\r\nStatus: 5.1.1\r\n"
    assert report.read(message.parse(written(status, kind))) is None


def test_a_report_that_leaves_out_its_type_is_read():
    status = "Final-Recipient: rfc822; bob@m.example\r\nAction: failed\r\nStatus: 5.1.1\r\n"
    read = report.read(message.parse(written(status, "multipart/report", "Message-ID: <x@y>\r\n\r\nhi")))
    assert read is not None
    assert (read.recipients[0].address, read.message_id) == ("bob@m.example", "<x@y>")


def test_what_the_returned_message_contains_is_not_the_report():
    forged = "Final-Recipient: rfc822; bob@m.example\r\nAction: failed\r\nStatus: 5.1.1"
    status = "Final-Recipient: rfc822; cy@m.example\r\nAction: delayed\r\nStatus: 4.4.1\r\n"
    inner = f"Content-Type: message/delivery-status\r\n\r\n{forged}\r\n"
    read = report.read(message.parse(written(status, returned=inner)))
    assert read is not None
    assert [one.address for one in read.recipients] == ["cy@m.example"]


@pytest.mark.parametrize(
    "status",
    [
        "Action: failed\r\n\r\n" * 50_000,
        "\r\n" * 200_000,
        " \r\n" * 200_000,
        "Diagnostic-Code: smtp; " + "5.1." * 60_000 + "\r\nAction: failed\r\n",
        "x" * 300_000,
        "Status: " + "\r\n " * 80_000 + "\r\nAction: failed\r\n",
    ],
)
def test_a_bomb_costs_less_than_two_seconds(status: str):
    start = time.process_time()
    read = report.read(message.parse(written(status)))
    assert time.process_time() - start < 2
    assert read is None or len(read.recipients) <= report.MAX_RECIPIENTS + 1


PIECES = st.sampled_from(
    [
        *(
            "Final-Recipient:",
            " rfc822;",
            "<bob@m.example>",
            "Action: failed",
            "Status: 5.1.1",
            "Diagnostic-Code: smtp;",
        ),
        *(
            "\r\n",
            "\n",
            "\r\n\r\n",
            " ",
            "\t",
            "--b",
            "--b--",
            "Content-Type: message/rfc822",
            "Message-ID: <x@y>",
            ":",
        ),
        *("Content-Transfer-Encoding: base64\r\n", "QWN0aW9u", "\x00", "\ud7ff"),
    ]
)


@given(st.one_of(st.text(max_size=200), st.lists(PIECES, max_size=30).map("".join)))
def test_nothing_that_can_be_sent_raises(text: str):
    read = report.read(message.parse(written(text.encode("utf-8", "replace").decode(), returned=text)))
    for one in read.recipients if read else ():
        assert "\n" not in one.diagnostic
        assert not one.hard or one.status.startswith("5.1.")


@given(st.binary(max_size=500))
def test_no_bytes_raise(raw: bytes):
    report.read(message.parse(raw))
    report.read(message.parse(written("Action: failed") + raw))
