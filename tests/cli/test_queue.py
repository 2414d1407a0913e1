"""The queue from the shell, beside a daemon that delivers to a real SMTP sink."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

from sqlalchemy import insert

from listserv.store import schema
from listserv.store.db import Tx
from tests.cli.beside import daemon
from tests.cli.shell import Shell
from tests.kit.house import House

GROUP = "walkers@lists.example"


@asynccontextmanager
async def full_mailbox(shell: Shell) -> AsyncIterator[House]:
    """Ada has the post; Bob's mailbox is full, Cy's is not there."""
    async with daemon(shell) as here:
        here.group(GROUP, ["ada@a.example", "bob@b.example", "cy@c.example"])
        here.world.answers["bob@b.example"] = "452 4.2.2 mailbox full"
        here.world.answers["cy@c.example"] = "550 5.1.1 no such mailbox"
        await here.post("ada@a.example", GROUP)
        await here.quiet()
        yield here


async def test_status_and_list_say_what_waits_and_why(shells: Shell) -> None:
    async with full_mailbox(shells):
        status = shells.json("queue", "status")
        [bob] = status.pop("destinations")
        assert status.pop("conservation") == {
            "posts": {"entered": 1, "distributed": 1, "missing": 0},
            "copies": {"entered": 3, "delivered": 1, "failed": 1, "under_way": 1, "missing": 0},
        }
        assert status == {"due": 1, "taken": 0, "held": 0, "failed": 1, "aside": 0, "paused": False}
        assert (bob["destination"], bob["due"], bob["tried"]) == ("b.example", 1, 1)
        assert bob["oldest"] < bob["next"]
        [waits] = shells.json("queue", "list")
        assert (waits["recipient"], waits["group"], waits["state"], waits["tries"]) == (
            "bob@b.example",
            GROUP,
            "due",
            1,
        )
        assert waits["reply"].startswith("452 4.2.2 mailbox full")
        [failed] = shells.json("queue", "list", "--state", "failed")
        assert failed["recipient"] == "cy@c.example"
        assert shells.json("queue", "list", "--destination", "A.example") == []
        assert shells.json("queue", "show", str(waits["id"])) == waits
        assert "452 4.2.2 mailbox full" in shells.ok("queue", "show", str(waits["id"]))


async def test_a_retry_reaches_the_running_daemon(shells: Shell) -> None:
    async with full_mailbox(shells) as here:
        [bob] = shells.json("queue", "list")
        here.world.answers.clear()
        assert shells.ok("queue", "retry", str(bob["id"])) == f"delivery {bob['id']} is tried now\n"
        await here.quiet()
        assert len(here.inbox("bob@b.example")) == 1
        assert [line["copies"] for line in shells.log("delivery.retried")] == [1]


async def test_everything_that_waits_is_retried_at_once(shells: Shell) -> None:
    async with full_mailbox(shells) as here:
        assert shells.ok("queue", "retry", "--all").startswith("1 deliveries")
        await here.quiet()
        assert shells.json("queue", "list")[0]["tries"] == 2
        assert shells.run("queue", "retry").exit_code == 2
        assert shells.run("queue", "retry", "1", "--all").exit_code == 2


async def test_what_is_over_or_unknown_cannot_be_changed(shells: Shell) -> None:
    async with full_mailbox(shells):
        [sent] = shells.json("queue", "list", "--state", "sent")
        said = shells.fails("queue", "retry", str(sent["id"]), "4711")
        assert said == [
            f"Error: delivery {sent['id']} is sent; only what waits can be changed",
            "Error: there is no delivery 4711; `listserv queue list` shows what waits",
        ]


async def test_a_dropped_delivery_is_in_the_trace_and_in_the_log(shells: Shell) -> None:
    async with full_mailbox(shells):
        [bob] = shells.json("queue", "list")
        shells.ok("queue", "drop", str(bob["id"]))
        assert shells.json("queue", "status")["due"] == 0
        traced = shells.json("trace", bob["message_id"])
        assert traced["deliveries"]["bob@b.example"]["state"] == "dropped"
        assert traced["events"][-1]["what"] == "dropped"
        assert [(line["group"], line["member"]) for line in shells.log("delivery.dropped")] == [
            (GROUP, "bob@b.example")
        ]


async def test_a_paused_queue_takes_mail_and_delivers_none_until_it_goes_on(shells: Shell) -> None:
    async with full_mailbox(shells) as here:
        shells.ok("queue", "pause")
        assert shells.ok("queue", "pause") == "was paused already\n"
        assert "accepted" in await here.post("ada@a.example", GROUP, "Again")
        async with asyncio.timeout(20):
            while shells.json("queue", "status")["due"] != 4:  # its three copies, and the one for Bob
                await asyncio.sleep(0.05)
        assert shells.json("queue", "status")["paused"] is True
        assert len(here.inbox("ada@a.example")) == 1
        assert "PAUSED" in shells.ok("queue", "status")
        shells.ok("queue", "resume")
        assert shells.ok("queue", "resume") == "was not paused\n"
        await here.world.wait_for(2)
        assert len(here.inbox("ada@a.example")) == 2
        assert len(shells.log("delivery.paused")) == len(shells.log("delivery.resumed")) == 1


def test_a_long_list_is_cut_for_people_and_whole_for_programs(shell: Shell) -> None:
    node = shell.node()
    now = datetime.now(UTC) + timedelta(days=1)

    def fill(tx: Tx) -> None:
        edition = {"kind": "notice", "style": "bulk", "mail_from": "", "message_id": "<1@x>", "made_at": now}
        blank = dict.fromkeys(("top", "fields", "before", "after"), b"")
        made = tx.execute(insert(schema.editions).values(**edition, **blank).returning(schema.editions.c.id))
        id = made.scalar_one()
        rows = [{"recipient": f"u{n}@d{n % 12}.example", "destination": f"d{n % 12}.example"} for n in range(150)]
        tx.execute(insert(schema.deliveries).values(edition_id=id, state="due", due=now, made_at=now, tries=0), rows)

    node.db.write_now(fill)
    node.close()
    assert len(shell.json("queue", "list")) == 150
    assert len(shell.json("queue", "list", "--limit", "7")) == 7
    assert len(shell.ok("queue", "list").splitlines()) == 101
    assert "more than these 100" in shell.run("queue", "list").stderr
    assert len(shell.ok("queue", "list", "--limit", "0").splitlines()) == 151
    assert len(shell.json("queue", "status")["destinations"]) == 12
    assert "… and 2 destinations more" in shell.ok("queue", "status")
    assert shell.json("queue", "status")["due"] == 150


def test_an_empty_queue_has_nothing_to_say(shell: Shell) -> None:
    assert shell.json("queue", "status") == {
        "due": 0, "taken": 0, "held": 0, "failed": 0, "aside": 0, "paused": False, "destinations": [],
        "conservation": {"posts": {"entered": 0, "missing": 0}, "copies": {"entered": 0, "missing": 0}},
    }  # fmt: skip
    assert shell.json("queue", "list") == []
    assert len(shell.fails("queue", "show", "1")) == 1
