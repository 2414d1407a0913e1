"""Whoever proves nothing learns nothing: SMTP says the same of a member as of somebody who is nobody here.

What there is to say goes by mail to the mailbox in question, and only its owner reads it.
"""

import json
from base64 import b64encode
from pathlib import Path
from textwrap import wrap

import pytest
from sqlalchemy import select

from listserv.model.envelope import Evidence, Proof
from listserv.store import schema
from tests.kit.house import House, house, mail, read, words

MEMBER, NOBODY = "mia@m.example", "zoe@z.example"
OPEN, SHUT = "walkers@lists.example", "council@lists.example"
LISTSERV = "listserv@lists.example"
UNKNOWN = Evidence(Proof.UNKNOWN)
TWO = ("walkers", "council")
ASKED = (
    *((f"{name}-{door}@lists.example", "") for name in TWO for door in ("subscribe", "unsubscribe", "help", "mail")),
    *((f"{name}-nomail@lists.example", "") for name in TWO),
    *(
        (f"{name}-request@lists.example", text)
        for name in TWO
        for text in (
            "subscribe",
            "unsubscribe",
            "which",
            "who",
            "info",
            "set nomail",
            "set name Ann",
            "which\nhelp",
            "",
        )
    ),
    *(
        (LISTSERV, text)
        for text in (
            *("which", "signoff *", "mydata", "end sessions", "address add x@x.example", "unsubscribe walkers"),
            *(
                "subscribe walkers",
                "subscribe council\nwhich",
                "subscribe council",
                "subscribe x\nwho council",
                "hello",
            ),
        )
    ),
)


async def said(here: House, author: str, to: str, text: str) -> str:
    reply = await here.hand_in(to, mail(author, to, text, ""), UNKNOWN)
    return reply.replace(author, "…")


@pytest.mark.parametrize("word", ["no", "never"])
async def test_a_door_says_the_same_of_a_member_and_of_nobody(url: str, folder: Path, word: str) -> None:
    async with house(url, folder) as here:
        here.group(OPEN, [MEMBER])
        here.group(SHUT, [MEMBER], joining="closed")
        for to, text in ASKED:
            for _ in range(2):  # and when it is asked again
                assert await said(here, MEMBER, to, text) == await said(here, NOBODY, to, text), (to, text)
            await here.later(days=2)
        # nor does it tell that somebody has said no, or never, to what strangers ask
        fresh = "new@n.example"
        door = "walkers-subscribe@lists.example"
        asked = await said(here, fresh, door, "")
        await here.quiet()
        await here.answer(fresh, here.notice(fresh), word)
        assert await said(here, fresh, door, "") == asked
        await here.quiet()
        assert len(here.inbox(fresh)) == 1


async def test_it_costs_the_same_to_ask_about_a_member_and_about_nobody(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        here.group(OPEN, [MEMBER])
        doors = [(to, text) for to, text in ASKED if "council" not in to + text] * 2
        codes = []
        for author in (MEMBER, NOBODY):
            codes.append([(await said(here, author, to, text))[:3] for to, text in doors])
            await here.later(days=1)  # what the network may ask for is full again
        assert codes[0] == codes[1]
        assert "450" in codes[0]


async def test_a_refuted_author_is_refused_whoever_he_claims_to_be(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        here.group(OPEN, [MEMBER])
        for to, text in ASKED:
            refuted = Evidence(Proof.REFUTED)
            of_member, of_nobody = [
                (await here.hand_in(to, mail(author, to, text, ""), refuted)).replace(author, "…")
                for author in (MEMBER, NOBODY)
            ]
            assert of_member == of_nobody, (to, text)
        await here.quiet()
        assert here.world.count == 0


@pytest.mark.parametrize("how", ["quoted", "base64", "html", "attached", "in reply to it"])
async def test_a_post_that_shows_somebodys_question_waits(url: str, folder: Path, how: str) -> None:
    """“I got this, what is it?”: whoever reads the link in it could say yes in her name."""
    async with house(url, folder) as here:
        here.group(OPEN, [MEMBER, "bob@b.example"])
        await said(here, MEMBER, "walkers-unsubscribe@lists.example", "")
        await here.quiet()
        question = here.notice(MEMBER)
        quoted = "".join(f"> {line}\r\n" for line in words(question).splitlines())
        content = mail(MEMBER, OPEN, f"I got this, what is it?\n{quoted}")
        if how == "base64":
            body = b64encode(quoted.encode()).decode()
            content = mail(MEMBER, OPEN, "\n".join(wrap(body, 76)), Content_Transfer_Encoding="base64")
        elif how == "html":
            content = mail(MEMBER, OPEN, f"<p>{quoted}</p>", Content_Type="text/html; charset=utf-8")
        elif how == "attached":
            head = mail(MEMBER, OPEN, "", Content_Type='multipart/mixed; boundary="b"')
            parts = (
                b"--b\r\n\r\nSee below.\r\n--b\r\nContent-Type: message/rfc822\r\n\r\n" + question + b"\r\n--b--\r\n"
            )
            content = head + parts
        elif how == "in reply to it":
            content = mail(MEMBER, OPEN, "What is this?", In_Reply_To=str(read(question)["Message-ID"]))
        assert (await here.send(MEMBER, OPEN, content)).startswith("250 2.0.0 held")
        await here.quiet()
        (held,) = here.held()
        assert held.reasons == ("it shows a link of ours that acts for one person",)
        assert here.inbox("bob@b.example") == []
        # once it has been answered it is worth nothing to anybody
        await here.answer(MEMBER, question, "no")
        await here.quiet()
        assert (await here.send(MEMBER, OPEN, content.replace(b"Message-ID: <", b"Message-ID: <2"))).startswith(
            "250 2.0.0 accepted"
        )


async def test_a_mail_of_ours_that_is_sent_on_as_it_is_leaves_no_token_in_the_log(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        here.group(OPEN, [MEMBER])
        await here.post(MEMBER, OPEN)
        await here.quiet()
        await said(here, MEMBER, "walkers-unsubscribe@lists.example", "")
        await here.quiet()
        question = here.notice(MEMBER)
        token = str(read(question)["Message-ID"]).removeprefix("<confirm.").partition("@")[0]
        path = next(each.mail_from for each in here.world.envelopes if each.rcpt_to == [MEMBER])
        tag = path.partition("+")[2].partition("@")[0]
        # a mailbox sends all its mail on, as it is, with its own sender or with ours
        for sender in (MEMBER, path, f"walkers-confirm+{token}@lists.example"):
            for door in (OPEN, "walkers-owner@lists.example", "walkers-request@lists.example"):
                for content in (question, question.replace(b"Auto-Submitted: auto-replied\r\n", b"")):
                    assert (await here.send(sender, door, content)).startswith(("250", "550"))
        await here.quiet()
        lines = json.dumps(here.log())
        chosen = select(schema.events.c.message_id)
        traced = here.node.db.read_now(lambda tx: " ".join(tx.execute(chosen).scalars()))
        assert "mail.to_owner" in lines
        assert "walkers-bounces+" in lines
        assert token not in lines + traced
        assert tag not in lines


async def test_the_member_reads_it_in_his_own_mailbox(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        here.group(OPEN, [MEMBER])
        await said(here, MEMBER, "walkers-subscribe@lists.example", "")
        await said(here, NOBODY, "walkers-unsubscribe@lists.example", "")
        await here.quiet()
        assert [str(read(copy)["Subject"]) for copy in here.inbox(MEMBER)] == ["You are a member of walkers already"]
        assert here.inbox(NOBODY) == []
