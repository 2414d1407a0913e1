"""Where the parts of a message stand."""

import email
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from listserv.mail import mime
from listserv.mail.message import parse
from listserv.mail.mime import MAX_DEPTH, MAX_PARTS, Opaque, Part, Texts, walk

NESTED = (
    b'Content-Type: multipart/mixed; boundary="out"\r\n\r\n'
    b"preamble\r\n--out\r\nContent-Type: multipart/alternative; boundary=in\r\n\r\n"
    b"--in\r\n\r\nplain\r\n--in  \r\n"
    b"Content-Type: text/html; charset=utf-8\r\n\r\n<p>html</p>\r\n--in--\r\nepilogue\r\n"
    b"--out\r\nContent-Type: image/gif\r\nContent-Disposition: attachment; filename=a.gif\r\n\r\n"
    b"GIF\r\n\r\n--out--\r\nend\r\n"
)


def tree(raw):
    post = parse(raw)
    return walk(post.fields, post.body), post.body


def sketch(part, body):
    """Nested lists of types and contents."""
    if part.children:
        return [part.type, *(sketch(child, body) for child in part.children)]
    return (part.type, body[part.body_at : part.end].decode("latin-1"))


def test_parts_stand_where_their_boundaries_say():
    root, body = tree(NESTED)
    assert sketch(root, body) == [
        "multipart/mixed",
        ["multipart/alternative", ("text/plain", "plain"), ("text/html", "<p>html</p>")],
        ("image/gif", "GIF\r\n"),
    ]
    assert body[root.close_at :] == b"--out--\r\nend\r\n"
    assert body[root.children[0].close_at :].startswith(b"--in--\r\nepilogue")
    assert body[root.children[1].start :].startswith(b"Content-Type: image/gif\r\n")
    assert [part.attached for part in mime.parts(root)] == [False, False, False, False, True]
    assert root.children[0].children[1].charset == "utf-8"


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"\r\nbody\r\n", ("text/plain", "body\r\n")),
        (b"Content-Type: text/plain\r\n\r\n--m\r\n--m--\r\n", ("text/plain", "--m\r\n--m--\r\n")),
        # no final boundary, inside or outside
        (b"Content-Type: multipart/x; boundary=m\r\n\r\n--m\r\n\r\na\r\n", ["multipart/x", ("text/plain", "a\r\n")]),
        (
            b"Content-Type: multipart/x; boundary=m\r\n\r\n--m\r\n"
            b"Content-Type: multipart/y; boundary=n\r\n\r\n--n\r\n\r\na\r\n--m--\r\n",
            ["multipart/x", ["multipart/y", ("text/plain", "a")]],
        ),
        # one boundary is the beginning of another
        (
            b"Content-Type: multipart/x; boundary=m\r\n\r\n--m\r\n"
            b"Content-Type: multipart/y; boundary=mm\r\n\r\n--mm\r\n\r\na\r\n--mm--\r\n--m\r\n\r\nb\r\n--m--\r\n",
            ["multipart/x", ["multipart/y", ("text/plain", "a")], ("text/plain", "b")],
        ),
        # parts without content, without header, without either
        (
            b"Content-Type: multipart/x; boundary=m\r\n\r\n--m\r\n\r\n--m\r\nno header\r\n--m\r\n--m--\r\n",
            ["multipart/x", ("text/plain", ""), ("", "no header"), ("", "")],
        ),
        (
            b"Content-Type: multipart/digest; boundary=m\r\n\r\n--m\r\n\r\na\r\n--m--",
            ["multipart/digest", ("message/rfc822", "a")],
        ),
        (
            b"Content-Type: multipart/x; boundary=m\r\n\r\n--m\r\n\r\na\r\n--m--\r\n--m\r\n\r\nb\r\n",
            ["multipart/x", ("text/plain", "a")],
        ),
        # an empty last part inside, its boundary missing
        (
            b"Content-Type: multipart/x; boundary=m\r\n\r\n--m\r\n"
            b"Content-Type: multipart/y; boundary=n\r\n\r\n--n\r\n--m\r\n\r\na\r\n--m--\r\n",
            ["multipart/x", ["multipart/y", ("", "")], ("text/plain", "a")],
        ),
        # attached messages are not looked into
        (
            b"Content-Type: multipart/x; boundary=m\r\n\r\n--m\r\nContent-Type: message/rfc822\r\n\r\n"
            b"Content-Type: multipart/y; boundary=n\r\n\r\n--n\r\n\r\na\r\n--n--\r\n--m--\r\n",
            ["multipart/x", ("message/rfc822", "Content-Type: multipart/y; boundary=n\r\n\r\n--n\r\n\r\na\r\n--n--")],
        ),
        # multiparts that cannot be taken apart
        (b"Content-Type: multipart/x\r\n\r\n--m\r\n\r\na\r\n--m--\r\n", ("multipart/x", "--m\r\n\r\na\r\n--m--\r\n")),
        (
            b'Content-Type: multipart/x; boundary=""\r\n\r\n--\r\n\r\na\r\n----\r\n',
            ("multipart/x", "--\r\n\r\na\r\n----\r\n"),
        ),
        (b"Content-Type: multipart/x; boundary=m; boundary=n\r\n\r\n--m\r\n", ("", "--m\r\n")),
        (b"Content-Type: text/plain\r\nContent-Type: text/html\r\n\r\na", ("", "a")),
        (b"Content-Type: text\r\n\r\na", ("", "a")),
    ],
)
def test_broken_and_odd_structures_have_one_meaning(raw, expected):
    root, body = tree(raw)
    assert sketch(root, body) == expected


def test_a_boundary_that_could_mean_two_things_makes_the_message_opaque():
    outer = b"Content-Type: multipart/x; boundary=m\r\n\r\n"
    twice = outer + b"--m\r\nContent-Type: multipart/y; boundary=m\r\n\r\n--m\r\n\r\na\r\n--m--\r\n"
    assert tree(twice)[0] == Opaque("a boundary that is used twice")
    inside = b'Content-Type: multipart/x; boundary="m:n"\r\n\r\n--m:n\r\nA: b\r\n--m:n\r\n\r\na\r\n--m:n--\r\n'
    assert tree(inside)[0] == Opaque("a boundary inside a header")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"text/plain", ("text/plain", {})),
        (b"TEXT/Plain ; Charset=UTF-8", ("text/plain", {"charset": "UTF-8"})),
        (b'a/b; x="a;b=\\"c\\""; y=z', ("a/b", {"x": 'a;b="c"', "y": "z"})),
        (b"text/plain; charset=us-ascii (Plain text; charset=x)", ("text/plain", {"charset": "us-ascii"})),
        (b"text/plain (a) (b); (c)(d) charset=x", ("text/plain", {"charset": "x"})),
        (b"text/plain; ; ;; charset = x ;", ("text/plain", {"charset": "x"})),
        (b"text/plain; UTF-8; format=flowed", ("text/plain", {"format": "flowed"})),
        (b'text/plain; name=""', ("text/plain", {"name": ""})),
        (b"text/plain charset=x", ("", {})),
        (b'text/plain; charset="x', ("", {})),
        (b'text/plain; charset=x; "; boundary=y', ("", {})),
        (b"text/plain; charset=x; CHARSET=y", ("", {})),
        (b"text", ("", {})),
        (b"", ("", {})),
        (b"multipart/mixed; boundary*0=a; boundary*1=b", ("multipart/mixed", {"boundary*0": "a", "boundary*1": "b"})),
        (b"a/b" + b"".join(b"; x%d=1" % n for n in range(101)), ("", {})),
    ],
)
def test_content_types_are_read_or_have_no_meaning(value, expected):
    assert mime.content_type(value) == expected


def nested(depth):
    opening = b"".join(b"--b%d\r\nContent-Type: multipart/x; boundary=b%d\r\n\r\n" % (n, n + 1) for n in range(depth))
    return b"Content-Type: multipart/x; boundary=b0\r\n\r\n" + opening + b"--b%d\r\n\r\ntext\r\n" % depth


def wide(parts):
    return b"Content-Type: multipart/x; boundary=m\r\n\r\n" + b"--m\r\n\r\n" * parts + b"--m--\r\n"


def test_depth_and_number_have_their_caps():
    assert isinstance(tree(nested(MAX_DEPTH - 2))[0], Part)
    assert isinstance(tree(nested(MAX_DEPTH - 1))[0], Opaque)
    assert isinstance(tree(wide(MAX_PARTS - 1))[0], Part)
    assert isinstance(tree(wide(MAX_PARTS))[0], Opaque)


def test_a_header_beyond_the_limits_makes_the_message_opaque():
    assert isinstance(tree(b"Content-Type: multipart/x; boundary=m\r\n\r\n--m\r\n" + b"A: b\r\n" * 2_000)[0], Opaque)


BOMBS = {
    "depth of 100,000": nested(100_000),
    "a million parts": wide(1_000_000),
    "semicolons": b"Content-Type: text/html" + b" ;" * 500_000 + b"\r\n\r\nx",
    "open quotes": b"Content-Type: text/html" + b';a="\\"' * 150_000 + b"\r\n\r\nx",
    "open comments": b"Content-Type: text/html" + b"(" * 1_000_000 + b"\r\n\r\nx",
    "parameters": b"Content-Type: text/html" + b"".join(b";a%d=b" % n for n in range(100_000)) + b"\r\n\r\nx",
    "continuations": b"Content-Type: a/b" + b"".join(b";\r\n x*%d=b" % n for n in range(100_000)) + b"\r\n\r\nx",
    "dashes": b"Content-Type: multipart/x; boundary=m\r\n\r\n" + b"--\r\n" * 2_500_000,
    "nearly boundaries": b"Content-Type: multipart/x; boundary=m\r\n\r\n" + b"--m-\r\n" * 1_600_000,
    "one line": b"Content-Type: multipart/x; boundary=m\r\n\r\n--m\r\n\r\n" + b"--" * 5_000_000,
    "100,000 fields": b"A: b\r\n" * 100_000 + b"\r\nx",
    "blanks": b"Content-Type:" + b" " * 1_000_000 + b"x\r\n\r\nx",
    "base64": b"Content-Transfer-Encoding: base64\r\n\r\n" + b"=" * 10_000_000,
    "quoted-printable": b"Content-Transfer-Encoding: quoted-printable\r\n\r\n" + b"=\r\n" * 3_000_000,
}


@pytest.mark.parametrize("raw", BOMBS.values(), ids=BOMBS.keys())
def test_no_bomb_costs_more_than_its_size(raw):
    started = time.process_time()
    post = parse(raw)
    walk(post.fields, post.body)
    mime.text_parts(post)
    mime.content_type(
        raw[13:1_000_000].replace(b"\r\n", b"")
    )  # a scanner of its own, as if no limit had been before it
    assert time.process_time() - started < 2


def test_the_first_texts_are_decoded():
    raw = (
        b"Content-Type: multipart/mixed; boundary=m\r\n\r\n"
        b"--m\r\nContent-Type: text/plain\r\nContent-Disposition: attachment\r\n\r\nattached\r\n"
        b"--m\r\nContent-Type: text/html; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
        b"<p>Gr=FC=DFe=\r\n!\r\n"
        b"--m\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n"
        b"R3LDvMOf\r\nZQ==\r\n"
        b"--m\r\nContent-Type: text/plain\r\n\r\nsecond\r\n--m--\r\n"
    )
    assert mime.text_parts(parse(raw)) == Texts("Grüße", "<p>Grüße!")


@pytest.mark.parametrize(
    ("head", "body", "plain"),
    [
        (b"", b"Gr\xfc\xdfe", "Grüße"),
        (b"Content-Type: text/plain; charset=x-unheard-of\r\n", "Grüße".encode(), "Grüße"),
        (b"Content-Type: text/plain; charset=utf-8\r\n", b"Gr\xfc", "Gr\ufffd"),
        (b"Content-Transfer-Encoding: base64\r\n", b"!R3L*", "Gr"),
        (b"Content-Transfer-Encoding: x-uuencode\r\n", b"raw", "raw"),
        (b"Content-Type: text/plain; charset=punycode\r\n", b"abc-", "abc-"),
        (b"Content-Type: multipart/x\r\n", b"abc", ""),
    ],
)
def test_text_that_is_labelled_badly_is_read_as_well_as_it_can_be(head, body, plain):
    assert mime.text_parts(parse(head + b"\r\n" + body)).plain == plain


def test_long_texts_are_cut():
    assert len(mime.text_parts(parse(b"\r\n" + b"x" * 10_000_000)).plain) == mime.MAX_TEXT


LINES = [b"--m", b"--m--", b"--n", b"--n--", b"", b"text", b"A: b"]
LINES += [
    b"Content-Type: multipart/mixed; boundary=m",
    b"Content-Type: multipart/x; boundary=n",
    b"Content-Type: text/html",
]


@given(st.lists(st.sampled_from(LINES), max_size=30), st.sampled_from([b"\r\n", b"\n"]))
def test_parts_lie_inside_their_parents_one_after_the_other(lines, line_end):
    raw = b"Content-Type: multipart/mixed; boundary=m" + line_end + line_end + line_end.join(lines)
    root, body = tree(raw)
    if isinstance(root, Opaque):
        return
    for part in mime.parts(root):
        assert part.start <= part.body_at <= part.end <= len(body)
        at = part.body_at
        for child in part.children:
            assert at < child.start
            at = child.end
        assert at <= part.end


@given(st.lists(st.sampled_from(["a", "[", "]"]), max_size=12))
def test_a_well_formed_tree_is_seen_as_the_standard_library_sees_it(shape):
    counter = iter(range(1000))

    def written(shape):
        boundary = b"b%d" % next(counter)
        parts = b""
        while shape:
            mark = shape.pop(0)
            if mark == "]":
                break
            parts += b"--" + boundary + b"\r\n" + (written(shape) if mark == "[" else b"\r\nleaf") + b"\r\n"
        parts = parts or b"--" + boundary + b"\r\n\r\nempty\r\n"
        return (
            b"Content-Type: multipart/mixed; boundary=" + boundary + b"\r\n\r\n" + parts + b"--" + boundary + b"--\r\n"
        )

    raw = written(shape)
    root, body = tree(raw)

    def theirs(part):
        if part.is_multipart():
            return [part.get_content_type(), *map(theirs, part.get_payload())]
        return (part.get_content_type(), part.get_payload())

    assert sketch(root, body) == theirs(email.message_from_bytes(raw))
