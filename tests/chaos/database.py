"""PostgreSQL is harmed while letters come and go: its connections cut, one of its processes killed, or all of it."""

import asyncio
import random
import signal
import time
from pathlib import Path

import psycopg

from tests.chaos.kills import Progress, signal_to
from tests.chaos.ledger import BOUND, Account, Tally, account
from tests.chaos.nursery import Nurse
from tests.kit.postgres import Postgres

LOAD = 6
LONGEST_SECONDS = 0.4  # after the first letter
RESTED = 10
RECOVERS_WITHIN = 60.0  # seconds
HARMS = 5  # one of so many points is a crash of the server, one the end of one of its processes


async def matrix(
    nurse: Nurse,
    server: Postgres,
    folder: Path,
    points: int,
    processes: int = 1,
    seed: int = 1,
    progress: Progress = lambda _: None,
) -> Tally:
    """One daemon lives through all of it."""
    chance = random.Random(seed)
    async with account(nurse, server.database(), folder, workers={"processes": processes}) as here:
        await here.there.start(300)
        for point in range(1, points + 1):
            posting = asyncio.create_task(here.post(LOAD))
            await asyncio.sleep(chance.uniform(0.0, LONGEST_SECONDS))
            await asyncio.to_thread(_harm, server, here, point % HARMS)
            await posting
            if not here.there.is_running:
                here.broken.append("the daemon has ended with its database")
                await here.there.start(300)
            progress(1)
            if point % RESTED == 0 or point == points:
                await here.look()
            here.harmed(1, BOUND * processes)
        return here.tally(points, points)


def _harm(server: Postgres, here: Account, which: int) -> None:
    name = here.there.url.rpartition("/")[2]
    if which == 0:
        server.ctl("-m", "immediate", "stop")
        server.start()
        return
    with _connected(server) as connection:
        ours = "FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()"
        if which != 1:
            connection.execute(f"SELECT pg_terminate_backend(pid) {ours}", (name,))
            return
        victims = connection.execute(f"SELECT pid {ours} LIMIT 1", (name,)).fetchall()
    for (pid,) in victims:
        signal_to(pid, signal.SIGKILL)  # the server ends all connections and recovers


def _connected(server: Postgres) -> psycopg.Connection:
    """As soon as it has recovered from what was done to it before."""
    ends = time.monotonic() + RECOVERS_WITHIN
    while True:
        try:
            return psycopg.connect(f"host=127.0.0.1 port={server.port} user=postgres", autocommit=True)
        except psycopg.OperationalError:
            if time.monotonic() > ends:
                raise
            time.sleep(0.1)
