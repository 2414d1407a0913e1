"""What one client gets of a listener that has many: of its memory, and of its time.

`Inlet` reads no more at once than the session has room for, as event loops do not (uvloop reads 256 kB, asyncio as much
as it is told).  `Shares` says how much room that is: little for commands, and for messages less the more of them come
in.  Whoever has more to say without waiting for an answer waits for his turn: in one round of the loop one of them goes
on, so that a client who says one thing is heard in the next, however many the others are.
"""

import asyncio
from typing import Any, Protocol

COMMANDS = 4_096  # octets read at once where commands come; a stream holds twice as many before it stops the peer
CHUNK = 32_768  # the same of a message, while few come in
RECEIVING = 2 * 1024 * 1024  # octets of all messages that come in; a chunk of each is as much as there may be
REPLIES = 16_384  # octets of replies that wait for a peer to read them


class Shares:
    """One for each listener."""

    def __init__(self) -> None:
        self.buffer = memoryview(bytearray(CHUNK))  # what the system writes into, for whoever is read from
        self.messages = 0  # that come in
        self._turn = asyncio.Lock()

    @property
    def chunk(self) -> int:
        """Octets of one message that are read at once."""
        return max(COMMANDS, min(CHUNK, RECEIVING // max(1, self.messages)))

    async def turn(self) -> None:
        """Returns when it is the caller's turn: after those who have asked before, and after a look at the network."""
        async with self._turn:
            await asyncio.sleep(0)


class Reader(Protocol):
    """Who is read for."""

    def room(self) -> memoryview:
        """Where to put what comes next; `data_received` takes it from there."""

    def data_received(self, data: memoryview) -> None: ...
    def eof_received(self) -> bool | None: ...
    def connection_lost(self, error: Exception | None) -> None: ...
    def pause_writing(self) -> None: ...
    def resume_writing(self) -> None: ...


class Inlet(asyncio.BufferedProtocol):
    """Stands between a transport and its reader, who is told of the connection by somebody else."""

    def __init__(self, reader: Any) -> None:
        self._reader: Reader = reader
        self._room = memoryview(b"")

    def get_buffer(self, _hint: int) -> memoryview:
        self._room = self._reader.room()
        return self._room

    def buffer_updated(self, octets: int) -> None:
        self._reader.data_received(self._room[:octets])

    def eof_received(self) -> bool | None:
        return self._reader.eof_received()

    def connection_lost(self, error: Exception | None) -> None:
        self._reader.connection_lost(error)

    def pause_writing(self) -> None:
        self._reader.pause_writing()

    def resume_writing(self) -> None:
        self._reader.resume_writing()
