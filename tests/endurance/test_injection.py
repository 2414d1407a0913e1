"""Header injection (RELIABILITY T13): what people and operators name things never becomes a header field."""

import re
from pathlib import Path

import pytest
from sqlalchemy import update

from listserv.model.account import Member
from listserv.store import schema
from listserv.store.db import Tx
from tests.kit.house import House, house, mail

WALKERS = "walkers@lists.example"
ADA, ANN = "ada@a.example", "ann@o.example"
CANARIES = [
    "a\r\nBcc: v@v.example",
    "a\nBcc: v@v.example",
    "a\rBcc: v@v.example",
    "a\r\n\r\nBcc: v@v.example",
    "a\0Bcc: v@v.example",
    "a\x85Bcc: v@v.example",
    "a\u2028Bcc: v@v.example\u2029X-Injected: y",
    "=?utf-8?q?a=0D=0ABcc:_v=40v.example?=",
    "=?utf-8?b?YQpCY2M6IHZAdi5leGFtcGxl?=",
    '"\r\nBcc: v@v.example\r\nX: "',
]
ENCODED = [canary for canary in CANARIES if canary.startswith("=?")]
WIRED = [*ENCODED, "=?utf-8?q?=0ABcc:_x?= =?utf-8?q?=0D=0AX-Injected:_y?=", "a\u2028Bcc: v@v.example", "a\x85Bcc: x"]


def field_names(copy: bytes) -> list[str]:
    """In order; an AssertionError where a line of the header is neither a field nor the rest of one."""
    head = copy.partition(b"\r\n\r\n")[0]
    lines = head.split(b"\r\n")
    assert not re.search(rb"[\r\n\0]", b"".join(lines)), head
    assert all(re.match(rb"[!-9;-~]+:|[ \t]", line) for line in lines), head
    return [line.partition(b":")[0].decode().lower() for line in lines if line[:1] not in b" \t"]


def all_field_names(here: House) -> set[tuple[str, ...]]:
    """Of everything that was sent: to whom, and which fields it has."""
    assert here.world.faults == []
    return {(*received.rcpt_to, *field_names(received.content)) for received in here.world.envelopes}


def rename(tx: Tx, member: Member, name: str) -> None:
    mailbox = schema.mailboxes.c
    account = schema.mailboxes.select().where(mailbox.id == member.mailbox_id)
    account_id = tx.execute(account).one().account_id
    tx.execute(update(schema.accounts).where(schema.accounts.c.id == account_id).values(name=name))


async def scenario(
    folder: Path, *, name: str = "Ada", title: str = "Walkers", subject: str = "A walk", tag: str = "[w]"
) -> set[tuple[str, ...]]:
    """A held post with its notices, its approval, the delivery, a help text; the fields of all that was sent."""
    folder.mkdir()
    async with house("sqlite:///listserv.db", folder) as here:
        group = here.group(WALKERS, [ADA], owner=ANN, title=title, moderated=True, subject_tag=tag, footer=title)
        for address in (ADA, ANN):
            member = here.member(group, address)
            assert member is not None
            here.node.db.write_now(rename, member, name)
        author = f"{name} <{ADA}>" if name in WIRED else ADA
        answer = await here.send(ADA, WALKERS, mail(author, WALKERS, "Shall we?", subject))
        if answer.startswith("451") and not (name.isprintable() and title.isprintable()):
            return set()  # no door lets such a name in; should one stand in the database, nothing leaves with it
        assert "held" in answer
        await here.quiet()
        await here.answer(ANN, here.notice(ANN), "approve")
        await here.send(ADA, "walkers-help@lists.example", mail(author, "walkers-help@lists.example", "help", subject))
        await here.quiet()
        assert any(b"Shall we?" in copy for copy in here.inbox(ADA))
        return all_field_names(here)


@pytest.mark.parametrize("canary", CANARIES, ids=ascii)
async def test_no_stored_name_becomes_a_field(folder: Path, canary: str) -> None:
    plain = await scenario(folder / "plain")
    assert await scenario(folder / "name", name=canary) <= plain
    assert await scenario(folder / "title", title=canary) <= plain
    assert await scenario(folder / "tag", tag=canary) <= plain


@pytest.mark.parametrize("canary", WIRED, ids=ascii)
async def test_nothing_that_comes_by_mail_becomes_a_field(folder: Path, canary: str) -> None:
    plain = await scenario(folder / "plain")
    assert await scenario(folder / "subject", subject=canary) <= plain
    assert await scenario(folder / "author", name=canary) <= plain
