"""What there is only so much of, and who of many gets it next: memory for messages, questions to the DNS.

Where it does not do for all who wait, the network that has had least of it lately is next; of one network, who came
first.  What it has had is shares times seconds, and a second more for having come: a message whose DNS is silent keeps
its room for as long as that may last, and who sends hundreds of them waits for his own, not everybody for them all.
The last eighth is for those who have had little, so that they need not even wait until one of these ends.
"""

import asyncio
from collections import deque
from dataclasses import dataclass

REMEMBERED = 60.0  # seconds after which what somebody has had counts half
NETWORKS = 4_096  # that are remembered


@dataclass(frozen=True, slots=True)
class Room:
    """So much of a lane that somebody has; `since` is by the loop's clock."""

    share: int
    network: str | None
    since: float


class Lane:
    """`size` is what there is.  A network is what `gate.network_of` says; None is ourselves, who are always next."""

    def __init__(self, size: int) -> None:
        self._size = self._free = size
        self._waiting: dict[str | None, deque[tuple[int, asyncio.Future[None]]]] = {}  # who came first stands first
        self._had: dict[str, float] = {}
        self._halved = 0.0

    async def take(self, share: int, network: str | None) -> Room:
        """What was taken, to be given back; waits until there is room."""
        loop = asyncio.get_running_loop()
        if not self._waiting and self._fits(share, network):
            self._enter(share, network)
            return Room(share, network, loop.time())
        turn = loop.create_future()
        self._waiting.setdefault(network, deque()).append((share, turn))
        if self._fits(share, network):  # else nobody is nearer to his turn than before
            self._admit()
        try:
            await turn
        except asyncio.CancelledError:
            self._free += 0 if turn.cancelled() else share  # it may have been our turn
            self._admit()
            raise
        return Room(share, network, loop.time())

    def give(self, room: Room) -> None:
        if room.network is not None:
            now = asyncio.get_running_loop().time()
            self._charge(room.network, room.share * (now - room.since))
            self._forget(now)
        self._free += room.share
        self._admit()

    def _fits(self, share: int, network: str | None) -> bool:
        kept = self._size // 8 if self._turn(network) > self._size // 4 else 0
        return share <= self._free - kept or self._free == self._size

    def _enter(self, share: int, network: str | None) -> None:
        self._free -= share
        if network is not None:
            self._charge(network, share)

    def _charge(self, network: str, cost: float) -> None:
        self._had[network] = self._had.get(network, 0.0) + cost

    def _forget(self, now: float) -> None:
        if len(self._had) > NETWORKS:
            self._had.clear()
        elif now - self._halved > REMEMBERED:
            self._halved = now
            self._had = {network: had / 2 for network, had in self._had.items() if had > 1}

    def _admit(self) -> None:
        while self._waiting:
            network = min(self._waiting, key=self._turn)
            share, turn = self._waiting[network][0]
            if not turn.cancelled() and not self._fits(share, network):
                return
            self._waiting[network].popleft()
            if not self._waiting[network]:
                del self._waiting[network]
            if not turn.cancelled():
                self._enter(share, network)
                turn.set_result(None)

    def _turn(self, network: str | None) -> float:
        return -1.0 if network is None else self._had.get(network, 0.0)
