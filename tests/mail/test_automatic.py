"""Robots never count as people, and people never as robots."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from listserv.mail import automatic, message, mime
from listserv.mail.message import Message

MESSAGES = Path(__file__).parent.parent / "messages"
ROBOTS = sorted((MESSAGES / "robots").glob("*.eml"))
PEOPLE = sorted((MESSAGES / "replies").glob("*.eml"))

# These say so in none of their fields; only the subject, or that a list carried them, gives them away.
SILENT = {
    "dutch-ooo",
    "exchange-2010-fr-suppress-only",
    "exchange-es-no-header",
    "ezmlm-list",
    "japanese-ooo",
    "ndr-without-null-sender",
    "polish-ooo",
    "through-another-list",
    "vacation-1-2",
    "web-de-no-header",
}


def load(path: Path) -> tuple[Message, str]:
    """The message and its envelope sender."""
    post = message.parse(path.read_bytes())
    returned = post.first("return-path")
    assert returned is not None
    return post, returned.value.decode().strip("<>")


def mail(
    *fields: str, subject: str = "Re: [sailing] Held: Cheap sails", sender: str = "Ada <ada@a.example>"
) -> Message:
    lines = [f"From: {sender}", f"Subject: {subject}", *fields, "", "approve", ""]
    return message.parse("\r\n".join(lines).encode())


def test_there_are_enough_of_both():
    assert len(ROBOTS) >= 25
    assert len(PEOPLE) >= 44


@pytest.mark.parametrize("path", ROBOTS, ids=lambda path: path.stem)
def test_a_robot_is_known_and_gets_no_answer(path: Path):
    post, mail_from = load(path)
    assert automatic.robot(post, mail_from)
    assert automatic.unanswerable(post, mail_from)


@pytest.mark.parametrize("path", ROBOTS, ids=lambda path: path.stem)
def test_a_robot_is_known_even_when_it_gives_a_sender(path: Path):
    post, _ = load(path)
    assert automatic.robot(post, "ada@a.example")


@pytest.mark.parametrize("path", ROBOTS, ids=lambda path: path.stem)
def test_only_some_robots_say_so_themselves(path: Path):
    post, mail_from = load(path)
    assert (automatic.declared(post, mail_from) is None) == (path.stem in SILENT)


@pytest.mark.parametrize("path", PEOPLE, ids=lambda path: path.stem)
def test_a_person_is_no_robot_and_gets_an_answer(path: Path):
    post, mail_from = load(path)
    assert automatic.robot(post, mail_from) is None
    assert automatic.unanswerable(post, mail_from, {"lists.example.org"}) is None


@pytest.mark.parametrize(
    ("field", "why"),
    [
        ("Auto-Submitted: auto-replied", "auto-submitted: auto-replied"),
        ("Auto-Submitted: AUTO-GENERATED; owner-email=x", "auto-submitted: auto-generated"),
        ("Auto-Submitted: (vacation) auto-replied", "auto-submitted: auto-replied"),
        ("Auto-Submitted: auto-notified(x)", "auto-submitted: auto-notified"),
        ("Auto-Submitted: x-anything", "auto-submitted: x-anything"),
        ("Auto-Submitted: no", None),
        ("Auto-Submitted: No (sent by hand)", None),
        ("Auto-Submitted:", None),
        ("Precedence: auto_reply", "precedence: auto_reply"),
        ("Precedence: Bulk", "precedence: bulk"),
        ("Precedence: junk", "precedence: junk"),
        ("Precedence: list", "precedence: list"),
        ("Precedence: first-class", None),
        ("Precedence: special-delivery", None),
        ("List-Id: <x.example>", "list-id: it went through a mailing list"),
        ("List-Unsubscribe: <mailto:x@x.example>", "list-unsubscribe: it went through a mailing list"),
        ("X-Autoreply: yes", "x-autoreply"),
        ("X-Autoreply: no", None),
        ("X-Auto-Response-Suppress: All", None),  # whole companies put it on what their people write
        ("X-Auto-Response-Suppress: DR, OOF, AutoReply", None),
        ("X-MS-Exchange-Inbox-Rules-Loop: ada@a.example", None),
        ("X-Loop: ada@a.example", None),
        ("Content-Type: multipart/report; report-type=disposition-notification; boundary=x", "multipart/report"),
        ("Content-Type: multipart/mixed; boundary=x", None),
    ],
)
def test_a_field_tells(field: str, why: str | None):
    assert automatic.robot(mail(field, "In-Reply-To: <x@y>"), "ada@a.example") == why


@pytest.mark.parametrize(
    ("fields", "subject", "known"),
    [
        ((), "Automatic reply", True),  # it answers nothing of ours
        (("In-Reply-To: <x@y>",), "Automatic reply: [sailing] Held", True),  # a prefix
        (("In-Reply-To: <x@y>", "X-Auto-Response-Suppress: All"), "Out of office", True),
        (("In-Reply-To: <x@y>",), "Out of office", False),
        (("In-Reply-To: <x@y>",), "Out of office party", False),
        (("In-Reply-To: <x@y>",), "Re: Automatic reply: x", False),
        (("In-Reply-To: <x@y>",), "AW: Abwesenheitsnotiz: x", False),
        ((), "Autoresponders are evil", False),
        ((), "[sailing] Held: out of office", False),
        ((), "Undeliverable: [sailing] Held", True),
        (("References: <x@y>",), "Undeliverable: [sailing] Held", False),
    ],
)
def test_a_subject_alone_never_tells(fields: tuple[str, ...], subject: str, known: bool):
    assert bool(automatic.robot(mail(*fields, subject=subject), "ada@a.example")) is known


def test_a_post_about_holidays_declares_nothing():
    assert automatic.declared(mail(subject="Out of office"), "ada@a.example") is None
    assert automatic.declared(mail("List-Id: <x.example>", "Precedence: list"), "ada@a.example") is None


@pytest.mark.parametrize("mail_from", ["", "MAILER-DAEMON", "mailer-daemon@a.example", "double-bounce@a.example"])
def test_a_mail_system_is_a_robot(mail_from: str):
    assert automatic.declared(mail("In-Reply-To: <x@y>"), mail_from)


@pytest.mark.parametrize(
    "local",
    [
        *("owner-crew", "crew-owner", "crew-request", "crew-bounces", "crew-bounces+x=y", "bounces+12-ab", "majordomo"),
        *("listserv", "noreply", "No-Reply", "do-not-reply", "nobody"),
    ],
)
def test_nobody_reads_what_is_sent_there(local: str):
    address = f"{local}@b.example"
    known = local != "crew-bounces+x=y"
    human = mail("In-Reply-To: <x@y>")
    assert automatic.robot(human, address) is None
    assert bool(automatic.unanswerable(human, address)) is known
    assert bool(automatic.unanswerable(mail("In-Reply-To: <x@y>", sender=address), "ada@a.example")) is known


def test_our_own_addresses_are_not_answered():
    human = mail("In-Reply-To: <x@y>", sender="sailing@lists.example.org")
    assert automatic.unanswerable(human, "ada@a.example") is None
    assert automatic.unanswerable(human, "ada@a.example", {"lists.example.org"}) == "an address of our own"
    assert automatic.unanswerable(mail(), "x@Lists.Example.org", {"lists.example.org"}) == "an address of our own"


def test_who_has_no_single_address_is_not_answered():
    assert automatic.unanswerable(mail(sender="a@a.example, b@b.example"), "ada@a.example") == "no author to answer"


@given(st.binary(max_size=400), st.text(max_size=40))
def test_nothing_that_can_be_sent_raises(raw: bytes, mail_from: str):
    post = message.parse(raw)
    automatic.unanswerable(post, mail_from)
    automatic.robot(message.parse(b"Subject: Automatic reply" + raw + b"\r\nAuto-Submitted: " + raw), mail_from)


def test_a_vacation_reply_that_says_approve_is_still_a_vacation_reply():
    post, mail_from = load(MESSAGES / "robots" / "gmail-vacation-own-subject.eml")
    assert mime.text_parts(post).plain.strip() == "approve"
    assert automatic.robot(post, mail_from)
