"""Header lines of ours, and what becomes of the author's."""

import base64
from dataclasses import replace
from email.header import decode_header, make_header
from pathlib import Path

import dkim
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from listserv.mail import header, message, words
from listserv.model.group import Group, Joining, Kind, Policy, Posting, ReplyTo

SAILING = Group(1, "sailing@lists.example.org", Kind.DISCUSSION)
INJECTIONS = [
    "\r\nBcc: eve@e.example",
    "\nBcc: eve@e.example",
    "\rBcc: x",
    "\x00",
    "\x1b",
    "\x85",
    "\u2028",
    "\u2029",
    "\x7f",
    "\ud800",
]


def policy(**changes):
    return replace(SAILING, policy=Policy(**changes))


def lines(fields):
    return [field.raw.decode() for field in fields]


def unfolded(raw):
    (field,) = message.parse(raw + b"\r\n").fields
    return field.value.decode()


@pytest.mark.parametrize("bad", INJECTIONS)
@pytest.mark.parametrize("place", ["{}", "a{}", "{}b", "a{}b", "ä{}b"])
def test_no_value_ends_its_line(bad, place):
    value = place.format(bad)
    for make in (header.field, header.structured):
        with pytest.raises(ValueError):
            make("Subject", value)
        with pytest.raises(ValueError):
            make("X-" + value, "x")
    with pytest.raises(ValueError):
        header.phrase(value)
    with pytest.raises(ValueError):
        header.mailbox(value, "ada@a.example")
    with pytest.raises(ValueError):
        header.mailbox("Ada", f"ada{value}@a.example")


@pytest.mark.parametrize("name", ["", "A B", "A:", "Ä", "A" * 77])
def test_no_name_is_other_than_a_name(name):
    with pytest.raises(ValueError):
        header.field(name, "x")


@given(st.text(max_size=300) | st.text("ab =?", max_size=200))
def test_whatever_text_is_given_one_field_with_that_text_comes_out(text):
    try:
        raw = header.field("Subject", text)
    except ValueError:
        assert not words.printable(text)
        return
    assert raw.isascii()
    assert raw.endswith(b"\r\n")
    assert all(len(line) <= 998 for line in raw.split(b"\r\n"))
    assert all(line.strip() for line in raw.split(b"\r\n")[:-1])  # RFC 5322 §3.2.2: no line of blanks alone
    assert words.text(unfolded(raw).encode(), 10_000) == text.strip()


@pytest.mark.parametrize(
    ("value", "raw"),
    [
        ("Sunday", "Subject: Sunday\r\n"),
        ("", "Subject:\r\n"),
        ("one Grüße two", "Subject: one =?utf-8?b?R3LDvMOfZQ==?= two\r\n"),
        ("=?utf-8?q?=0A?=", "Subject: =?utf-8?b?PT91dGYtOD9xPz0wQT89?=\r\n"),
        ("x" * 70 + " y", "Subject: " + "x" * 70 + "\r\n y\r\n"),
        ("x" * 100 + " y", "Subject: " + "x" * 100 + "\r\n y\r\n"),
        ("a  b", "Subject: a  b\r\n"),
    ],
)
def test_fields_look_as_they_should(value, raw):
    assert header.field("Subject", value) == raw.encode()


def test_a_word_that_could_not_be_folded_is_encoded_or_refused():
    raw = header.field("Subject", "x" * 5_000)
    assert str(make_header(decode_header(unfolded(raw)))) == "x" * 5_000
    with pytest.raises(ValueError, match="998"):
        header.structured("List-Unsubscribe", "x" * 5_000)


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("Ada Lovelace", "Ada Lovelace"),
        ("Lovelace, Ada", '"Lovelace, Ada"'),
        ('Ada "the first" \\', '"Ada \\"the first\\" \\\\"'),
        ("Grüße", "=?utf-8?b?R3LDvMOfZQ==?="),
        ("a.b", '"a.b"'),
        ("<eve@e.example>, x", '"<eve@e.example>, x"'),
    ],
)
def test_a_name_can_be_nothing_but_a_name(name, written):
    assert header.phrase(name) == written


def test_a_mailbox_is_written_with_its_name_or_alone():
    assert header.mailbox("Ada, L.", "ada@a.example") == '"Ada, L." <ada@a.example>'
    assert header.mailbox(" ", "ada@A.example") == "ada@a.example"
    with pytest.raises(ValueError, match="not an address"):
        header.mailbox("Ada", "ada@a.example>, <eve@e.example")
    assert (
        header.mailbox_field("To", ("Ada", "a@b.example"), ("", "c@d.example"))
        == b"To: Ada <a@b.example>, c@d.example\r\n"
    )


def test_addresses_beyond_ascii_stay_readable():
    assert header.mailbox_field("To", ("", "jürgen@a.example")) == "To: jürgen@a.example\r\n".encode()


def test_every_member_gets_the_fields_of_the_group():
    assert lines(header.edition_fields(policy(title="Sailing, together"), "guard")) == [
        'List-Id: "Sailing, together" <sailing.lists.example.org>\r\n',
        "List-Help: <mailto:sailing-help@lists.example.org>\r\n",
        "List-Post: <mailto:sailing@lists.example.org>\r\n",
        "List-Owner: <mailto:sailing-owner@lists.example.org>\r\n",
        "List-Subscribe: <mailto:sailing-subscribe@lists.example.org>\r\n",
        "Precedence: list\r\n",
        "X-Loop: guard\r\n",
    ]


@pytest.mark.parametrize(
    ("group", "post"),
    [
        (policy(posting=Posting.ANYONE), "<mailto:sailing@lists.example.org>"),
        (policy(posting=Posting.MODERATORS), "NO"),
        (policy(posting=Posting.OWNERS), "NO"),
        (Group(1, "sailing@lists.example.org", Kind.ANNOUNCE), "NO"),
        (Group(1, "sailing@lists.example.org", Kind.BLOG), "NO"),
    ],
)
def test_list_post_says_who_may_write(group, post):
    assert f"List-Post: {post}\r\n" in lines(header.edition_fields(group, "g"))


@pytest.mark.parametrize(
    ("joining", "named"), [*((j, True) for j in ("confirm", "moderated")), ("invite", False), ("closed", False)]
)
def test_list_subscribe_names_an_open_door_or_none(joining, named):
    fields = header.edition_fields(policy(joining=Joining(joining)), "g")
    assert any(field.name == "list-subscribe" for field in fields) is named


@pytest.mark.parametrize("bad", INJECTIONS)
def test_a_title_or_tag_that_should_never_have_been_stored_does_no_harm(bad):
    group = policy(title=f"Sailing{bad}", subject_tag=f"[s{bad}]")
    for field in (*header.edition_fields(group, "g"), *header.amend((), group)):
        assert field.raw.count(b"\n") == 1 or b"\r\n " in field.raw
        assert len(message.parse(field.raw).fields) == 1


def test_mailto_escapes_what_a_url_would_misread():
    assert header.mailto("a&b?c%d#e+f@lists.example.org") == "<mailto:a%26b%3Fc%25d%23e+f@lists.example.org>"


def test_one_click_stands_beside_the_mailbox_that_does_the_same():
    fields = header.stamp_fields("sailing-unsubscribe+t@lists.example.org", "https://lists.example.org/u/t?a=b&c=d")
    assert unfolded(fields[0].raw) == (
        "<https://lists.example.org/u/t?a=b&c=d>, <mailto:sailing-unsubscribe+t@lists.example.org>"
    )
    assert fields[1].raw == b"List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"


def test_without_a_web_there_is_the_mailbox_alone():
    assert lines(header.stamp_fields("sailing-unsubscribe@lists.example.org")) == [
        "List-Unsubscribe: <mailto:sailing-unsubscribe@lists.example.org>\r\n"
    ]


@pytest.mark.parametrize(
    "url", ["https://x.example/> , <https://e.example", "https://x.example/ä", "https://x.example/\r\nX: y"]
)
def test_no_url_leaves_its_brackets(url):
    with pytest.raises(ValueError):
        header.stamp_fields("u@lists.example.org", url)


KEPT = [
    b"Received: from x\r\n\tby y; Sun, 22 Nov 2026 10:00:00 +0000\r\n",
    b"DKIM-Signature: v=1; d=a.example; s=ls1;\r\n b=abc=\r\n",
    b"DKIM-Signature: v=1; d=lists.example.org; s=other; b=abc\r\n",
    b"Authentication-Results: mx.a.example; spf=pass\r\n",
    b"Authentication-Results: lists.example.org.evil.example; spf=pass\r\n",
    b"ARC-Authentication-Results: i=1; lists.example.org; spf=pass\r\n",
    b"from:   Ada  <ada@a.example>\r\n",
    b"Subject: =?utf-8?Q?Gr=C3=BC=C3=9Fe?=\r\n =?utf-8?Q?_x?=\r\n",
    b"X-8bit: \xfc\xff\r\n",
    b"References: <1@a.example>\r\n\t<2@a.example>\r\n",
    b"MIME-Version: 1.0\r\n",
]
DROPPED = [
    b"Return-Path: <ada@a.example>\r\n",
    b"List-Id: x <x.example>\r\n",
    b"LIST-unsubscribe: <mailto:x@x.example>,\r\n <https://x.example>\r\n",
    b"List-Archive: <https://x.example>\r\n",
    b"Precedence: bulk\r\n",
    b"DKIM-Signature: v=1; a=rsa-sha256; d=Lists.Example.Org;\r\n\ts=ls1; b=abc\r\n",
    b"DKIM-Signature: s = ls1 ; d = lists.\r\n example.org; b=abc\r\n",
    b"Authentication-Results: lists.example.org; spf=pass\r\n",
    b"Authentication-Results: LISTS.example.org 1; spf=pass\r\n",
    b'Authentication-Results: "lists.example.org"; spf=pass\r\n',
    b"Authentication-Results: (us)\r\n lists.example.org; spf=pass\r\n",
    b"Authentication-Results: lists.example.org\r\n",
]


@given(st.permutations([*KEPT, *DROPPED]))
def test_what_is_not_ours_to_say_goes_and_all_else_stays_octet_for_octet_in_order(raw):
    post = message.parse(b"".join(raw) + b"\r\nbody\r\n")
    stripped = header.strip(post, ["lists.example.org"], [("lists.example.org", "LS1")])
    assert [field.raw for field in stripped] == [line for line in raw if line in KEPT]


def test_a_group_that_wants_nothing_changes_nothing():
    post = message.parse(b"".join(KEPT) + b"\r\nbody\r\n")
    assert header.amend(header.strip(post, ["lists.example.org"], []), SAILING) == post.fields


def test_the_signature_of_an_author_holds_in_a_group_that_wants_nothing():
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    public = base64.b64encode(key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
    ours = (*header.edition_fields(SAILING, "guard"), *header.stamp_fields("u@lists.example.org"))
    for case in (Path(__file__).parent.parent / "messages" / "posts").glob("*/in.eml"):
        raw = case.read_bytes()
        post = message.parse(dkim.sign(raw, b"s1", b"a.example", pem, canonicalize=(b"simple", b"simple")) + raw)
        theirs = header.amend(header.strip(post, ["lists.example.org"], [("lists.example.org", "ls1")]), SAILING)
        sent = b"".join(field.raw for field in (*ours, *theirs)) + b"\r\n" + post.body
        assert dkim.verify(sent, dnsfunc=lambda name, timeout=5: b"v=DKIM1; k=rsa; p=" + public), case


def test_a_last_field_without_a_line_end_gets_one():
    assert lines(header.strip(message.parse(b"A: b\r\nC: d"), [], [])) == ["A: b\r\n", "C: d\r\n"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"Subject: Sunday\r\n", b"Subject: [sailing] Sunday\r\n"),
        (b"Subject:Sunday\r\n", b"Subject: [sailing] Sunday\r\n"),
        (b"SUBJECT:\tSunday\r\n", b"SUBJECT: [sailing]\tSunday\r\n"),
        (b"Subject:\r\n Sunday\r\n", b"Subject: [sailing]\r\n Sunday\r\n"),
        (b"Subject:\r\n", b"Subject: [sailing]\r\n"),
        (b"Subject: Re: Sunday\r\n", b"Subject: [sailing] Re: Sunday\r\n"),
        (b"Subject: Re: [Sailing] Sunday\r\n", b"Subject: Re: [Sailing] Sunday\r\n"),
        (b"Subject: [sailing] Sunday\r\n", b"Subject: [sailing] Sunday\r\n"),
        (
            b"Subject: =?utf-8?q?=5Bsailing=5D_Gr=C3=BC=C3=9Fe?=\r\n",
            b"Subject: =?utf-8?q?=5Bsailing=5D_Gr=C3=BC=C3=9Fe?=\r\n",
        ),
        (b"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n", b"Subject: [sailing] =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n"),
        (b"Subject: raw \xfc\r\n", b"Subject: [sailing] raw \xfc\r\n"),
        (b"Subject: a\r\n\tb\r\n", b"Subject: [sailing] a\r\n\tb\r\n"),
        (b"X: y\r\n", b"X: y\r\nSubject: [sailing] (no subject)\r\n"),
        (b"Subject: a\r\nSubject: b\r\n", b"Subject: [sailing] a\r\nSubject: b\r\n"),
    ],
)
def test_the_tag_is_spliced_before_the_subject_once(old, new):
    group = policy(subject_tag="[sailing]")
    tagged = header.amend(message.parse(old + b"\r\n").fields, group)
    assert b"".join(field.raw for field in tagged) == new
    assert header.amend(tagged, group) == tagged


def test_a_tag_is_known_in_any_case():
    for tag, subject in (("[Sailing]", b"Re: [sailing] x"), ("[sailing]", b"Re: [SAILING] x")):
        fields = message.parse(b"Subject: " + subject + b"\r\n\r\n").fields
        assert header.amend(fields, policy(subject_tag=tag)) == fields


def test_a_tag_beyond_ascii_keeps_its_blank_before_an_encoded_subject():
    group = policy(subject_tag="[Törn]")
    for old, shown in ((b"Sunday", "[Törn] Sunday"), (b"=?utf-8?q?Gr=C3=BC=C3=9Fe?=", "[Törn] Grüße")):
        (field,) = header.amend(message.parse(b"Subject: " + old + b"\r\n\r\n").fields, group)
        assert words.text(field.value) == shown


def test_a_line_that_the_tag_would_make_too_long_is_folded():
    (field,) = header.amend(
        message.parse(b"Subject: " + b"x" * 985 + b"\r\n\r\n").fields, policy(subject_tag="[sailing]")
    )
    assert field.raw == b"Subject: [sailing]\r\n " + b"x" * 985 + b"\r\n"


def test_reply_to_group_replaces_what_the_author_asked_for():
    post = message.parse(b"From: ada@a.example\r\nReply-To: x@a.example\r\nReply-To: y@a.example\r\nTo: z\r\n\r\n")
    amended = header.amend(post.fields, policy(reply_to=ReplyTo.GROUP))
    assert lines(amended) == ["From: ada@a.example\r\n", "To: z\r\n", "Reply-To: sailing@lists.example.org\r\n"]
