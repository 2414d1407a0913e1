"""A next hop that does anything wrong, step by step: the counterpart to the well-behaved `World`.

    async with Peer({"RCPT": ["250 ok", "550 5.1.1 no"], ".": Act.CLOSE}) as peer:
        ...

A step is what the peer does when it hears that verb: it says a line or raw bytes, or acts.  Verbs besides SMTP's own:
`banner` (at the connection), `message` (in the middle of DATA, before the dot), `.` (at the dot).  A list is used up
one occurrence at a time, over all connections; its last step stays.  What it says 2xx to at the dot it has `taken`.
"""

import asyncio
import ssl
from collections.abc import Mapping, Sequence
from enum import Enum
from types import TracebackType
from typing import Self

from tests.kit.world import Received


class Act(Enum):
    CLOSE = "close the connection"
    HANG = "say nothing any more"
    ENDLESS = "send a multiline reply without end"
    BABBLE = "send a line without end"
    SLOW = "take 0.3 seconds, then say 250"
    SECURE = "say 220 and begin TLS"
    STALL = "say 220 and nothing any more"


Step = str | bytes | Act

DEFAULT: dict[str, Step] = {
    "banner": "220 peer.example ESMTP",
    "STARTTLS": Act.SECURE,
    "DATA": "354 go ahead",
    "QUIT": "221 2.0.0 bye",
}


class Peer:
    """Listens on a free port of 127.0.0.1 while entered."""

    def __init__(
        self,
        steps: Mapping[str, Step | Sequence[Step]] | None = None,
        *,
        offers: Sequence[str] = ("PIPELINING",),
        tls: ssl.SSLContext | None = None,
        port: int = 0,
    ) -> None:
        self.port = port
        self.heard: list[str] = []  # commands, whole lines
        self.messages: list[bytes] = []  # with their dots, as they came
        self.taken: list[Received] = []
        self.met: set[str] = set()  # verbs for which there is a step, and which were heard
        self.visits = 0
        self.idle_close = asyncio.Event()  # set: every session that waits for a command is closed
        self._steps = {**DEFAULT, **(steps or {})}
        self._steps.setdefault(
            "EHLO", "\r\n".join(["250-peer.example", *(f"250-{word}" for word in offers), "250 HELP"])
        )
        self._scripted = frozenset(steps or ())
        self._tls = tls
        self._guests: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._welcome, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for guest in self._guests:
            guest.cancel()
        await asyncio.gather(*self._guests, return_exceptions=True)

    def _welcome(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.visits += 1
        task = asyncio.create_task(self._guest(reader, writer))
        self._guests.add(task)
        task.add_done_callback(self._guests.discard)

    async def _guest(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._talk(reader, writer)
        except OSError:
            pass  # the client has left; that is its right
        finally:
            writer.transport.abort()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        said = await self._do("banner", reader, writer)
        sender: str | None = None
        to: list[str] = []
        while said is not None and (line := await self._line(reader)):
            heard = line.decode("utf-8", "replace").rstrip("\r\n")
            self.heard.append(heard)
            verb = heard.partition(" ")[0].upper()
            said = await self._do(verb, reader, writer)
            if said is None or verb == "QUIT":
                return
            if verb == "MAIL":
                sender, to = _address(heard) if said.startswith("2") else None, []
            elif verb == "RCPT" and sender is not None and said.startswith("2"):
                to.append(_address(heard))
            elif verb == "DATA" and said.startswith("354"):
                said, content = await self._message(reader, writer)
                if said is not None and said.startswith("2") and sender is not None and to:
                    self.taken.append(Received(sender, to, content))

    async def _line(self, reader: asyncio.StreamReader) -> bytes:
        line = asyncio.ensure_future(reader.readline())
        closing = asyncio.ensure_future(self.idle_close.wait())
        try:
            await asyncio.wait((line, closing), return_when=asyncio.FIRST_COMPLETED)
            return line.result() if line.done() else b""
        finally:
            line.cancel()
            closing.cancel()
            await asyncio.gather(line, closing, return_exceptions=True)

    async def _message(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> tuple[str | None, bytes]:
        """What is said at the end, None ends the session; and what it is said of."""
        if "message" in self._steps:
            await reader.readexactly(1)
            if await self._do("message", reader, writer) is None:
                return None, b""
        message = b""
        while not (message.endswith(b"\r\n.\r\n") or message == b".\r\n"):
            chunk = await reader.readline()
            if not chunk:
                return None, b""
            message += chunk
        self.messages.append(message)
        content = message.removesuffix(b".\r\n").replace(b"\r\n..", b"\r\n.")
        return await self._do(".", reader, writer), content

    async def _do(self, verb: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> str | None:
        """Take the step: what was said; None ends the session."""
        step = self._next(verb)
        self.met |= self._scripted & {verb}
        match step:
            case str():
                writer.write(step.encode() + b"\r\n")
                return step
            case bytes():
                writer.write(step)
                return (
                    step.decode("latin-1").rpartition("\r\n")[0].rpartition("\r\n")[2]
                )  # the last line, when it is whole
            case Act.CLOSE:
                return None
            case Act.HANG | Act.STALL:
                if step is Act.STALL:
                    writer.write(b"220 2.0.0 go ahead\r\n")
                await asyncio.Event().wait()
            case Act.ENDLESS | Act.BABBLE:
                while True:
                    writer.write((b"250-more\r\n" if step is Act.ENDLESS else b"250 more ") * 100)
                    await writer.drain()
            case Act.SLOW:
                await asyncio.sleep(0.3)
                writer.write(b"250 2.0.0 at last\r\n")
                return "250 2.0.0 at last"
            case Act.SECURE:
                writer.write(b"220 2.0.0 go ahead\r\n")
                assert self._tls
                await writer.start_tls(self._tls)
        return ""

    def _next(self, verb: str) -> Step:
        steps = self._steps.get(verb, "250 2.0.0 ok")
        if isinstance(steps, list):
            step: Step = steps.pop(0) if len(steps) > 1 else steps[0]
            return step
        assert isinstance(steps, str | bytes | Act)
        return steps


def _address(command: str) -> str:
    return command.partition("<")[2].partition(">")[0]
