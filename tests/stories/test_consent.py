"""Every step of a membership is on record, with who asked, what was shown and which message said yes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from listserv.flows import governing
from listserv.model.address import Address, parse
from listserv.model.consent import Consent
from listserv.store import consents
from listserv.store.consents import Sound
from tests.kit.house import House, house, read

NINA, OTTO, OWNER = "nina@n.example", "otto@o.example", "owner@o.example"
WALKERS = "walkers@lists.example"


def record(here: House, key: str) -> list[Consent]:
    return here.node.db.read_now(consents.of, [key])


def steps(here: House, key: str) -> list[str]:
    return [one.step.value for one in record(here, key)]


def govern(here: House, act: Callable[..., Any], *args: Any, **options: Any) -> Any:
    done = here.node.db.write_now(lambda tx: act(here.act(tx), *args, **options))
    assert not isinstance(done, governing.Refused), done
    return done


def at(text: str) -> Address:
    known = parse(text)
    assert known is not None
    return known


async def test_from_the_first_question_to_the_end_of_the_group(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        group = here.group(WALKERS)
        await here.post(NINA, "walkers-subscribe@lists.example", Message_ID="<ask@n.example>")
        await here.quiet()
        await here.answer(NINA, here.notice(NINA), "yes", Message_ID="<yes@n.example>")
        await here.quiet()

        (joined,) = record(here, NINA)
        assert (joined.step, joined.group, joined.way) == ("joined", WALKERS, "mail")
        facts = dict(joined.facts or {})
        assert (facts["message_id"], facts["envelope"], facts["ip"]) == ("<yes@n.example>", NINA, "127.0.0.1")
        assert facts["asked"]["message_id"] == "<ask@n.example>"
        assert facts["asked"]["way"] == "mail"
        assert facts["shown"]["template"] == "question"
        assert facts["shown"]["language"] == "en"
        assert facts["shown"]["version"] == here.node.site.texts.version("question", "en")[1]
        assert "confirm" not in str(facts), "no token"

        # out by her own word, back by the undo, out by an admin, banned, let in again, invited, and an owner
        await here.post(NINA, "walkers-unsubscribe@lists.example")
        await here.later(days=1, hours=1)
        await here.post(NINA, "walkers-unsubscribe@lists.example")
        await here.quiet()
        await here.answer(NINA, here.notice(NINA), "")
        await here.quiet()
        farewell = here.notice(NINA)
        await here.answer(NINA, farewell, "")
        govern(here, governing.remove, group, at(NINA))
        # the undo of the former leave is void, now that an admin has spoken
        await here.answer(NINA, farewell, "")
        await here.quiet()
        assert here.members(group) == []
        govern(here, governing.ban, group, at(NINA))
        govern(here, governing.unban, group, at(NINA))
        await here.later(days=2)
        govern(here, governing.add, group, at(NINA), confirmed=False)
        await here.quiet()
        await here.answer(NINA, here.notice(NINA), "")
        govern(here, governing.alter, group, at(NINA), [("role", "owner")])
        govern(here, governing.delete, group, drop=True)

        assert steps(here, NINA) == [
            *("joined", "left", "returned", "removed", "banned", "unbanned"),
            *("invited", "accepted", "role", "ended"),
        ]
        assert list(here.node.db.read_now(lambda tx: list(consents.verify(tx))))[-1] == Sound(len(steps(here, NINA)))


async def test_where_an_admin_decides_the_record_says_who(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        here.group(WALKERS, joining="moderated")
        for person, word in ((NINA, "approve"), (OTTO, "reject we are full")):
            await here.post(person, "walkers-subscribe@lists.example")
            await here.quiet()
            await here.answer(person, here.notice(person), "")
            await here.quiet()
            await here.answer(OWNER, here.notice(OWNER), word)
            await here.quiet()
        assert steps(here, NINA) == ["confirmed", "joined"]
        assert dict(record(here, NINA)[1].facts or {})["approved_by"] == OWNER
        assert steps(here, OTTO) == ["confirmed", "declined"]


async def test_of_somebody_whom_a_stranger_named_nothing_is_kept(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        group = here.group(WALKERS)
        for word in ("no", "never"):
            person = f"{word}@n.example"
            await here.post(person, "walkers-subscribe@lists.example")
            await here.quiet()
            await here.answer(person, here.notice(person), word)
            assert steps(here, person) == []
        # of somebody who was invited, and says no, it is
        govern(here, governing.add, group, at(NINA), confirmed=False)
        await here.quiet()
        assert "Invitation" in str(read(here.notice(NINA))["Subject"])
        await here.answer(NINA, here.notice(NINA), "no, thanks")
        assert steps(here, NINA) == ["invited", "declined"]
