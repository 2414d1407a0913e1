"""What a group adds below a post: golden messages, and what holds for all of them.

A case is a folder of tests/messages/posts: in.eml, then out.eml or untouched.txt (why), and insert.txt where the text
is another than INSERT.  Messages are octets of the wire: CRLF.
"""

import base64
import email
import quopri
import re
import time
from email.message import Message as Parsed
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from listserv.mail import footer, mime, splice
from listserv.mail.footer import Edited, Insert, Untouched
from listserv.mail.message import parse

CASES = sorted((Path(__file__).parent.parent / "messages" / "posts").iterdir())
INSERT = "Sailing together: the list of the harbour\nhttps://lists.example.org/sailing\n"
NAMES = [case.name for case in CASES]


def insert_of(case):
    named = case / "insert.txt"
    return Insert(named.read_text("utf-8") if named.exists() else INSERT)


def appended(raw, insert):
    post = parse(raw)
    return footer.append(post.fields, post.body, insert)


def on_the_wire(edited):
    return b"".join(field.raw for field in edited.fields) + b"\r\n" + edited.body


def leaves(raw):
    """What another reader sees: type and decoded content of everything that is no multipart."""
    found: list[tuple[str, bytes]] = []
    waiting: list[Parsed] = [email.message_from_bytes(raw)]
    while waiting:
        part = waiting.pop(0)
        if part.get_content_maintype() == "multipart":
            waiting = [*part.get_payload(), *waiting]
        elif part.get_content_maintype() == "message":
            found.append((part.get_content_type(), part.get_payload()[0].as_bytes()))
        else:
            found.append((part.get_content_type(), part.get_payload(decode=True)))
    return found


def test_there_are_cases_enough():
    assert len(CASES) >= 40


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_a_post_leaves_as_its_golden_message_says(case):
    result = appended((case / "in.eml").read_bytes(), insert_of(case))
    match result:
        case Edited():
            assert on_the_wire(result) == (case / "out.eml").read_bytes()
        case Untouched(reason):
            assert reason + "\n" == (case / "untouched.txt").read_text()


@pytest.mark.parametrize("case", [case for case in CASES if (case / "out.eml").exists()], ids=lambda case: case.name)
def test_another_reader_finds_everything_that_was_there_and_the_insert(case):
    old, new = leaves((case / "in.eml").read_bytes()), leaves((case / "out.eml").read_bytes())
    more = new[len(old) :]
    kept = [leaf for leaf in new if leaf not in more]
    assert [kind for kind, _ in kept] == [kind for kind, _ in old]
    for (_, before), (kind, after) in zip(old, kept, strict=True):
        if kind == "text/plain":
            assert after.startswith(before.rstrip(b"\r\n"))
        elif kind != "text/html":
            assert after.rstrip(b"\r\n") == before.rstrip(b"\r\n")
    assert more or kept != old
    word = max(re.findall(r"\w+", insert_of(case).text), key=len)
    shown = b"".join(content for _, content in new)
    assert any(word.encode(charset, "xmlcharrefreplace") in shown for charset in ("utf-8", "iso-8859-1", "iso-2022-jp"))


@pytest.mark.parametrize("case", [case for case in CASES if "signed" in case.name], ids=lambda case: case.name)
def test_signed_octets_are_not_touched(case):
    post, sent = parse((case / "in.eml").read_bytes()), parse((case / "out.eml").read_bytes())
    root = mime.walk(post.fields, post.body)
    signed = post.body
    if root.type == "multipart/mixed":
        signed = post.body[root.children[0].start : root.children[0].end]
    assert signed in sent.body
    for field in post.fields:
        assert field.raw in (sent.raw if field.name.startswith("content-") else sent.head)


def test_no_line_end_converter_has_been_at_the_golden_messages():
    for case in CASES:
        for octets in (path.read_bytes() for path in case.glob("*.eml")):
            assert octets.count(b"\n") == octets.count(b"\r\n") > 0


ENCODINGS = ["7bit", "8bit", "quoted-printable", "base64", "base64-odd"]
CHARSETS = ["us-ascii", "utf-8", "iso-8859-1", "koi8-r", "shift_jis", "gb18030", "iso-2022-jp", "big5"]
TEXTS = st.text(st.sampled_from("ab <>&=-_.:/ äßЖ海 \n") | st.characters(exclude_categories=["C", "Z"]), max_size=150)
FOOTERS = st.text(
    st.sampled_from("ab <>&=- äЖ海 \n") | st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=400
)


def head_of(kind, charset, encoding):
    return f"Content-Type: text/{kind}; charset={charset}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n".encode()


def written(text, kind, charset, encoding):
    """A post with that text, or None when it cannot be written so."""
    try:
        octets = text.replace("\n", "\r\n").encode(charset)
    except UnicodeEncodeError:
        return None
    if encoding == "7bit" and not octets.isascii():
        return None
    if encoding == "quoted-printable":
        octets = quopri.encodestring(octets.replace(b"\r\n", b"\n")).replace(b"\n", b"\r\n")
    elif encoding.startswith("base64"):
        width = 76 if encoding == "base64" else 5
        packed = base64.b64encode(octets)
        octets = b"".join(packed[at : at + width] + b"\r\n" for at in range(0, len(packed), width))
    return head_of(kind, charset, encoding.removesuffix("-odd")) + octets


def said(raw, charset):
    return email.message_from_bytes(raw).get_payload(decode=True).decode(charset)


@given(TEXTS, FOOTERS, st.sampled_from(CHARSETS), st.sampled_from(ENCODINGS))
def test_a_text_says_afterwards_what_it_said_before_and_the_insert(text, added, charset, encoding):
    raw = written(text, "plain", charset, encoding)
    assume(raw is not None and added.strip())
    result = appended(raw, Insert(added))
    assert isinstance(result, Edited)
    new = on_the_wire(result)
    if email.message_from_bytes(new).is_multipart():
        assert b"\r\n\r\n" + parse(raw).body + b"\r\n--=_" in result.body
        return
    before = said(raw, charset)
    assert said(new, charset).startswith(before)
    assert said(new, charset)[len(before) :].strip("\r\n") == "\r\n".join(
        [splice.RULE, *splice.lines_of(added)]
    ).rstrip("\r\n")


@given(
    TEXTS,
    FOOTERS,
    st.sampled_from(CHARSETS),
    st.sampled_from(ENCODINGS),
    st.sampled_from(["", "</body>", "</BODY></html>", "</html>\n"]),
)
def test_a_page_says_afterwards_what_it_said_before_and_the_insert(text, added, charset, encoding, end):
    raw = written(text + end, "html", charset, encoding)
    assume(raw is not None and added.strip())
    result = appended(raw, Insert(added))
    assert isinstance(result, Edited)
    new = on_the_wire(result)
    assert not email.message_from_bytes(new).is_multipart()  # entities fit everywhere
    before, after = said(raw, charset), said(new, charset)
    markup = "\r\n" + splice.markup_of(added).encode("ascii", "xmlcharrefreplace").decode() + "\r\n"
    assert after.count(markup) == 1
    assert after.replace(markup, "") == before
    if end:
        assert after.partition(markup)[2].startswith(end.rstrip("\n").replace("\n", "\r\n"))


@given(TEXTS, FOOTERS, st.sampled_from(["7bit", "8bit", "quoted-printable"]))
def test_nothing_but_an_insertion_happens_to_octets_that_are_not_base64(text, added, encoding):
    raw = written(text, "plain", "utf-8", encoding)
    assume(raw is not None and added.strip())
    result = appended(raw, Insert(added))
    old = parse(raw).body
    assert result.body.startswith(old) or b"\r\n\r\n" + old + b"\r\n--=_" in result.body


@given(FOOTERS)
def test_every_line_of_an_insert_fits_on_the_wire(added):
    for encoding in ENCODINGS:
        for kind in ("plain", "html"):
            result = appended(written("Ahoi\n", kind, "utf-8", encoding), Insert(added * 20))
            assert all(len(line) <= 998 for line in result.body.split(b"\r\n"))


@given(FOOTERS)
def test_an_insert_is_text_and_no_markup(added):
    assert "<" not in splice.markup_of("<script>" + added).replace("<br>", "").removeprefix(
        "<hr>\r\n<div>"
    ).removesuffix("</div>")


@pytest.mark.parametrize("end", ["\r", "\n", "\r\n", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\x00", "\x1b"])
def test_an_insert_cannot_bring_a_boundary_or_a_control_character(end):
    raw = b"Content-Type: multipart/mixed; boundary=m\r\n\r\n--m\r\n\r\nAhoi\r\n--m--\r\n"
    result = appended(raw, Insert(f"a{end}--m{end}Content-Type: text/html{end}{end}<script>"))
    if isinstance(result, Edited):
        assert leaves(on_the_wire(result))[0][1].count(b"a --m Content-Type") == 1
        assert len(leaves(on_the_wire(result))) == 1
    else:
        assert result == Untouched("the text has a line that looks like a boundary of the message")


def test_an_insert_makes_no_boundary_of_a_line_that_was_none():
    head = b"Content-Type: multipart/mixed; boundary=m\r\n\r\n--m\r\nContent-Type: text/html\r\n\r\n"
    raw = head + b"Ahoi\r\n--m--</body>\r\n"
    assert appended(raw, Insert(INSERT)) == Untouched("the text has a line that looks like a boundary of the message")


def test_operators_html_goes_in_as_it_is():
    raw = b"Content-Type: text/html\r\n\r\n<body>Ahoi</body>\r\n"
    result = appended(raw, Insert("Boats", '<p class="ad">Böte</p>'))
    assert result.body == b'<body>Ahoi\r\n<p class="ad">B&#246;te</p>\r\n</body>\r\n'


def test_operators_html_in_one_long_line_is_folded_at_its_blanks():
    raw = b"Content-Type: text/html\r\n\r\n<body>Ahoi</body>\r\n"
    result = appended(raw, Insert("Boats", "<p>" + "boat " * 1_000 + "</p>"))
    assert result.body.count(b"boat") == 1_000
    assert max(map(len, result.body.split(b"\r\n"))) <= 998


def test_the_same_post_gives_the_same_octets_and_another_gives_another_boundary():
    boundaries = set()
    for content in (b"GIF\r\n", b"GIF\r\n", b"PNG\r\n"):
        sent = appended(b"Content-Type: image/gif\r\n\r\n" + content, Insert(INSERT))
        boundaries.add(email.message_from_bytes(on_the_wire(sent)).get_boundary())
    assert len(boundaries) == 2


def test_an_encoding_of_the_content_is_said_of_the_whole_too():
    for encoding, outer in (("8bit", "8bit"), ("binary", "binary"), ("base64", None)):
        raw = f"Content-Type: image/gif\r\nContent-Transfer-Encoding: {encoding}\r\n\r\nGIF\r\n".encode()
        assert email.message_from_bytes(on_the_wire(appended(raw, Insert("x"))))["Content-Transfer-Encoding"] == outer


def test_ten_megabytes_take_less_than_a_second():
    packed = base64.encodebytes(bytes(range(256)) * 30_000).replace(b"\n", b"\r\n")
    raw = (
        b"Content-Type: multipart/mixed; boundary=m\r\n\r\n--m\r\n\r\nAhoi\r\n--m\r\nContent-Type: application/pdf\r\n"
        b"Content-Transfer-Encoding: base64\r\n\r\n" + packed + b"--m--\r\n"
    )
    texts = [
        written("Ahoi, Größe!\n" * 700_000, kind, "utf-8", encoding)
        for kind in ("plain", "html")
        for encoding in ENCODINGS[1:4]
    ]
    for post in (raw, *texts):
        assert len(post) > 8_000_000
        started = time.process_time()
        assert isinstance(appended(post, Insert(INSERT)), Edited)
        assert time.process_time() - started < 1


@pytest.mark.parametrize(
    "body",
    [
        b"</body" * 1_500_000,
        b"<=\r\n" * 2_500_000,
        b"=\r\n" * 3_000_000,
        b"-----BEGIN PGP " * 600_000,
        b"\x1b" * 9_000_000,
        b"A\r\n" * 3_000_000,
    ],
    ids=["ends", "soft ends", "soft breaks", "pgp", "escapes", "short base64"],
)
@pytest.mark.parametrize("encoding", ["8bit", "quoted-printable", "base64"])
@pytest.mark.parametrize("kind", ["plain", "html"])
def test_no_bomb_costs_more_than_its_size(body, encoding, kind):
    raw = head_of(kind, "iso-2022-jp", encoding) + body
    started = time.process_time()
    assert isinstance(appended(raw, Insert(INSERT)), Edited | Untouched)
    assert time.process_time() - started < 2
