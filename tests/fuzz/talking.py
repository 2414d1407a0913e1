"""One session of the real listener without a network: octets in, octets out."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from listserv.model.envelope import Envelope, Peer, Reply
from listserv.net.content import Budget
from listserv.net.gate import Limits
from listserv.net.house import Desk
from listserv.net.session import Session

LIMITS = Limits(error_delay=0.0, max_message_bytes=4_000, max_header_bytes=1_000, max_recipients=3, spool_over=100_000)


class Mouth(asyncio.Transport):
    """A transport that keeps what it is given, and reads as fast as one likes."""

    def __init__(self) -> None:
        super().__init__({"peername": ("192.0.2.1", 25)})
        self.said = bytearray()
        self.is_closed = False

    def write(self, data: Any) -> None:
        self.said += data

    def close(self) -> None:
        self.is_closed = True

    abort = close

    def is_closing(self) -> bool:
        return self.is_closed

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """The session is fed by hand."""

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0


class Talk:
    """The house: whoever begins with `n` is unknown, everything else is kept."""

    def __init__(self) -> None:
        self.kept: list[bytes] = []

    async def recipient(self, peer: Peer, mail_from: str, address: str) -> Reply | None:
        return Reply(550, "5.1.1", "No such address") if address.startswith("n") else None

    async def accept(self, envelope: Envelope, content: bytes) -> Sequence[Reply]:
        self.kept.append(content)
        return [Reply(250, "2.0.0", "accepted")] * (len(envelope.rcpt_to) if envelope.peer.lmtp else 1)

    async def busy(self) -> Reply | None:
        return None

    @classmethod
    async def of(cls, pieces: Sequence[bytes]) -> tuple[bytes, list[bytes]]:
        """What the listener says to a client that says these pieces and hangs up, and the messages it keeps."""
        house, mouth = cls(), Mouth()
        budget = Budget(LIMITS.memory)
        desk = Desk(house, "lists.example", lambda: datetime.now(UTC), LIMITS, lambda ip: False, budget)
        session = Session(desk, lmtp=bool(pieces) and pieces[0].startswith(b"L"))
        session.connection_made(mouth)
        task = session.conversation
        for piece in pieces:
            if mouth.is_closed:
                break
            session.data_received(piece)
            await asyncio.sleep(0)
        if not mouth.is_closed:
            session.eof_received()
        if task is not None:
            await asyncio.wait_for(task, 10)
        session.connection_lost(None)
        budget.close()
        return bytes(mouth.said), house.kept
