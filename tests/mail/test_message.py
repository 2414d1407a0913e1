"""The scanner of messages: every octet in its place, whatever comes."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from listserv.mail import message
from listserv.mail.message import MAX_FIELD_BYTES, MAX_FIELDS, MAX_HEADER_BYTES, Author, NoAuthor, parse
from listserv.model.address import Address

PIECES = [
    b"From: ada@a.example",
    b"Subject : x",
    b"garbage",
    b" folded",
    b"\tfolded",
    b"",
    b"From me",
    b"\x00\xff:",
    b":",
    b"a:b",
]


WALK = message.subject_key("A walk")


@pytest.mark.parametrize(
    "subject",
    [
        "A walk",
        "Re: A walk",
        "RE:a  WALK ",
        "[walkers] A walk",
        "Re: [walkers] AW: A walk",
        "Aw: Ticket [#7] received: Re: Ticket [#6] received: A walk",
        "回复：A walk",
        "Réponse : A walk:",
    ],
)
def test_subjects_that_say_the_same_have_one_key(subject: str) -> None:
    assert message.subject_key(subject) == WALK


@pytest.mark.parametrize("subject", ["", "walk", "A walk 2", "Re: ", ":", "[A walk]", "A walk: yes", "\ud800"])
def test_other_subjects_have_another(subject: str) -> None:
    assert message.subject_key(subject) != WALK
    assert len(message.subject_key(subject)) == 8


def joined(parsed: message.Message) -> bytes:
    fields = b"".join(field.raw for field in parsed.fields)
    return parsed.raw[: parsed.head_at] + fields + parsed.separator + parsed.body


@given(st.lists(st.sampled_from(PIECES) | st.binary(max_size=20)), st.sampled_from([b"\r\n", b"\n", b"\r"]))
def test_the_pieces_of_a_message_are_the_message(lines, line_end):
    raw = line_end.join(lines)
    parsed = parse(raw)
    assert joined(parsed) == raw
    assert parsed.head == b"".join(field.raw for field in parsed.fields)


def test_fields_have_names_values_and_their_own_octets():
    parsed = parse(
        b"From: ada@a.example\r\nSUBJECT:  Sunday\r\n\tat noon \r\nX-Empty:\r\n\r\nAhoi\r\n\r\nFrom: body\r\n"
    )
    assert [field.name for field in parsed.fields] == ["from", "subject", "x-empty"]
    assert [field.value for field in parsed.fields] == [b"ada@a.example", b"Sunday\tat noon", b""]
    assert parsed.fields[1].raw == b"SUBJECT:  Sunday\r\n\tat noon \r\n"
    assert parsed.body == b"Ahoi\r\n\r\nFrom: body\r\n"
    assert parsed.complete


@pytest.mark.parametrize(
    ("raw", "names", "body", "complete"),
    [
        (b"", [], b"", True),
        (b"\r\nonly a body\r\n", [], b"only a body\r\n", True),
        (b"no header at all\r\n", [], b"no header at all\r\n", False),
        (b" folded from nothing\r\nA: b\r\n\r\n", [], b" folded from nothing\r\nA: b\r\n\r\n", False),
        (b"A: b\r\n", ["a"], b"", True),
        (b"A: b", ["a"], b"", True),
        (b"A: b\r\ngarbage\r\nC: d\r\n\r\nbody", ["a"], b"garbage\r\nC: d\r\n\r\nbody", False),
        (b"A : b\r\n\r\nbody", ["a"], b"body", True),
        (b"A b: c\r\n\r\nbody", [], b"A b: c\r\n\r\nbody", False),
        (b"\xc3\xa4: b\r\n\r\n", [], b"\xc3\xa4: b\r\n\r\n", False),
        (b"From ada Sun Nov 22 10:00:00 2026\r\nA: b\r\n\r\nbody", ["a"], b"body", True),
        (b">From ada Sun Nov 22 10:00:00 2026\r\nA: b\r\n\r\nbody", ["a"], b"body", True),
        (b"From : ada@a.example\r\n\r\nbody", ["from"], b"body", True),
        (b"A: b\r\n \r\nC: d\r\n\r\nbody", ["a", "c"], b"body", True),
    ],
)
def test_headers_that_are_none_end_where_postfix_ends_them(raw, names, body, complete):
    parsed = parse(raw)
    assert [field.name for field in parsed.fields] == names
    assert (parsed.body, parsed.complete) == (body, complete)


@pytest.mark.parametrize(
    ("raw", "fault"),
    [
        (b"A: b\r\n" * MAX_FIELDS + b"\r\n", None),
        (b"A: b\r\n" * (MAX_FIELDS + 1) + b"\r\n", "more than 1000 header fields"),
        (b"A: " + b"x" * (MAX_FIELD_BYTES - 5) + b"\r\n\r\n", None),
        (b"A: " + b"x" * (MAX_FIELD_BYTES - 4) + b"\r\n\r\n", "a header field of more than 65536 bytes"),
        (b"A: " + b"x" * MAX_FIELD_BYTES + b"\r\nC: d\r\n\r\n", "a header field of more than 65536 bytes"),
        (b"A: " + b"x" * MAX_HEADER_BYTES + b"\r\n\r\n", "a header of more than 102400 bytes"),
        (b"A: b\r\n" + b" x\r\n" * MAX_HEADER_BYTES, "a header of more than 102400 bytes"),
        ((b"A: " + b"x" * 995 + b"\r\n") * 102 + b"\r\n", None),
        ((b"A: " + b"x" * 995 + b"\r\n") * 103 + b"\r\n", "a header of more than 102400 bytes"),
    ],
)
def test_each_limit_holds_to_the_octet_and_nothing_is_lost_beyond_it(raw, fault):
    assert message.fault(raw) == fault
    assert joined(parse(raw)) == raw


def test_the_first_200_kb_of_a_message_tell_whether_its_header_is_too_long():
    raw = b"A: b\r\n" * 1_000_000
    assert message.fault(raw[:200_000]) == message.fault(raw) == "more than 1000 header fields"


def test_ids_and_subject_and_date_are_read():
    parsed = parse(
        b"Message-ID:\r\n <1@a.example>\r\nIn-Reply-To: <0@a.example> (on Sunday)\r\n"
        b"References: <-2@a.example>\r\n <-1@a.example><0@a.example>\r\n"
        b"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nDate: Sun, 22 Nov 2026 10:00:00 +0100\r\n\r\n"
    )
    assert message.message_id(parsed) == "<1@a.example>"
    assert message.in_reply_to(parsed) == ("<0@a.example>",)
    assert message.references(parsed) == ("<-2@a.example>", "<-1@a.example>", "<0@a.example>")
    assert message.subject(parsed) == "Grüße"
    assert message.date(parsed) == datetime(2026, 11, 22, 9, tzinfo=UTC)


def test_what_is_missing_is_empty():
    parsed = parse(b"\r\n")
    assert message.message_id(parsed) == message.subject(parsed) == ""
    assert message.references(parsed) == message.in_reply_to(parsed) == ()
    assert message.date(parsed) is None


def test_a_message_id_without_brackets_is_one_all_the_same():
    assert message.message_id(parse(b"Message-ID: 17\x00@a\r\n\r\n")) == "17 @a"


@given(st.text(max_size=120) | st.from_regex(r"\A.{3}, \d+ \w{3} \d+ \d+:\d+:\d+ [+-]\d+\Z"))
def test_no_date_raises(said):
    parsed = parse(b"Date: " + said.encode("utf-8", "replace").replace(b"\n", b" ") + b"\r\n\r\n")
    found = message.date(parsed)
    assert found is None or found.tzinfo is UTC


def test_one_from_with_one_mailbox_is_the_author():
    assert message.author(parse(b"From: Ada <ada@A.example>\r\n\r\n")) == Author(Address("ada", "a.example"), "Ada")


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"To: a@b\r\n\r\n", "there is no From field"),
        (b"From: a@b\r\nFrom: a@b\r\n\r\n", "there are 2 From fields"),
        (b"From: a@b\r\ngarbage\r\nFrom: c@d\r\n\r\n", "the header does not end with an empty line"),
        (b"From: a@b, c@d\r\n\r\n", "From names several addresses"),
    ],
)
def test_what_readers_could_see_differently_has_no_author(raw, reason):
    assert message.author(parse(raw)) == NoAuthor(reason)


def test_to_and_cc_are_counted_over_all_their_fields():
    parsed = parse(b"To: a@b.example\r\nCc: c@d.example, nonsense\r\nTo: e@f.example\r\nBcc: g@h.example\r\n\r\n")
    found = message.recipients(parsed)
    assert [str(address) for address in found.addresses] == ["a@b.example", "c@d.example", "e@f.example"]
    assert found.count == 4
