"""What fails in our own code fails alone: the other jobs and everybody else's mail go on."""

from datetime import timedelta
from pathlib import Path

from sqlalchemy import insert, select, update

from listserv.flows import expiring
from listserv.model.address import parse
from listserv.store import accounts, deliveries, editions, schema, secrets
from listserv.store.db import Tx
from listserv.store.editions import Edition
from tests.kit.house import House, house, read, words

ADA = "ada@a.example"
BOB = "bob@b.example"
CY = "cy@c.example"
NEW = "nina@n.example"
OWNER = "owner@o.example"
WALKERS = "walkers@lists.example"
LONG = f"<{'x' * 970}@outside.example>"  # of 987 characters: it fits into no line of ours
BEYOND = 2**40  # an id that no tag can hold: no copy for this mailbox can be stamped


def jobs(here: House) -> dict[str, timedelta]:
    """When each job is due, from now on."""
    j = schema.jobs.c
    rows = here.node.db.read_now(lambda tx: list(tx.execute(select(j.name, j.due))))
    return {row.name: row.due - here.clock() for row in rows}


async def held_with_a_long_name(here: House) -> None:
    """A member's post with a Message-ID that fits into no header line of ours, the second one held that day."""
    here.group(WALKERS, [ADA, BOB], moderated=True)
    await here.post(ADA, WALKERS, subject="The first")
    reply = await here.post(ADA, WALKERS, subject="The second", Message_ID=LONG)
    assert reply.startswith("250 2.0.0 held")
    await here.quiet()


async def test_a_hold_with_an_endless_message_id_expires_and_no_job_waits_for_it(url: str, folder: Path) -> None:
    # given a held post whose Message-ID cannot be referred to, and a question that nobody answers
    async with house(url, folder) as here:
        await held_with_a_long_name(here)
        await here.post(NEW, "walkers-subscribe@lists.example")
        await here.quiet()

        # when all of it is over its time
        await here.later(days=15)

        # then the author is told of both, and every job has been done
        assert here.held() == []
        told = [read(copy) for copy in here.inbox(ADA) if b"The second" in copy]
        assert len(told) == 1
        assert told[0]["In-Reply-To"] is None
        assert [line["action"] for line in here.log()].count("hold.expired") == 2
        assert {
            name: timedelta() < due <= expiring.JOBS[name].every for name, due in jobs(here).items()
        } == dict.fromkeys(expiring.JOBS, True)
        states = here.node.db.read_now(lambda tx: set(tx.execute(select(schema.tokens.c.state)).scalars()))
        assert "expired" in states


async def test_such_a_post_can_be_rejected_with_a_reason(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        await held_with_a_long_name(here)
        reply = await here.answer(OWNER, here.notice(OWNER), "reject: not here")
        assert reply.startswith("250")
        await here.quiet()
        assert [hold.subject for hold in here.held()] == ["The first"]
        assert "not here" in words(here.notice(ADA))
        assert read(here.notice(ADA))["In-Reply-To"] is None


async def test_a_job_that_fails_every_time_keeps_no_other_from_its_turn(url: str, folder: Path) -> None:
    # given a hold of a kind that only another version knows: the summary cannot be written
    async with house(url, folder) as here:
        group = here.group(WALKERS, [ADA])

        def riddle(tx: Tx) -> None:
            now = here.clock()
            row = {"kind": "riddle", "state": "open", "group_id": group.id, "author": NEW, "reasons": []}
            tx.execute(insert(schema.holds).values(since=now, expires_at=now + timedelta(days=99), **row))

        here.node.db.write_now(riddle)
        await here.post(NEW, "walkers-subscribe@lists.example")
        await here.quiet()

        # when a week has gone
        await here.later(days=8)

        # then the others have done their work, and the one that failed tries again soon
        states = here.node.db.read_now(lambda tx: list(tx.execute(select(schema.tokens.c.state)).scalars()))
        assert states == ["expired"]
        assert all(due > timedelta() for due in jobs(here).values())
        assert jobs(here)["summaries"] <= timedelta(minutes=10)


async def test_an_edition_that_our_own_code_cannot_send_is_put_off_alone_and_given_up_after_five_days(
    url: str, folder: Path
) -> None:
    # given a delivery that waits longest and cannot be stamped
    async with house(url, folder) as here:
        group, cy = here.group(WALKERS, [ADA, BOB]), parse(CY)
        assert cy is not None

        def broken(tx: Tx) -> None:
            now = here.clock()
            secrets.ensure(tx, secrets.PAUSED, b"1", now)
            edition = Edition("post", "personal", "<broken@a.example>", b"Subject: x\r\n", group_id=group.id)
            id = editions.add(tx, edition, now)
            mailbox = accounts.ensure(tx, cy, now, proven=True)
            tx.execute(update(schema.mailboxes).where(schema.mailboxes.c.id == mailbox.id).values(id=BEYOND))
            deliveries.address_to(tx, id, [(BEYOND, CY)], now)

        here.node.db.write_now(broken)

        # when a post is claimed together with it
        await here.post(ADA, WALKERS)
        here.node.db.write_now(secrets.remove, secrets.PAUSED)
        await here.quiet(10)

        # then the post goes out at once and the broken one waits for its next try
        assert here.states() == {ADA: "sent", BOB: "sent", CY: "due"}
        await here.later(days=6)
        assert here.states()[CY] == "failed"
        why = select(schema.deliveries.c.reply).where(schema.deliveries.c.recipient == CY)
        assert here.node.db.read_now(lambda tx: tx.execute(why).scalar_one()).startswith("gave up after 5 days: 451")
        assert here.inbox(CY) == []
