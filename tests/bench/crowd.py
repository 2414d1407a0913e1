"""The people and the mail of a benchmark: the same for every program."""

import itertools
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from listserv.mail import message
from listserv.mail.signature import Signer
from tests.bench.load import Message

DOMAIN = "lists.invalid"  # the groups are here
GROUP = f"list@{DOMAIN}"
WARM = f"warm@{DOMAIN}"  # a group of one member: every program has delivered something before it is measured
DOMAINS = 100  # the members are here
AUTHORS = "d00.invalid"
OWNER = "owner@owners.invalid"
LINE = b"The quick brown fox jumps over the lazy dog and writes to all of us.\r\n"
SMALL, BIG = 4096, 1_000_000

_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Crowd:
    """Members in an order that mixes their domains; the first one writes the posts."""

    size: int

    @property
    def members(self) -> list[str]:
        return [f"user{number:06d}@d{number % DOMAINS:02d}.invalid" for number in range(self.size)]

    @property
    def author(self) -> str:
        return self.members[0]


def posts(crowd: Crowd, group: str, many: int, size: int = SMALL, signer: Signer | None = None) -> list[Message]:
    """Posts that differ in Message-ID, Subject and the first line of the text; signed by their author's domain."""
    return [_post(crowd.author, group, size, signer) for _ in range(many)]


def _post(author: str, group: str, size: int, signer: Signer | None) -> Message:
    number, now = next(_numbers), datetime.now(UTC)
    id = f"<{now.timestamp():.6f}.{number}@load.invalid>"
    date = (now - timedelta(seconds=1)).strftime("%a, %d %b %Y %H:%M:%S +0000")
    head = (
        f"From: A Member <{author}>\r\nTo: {group}\r\nSubject: Post {number} of the benchmark\r\nDate: {date}\r\n"
        f"Message-ID: {id}\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=us-ascii\r\n"
    ).encode()
    first = b"This is post %d.\r\n" % number
    body = first + LINE * ((size - len(first)) // len(LINE) + 1)
    if signer:
        head = signer.prepare(message.parse(head + b"\r\n").fields, body).sign((), now) + head
    return Message(author, group, id, head + b"\r\n" + body)
