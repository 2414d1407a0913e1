"""The next hop does everything wrong that it can do, one step of its dialogue after the other, while letters go out.

For a moment somebody who misbehaves stands in its place.  When he has gone and the queue is told to try again, each
copy is somewhere, once, or has been refused for good.
"""

import asyncio
import json
import random
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import select

from listserv.model.group import DeliveryStyle
from listserv.store import queue, schema
from listserv.store.db import Database, Tx
from tests.chaos.kills import Progress
from tests.chaos.ledger import GROUP, LINES, PATIENT, Account, Tally, account, until
from tests.chaos.nursery import Nurse
from tests.kit.peer import Act, Peer, Step
from tests.net.test_relay_matrix import MATRIX
from tests.net.test_relay_tls import BROKEN

LOAD = 2
AT_MOST = 1.5  # seconds for him to show what he does; one who is silent would be waited for much longer
SILENT = "m3@d3.example"  # of a destination that never answers
RETRIES = 5  # until nothing waits any more

Steps = Mapping[str, Step | Sequence[Step]]

WRONG: Mapping[str, Steps] = {
    **{case: steps for case, (steps, _) in MATRIX.items()},
    **{f"TLS that fails: {step}": {"STARTTLS": step} for step in BROKEN},
    "closed in the message": {"message": Act.CLOSE},
    "silence in the message": {"message": Act.HANG},
    "5xx in the message": {"message": "552 5.3.4 too big", ".": Act.HANG},
}


async def matrix(
    nurse: Nurse, url: str, folder: Path, points: int, seed: int = 1, progress: Progress = lambda _: None
) -> Tally:
    """Every fault, with and without pipelining, to one recipient at a time and to several; then again."""
    chance = random.Random(seed)
    every = [(name, piped) for name in WRONG for piped in (True, False)]
    chance.shuffle(every)
    reached = 0
    async with account(nurse, url, folder, relay={"connections": LINES, "tls": "opportunistic"}) as here:
        await here.there.start(PATIENT)
        for point in range(points):
            name, piped = every[point % len(every)]
            style = DeliveryStyle.BULK if chance.random() < 0.5 else DeliveryStyle.PERSONAL
            await here.there.shell("group", "set", GROUP, f"delivery={style}")
            hit = await _wrong(here, WRONG[name], pipelining=piped)
            if not hit:
                here.broken.append(f"“{name}” was not reached")
            reached += hit
            progress(hit)
        await here.there.shell("group", "set", GROUP, f"delivery={DeliveryStyle.PERSONAL}")
        await _silent(here)
        await here.look()
        await _note_refused(here)
        return here.tally(points + 1, reached + 1)


async def _wrong(here: Account, steps: Steps, *, pipelining: bool) -> bool:
    """Whether he could show it."""
    world, offers = (
        here.world,
        [*(["PIPELINING"] if pipelining else []), *(["STARTTLS"] if "STARTTLS" in steps else [])],
    )
    steps = {verb: step if isinstance(step, str | bytes | Act) else list(step) for verb, step in steps.items()}
    await world.down()
    async with Peer(steps, offers=offers, port=world.port) as peer:
        await here.post(LOAD)
        await until(lambda: bool(peer.met) or (not steps and bool(peer.taken)), PATIENT)
        await _rests(here, AT_MOST)
    for received in peer.taken:
        world.receive(received)
    here.harmed(1, 0)
    await world.up()
    await _again(here)
    return bool(peer.met) or not steps


async def _silent(here: Account) -> None:
    """One destination says nothing: the others have their copies as if it were not there."""
    before, domain = here.world.count, SILENT.partition("@")[2]
    here.world.mute.add(domain)
    await here.post(LOAD)
    if not await until(lambda: here.world.count >= before + LOAD * (here.members - 1)):
        here.broken.append(f"{domain} is silent, and others wait: {here.there.states()}")
    here.world.mute.clear()
    await here.world.down()
    here.harmed(1, 0)
    await here.world.up()
    await _again(here)


async def _again(here: Account) -> None:
    """Until each letter has its 250, and each copy has been taken or refused."""
    await here.insist()
    for _ in range(RETRIES):
        await here.there.shell("queue", "retry", "--all")
        await _rests(here, PATIENT)
        if not here.there.states().get("due"):
            return
    here.broken.append(f"after {RETRIES} tries copies still wait: {here.there.states()}")


async def _rests(here: Account, seconds: float) -> bool:
    """Whether nothing is under way in time, and nothing is due yet."""
    database = Database(here.there.url)
    try:
        async with asyncio.timeout(seconds):
            while await database.read(_is_busy):
                await asyncio.sleep(0.02)
    except TimeoutError:
        return False
    finally:
        database.close()
    return True


def _is_busy(tx: Tx) -> bool:
    now = datetime.now(UTC)
    return any(
        tx.execute(
            select(table.c.id).where(queue.is_taken(table) | (queue.is_due(table) & (table.c.due <= now))).limit(1)
        ).first()
        for table in (schema.posts, schema.deliveries)
    )


async def _note_refused(here: Account) -> None:
    """As the product has it: what of it is here all the same, or is missing besides, breaks a promise."""
    subjects = {id: subject for subject, id in here.taken.items()}
    for each in json.loads(await here.there.shell("queue", "list", "--state", "failed", "--json")):
        if not each["reply"].startswith("5"):
            here.broken.append(f"given up without a 5xx: {each}")
        here.refused.add((subjects[each["message_id"]], each["recipient"]))
