"""Counts the rounds of the event loop: what happens in one of them keeps everybody else waiting for all of it."""

import asyncio
from typing import Self


class Rounds:
    """`number` grows by one in each round while this is entered."""

    def __init__(self) -> None:
        self.number = 0

    async def __aenter__(self) -> Self:
        self._counting = asyncio.create_task(self._count())
        return self

    async def __aexit__(self, *fault: object) -> None:
        self._counting.cancel()

    async def _count(self) -> None:
        while True:
            self.number += 1
            await asyncio.sleep(0)
