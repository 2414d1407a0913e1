"""A cell does what it is asked, and survives work that raises, dies, loops, eats memory, or is killed."""

import asyncio
import gc
import hashlib
import os
import signal
import threading
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest

from listserv.workers import cell
from listserv.workers.cell import Cell, Overrun, Poison, guarded
from tests.kit import poison


@pytest.fixture
async def here() -> AsyncIterator[Cell]:
    made = Cell()
    yield made
    made.close()


async def test_work_is_done_and_its_bytes_come_back(here: Cell) -> None:
    assert await here.run(bytes.upper, b"ab" * 1_000_000) == b"AB" * 1_000_000
    assert await asyncio.gather(*(here.run(divmod, n, 3) for n in range(5))) == [divmod(n, 3) for n in range(5)]


@pytest.mark.parametrize(
    ("work", "said"),
    [
        (poison.raises, "ValueError: poison"),
        (poison.recurses, "RecursionError"),
        (poison.exits, "SystemExit"),
        (poison.eats, "MemoryError"),
        (poison.crashes, "died of SIGSEGV"),
        (poison.loops, "died of SIGPROF: more than 2 s of processor time"),
    ],
)
async def test_how_it_failed_is_said_and_the_next_work_is_done(here: Cell, work: Any, said: str) -> None:
    with pytest.raises(Poison) as fault:
        await here.run(work, b"x")
    assert said in str(fault.value)
    assert work.__name__ in str(fault.value)  # where it was: a traceback, also of a process that died
    assert await here.run(len, b"12345") == 5


async def test_what_hangs_without_working_is_killed_by_the_clock(here: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    await here.run(len, b"")
    monkeypatch.setattr(cell, "WALL", 0.2)
    with pytest.raises(Poison, match="SIGKILL"):
        await here.run(time.sleep, 60)


async def test_the_process_ends_when_nobody_needs_it(here: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cell, "IDLE", 0.05)
    first = await here.run(os.getpid)
    while here._process and here._process.poll() is None:
        await asyncio.sleep(0.01)
    assert await here.run(os.getpid) != first


async def test_work_that_nobody_waits_for_any_more_is_ended(here: Cell) -> None:
    task = asyncio.create_task(here.run(poison.loops, b"x"))
    await asyncio.sleep(0.5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await here.run(len, b"1") == 1


async def test_the_signals_that_end_the_daemon_do_not_end_its_work(here: Cell) -> None:
    pid = await here.run(os.getpid)
    os.kill(pid, signal.SIGTERM)
    os.kill(pid, signal.SIGINT)
    assert await here.run(os.getpid) == pid


def test_beside_the_loop_the_processor_time_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cell, "AT_ONCE", 0.05)
    assert guarded(len, b"123") == 3
    for work in (poison.loops, poison.loops_in_a_pattern, poison.loops_and_catches):
        with pytest.raises(Overrun):
            guarded(work, b"x")
    assert signal.getitimer(signal.ITIMER_PROF) == (0.0, 0.0)


def test_nothing_but_the_work_is_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cell, "AT_ONCE", 0.000_01)  # a signal at every tick of the kernel's clock, wherever it finds us
    for _ in range(100):
        with suppress(Overrun):
            guarded(poison.takes_a_while, b"x")
        assert signal.getitimer(signal.ITIMER_PROF) == (0.0, 0.0)
        assert cell._guards == []


def test_what_other_threads_take_of_the_processor_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cell, "AT_ONCE", 0.02)
    over = threading.Event()

    def hashes() -> None:
        while not over.is_set():
            hashlib.sha256(b"x" * 1_000_000)

    other = threading.Thread(target=hashes)
    other.start()
    try:
        guarded(lambda: time.sleep(0.5))
    finally:
        over.set()
        other.join()


def test_no_garbage_of_others_is_collected_beside_the_loop() -> None:
    assert not guarded(gc.isenabled)
    assert gc.isenabled()
