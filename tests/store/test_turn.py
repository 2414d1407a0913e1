"""Processes wait for their turn to write in the kernel, and nobody waits for a dead one."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from sqlalchemy import event, text

from listserv.store import turn as turns
from listserv.store.db import Database, Tx
from listserv.store.turn import Turn
from tests.kit.patience import PATIENCE

HOLDER = """
import sys
from pathlib import Path
from listserv.store import turn as turns
from listserv.store.turn import Turn
with Turn(Path(sys.argv[1])).taken():
    print("mine", flush=True)
    sys.stdin.read()
"""


def waiter(turn: Turn, order: list[str]) -> threading.Thread:
    """Has its turn in a thread of its own."""

    def wait() -> None:
        with turn.taken():
            order.append("second")

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def test_two_of_one_file_take_turns_and_threads_of_one_too(tmp_path: Path) -> None:
    one, other = Turn(tmp_path / "turn"), Turn(tmp_path / "turn")
    for second in (other, one):
        order: list[str] = []
        with one.taken():
            thread = waiter(second, order)
            thread.join(0.05)
            assert thread.is_alive()
            order.append("first")
        thread.join(PATIENCE)
        assert order == ["first", "second"]
    assert (tmp_path / "turn").stat().st_mode & 0o777 == 0o600


def test_who_is_killed_lets_go(tmp_path: Path) -> None:
    path = tmp_path / "turn"
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"mine\n"
        order: list[str] = []
        thread = waiter(Turn(path), order)
        os.kill(holder.pid, signal.SIGKILL)
        thread.join(PATIENCE)
        assert order == ["second"]


def test_where_there_can_be_none_the_database_protects_itself(tmp_path: Path) -> None:
    (tmp_path / "some.db-turn").mkdir()
    database = Database(f"sqlite:///{tmp_path}/some.db")
    database.write_now(lambda tx: tx.execute(text("CREATE TABLE one (number INTEGER)")))
    database.close()


async def test_who_comes_while_another_process_has_its_turn_shares_the_next_commit(tmp_path: Path) -> None:
    database, other = Database(f"sqlite:///{tmp_path}/some.db"), Turn(tmp_path / "some.db-turn")
    seen: list[object] = []
    event.listen(database._writer, "commit", seen.append)

    def work(tx: Tx) -> int:
        return tx.execute(text("SELECT 1")).scalar_one()

    with other.taken():
        writes = [asyncio.create_task(database.write(work))]
        async with asyncio.timeout(PATIENCE):
            while not (database._started and database._jobs.empty()):  # the writer has it, and waits
                await asyncio.sleep(0.01)
        writes += [asyncio.create_task(database.write(work)) for _ in range(3)]
        await asyncio.sleep(0)
        assert not seen
    assert await asyncio.gather(*writes) == [1, 1, 1, 1]
    assert len(seen) == 1
    database.close()


def test_who_is_stopped_is_not_waited_for_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "PATIENCE", 0.2)
    one, other = Turn(tmp_path / "turn"), Turn(tmp_path / "turn")
    with other.taken():
        for _ in range(3):  # the first one waits for a moment, the others do not
            with one.taken():
                pass
    monkeypatch.setattr(turns, "PATIENCE", PATIENCE)

    # when it goes on, there are turns as before
    assert one._waiter
    while one._waiter._waits:
        time.sleep(0.01)
    for _ in range(3):
        order: list[str] = []
        with other.taken():
            thread = waiter(one, order)
            thread.join(0.05)
            assert thread.is_alive()
            order.append("first")
        thread.join(PATIENCE)
        assert order == ["first", "second"]
    for each in (one, other):
        each.close()


def test_turns_change_hands_between_processes_thousands_of_times(tmp_path: Path) -> None:
    one, other = Turn(tmp_path / "turn"), Turn(tmp_path / "turn")
    inside = 0

    def work(turn: Turn) -> None:
        nonlocal inside
        for _ in range(1000):
            with turn.taken():
                inside += 1
                assert inside == 1
                inside -= 1

    threads = [threading.Thread(target=work, args=(turn,)) for turn in (one, other, one, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()
