"""Every 250 has its line in the access log, and no line is left behind by a stop or a new name of the machine."""

import socket
from collections.abc import Awaitable, Iterable
from pathlib import Path

import pytest

from listserv.access_log import events
from listserv.access_log.line import Way
from listserv.flows import governing
from listserv.model.address import parse
from listserv.model.group import Group
from listserv.node import Node
from listserv.settings import Settings
from listserv.store import journal, schema
from listserv.store.db import Tx
from tests.kit.database import count
from tests.kit.house import Clock, House, house, mail, read, sections

ADA = "ada@a.example"
BOB = "bob@b.example"
NEW = "nina@n.example"
OWNER = "owner@o.example"
EVE = "eve@e.example"
WALKERS = "walkers@lists.example"


class Walk:
    """Says something at a door, and sees that a 250 has left a line by whoever spoke."""

    def __init__(self, here: House) -> None:
        self.here = here
        self.accepted = 0

    async def __call__(self, saying: Awaitable[str]) -> None:
        before = len(self.here.log())
        reply = await saying
        await self.here.quiet()
        new = self.here.log()[before:]
        assert reply.startswith("250"), reply
        assert any(line["way"] == "mail" and line["ip"] == "127.0.0.1" for line in new), (reply, new)
        self.accepted += 1


def door(copy: bytes) -> str:
    """The mailbox of its List-Unsubscribe."""
    return str(read(copy)["List-Unsubscribe"]).rpartition("mailto:")[2].rstrip(">").replace("%2B", "+")


async def test_whoever_walks_through_all_doors_twice_leaves_a_line_each_time(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        group = here.group(WALKERS, [ADA, BOB])
        here.group("sailors@lists.example", [ADA], moderated=True)
        walk = Walk(here)

        # posts, help, the owners, the operators; a robot, a member, somebody without a name
        content = mail(ADA, WALKERS)
        for _ in range(2):
            await walk(here.send(ADA, WALKERS, content))
            await walk(here.post(NEW, "walkers-help@lists.example"))
            await walk(here.post(ADA, "walkers-help@lists.example"))
            await walk(here.post(NEW, "walkers-help@lists.example", Auto_Submitted="auto-replied"))
            await walk(here.post(NEW, "walkers-help@lists.example", From=f"{NEW}, {EVE}"))
            await walk(here.send(NEW, "walkers-owner@lists.example", content))
            await walk(here.post(NEW, "abuse@lists.example"))
            await walk(here.post(ADA, "walkers-subscribe@lists.example"))
            await walk(here.post(NEW, "walkers-subscribe@lists.example"))
            await walk(here.post(ADA, "walkers-unsubscribe@lists.example"))
            await walk(here.post(EVE, "walkers-unsubscribe@lists.example"))
            await walk(here.post(NEW, "walkers-subscribe@lists.example", Auto_Submitted="auto-replied"))

        # reports of every kind, and our own loop
        path = here.world.envelopes[0].mail_from
        for return_path in (here.world.envelopes[0].mail_from, "walkers-bounces@lists.example"):
            for _ in range(2):
                await walk(here.send("", return_path, mail("MAILER-DAEMON@a.example", path)))
        returned = next(copy for copy in here.inbox(OWNER) if b"walkers-owner" in copy or b"A walk" in copy)
        await walk(here.send(NEW, "walkers-owner@lists.example", returned))

        # a question confirmed twice, then declined; leaving by tag and coming back, twice each
        question = next(copy for copy in here.inbox(NEW) if "confirm+" in str(read(copy)["Reply-To"]))
        for text in ("", "", "no"):
            await walk(here.answer(NEW, question, text))
        await walk(here.answer(NEW, question, "I am away", Auto_Submitted="auto-replied"))
        await walk(here.post(ADA, WALKERS, "second"))
        leave = door(here.notice(BOB))
        for _ in range(2):
            await walk(here.post(BOB, leave))
        farewell = here.notice(BOB)
        for _ in range(2):
            await walk(here.answer(BOB, farewell, ""))
        assert BOB in here.members(group)
        assert walk.accepted == 38


async def test_each_word_of_an_admin_leaves_a_line_whether_it_changes_something_or_not(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        here.group(WALKERS, [ADA, BOB], moderated=True)
        walk = Walk(here)
        await walk(here.post(ADA, WALKERS, "one", "one"))
        notice = here.notice(OWNER)
        for text in ("hm?", "approve", "approve", "reject", "undo", "undo", "hm?"):
            await walk(here.answer(OWNER, notice, text))
        await walk(here.answer(EVE, notice, "approve"))
        await walk(here.answer(EVE, notice, "approve"))
        await walk(here.answer(OWNER, notice, "approve", Auto_Submitted="auto-replied"))

        # a summary, answered so that nothing is meant, and so that all is, twice each
        for n in range(8):
            await here.post(ADA, WALKERS, f"post {n}", f"post {n}")
        await here.later(seconds=30)
        summary = here.notice(OWNER)
        assert "approve all" in str(read(summary).get_body(("plain",)))
        for text in ("hm?", "hm?", "approve 77", "approve all", "approve all"):
            await walk(here.answer(OWNER, summary, text))
        await walk(here.answer(EVE, summary, "approve all"))
        assert walk.accepted == 17


def ban(here: House, group: Group, names: Iterable[str]) -> None:
    """What the command line does beside the daemon; it rings no bell."""

    def work(tx: Tx) -> None:
        for address in map(parse, names):
            assert address is not None
            governing.ban(here.act(tx), group, address)

    here.node.db.write_now(work)


async def test_a_clean_stop_leaves_no_line_unwritten(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        group = here.group(WALKERS, [ADA])
        await here.quiet()
        ban(here, group, [f"b{n}@b.example" for n in range(600)])  # more than the clerk carries in one go
    node = Node.open(Settings.default(folder, sections(url, {})))
    try:
        assert node.db.read_now(lambda tx: count(tx, schema.journal)) == 0
        assert len(list(node.journal.search(action="member.banned"))) == 600
    finally:
        node.close()


async def test_what_waited_is_written_when_the_machine_has_another_name(
    url: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given a line that waits when the power goes
    node = Node.open(Settings.default(folder, sections(url, {})), Clock())
    first = node.site.node
    assert first.startswith(f"{socket.gethostname()}-")

    def act(tx: Tx) -> None:
        journal.write(tx, events.member_banned(node.clock(), node.site.who(Way.SHELL), group=WALKERS, member=EVE))

    node.db.write_now(act)
    node.close()

    # when the machine comes back with another name
    monkeypatch.setattr(socket, "gethostname", lambda: "renamed")
    async with house(url, folder) as here:
        await here.quiet(5)

        # then the line is in the log, under the name that it was written with
        assert [(line["action"], line["node"]) for line in here.log()] == [("member.banned", first)]
        assert here.node.site.node == first
