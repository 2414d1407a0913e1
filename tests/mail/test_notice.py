"""Our own messages: whatever is said in them, they are well formed, safe, and say that a machine wrote them."""

import re
from dataclasses import replace
from datetime import UTC, datetime
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import SMTP
from email.utils import parsedate_to_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from listserv.mail import automatic, message
from listserv.mail.notice import Composed, Notice, compose
from listserv.model.address import Address

AT = datetime(2026, 11, 22, 10, 2, tzinfo=UTC)
HELLO = Notice(
    sender=("Walkers", Address("walkers-owner", "lists.example")),
    to=Address("ada", "a.example"),
    subject="Welcome",
    text="Hello Ada.\n\nThis is the group.\n",
    message_id="<welcome.1@lists.example>",
)
POST = b"From: eve@e.example\r\nSubject: =?utf-8?q?caf=C3=A9?=\r\n\r\ncaf\xc3\xa9 \xff\xfe\r\n--=_x\r\n.\r\n"


def whole(composed: Composed, attached: bytes = b"") -> bytes:
    return composed.fields + b"\r\n" + composed.before + attached + composed.after


def read(content: bytes) -> EmailMessage:
    parsed = BytesParser(policy=SMTP).parsebytes(content)
    assert isinstance(parsed, EmailMessage)
    return parsed


def defects(parsed: EmailMessage) -> list[object]:
    return [fault for part in parsed.walk() for fault in part.defects]


def text_of(parsed: EmailMessage, kind: str = "plain") -> str:
    body = parsed.get_body((kind,))
    assert body is not None
    return str(body.get_content()).replace("\r\n", "\n")


def test_a_notice_is_read_as_it_was_said() -> None:
    said = replace(HELLO, reply_to=Address("walkers-confirm+x", "lists.example"), in_reply_to="<1@a.example>")
    parsed = read(whole(compose(said, AT)))
    assert defects(parsed) == []
    assert str(parsed["From"]) == "Walkers <walkers-owner@lists.example>"
    assert str(parsed["To"]) == "ada@a.example"
    assert str(parsed["Subject"]) == "Welcome"
    assert str(parsed["Reply-To"]) == "walkers-confirm+x@lists.example"
    assert str(parsed["Message-ID"]) == "<welcome.1@lists.example>"
    assert str(parsed["In-Reply-To"]) == str(parsed["References"]) == "<1@a.example>"
    assert parsedate_to_datetime(str(parsed["Date"])) == AT
    assert text_of(parsed) == HELLO.text


@pytest.mark.parametrize(("answers", "word"), [(False, "auto-generated"), (True, "auto-replied")])
def test_it_says_that_a_machine_wrote_it_so_that_no_robot_answers(answers: bool, word: str) -> None:
    content = whole(compose(HELLO, AT, answers=answers))
    assert str(read(content)["Auto-Submitted"]) == word
    assert automatic.declared(message.parse(content), "ada@a.example") == f"auto-submitted: {word}"


def test_each_field_stands_there_once() -> None:
    names = [name.lower() for name in read(whole(compose(HELLO, AT)))]
    assert len(names) == len(set(names))
    assert "reply-to" not in names
    assert "in-reply-to" not in names


def test_more_of_the_header_is_written_as_it_was_given() -> None:
    parsed = read(whole(compose(replace(HELLO, fields=(("X-Walk", "a  b"), ("X-Day", "Sunday"))), AT)))
    assert (parsed["X-Walk"], parsed["X-Day"]) == ("a  b", "Sunday")


@pytest.mark.parametrize(
    "changes",
    [
        {"subject": "Hi\r\nBcc: eve@e.example"}, {"subject": "Hi\nX: y"}, {"subject": "Hi\0"}, {"subject": "Hi\u2028"},
        {"message_id": "<a@b>\r\nX: y"}, {"fields": (("X-A", "b\r\nC: d"),)},
        {"fields": (("X A", "b"),)}, {"fields": (("X:A", "b"),)}, {"sender": ("A\nB: c", HELLO.to)},
        {"to": Address("a\r\nRCPT TO:<eve", "e.example")}, {"reply_to": Address("a", "b>\r\nX: y")},
    ],
)  # fmt: skip
def test_nothing_that_is_said_can_become_a_field(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"header|address|control"):
        compose(replace(HELLO, **changes), AT)  # type: ignore[arg-type]


@pytest.mark.parametrize("id", ["<a@b>\r\nX: y", "a@b", "<a b@c>", "<" + "a" * 1000 + "@b>", "<ä@b>", ""])
def test_what_is_no_message_id_is_not_referred_to(id: str) -> None:
    parsed = read(whole(compose(replace(HELLO, in_reply_to=id), AT)))
    assert not {"In-Reply-To", "References", "X"} & set(parsed.keys())


@pytest.mark.parametrize(
    "subject", ["Grüße von Ada", "散歩" * 60, "a" * 2000, "word " * 400, "=?utf-8?q?x?=", "  a  b  "]
)
def test_any_subject_is_folded_and_comes_out_as_it_went_in(subject: str) -> None:
    composed = compose(replace(HELLO, subject=subject), AT)
    assert all(len(line) <= 998 for line in composed.fields.split(b"\r\n"))
    assert composed.fields.isascii()
    assert str(read(whole(composed))["Subject"]).split() == subject.split()


@pytest.mark.parametrize(
    "name", ["Ada, the 1st", 'the "Walkers"', "Grüße", "a\\b", "散歩会", "", "x@y.example", "a" * 300]
)
def test_the_name_of_the_sender_is_a_name_and_nothing_else(name: str) -> None:
    parsed = read(whole(compose(replace(HELLO, sender=(name, Address("owner", "lists.example"))), AT)))
    [sender] = parsed["From"].addresses
    assert (sender.display_name, sender.addr_spec) == (name, "owner@lists.example")


TEXTS = [
    "", "\n", "no end of line", "a\nb\n", "a\r\nb\r\n", "a\rb", "Grüße, 散歩 🚶\n", "x" * 2000, "ü" * 2000,
    ".\n..\n.dot\n", "From here\nFrom there\n", "end with a blank \nand a tab\t\n", "a\0b\n", "=3D=\n",
    "--\nbounds\n-- \nAda\n", "\ud800\n", "x" * 900, "x" * 901,
]  # fmt: skip


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("attachment", [False, True])
@pytest.mark.parametrize("html", ["", "<p>Grüße</p>"])
def test_any_text_goes_through_any_relay_and_comes_out_as_it_went_in(text: str, html: str, attachment: bool) -> None:
    composed = compose(replace(HELLO, text=text, html=html), AT, attachment=attachment)
    for part in (composed.fields, composed.before, composed.after):
        assert not re.search(rb"(?<!\r)\n|\r(?!\n)|\0", part)
        assert part.isascii()
        assert all(len(line) <= 998 for line in part.split(b"\r\n"))
    parsed = read(whole(composed, POST if attachment else b""))
    assert defects(parsed) == []
    expected = text.replace("\r\n", "\n").replace("\r", "\n").encode("utf-8", "replace").decode()
    assert text_of(parsed).removesuffix("\n") == expected.removesuffix("\n")
    if html:
        assert text_of(parsed, "html").strip() == html


@given(st.text(max_size=300))
def test_whatever_is_said_is_read_so(text: str) -> None:
    composed = compose(replace(HELLO, text=text, html=f"<pre>{len(text)}</pre>"), AT, attachment=True)
    parsed = read(whole(composed, POST))
    assert defects(parsed) == []
    expected = text.replace("\r\n", "\n").replace("\r", "\n").encode("utf-8", "replace").decode()
    assert text_of(parsed).removesuffix("\n") == expected.removesuffix("\n")


@pytest.mark.parametrize("html", ["", "<p>Hi</p>"])
def test_what_is_attached_stays_byte_for_byte_and_says_that_it_has_eight_bits(html: str) -> None:
    composed = compose(replace(HELLO, html=html), AT, attachment=True)
    content = whole(composed, POST)
    assert content.count(POST) == 1
    parsed = read(content)
    attached = next(part for part in parsed.walk() if part.get_content_type() == "message/rfc822")
    assert attached["Content-Transfer-Encoding"] == parsed["Content-Transfer-Encoding"] == "8bit"
    assert attached["Content-Disposition"] == "attachment"
    [inside] = attached.get_payload()
    assert str(inside["Subject"]) == "café"  # type: ignore[index]
    assert [part.get_content_type() for part in parsed.iter_parts()] == [
        "multipart/alternative" if html else "text/plain",
        "message/rfc822",
    ]


def test_no_boundary_is_the_beginning_of_another() -> None:
    # RFC 2046 §5.1.1: a reader compares with the beginning of a line, so the outer one would end the inner part
    content = whole(compose(replace(HELLO, html="<p>Hi</p>"), AT, attachment=True), POST)
    outer, inner = re.findall(rb'boundary="([^"]+)"', content)
    assert not inner.startswith(outer)
    assert not outer.startswith(inner)
    assert all(len(boundary) <= 70 for boundary in (outer, inner))


def test_two_notices_do_not_share_a_boundary_and_one_is_always_composed_alike() -> None:
    one = compose(HELLO, AT, attachment=True)
    assert one == compose(HELLO, AT, attachment=True)
    other = compose(replace(HELLO, message_id="<welcome.2@lists.example>"), AT, attachment=True)
    assert one.after != other.after
