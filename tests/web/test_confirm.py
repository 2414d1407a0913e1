"""The page behind a question: looking changes nothing, a press of its button answers it, once."""

import asyncio
import re
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlencode

import pytest
from sqlalchemy import select

from listserv.access_log.line import Way
from listserv.flows import asking, joining, objecting
from listserv.flows.asking import Asked, Wish
from listserv.flows.budgeting import Party
from listserv.flows.guessing import WRONG
from listserv.flows.site import Act
from listserv.model.address import parse
from listserv.model.envelope import Proof
from listserv.model.group import Kind, Policy
from listserv.model.token import Action
from listserv.store import accounts, consents, groups, schema
from listserv.store.db import Tx
from tests.web.serving import GROUP, NOW, Place, answer, serving

NINA = "nina@n.example"
BY = Party(Proof.PROVEN, domains=("n.example",))


def asked(here: Place, actions: Sequence[Action] = (Action.JOIN,), extra: Sequence[str] = ()) -> str:
    """The path of the page that the mail to Nina names."""
    address = parse(NINA)
    assert address is not None

    def work(tx: Tx) -> None:
        others = [groups.add(tx, name, Kind.DISCUSSION, Policy(), NOW) for name in extra]
        wishes = [Wish(action, group) for action in actions for group in (here.group, *others)]
        act = Act(tx, here.site, NOW, here.site.who(Way.MAIL, NINA))
        assert isinstance(asking.ask_all(act, address, wishes, BY), Asked)

    here.db.write_now(work)
    return link(here)


def link(here: Place) -> str:
    """That of the newest mail."""
    newest = select(schema.editions.c.before).order_by(schema.editions.c.id.desc()).limit(1)
    said = here.db.read_now(lambda tx: bytes(tx.execute(newest).scalar_one())).replace(b"=\r\n", b"").decode()
    found = re.search(r"<http://[^/]+(/confirm/[a-z2-7]{26})>", said)
    assert found is not None, said
    return found[1]


def form(**fields: str) -> bytes:
    return urlencode(fields).encode()


async def test_100_looks_change_nothing_and_one_press_joins(tmp_path: Path) -> None:
    async with serving(tmp_path) as here:
        path = asked(here)
        for method in ("GET", "HEAD"):
            shown = await asyncio.gather(*(here.ask(method, path) for _ in range(50)))
            assert {each.status for each in shown} == {200}
        assert NINA not in here.members()
        assert NINA not in shown[0].body + (await here.ask("GET", path)).body

        pressed = await here.ask("POST", path, form(answer="yes", name="Nina  N", region="Hesse", country="Germany"))
        assert pressed.status == 200
        assert "done" in pressed.body
        assert pressed["set-cookie"] == ""
        assert NINA in here.members()
        mailbox = here.db.read_now(accounts.mailbox, NINA)
        assert mailbox is not None
        about = here.db.read_now(accounts.account, mailbox.account_id)
        assert (about.name, about.region, about.country) == ("Nina N", "Hesse", "Germany")
        record = here.db.read_now(consents.of, [NINA])
        assert [(one.step, one.way) for one in record] == [("joined", "web")]
        assert record[0].facts is not None
        assert record[0].facts["shown"]["template"] == "question"
        assert record[0].facts["ip"] == "127.0.0.1"


async def test_of_twenty_who_press_at_once_one_counts_and_the_others_are_told(tmp_path: Path) -> None:
    async with serving(tmp_path) as here:
        path = asked(here)
        pressed = await asyncio.gather(*(here.ask("POST", path, form(answer="yes")) for _ in range(20)))
        assert {each.status for each in pressed} == {200}
        assert sorted("question is closed" in each.body for each in pressed) == [False] + [True] * 19
        assert here.written_to() == [NINA, NINA], "the question and one welcome"


@pytest.mark.parametrize("content", [b"", b"answer=maybe", b"answer=", b"yes=1", b"answer=yes&answer=no", b"\xff=\xfe"])
async def test_a_post_that_is_not_ours_is_asked_again(tmp_path: Path, content: bytes) -> None:
    async with serving(tmp_path) as here:
        path = asked(here)
        posted = await here.ask("POST", path, content)
        assert posted.status == 400
        assert 'value="yes"' in posted.body
        assert NINA not in here.members()


async def test_some_of_several_wishes_may_be_taken(tmp_path: Path) -> None:
    async with serving(tmp_path) as here:
        path = asked(here, extra=["sailors@lists.example", "runners@lists.example"])
        assert (await here.ask("GET", path)).body.count('type="checkbox"') == 3
        await here.ask("POST", path, b"several=1&wish=0&wish=2&wish=99&answer=yes")
        found = [
            here.db.read_now(groups.find, name) for name in (GROUP, "sailors@lists.example", "runners@lists.example")
        ]
        assert [bool(g and here.db.read_now(accounts.member, g.id, NINA)) for g in found] == [True, False, True]


async def test_a_no_and_a_never_change_nothing_else(tmp_path: Path) -> None:
    async with serving(tmp_path) as here:
        path = asked(here)
        assert "Nothing has changed" in (await here.ask("POST", path, form(answer="no"))).body
        assert "question is closed" in (await here.ask("POST", path, form(answer="yes"))).body
        # a yes that was given is not taken back by a later no
        path = asked(here)
        await here.ask("POST", path, form(answer="yes"))
        assert "question is closed" in (await here.ask("POST", path, form(answer="no"))).body
        assert here.members() == {"ada@a.example", NINA}
        here.db.write_now(lambda tx: accounts.unsubscribe(tx, 2))

        path = asked(here)
        assert "writes to you no more" in (await here.ask("POST", path, form(answer="never"))).body
        closed = (await here.ask("GET", path)).body
        assert "question is closed" in closed
        assert 'value="never"' in closed, "to an old question it may be said, too"
        assert 'value="yes"' not in closed
        assert NINA not in here.members()
        act = here.db.read_now(lambda tx: objecting.objects(Act(tx, here.site, NOW, here.site.who(Way.WEB)), NINA))
        assert act


async def test_the_undo_of_a_leave_has_its_page(tmp_path: Path) -> None:
    async with serving(tmp_path) as here:
        await here.click("ada@a.example")
        assert "ada@a.example" not in here.members()
        await here.ask("POST", link(here), form(answer="yes"))
        assert "ada@a.example" in here.members()


async def test_an_invitation_has_its_page(tmp_path: Path) -> None:
    async with serving(tmp_path) as here:
        address = parse(NINA)
        assert address is not None
        who = here.site.who(Way.SHELL)
        assert here.db.write_now(lambda tx: joining.invite(Act(tx, here.site, NOW, who), here.group, address)) is None
        await here.ask("POST", link(here), form(answer="yes"))
        assert NINA in here.members()
        assert [one.step for one in here.db.read_now(consents.of, [NINA])] == ["invited", "accepted"]


async def test_who_guesses_has_to_wait_and_nobody_else(tmp_path: Path) -> None:
    async with serving(tmp_path) as here:
        path = asked(here)
        wrong = [f"/confirm/{letter * 26}" for letter in "abcdefghijklmnopqrstuvwxyz"[: WRONG - 1]]
        assert {(await here.ask("GET", each)).status for each in [*wrong, "/confirm/x"]} == {404}
        waits = await here.ask("POST", path, form(answer="yes"))
        assert (waits.status, waits["retry-after"]) == (429, "600")
        other = await here.say(
            f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Forwarded-For: 192.0.2.7\r\n\r\n".encode()
        )
        assert answer(other).status == 200
        assert path.rpartition("/")[2] not in str(here.logged())
