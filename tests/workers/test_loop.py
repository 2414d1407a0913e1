"""The bell that wakes a worker, and what it takes up while it rests."""

import asyncio

from listserv.store import schema
from listserv.workers.loop import Bell, Worker
from tests.kit.patience import PATIENCE


async def test_a_bell_that_rings_while_who_waited_wakes_up_is_heard():
    bell = Bell()
    waiting = asyncio.create_task(bell.wait(PATIENCE))
    await asyncio.sleep(0)
    bell.ring()
    bell.ring()
    await waiting
    async with asyncio.timeout(PATIENCE):
        await bell.wait(10 * PATIENCE)


async def test_a_bell_that_rang_before_is_heard_once():
    bell = Bell()
    bell.ring()
    bell.ring()
    await bell.wait(PATIENCE)
    waiting = asyncio.create_task(bell.wait(PATIENCE))
    await asyncio.sleep(0)
    assert not waiting.done()
    waiting.cancel()


async def test_what_a_worker_took_up_while_it_rested_is_done_though_it_is_told_to_stop():
    done: list[str] = []
    taken: list[str] = []

    async def once() -> bool:
        done.extend(taken)
        return False

    async def rest(bell: Bell, seconds: float) -> bool:
        await bell.wait(seconds)
        taken.append("a post")
        return True

    worker = Worker("worker", once, schema.posts, rest=rest)
    running = asyncio.create_task(worker.run())
    await asyncio.sleep(0)
    worker.stop()
    async with asyncio.timeout(PATIENCE):
        await running
    assert done == ["a post"]
