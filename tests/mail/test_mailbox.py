"""Who From, To and Cc name."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from listserv.mail import header, mailbox
from listserv.mail.mailbox import MAX_RECIPIENTS, Author, NoAuthor, several, single
from listserv.mail.message import parse

PIECES = [
    "a@b.example",
    "<c@d.example>",
    "Ada",
    '"',
    "\\",
    "(",
    ")",
    "<",
    ">",
    ",",
    ";",
    ":",
    " ",
    "=?utf-8?q?x?=",
    "é",
]


@pytest.mark.parametrize(
    ("value", "address", "name"),
    [
        ("ada@a.example", "ada@a.example", ""),
        ("<ada@a.example>", "ada@a.example", ""),
        ("Ada Lovelace <ada@a.example>", "ada@a.example", "Ada Lovelace"),
        ("Ada King-Noel, Countess <ada@a.example>", None, ""),
        ('"Lovelace, Ada" <ada@a.example>', "ada@a.example", "Lovelace, Ada"),
        ('"Ada \\"the first\\" L." <ada@a.example>', "ada@a.example", 'Ada "the first" L.'),
        ("ada@a.example (Ada Lovelace)", "ada@a.example", "Ada Lovelace"),
        ("Ada (at work) <ada@a.example>", "ada@a.example", "Ada"),
        ("Ada <ada@a.example> (at work)", "ada@a.example", "Ada"),
        ("=?utf-8?q?Ad=C3=A4?= <ada@a.example>", "ada@a.example", "Adä"),
        ("=?iso-8859-1?q?=22L=2C_Ad=E4=22_=3Cx=40y=3E?= <ada@a.example>", "ada@a.example", '"L, Adä" <x@y>'),
        ("Jürgen <j@a.example>", "j@a.example", "Jürgen"),
        ("jürgen@a.example", "jürgen@a.example", ""),
        ("ada@a.example <ADA@a.example>", "ADA@a.example", "ada@a.example"),
        ('"ada@a.example via us" <ada@a.example>', "ada@a.example", "ada@a.example via us"),
        ('"a d a"@a.example', '"a d a"@a.example', ""),
    ],
)
def test_a_plain_mailbox_is_the_author(value, address, name):
    found = single(value.encode())
    if address is None:
        assert isinstance(found, NoAuthor)
    else:
        assert isinstance(found, Author)
        assert (str(found.address), found.name) == (address, name)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("", "From names no address"),
        ("()", "From names no address"),
        ("undisclosed", "From is not one plain address"),
        ("a@b.example, c@d.example", "From names several addresses"),
        ("a@b.example,", "From names several addresses"),
        ("a@b.example c@d.example", "From is not one plain address"),
        ("a@b.example <c@d.example>", "From names two addresses"),
        ("<a@b.example> <c@d.example>", "From goes on after the address"),
        ("<a@b.example> Ada", "From goes on after the address"),
        ("friends: a@b.example;", "From names a group of addresses"),
        ("friends:;", "From names a group of addresses"),
        ("<@x.example:a@b.example>", "From is not one plain address"),
        ("a@b.example (c (d))", "From is not one plain address"),
        ("a@b.example (<c@d.example>)", "a comment in From looks like an address"),
        ("(c@d.example) a@b.example", "a comment in From looks like an address"),
        ("a@(comment)b.example", "From goes on after the address"),
        ('"<c@d.example>" <a@b.example>', "From is not one plain address"),
        ('"open <a@b.example>', "From is not one plain address"),
        ("a@b.example\\ <c@d.example>", "From names two addresses"),
        ("< a@b.example>", "From is not one plain address"),
        ("a @b.example", "From is not one plain address"),
        ("a@b.example>", "From is not one plain address"),
        ("=?utf-8?q?c=40d.example=00?=@b.example", "From is not one plain address"),
        ("a@b@c.example", "From is not one plain address"),
        ("a@b.example\x00", "From is not one plain address"),
    ],
)
def test_everything_else_is_nobody_in_particular(value, reason):
    assert single(value.encode()) == NoAuthor(reason)


def test_octets_that_are_no_utf8_may_stand_in_the_name_only():
    assert single(b"J\xfcrgen <j@a.example>") == Author(single(b"j@a.example").address, "Jürgen")
    assert isinstance(single(b"j\xfcrgen@a.example"), NoAuthor)


@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=5), max_size=30))
def test_neither_reading_ever_raises(pieces):
    value = "".join(pieces).encode("utf-8", "replace")
    assert isinstance(single(value), Author | NoAuthor)
    found = several([value])
    assert len(found.addresses) <= found.count


@given(st.text(st.characters(exclude_categories=["C", "Z"]) | st.just(" "), max_size=200))
def test_any_name_that_we_write_is_read_as_that_name_and_that_address(display):
    raw = header.mailbox_field("From", (display, "ada@a.example"))
    written = parse(raw).fields[0].value
    if b"<" in written[: -len(b"<ada@a.example>")] or b">" in written[:-1]:  # quoted angles: held, not understood
        assert isinstance(single(written), NoAuthor)
    else:
        assert single(written) == Author(single(b"ada@a.example").address, display.strip())
    assert several([parse(raw).fields[0].value]).addresses == (single(b"ada@a.example").address,)


@pytest.mark.parametrize(
    ("value", "addresses", "count"),
    [
        ("", [], 0),
        (" , ,", [], 0),
        ("a@b.example", ["a@b.example"], 1),
        ("a@b.example, Cy <c@d.example>,, nonsense", ["a@b.example", "c@d.example"], 3),
        ("friends: a@b.example, <c@d.example>; e@f.example", ["a@b.example", "c@d.example", "e@f.example"], 3),
        ("undisclosed-recipients:;", [], 0),
        ('"a@x.example, b" <c@d.example>', ["c@d.example"], 1),
        ("(a@x.example, (nested) b) c@d.example", ["c@d.example"], 1),
        ("<@x.example,@y.example:a@b.example>", ["a@b.example"], 1),
        ("a@[IPv6:2001:db8::1], <b@[IPv6:2001:db8::1]>", ["b@[IPv6:2001:db8::1]"], 2),
        ('a@b.example, "never closed, c@d.example', ["a@b.example"], 1),
    ],
)
def test_lists_are_read_generously(value, addresses, count):
    found = several([value.encode()])
    assert ([str(address) for address in found.addresses], found.count) == (addresses, count)


def test_counting_stops():
    assert several([b"a@b.example," * 10_000]).count == MAX_RECIPIENTS
    assert several([b"x," * 10_000]) == mailbox.Recipients((), MAX_RECIPIENTS)
