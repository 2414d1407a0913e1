"""Did everybody get exactly one copy, and is each copy what it should be?  A fast wrong run is a failed run."""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence

import dkim

from listserv.mail import message
from tests.bench.case import Case
from tests.bench.load import Message
from tests.bench.sink import Taken

NAMED = 3  # examples in a fault


def exactly_once(posts: Sequence[Message], members: Collection[str], taken: Iterable[Taken]) -> list[str]:
    """What was missed, came twice, or came to somebody else: nothing, if all is well."""
    got = Counter((each.message_id, recipient) for each in taken for recipient in each.recipients)
    wanted = {(post.id, member) for post in posts for member in members}
    faults = {
        "missed": [copy for copy in wanted if copy not in got],
        "twice or more": [copy for copy, times in got.items() if times > 1],
        "not wanted": [copy for copy in got if copy not in wanted],
    }
    return [f"{what}: {len(copies)}, as {sorted(copies)[:NAMED]}" for what, copies in faults.items() if copies]


def as_promised(case: Case, posts: Sequence[Message], taken: Sequence[Taken], record: str) -> list[str]:
    """What is wrong with the product's copies: signatures, return paths, the body, the way to leave."""
    faults = []
    if case.style != "bulk" and len({each.mail_from for each in taken}) != sum(len(each.recipients) for each in taken):
        faults.append("a return path came twice")
    bodies = {post.id: message.parse(_unstuffed(post.content)).body for post in posts}
    samples = [each for each in taken if each.content is not None]
    if not samples:
        faults.append("no copy was looked at")
    leaving = set()
    for sample in samples:
        assert sample.content is not None
        content = _unstuffed(sample.content)
        copy = message.parse(content)
        names = [field.name for field in copy.fields]
        if case.signed and not _verifies(content, record):
            faults.append(f"the signature of {sample.recipients[0]}'s copy does not verify")
        if not case.signed and "dkim-signature" in names:
            faults.append(f"{sample.recipients[0]}'s copy is signed")
        if case.authenticate and not any(b"dkim=pass" in field.value for field in copy.all("authentication-results")):
            faults.append(f"{sample.recipients[0]}'s copy does not say that its author's signature was verified")
        if copy.body != bodies.get(sample.message_id):
            faults.append(f"the body of {sample.recipients[0]}'s copy is another")
        leaving |= {field.value for field in copy.fields if field.name == "list-unsubscribe"}
    if len(leaving) != (len({each.recipients for each in samples}) if case.style == "personal" else 1):
        faults.append(f"{len(leaving)} ways to leave in {len(samples)} copies")
    return faults[:NAMED]


def _verifies(content: bytes, record: str) -> bool:
    """By dkimpy, which is not what signs."""
    return bool(dkim.verify(content, dnsfunc=lambda name, timeout=5: record.encode()))


def _unstuffed(content: bytes) -> bytes:
    """RFC 5321 §4.5.2."""
    return (b"\r\n" + content).replace(b"\r\n..", b"\r\n.")[2:]
