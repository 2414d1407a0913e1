"""Work, rest, and the bell: what every worker's loop is made of.

A bell is only an alarm clock; the rows are the truth, and a nap finds what nobody rang for.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

log = logging.getLogger("listserv.workers")

NAP = 1.0  # seconds: how late a worker may learn of another process's commit
AFTER_A_FAULT = 2.0  # seconds before the next try when the database or our own code has failed


class Bell:
    """Rung after a commit on this node: there may be work."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def ring(self) -> None:
        self._event.set()

    async def wait(self, seconds: float) -> None:
        """Until it rings, or so many seconds."""
        try:
            async with asyncio.timeout(seconds):
                await self._event.wait()
        except TimeoutError:
            pass
        self._event.clear()


class Worker:
    """Calls `once` again and again while it finds something to do, and naps when it does not.

    `pause` seconds lie between two turns that find something: so what comes meanwhile is done in one go.
    """

    def __init__(self, name: str, once: Callable[[], Awaitable[bool]], *, nap: float = NAP, pause: float = 0.0) -> None:
        self.name = name
        self.bell = Bell()
        self._once = once
        self._nap = nap
        self._pause = pause
        self._stopping = False

    async def run(self) -> None:
        """Until `stop`; what is begun is finished."""
        while not self._stopping:
            try:
                found = await self._once()
            except Exception:  # a bug of ours, or no database: say so and go on
                log.exception("%s failed; it tries again in %s s", self.name, AFTER_A_FAULT)
                await self.bell.wait(AFTER_A_FAULT)
                continue
            if not found and not self._stopping:
                await self.bell.wait(self._nap)
            elif self._pause:
                await asyncio.sleep(self._pause)

    def stop(self) -> None:
        self._stopping = True
        self.bell.ring()
