"""What may be fed with any octets whatever, and what has to be true of it then.

Each target is a function of octets that raises when a promise is broken.  The suite feeds them by Hypothesis
(`test_targets`), `scripts/fuzz` for as long as one likes and guided by coverage (`guided`).  What either of them
finds becomes a case in tests/messages, in tests/dialogues, or in the tests of the module.
"""

import asyncio
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from listserv.flows import reading
from listserv.mail import (
    automatic,
    command,
    dkim,
    footer,
    harmless,
    header,
    mailbox,
    markup,
    message,
    mime,
    recipient,
    report,
    request,
    results,
    trace,
    words,
)
from listserv.mail.footer import Edited, Insert, Untouched
from listserv.mail.mime import Opaque, Part
from listserv.model import address
from listserv.model.envelope import Envelope, Peer, Reply
from listserv.model.group import Group, Kind, Policy, ReplyTo
from listserv.model.request import written
from listserv.net import grammar
from tests.fuzz.talking import Talk

GROUP = Group(1, "sailing@lists.example.org", Kind.DISCUSSION, Policy(subject_tag="[Törn]", reply_to=ReplyTo.GROUP))
INSERT = Insert("Mitgliederliste und Hilfe: https://lists.example.org/sailing\n— Grüße\n")
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
LINE_ENDS = re.compile(r"[\r\n\x00\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")


def header_scanner(raw: bytes) -> None:
    """Reading loses no octet; what went through our hands is a header still."""
    post = message.parse(raw)
    assert raw == raw[: post.head_at] + post.head + post.separator + post.body
    assert post.head == b"".join(field.raw for field in post.fields)
    message.author(post)
    message.recipients(post)
    message.date(post)
    shown = [message.subject(post), message.message_id(post), *message.references(post), *message.in_reply_to(post)]
    assert not any(LINE_ENDS.search(line) for line in shown), shown
    trace.hops(post)
    trace.own_loop(post, GROUP.list_id, "guard")
    for judged in (automatic.declared, automatic.robot, automatic.unanswerable):
        judged(post, "ada@a.example")
    automatic.looks_so(post)
    dkim.hashed(post, dkim.signatures(post, "a.example"))
    results.believed(post, {"lists.example.org"})
    results.arc(post)
    fields = header.amend(header.strip(post, ["lists.example.org"], [("x", "y")]), GROUP)
    again = message.parse(b"".join(field.raw for field in fields) + b"\r\nbody")
    assert again.fields == fields
    assert again.body == b"body"


def mime_walker(raw: bytes) -> None:
    """Parts lie inside each other, in order, and none overlaps another."""
    post = message.parse(raw)
    mime.text_parts(post)
    root = mime.walk(post.fields, post.body)
    if isinstance(root, Opaque):
        assert root.reason
        return
    assert root.end == len(post.body)
    for part in mime.parts(root):
        assert 0 <= part.start <= part.body_at <= part.end <= len(post.body)
        at = part.body_at
        for child in part.children:
            assert at <= child.start, "parts overlap"
            assert child.end <= part.end
            at = child.end
        mime.text(part, post.body)


def footers(raw: bytes) -> None:
    """What was added is there, in every form of the text, and nothing of the author's has gone."""
    post = message.parse(raw)
    fields = header.strip(post, [], [])
    result = footer.append(fields, post.body, INSERT)
    if isinstance(result, Untouched):
        assert result.reason
        return
    assert isinstance(result, Edited)
    again = message.parse(b"".join(field.raw for field in result.fields) + b"\r\n" + result.body)
    assert again.fields == result.fields
    assert again.body == result.body
    root = mime.walk(again.fields, again.body)
    assert isinstance(root, Part), "what we made cannot be read"
    if b"base64" not in raw.lower() and b"md5" not in raw.lower():
        letters = iter(result.body)  # the old body is a subsequence, but where base64 or a digest was written anew
        assert all(letter in letters for letter in post.body)


def reports(raw: bytes) -> None:
    """A report is read, or is none."""
    found = report.read(message.parse(raw))
    if found is not None:
        for each in found.hard:
            assert not LINE_ENDS.search(each.status)


def addresses(raw: bytes) -> None:
    """What is an address is the same address when it is read again; nothing in it can end a line."""
    text = raw.decode("utf-8", "surrogateescape")
    known = address.parse(text)
    if known is not None:
        assert address.parse(str(known)) == known
        assert not LINE_ENDS.search(str(known))
        str(known).encode()
        for meant in recipient.readings(known):
            assert meant.group.endswith(f"@{known.domain}")
        recipient.site_role(known)
    mailbox.single(raw)
    mailbox.several([raw])
    words.text(raw)
    words.encode(words.clean(text))


def commands(raw: bytes) -> None:
    """A reply decides something, nothing, or is unclear; HTML is no different."""
    text = raw.decode("utf-8", "replace")
    for plain, html in ((text, None), (None, text), (text[::2], text[1::2])):
        command.decision(plain, html)
        said = command.batch(plain, html)
        if isinstance(said, tuple):
            for one in said:
                assert all(1 <= number <= 9 for number in one.chosen(9))
        command.consent(plain, html)
    markup.lines(text)
    harmless.fault_in(text)


def requests(raw: bytes) -> None:
    """What comes to a door for commands is read as a few of them, none of them long."""
    post = message.parse(raw)
    said = mime.text_parts(post)
    for scope in ("", GROUP.address):
        asked = request.parse(message.subject(post), said.plain, said.html, scope)
        assert len(asked.commands) <= request.MAX_COMMANDS
        assert all(len(written(command)) <= request.MAX_LINE + 100 for command in asked.commands)


def lines(raw: bytes) -> None:
    """A line of SMTP is a command or has a reply that refuses it, and no address in it can smuggle another line."""
    for line in re.split(rb"(?<=\n)", raw):
        said = grammar.command(line)
        if isinstance(said, Reply):
            assert said.code >= 500
            continue
        grammar.host(said.argument)
        sender = grammar.mail(said.argument, 1000, extended=True)
        to = grammar.rcpt(said.argument, utf8=True)
        for named in (getattr(sender, "sender", ""), to if isinstance(to, str) else ""):
            assert not re.search(r"[\x00-\x1f<>]", re.sub(r'"(?:[^"\\]|\\.)*"', "", named)), named


def intake(raw: bytes) -> None:
    """What the listener asks of every message before its transaction."""
    peer = Peer("192.0.2.1", "a.example")
    read = reading.read(raw, Envelope("ada@a.example", (GROUP.address,), peer, NOW), "lists.example.org")
    assert read.content == raw
    assert len(read.message_id.encode()) <= reading.MAX_MESSAGE_ID
    assert not LINE_ENDS.search(read.message_id + read.subject)
    assert read.command is None or len(read.command) < len(raw) + 1
    read.message_id.encode()


def dialogue(raw: bytes) -> None:
    """A whole session: no fault of ours on the wire, every reply well-formed, and what is kept has clean line ends.

    Cut into pieces of the first octet's size, so that splits are tried too.
    """
    size = 1 + raw[0] if raw else 1
    said, kept = asyncio.run(Talk.of([raw[at : at + size] for at in range(1, len(raw), size)]))
    assert re.fullmatch(rb"(?:[2-5]\d\d[ -][\x20-\x7e]*\r\n)*", said), said
    assert b"451 4.3.0" not in said, said
    for content in kept:
        assert b"\0" not in content
        assert b"\n" not in content.replace(b"\r\n", b"")
        assert b"\r" not in content.replace(b"\r\n", b"")


TARGETS: Mapping[str, Callable[[bytes], None]] = {
    "dialogue": dialogue,
    "lines": lines,
    "header": header_scanner,
    "mime": mime_walker,
    "footer": footers,
    "report": reports,
    "address": addresses,
    "command": commands,
    "request": requests,
    "intake": intake,
}
