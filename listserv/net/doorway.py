"""What the processes that take mail have in common: the sockets that they listen on, and how many guests each has.

    doorway = Doorway(opened, processes)     # in their parent, before they are made
    doorway.take_place(number)               # in each, when it begins: from 0
    doorway.close()                          # in who takes no mail, and in the parent when no more is to come in

Whoever waits to be let in is let in by whichever process comes first, so one that is busy leaves him to another, and
one that dies takes nobody with it who was not inside.

Guests are counted in memory that all of them see.  Each process writes its own row and reads those of the others, so
there is no lock that a dead one could hold.  A row has two tables, each with a number for every network that falls
into a place of it; the smaller of the two is what counts: too much for a network only if others share both its places.
"""

import hashlib
import mmap
import secrets
import socket
from collections.abc import Sequence

from listserv.net import sockets

_PLACES = 8_192  # of each table
_ROW = 1 + 2 * _PLACES  # the first number is that of all guests


class Doorway:
    """The sockets are the parent's and, by fork, its children's."""

    def __init__(self, opened: Sequence[socket.socket], processes: int = 1) -> None:
        self.opened = tuple(opened)
        self.processes = processes
        self._bound = tuple(map(sockets.name, opened))
        self._key = secrets.token_bytes(16)  # so that nobody can choose whose place he shares
        self._numbers = memoryview(mmap.mmap(-1, processes * _ROW * 4)).cast("I")
        self._own = 0
        self._others: tuple[int, ...] = ()

    def take_place(self, number: int) -> None:
        """This process is the one with this number; who had it before has died, and his guests with him."""
        self._own = number * _ROW
        self._others = tuple(other * _ROW for other in range(self.processes) if other != number)
        self._numbers[self._own : self._own + _ROW] = memoryview(bytes(4 * _ROW)).cast("I")

    def count(self, network: str | None, by: int) -> None:
        """So many more of this process's guests are here; None: from no network that counts."""
        self._numbers[self._own] += by
        for place in self._places(network) if network is not None and self._others else ():
            self._numbers[self._own + place] += by

    @property
    def elsewhere(self) -> int:
        """The guests of the other processes."""
        return sum(self._numbers[row] for row in self._others)

    def elsewhere_from(self, network: str) -> int:
        """Those of them who come from there."""
        if not self._others:
            return 0
        return min(sum(self._numbers[row + place] for row in self._others) for place in self._places(network))

    def _places(self, network: str) -> tuple[int, int]:
        digest = hashlib.blake2b(network.encode(), digest_size=8, key=self._key).digest()
        first, second = (int.from_bytes(half, "big") % _PLACES for half in (digest[:4], digest[4:]))
        return 1 + first, 1 + _PLACES + second

    def close(self, *, last: bool = False) -> None:
        """Nobody is let in by this process any more; after the `last` one, the files of unix sockets are gone."""
        for each in self.opened:
            each.close()
        if last:
            sockets.remove(self._bound)
