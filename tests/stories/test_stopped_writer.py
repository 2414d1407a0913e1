"""Somebody has the database to himself and stands still: nobody waits without end, and no mail is lost by it."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from click.testing import CliRunner

from listserv.cli.main import main
from listserv.store import engines, turn
from listserv.workers import reception
from tests.kit.house import house
from tests.net.listening import Client

ADA, BOB, WALKERS = "ada@a.example", "bob@b.example", "walkers@lists.example"
HOLDER = """
import os, signal, sys
from pathlib import Path
from sqlalchemy import text
from listserv.store.db import Database
database = Database(sys.argv[1])
with database._begin() as tx:
    print("mine", flush=True)
    os.kill(os.getpid(), signal.SIGSTOP)
"""


@contextmanager
def held(url: str) -> Iterator[None]:
    """By a process that is stopped in the middle of a transaction, until it goes on."""
    if url.startswith("postgresql"):
        with psycopg.connect(url.replace("+psycopg", "")) as connection:
            connection.execute("LOCK TABLE posts, journal IN ACCESS EXCLUSIVE MODE")
            yield
        return
    with subprocess.Popen([sys.executable, "-c", HOLDER, url], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"mine\n"
        try:
            yield
        finally:
            while not _is_stopped(holder.pid):
                time.sleep(0.01)
            os.kill(holder.pid, signal.SIGCONT)


def _is_stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


async def test_senders_hear_4xx_in_time_and_everybody_else_is_answered(
    url: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reception, "ANSWER_WITHIN", 1.0)
    monkeypatch.setattr(turn, "PATIENCE", 0.2)
    async with house(url, folder) as here:
        here.group(WALKERS, [ADA, BOB])
        with held(str(here.node.db.url)):
            # when a letter comes meanwhile
            early = {"Message-ID": "<early@a.example>"}
            letter = asyncio.create_task(here.post(ADA, WALKERS, subject="early", **early))

            # then others are answered while it waits
            client = Client(*await asyncio.open_connection("127.0.0.1", here.port))
            await client.reply()
            for _ in range(5):
                assert (await client.say("NOOP")).startswith("250")
            assert not letter.done()
            client.close()

            # and its sender keeps it
            assert (await letter).startswith("451 4.3.1")

        # when it is over, what was not taken is not there, and what comes again is
        assert (await here.post(ADA, WALKERS, subject="late")).startswith("250")
        await here.world.wait_for(2)
        await here.quiet()
        assert here.world.count == 2
        assert all(b"Subject: late" in copies[0] for copies in here.world.messages.values())
        assert (await here.post(ADA, WALKERS, subject="early", **early)).startswith("250")
        await here.world.wait_for(4)


def test_a_command_ends_with_one_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turn, "PATIENCE", 0.1)
    monkeypatch.setattr(engines, "LOCK_SECONDS", 0.1)
    run = CliRunner()
    config = folder / "listserv.toml"
    config.write_text('[site]\nhostname = "lists.example"\ndomains = ["lists.example"]\n[http]\nlisten = []\n')
    command = ["--config", str(config), "group", "create"]
    assert run.invoke(main, [*command, WALKERS, "--owner", ADA]).exit_code == 0
    with held(f"sqlite:///{folder}/listserv.db"):
        said = run.invoke(main, [*command, "sailing@lists.example", "--owner", ADA])
    assert said.exit_code == 1
    (line,) = (line for line in said.output.splitlines() if line.startswith("Error"))
    assert (
        line == "Error: [database] url: database is locked: another process has been writing for long; is one stopped?"
    )
    assert run.invoke(main, [*command, "sailing@lists.example", "--owner", ADA]).exit_code == 0
