"""Whatever octets come, the forms of mail neither raise nor lose one of them."""

from hypothesis import given
from hypothesis import strategies as st

from listserv.mail import dkim, footer, header, message, mime, request, results, trace
from listserv.mail.footer import Edited, Insert, Untouched
from listserv.model.group import Group, Kind, Policy, ReplyTo

GROUP = Group(1, "sailing@lists.example.org", Kind.DISCUSSION, Policy(subject_tag="[Törn]", reply_to=ReplyTo.GROUP))
WORDS = [
    *(b"From: ", b"Subject: ", b"To: ", b"Content-Type: ", b"Content-Transfer-Encoding: ", b"DKIM-Signature: "),
    *(b"Authentication-Results: ", b"Message-ID: ", b"Date: ", b"List-Id: ", b"X-Loop: ", b"Content-MD5: x"),
    *(
        b"multipart/mixed; boundary=m",
        b"multipart/alternative; boundary=n",
        b"text/plain",
        b"text/html; charset=",
        b"utf-8",
    ),
    *(
        b"iso-2022-jp",
        b"shift_jis",
        b"utf-16",
        b"; format=flowed",
        b"base64",
        b"quoted-printable",
        b"8bit",
        b"application/pkcs7-mime",
    ),
    *(
        b"\r\n",
        b"\r\n\r\n",
        b"\r\n--m",
        b"\r\n--n",
        b"--\r\n",
        b"\n",
        b"\r",
        b"\x00",
        b"\x1b$B",
        b"=",
        b"=\r\n",
        b'"',
        b"(",
        b"<",
        b">",
    ),
    *(b"set ", b"own posts ", b"no", b"unsubscribe", b"subscribe sailing ", b"address add ", b"Re: which", b"end"),
    *(
        b"</body>",
        b"R3LDvMOfZQ==",
        b"=?utf-8?q?=0A?=",
        b"ada@a.example",
        b"-----BEGIN PGP MESSAGE-----",
        b"; d=x; s=y",
        b" ",
        b"\xfc",
    ),
]
OCTETS = st.lists(st.sampled_from(WORDS) | st.binary(max_size=4), max_size=40).map(b"".join) | st.binary(max_size=200)


@given(OCTETS)
def test_reading_never_raises(raw):
    post = message.parse(raw)
    assert raw == raw[: post.head_at] + post.head + post.separator + post.body
    message.author(post)
    message.recipients(post)
    message.date(post)
    shown = [message.subject(post), message.message_id(post), *message.references(post), *message.in_reply_to(post)]
    assert not any("\n" in line or "\r" in line for line in shown)
    mime.text_parts(post)
    trace.hops(post)
    trace.own_loop(post, GROUP.list_id, "guard")
    dkim.hashed(post, dkim.signatures(post, "a.example"))
    results.believed(post, {"lists.example.org"})
    results.arc(post)


@given(OCTETS, st.sampled_from(["", "sailing@lists.example.org"]))
def test_whatever_comes_is_read_as_a_few_commands(raw, scope):
    post = message.parse(raw)
    said = mime.text_parts(post)
    asked = request.parse(message.subject(post), said.plain, said.html, scope)
    assert len(asked.commands) <= request.MAX_COMMANDS
    assert all(len(request.written(command)) <= request.MAX_LINE + 100 for command in asked.commands)


@given(OCTETS)
def test_a_header_that_went_through_our_hands_is_still_a_header(raw):
    post = message.parse(raw)
    fields = header.amend(header.strip(post, ["lists.example.org"], [("x", "y")]), GROUP)
    again = message.parse(b"".join(field.raw for field in fields) + b"\r\nbody")
    assert again.fields == fields
    assert again.body == b"body"


@given(OCTETS, st.text(max_size=60))
def test_adding_never_raises_and_never_loses_an_octet(raw, text):
    post = message.parse(raw)
    fields = header.strip(post, [], [])
    result = footer.append(fields, post.body, Insert(text))
    if isinstance(result, Untouched):
        assert result.reason
        return
    assert isinstance(result, Edited)
    again = message.parse(b"".join(field.raw for field in result.fields) + b"\r\n" + result.body)
    assert again.fields == result.fields
    assert again.body == result.body
    letters = iter(result.body)  # the old body is a subsequence, but where base64 or a digest was written anew
    if b"base64" not in raw and b"MD5" not in raw:
        assert all(letter in letters for letter in post.body)
