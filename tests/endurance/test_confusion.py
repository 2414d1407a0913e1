"""Parser confusion (RELIABILITY T14): who is not plainly and solely the author is never counted as the member."""

from pathlib import Path

import pytest

from tests.kit.house import house

WALKERS = "walkers@lists.example"
BOB = b"bob@b.example"  # a member
EVE = b"eve@e.example"  # is none
REST = b"To: walkers@lists.example\r\nSubject: x\r\n"
END = b"\r\nShall we walk?\r\n"

CONFUSING = {
    "two From fields, the stranger first": b"From: %b\r\nFrom: %b\r\n" % (EVE, BOB),
    "two From fields, the member first": b"From: %b\r\nFrom: %b\r\n" % (BOB, EVE),
    "two From fields, the same": b"From: %b\r\nFrom: %b\r\n" % (BOB, BOB),
    "a blank before the colon": b"From : %b\r\nFrom: %b\r\n" % (BOB, EVE),
    "upper and lower case": b"FROM: %b\r\nfrom: %b\r\n" % (EVE, BOB),
    "an address for a name": b"From: %b <%b>\r\n" % (BOB, EVE),
    "an address for a quoted name": b'From: "%b" <%b>\r\n' % (BOB, EVE),
    "an encoded address for a name": b"From: =?utf-8?q?bob=40b=2Eexample?= <%b>\r\n" % EVE,
    "an encoded mailbox for a name": b"From: =?utf-8?q?=3Cbob=40b=2Eexample=3E?= <%b>\r\n" % EVE,
    "a comment behind": b"From: %b (%b)\r\n" % (EVE, BOB),
    "a comment before": b"From: (%b) %b\r\n" % (BOB, EVE),
    "a comment inside": b"From: eve(<%b>)@e.example\r\n" % BOB,
    "comments in comments": b"From: (((%b) %b\r\n" % (BOB, EVE),
    "two brackets": b"From: <%b> <%b>\r\n" % (BOB, EVE),
    "two brackets, turned round": b"From: <%b> <%b>\r\n" % (EVE, BOB),
    "a list": b"From: %b, %b\r\n" % (BOB, EVE),
    "a list, turned round": b"From: %b, %b\r\n" % (EVE, BOB),
    "a group": b"From: friends: %b, %b;\r\n" % (BOB, EVE),
    "a group of one": b"From: friends: %b;\r\n" % BOB,
    "a route": b"From: <@e.example:%b>\r\n" % BOB,
    "a quoted at sign": b'From: "%b"@e.example\r\n' % BOB,
    "a percent sign": b"From: bob%b.example@e.example\r\n" % b"%b",
    "a source route of old": b"From: e.example!%b\r\n" % BOB,
    "an open quote": b'From: "%b <%b>\r\n' % (BOB, EVE),
    "an open bracket": b"From: <%b\r\n" % BOB,
    "folded into a second one": b"From: %b\r\n <%b>\r\n" % (EVE, BOB),
    "a suffix that is more": b"From: %b.e.example\r\n" % BOB,
    "a look-alike": "From: bob@Ь.example\r\n".encode(),
    "no From": b"",
    "an empty From": b"From:\r\n",
    "Sender only": b"Sender: %b\r\n" % BOB,
    "Sender beside From": b"From: %b\r\nSender: %b\r\n" % (EVE, BOB),
    "Reply-To beside From": b"From: %b\r\nReply-To: %b\r\n" % (EVE, BOB),
    "Resent-From beside From": b"From: %b\r\nResent-From: %b\r\n" % (EVE, BOB),
    "X-Original-From beside From": b"From: %b\r\nX-Original-From: %b\r\n" % (EVE, BOB),
    "no separator": b"From: %b\r\nthis is no field\r\nFrom: %b\r\n" % (EVE, BOB),
    "no separator after the member": b"From: %b\r\nthis is no field\r\nFrom: %b\r\n" % (BOB, EVE),
    "From in the body": b"Subject: y\r\n\r\nFrom: %b\r\n" % BOB,
}


@pytest.mark.parametrize("strangers", ["reject", "hold"])
async def test_no_confusing_author_is_counted_as_the_member(folder: Path, strangers: str) -> None:
    async with house("sqlite:///listserv.db", folder) as here:
        here.group(WALKERS, [BOB.decode()], strangers=strangers)
        wrong = {}
        for what, head in CONFUSING.items():
            for content in (head + REST + END, REST + head + END):
                answer = await here.send(BOB.decode(), WALKERS, content)
                if not (answer.startswith("550 5.7.1") or "held for" in answer or "known already" in answer):
                    wrong[what] = answer
        assert wrong == {}
        await here.quiet()
        assert here.inbox(BOB.decode()) == []
        # and so that this says something: the plain one is the member
        assert "accepted" in await here.send(EVE.decode(), WALKERS, b"From: Bob <%b>\r\n" % BOB + REST + END)
