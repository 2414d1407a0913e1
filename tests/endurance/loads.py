"""What the tests and the soak throw at a daemon: uploads, posts, bombs; each function is one kind of client."""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass

from tests.kit.house import mail
from tests.kit.process import Process

WALKERS = "walkers@lists.example"
LARGE = "large@lists.example"
READERS = ("ada@a.example", "bob@b.example", "cy@c.example")
ADA = READERS[0]
LIMIT = 10_485_760  # [smtp] max_message_bytes
LINE = b"x" * 76 + b"\r\n"
HEAD = b"From: ada@a.example\r\nTo: walkers@lists.example\r\n"


async def post(there: Process, author: str, group: str, text: str = "Shall we walk?", subject: str = "A walk") -> str:
    return await there.post(author, group, mail(author, group, text, subject))


async def uploads(there: Process, clients: int, octets: int, group: str = LARGE) -> list[str]:
    """The replies to so many messages of so many octets, sent at the same time."""

    async def upload(number: int) -> str:
        client = await there.enter()
        await client.begin(group)
        await client.write(mail(ADA, group, "a large one", f"upload {number}"))
        for _ in range(octets // 65_536 - 1):
            await client.write(LINE * (65_536 // len(LINE)))
        await client.write(b".\r\n")
        answer = await asyncio.wait_for(client.reader.readline(), 300)
        client.close()
        return answer.decode()

    return await asyncio.gather(*map(upload, range(clients)))


@dataclass(frozen=True, slots=True)
class Bomb:
    """A message in pieces, dots doubled, without the lone dot; `codes` are the answers that are right."""

    name: str
    pieces: tuple[bytes, ...]
    codes: tuple[str, ...]


def bombs() -> Iterator[Bomb]:
    """Malformed and malicious messages from a member's address."""
    taken, refused, either = ("250",), ("550", "552"), ("250", "550", "552")
    depth, parts = 10_000, 20_000
    yield Bomb("no header at all", (b"\r\nhello\r\n",), either)
    yield Bomb("nothing at all", (b"",), either)
    yield Bomb("NULs", (HEAD, b"Subject: a\0b\r\n\r\n", b"\0" * 1000, b"\r\n"), refused)
    yield Bomb("8-bit header", (HEAD, b"Subject: \xff\xfe\xe4\r\nX-\xe4: y\r\n\r\nhello\r\n"), either)
    yield Bomb("no separator", (HEAD, b"this is no field\r\nFrom: eve@e.example\r\n\r\nhello\r\n"), either)
    yield Bomb(
        "no final boundary",
        (HEAD, b'Content-Type: multipart/mixed; boundary="x"\r\n\r\n--x\r\n\r\nhello\r\n'),
        taken,
    )
    nested = b"".join(b'Content-Type: multipart/mixed; boundary="b%d"\r\n\r\n--b%d\r\n' % (n, n) for n in range(depth))
    yield Bomb("10,000 nested parts", (HEAD, nested, b"\r\nhello\r\n"), taken)
    rfc822 = b"Content-Type: message/rfc822\r\n\r\n" * depth
    yield Bomb("10,000 nested messages", (HEAD, rfc822, b"hello\r\n"), taken)
    flat = b'Content-Type: multipart/mixed; boundary="x"\r\n\r\n' + b"--x\r\n\r\nhello\r\n" * parts + b"--x--\r\n"
    yield Bomb("20,000 parts", (HEAD, flat), taken)
    dashes = b'Content-Type: multipart/mixed; boundary="x"\r\n\r\n' + b"--y\r\n" * 400_000
    yield Bomb("400,000 lines like boundaries", (HEAD, dashes), taken)
    yield Bomb("a line of 100 MB", (HEAD, b"\r\n", *(b"x" * 100_000 for _ in range(1000)), b"\r\n"), ("552",))
    yield Bomb("a header line of 100 MB", (HEAD, b"X: ", *(b"x" * 100_000 for _ in range(1000)), b"\r\n\r\n"), ("552",))
    yield Bomb("100,000 header fields", (HEAD, b"X: y\r\n" * 100_000, b"\r\nhello\r\n"), ("552",))
    yield Bomb("999 header fields", (HEAD, b"X: y\r\n" * 990, b"\r\nhello\r\n"), taken)
    yield Bomb(
        "1,000 brackets in From", (b"From: ", b"(" * 1000, b"\r\nTo: walkers@lists.example\r\n\r\nhello\r\n"), either
    )
    yield Bomb(
        "30,000 quotes in From", (b"From: ", b'"\\' * 30_000, b"\r\nTo: walkers@lists.example\r\n\r\nx\r\n"), either
    )
    yield Bomb(
        "Content-Type of semicolons", (HEAD, b"Content-Type: text/html ", b"; " * 28_000, b"\r\n\r\nhello\r\n"), taken
    )
    many = b", ".join(b"m%d@e.example" % n for n in range(10_000))
    yield Bomb("10,000 recipients in To", (b"From: ada@a.example\r\nTo: ", many, b"\r\n\r\nhello\r\n"), ("552",))
    for_some = b",\r\n ".join(b"m%d@e.example" % n for n in range(3_000))
    yield Bomb("3,000 recipients in To", (b"From: ada@a.example\r\nTo: ", for_some, b"\r\n\r\nhello\r\n"), taken)
    words = b"\r\n ".join(b"=?utf-8?q?=0ABcc:_x?=" for _ in range(2_700))
    yield Bomb("2,700 encoded words", (HEAD, b"Subject: ", words, b"\r\n\r\nhello\r\n"), taken)
    yield Bomb("5,000 encoded words", (HEAD, b"Subject: ", words * 2, b"\r\n\r\nhello\r\n"), ("552",))
    continued = b";\r\n ".join(b"name*%d*=utf-8''%%41" % n for n in range(2_400))
    yield Bomb(
        "2,400 RFC 2231 continuations", (HEAD, b"Content-Type: text/plain; ", continued, b"\r\n\r\nx\r\n"), taken
    )
    yield Bomb(
        "10,000 RFC 2231 continuations",
        (HEAD, b"Content-Type: text/plain; ", continued * 4, b"\r\n\r\nx\r\n"),
        ("552",),
    )
    yield Bomb("references without end", (HEAD, b"References: ", b"<" * 60_000, b"\r\n\r\nhello\r\n"), taken)
    base64 = b"Content-Transfer-Encoding: base64\r\n\r\n" + b"=\r\n" * 100_000
    yield Bomb("base64 of padding", (HEAD, base64), taken)
    html = b"Content-Type: text/html\r\n\r\n" + b"<div>" * 150_000 + b"\r\n"
    yield Bomb("150,000 open tags", (HEAD, html), taken)
    quoted = b"Content-Type: text/plain\r\n\r\n" + b"> " * 40_000 + b"\r\n" + b">\r\n" * 100_000
    yield Bomb("quotes in quotes", (HEAD, quoted), taken)


def giants() -> Iterator[Bomb]:
    """Ugly, but as large as a message may be: they are carried."""
    yield Bomb("a line of 9 MB", (HEAD, b"\r\n", *(b"x" * 100_000 for _ in range(90)), b"\r\n"), ("250",))
    yield Bomb("3,000,000 lines of one letter", (HEAD, b"\r\n", *(b"x\r\n" * 30_000 for _ in range(100))), ("250",))


async def throw(there: Process, bomb: Bomb, group: str = WALKERS) -> str:
    """The reply; a Message-ID makes each bomb a message of its own."""
    client = await there.enter()
    try:
        await client.begin(group)
        name = bomb.name.replace(" ", "-").replace(",", "").encode()
        if bomb.pieces[0].startswith(b"From"):
            await client.write(b"Message-ID: <%s@a.example>\r\n" % name)
        for piece in bomb.pieces:
            await client.write(piece)
        await client.write(b".\r\n")
        return await client.reply()
    finally:
        client.close()


async def wrong_answers(there: Process, thrown: Iterator[Bomb]) -> dict[str, str]:
    """Bomb → its answer, where that is not one of those that are right."""
    answers = {bomb: await throw(there, bomb) for bomb in thrown}
    return {bomb.name: answer for bomb, answer in answers.items() if answer[:3] not in bomb.codes}


async def stand_by(there: Process, until: asyncio.Event) -> tuple[list[float], list[float]]:
    """Seconds that somebody else's NOOPs and small posts took, in rising order."""
    noop, sender = await there.enter(), await there.enter()
    noops, posts = [], []
    while not until.is_set():
        began = time.monotonic()
        answer = await noop.say("RSET" if len(noops) % 90 else "EHLO bystander.example")
        if not answer.startswith("250"):  # too many idle commands: the limit does its work
            noop = await there.enter()
        noops.append(time.monotonic() - began)
        if len(noops) % 10 == 1:
            began = time.monotonic()
            answer = await sender.send(mail(ADA, WALKERS, "small", f"small {len(posts)}"))
            assert answer.startswith("250"), answer
            posts.append(time.monotonic() - began)
        await asyncio.sleep(0.01)
    return sorted(noops), sorted(posts)
