"""The whole outside world in one object: an SMTP sink on loopback that takes, refuses, hangs and goes down on demand.

    async with World() as world:
        world.answers["bob@b.example"] = "452 4.2.2 mailbox full"
        ... point `[relay] host, port` at world.host, world.port and let the server send ...
        await world.wait_for(2)
        assert world.messages["ada@a.example"][0].endswith(b"Shall we walk?\\r\\n")

Everything is recorded as it came over the wire, CRLF and unstuffed.  What no honest client may send (a bare
CR or LF, a NUL, an unannounced 8-bit address) is taken as well, and noted in `faults`.
"""

import asyncio
import ssl
from types import TracebackType
from typing import NamedTuple, Self, cast

import aiosmtplib
import trustme

from tests.kit.patience import PATIENCE

Scripted = str | list[str]  # one reply for ever, or one per attempt and 250 after the last


class Received(NamedTuple):
    """One transaction that the world took responsibility for."""

    mail_from: str
    rcpt_to: list[str]
    content: bytes


class World:
    """An SMTP sink.  Public attributes may be changed at any time and count from the next command on."""

    def __init__(self, *, tls: str = "", pipelining: bool = True, size: int = 50_000_000) -> None:
        """tls: "" (none), "starttls" or "implicit", with a certificate for localhost that `client_tls` trusts."""
        self.host, self.port = "127.0.0.1", 0
        self.messages: dict[str, list[bytes]] = {}
        self.envelopes: list[Received] = []
        self.faults: list[str] = []
        self.answers: dict[str, Scripted] = {}  # by recipient, at RCPT
        self.data_answer: Scripted = ""  # to the final dot; what is not 2xx leaves no message here
        self.hang_after_dot = False  # the message is taken and kept, but never answered for (RFC 1047)
        self.delay = 0.0  # seconds before each reply
        self.mute: set[str] = set()  # domains: a RCPT for them is never answered, and nothing behind it
        self.extensions = ["8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", f"SIZE {size}"]
        self.extensions += ["PIPELINING"] if pipelining else []
        self.elsewhere: dict[str, int] = {}  # domain → port of another server here, which gets its mail from us
        self.carried: list[tuple[str, str]] = []  # recipient and last reply of what was carried there
        self.carriers: set[asyncio.Task[None]] = set()
        self.visits = 0  # connections ever
        self.peak = 0  # most connections at one time
        self.guests: set[Session] = set()
        self.client_tls: ssl.SSLContext | None = None
        self.server_tls: ssl.SSLContext | None = None
        self.implicit = tls == "implicit"
        self._server: asyncio.Server | None = None
        self._arrival = asyncio.Event()
        self._left = asyncio.Event()
        if tls:
            self._certify()

    @property
    def count(self) -> int:
        """Copies here: one per recipient and transaction."""
        return sum(map(len, self.messages.values()))

    async def __aenter__(self) -> Self:
        await self.up()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.down()

    async def up(self) -> None:
        """Listen, on the same port as before if there was one."""
        self._server = await asyncio.get_running_loop().create_server(
            lambda: Session(self), self.host, self.port, ssl=self.server_tls if self.implicit else None
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def down(self) -> None:
        """Nobody listens any more, and every open connection is reset."""
        if self._server:
            self._server.close()
        for guest in list(self.guests):
            guest.transport.abort()
            if guest.upgrade:  # on uvloop a handshake that is aborted never ends by itself
                guest.upgrade.cancel()
                self.leave(guest)
        await self.deserted()

    async def deserted(self) -> None:
        """Back when no connection is open."""
        if self.guests:
            self._left.clear()
            await self._left.wait()

    async def wait_for(self, count: int, timeout: float = PATIENCE) -> None:
        """Back as soon as `count` copies are here; AssertionError when they are not within `timeout` seconds."""
        try:
            async with asyncio.timeout(timeout):
                while self.count < count:
                    self._arrival.clear()
                    await self._arrival.wait()
        except TimeoutError:
            raise AssertionError(f"{self.count} of {count} copies arrived within {timeout} s") from None

    def leave(self, guest: "Session") -> None:
        self.guests.discard(guest)
        if not self.guests:
            self._left.set()

    def receive(self, received: Received) -> None:
        self.envelopes.append(received)
        for recipient in received.rcpt_to:
            self.messages.setdefault(recipient, []).append(received.content)
            port = self.elsewhere.get(recipient.rpartition("@")[2])
            if port is not None:
                carrier = asyncio.create_task(self._carry(port, received.mail_from, recipient, received.content))
                self.carriers.add(carrier)
                carrier.add_done_callback(self.carriers.discard)
        self._arrival.set()

    async def _carry(self, port: int, mail_from: str, recipient: str, content: bytes) -> None:
        """What the next hop does with a copy; a refusal ends here, as a bounce to the null sender would."""
        client = aiosmtplib.SMTP(hostname="127.0.0.1", port=port, local_hostname="world.example", start_tls=False)
        await client.connect()
        try:
            await client.ehlo()
            await client.mail(mail_from)
            await client.rcpt(recipient)
            reply = await client.data(content)
            self.carried.append((recipient, f"{reply.code} {reply.message}"))
        except aiosmtplib.SMTPResponseException as fault:
            self.carried.append((recipient, f"{fault.code} {fault.message}"))
        finally:
            client.close()

    def _certify(self) -> None:
        authority = trustme.CA()
        self.server_tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert("localhost", "127.0.0.1").configure_cert(self.server_tls)
        self.client_tls = ssl.create_default_context()
        authority.configure_trust(self.client_tls)


class Session(asyncio.Protocol):
    """One connection to the world, RFC 5321 as far as a relay speaks it, RFC 2920 and RFC 3207."""

    transport: asyncio.Transport

    def __init__(self, world: World) -> None:
        self.world = world
        self.buffer = bytearray()
        self.in_data = False
        self.utf8 = False
        self.is_mute = False
        self.secured = world.implicit
        self.mail_from: str | None = None
        self.rcpt_to: list[str] = []
        self.upgrade: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        if self in self.world.guests:  # the same session, now behind TLS
            return
        self.world.guests.add(self)
        self.world.visits += 1
        self.world.peak = max(self.world.peak, len(self.world.guests))
        self.reply("220 world.example ESMTP")

    def connection_lost(self, error: Exception | None) -> None:
        self.world.leave(self)

    def reply(self, text: str) -> None:
        self._write(text.encode() + b"\r\n")

    def _write(self, data: bytes) -> None:
        if self.world.delay:
            asyncio.get_running_loop().call_later(self.world.delay, self.transport.write, data)
        elif not self.transport.is_closing():
            self.transport.write(data)

    def data_received(self, data: bytes) -> None:
        searched = max(0, len(self.buffer) - 4)
        self.buffer += data
        while self.buffer and self.upgrade is None and not self.is_mute:
            if not (self._content(searched) if self.in_data else self._command()):
                return
            searched = 0

    def _command(self) -> bool:
        """Obey the next whole line; False when there is none yet."""
        end = self.buffer.find(b"\n")
        if end < 0:
            return False
        line = bytes(self.buffer[: end + 1])
        del self.buffer[: end + 1]
        if not line.endswith(b"\r\n") or b"\r" in line[:-2] or b"\0" in line:
            self.world.faults.append(f"command {line!r}")
        self._obey(line.decode("utf-8", "replace").strip())
        return True

    def _obey(self, line: str) -> None:
        verb = line[:4].upper()
        match verb:
            case "EHLO":
                self._forget()
                offers = list(self.world.extensions)
                if self.world.server_tls and not self.secured:
                    offers.append("STARTTLS")
                lines = ["world.example", *offers]
                self.reply("\r\n".join([*(f"250-{offer}" for offer in lines[:-1]), f"250 {lines[-1]}"]))
            case "MAIL":
                self._forget()
                self.mail_from, self.utf8 = path(line), "SMTPUTF8" in line
                self.reply("250 2.1.0 Ok")
            case "RCPT":
                self._recipient(path(line))
            case "DATA":
                self.in_data = bool(self.rcpt_to)
                self.reply("354 End data with <CR><LF>.<CR><LF>" if self.rcpt_to else "554 5.5.1 no valid recipients")
            case "STAR" if self.world.server_tls and not self.secured:
                self.upgrade = asyncio.create_task(self._secure(self.world.server_tls))
            case "QUIT":
                self.reply("221 2.0.0 Bye")
                asyncio.get_running_loop().call_later(self.world.delay, self.transport.close)
            case "RSET" | "HELO" | "NOOP":
                self._forget()
                self.reply("250 2.0.0 Ok")
            case _:
                self.reply("500 5.5.2 what?")

    def _recipient(self, address: str) -> None:
        if address.rpartition("@")[2] in self.world.mute:
            self.is_mute = True
            return
        if not address.isascii() and not self.utf8:
            self.world.faults.append(f"8-bit recipient {address!r} without SMTPUTF8")
        answer = "503 5.5.1 MAIL first" if self.mail_from is None else next_answer(self.world.answers.get(address, ""))
        if not answer or answer.startswith("2"):
            self.rcpt_to.append(address)
        self.reply(answer or "250 2.1.5 Ok")

    def _content(self, searched: int) -> bool:
        """Take the message if the final dot is here; `searched` bytes are known not to hold it."""
        empty = self.buffer.startswith(b".\r\n")
        end = 0 if empty else self.buffer.find(b"\r\n.\r\n", searched)
        if end < 0:
            return False
        stuffed = bytes(self.buffer[: 0 if empty else end + 2])
        del self.buffer[: 3 if empty else end + 5]
        content = (b"\r\n" + stuffed).replace(b"\r\n..", b"\r\n.")[2:]
        if len({content.count(b"\r\n"), content.count(b"\r"), content.count(b"\n")}) > 1 or b"\0" in content:
            self.world.faults.append(f"bare CR, bare LF or NUL for {self.rcpt_to}")
        self._finish(content)
        return True

    def _finish(self, content: bytes) -> None:
        answer = next_answer(self.world.data_answer) or f"250 2.0.0 Ok: queued as {len(self.world.envelopes) + 1}"
        if answer.startswith("2"):
            self.world.receive(Received(self.mail_from or "", list(self.rcpt_to), content))
        self._forget()
        if not self.world.hang_after_dot:
            self.reply(answer)

    def _forget(self) -> None:
        self.in_data, self.mail_from, self.utf8 = False, None, False
        self.rcpt_to = []

    async def _secure(self, context: ssl.SSLContext) -> None:
        """RFC 3207 §4.2: whatever was said in plain text, before and behind STARTTLS, is forgotten."""
        self.reply("220 2.0.0 Ready to start TLS")
        self.buffer.clear()
        try:
            transport = await asyncio.get_running_loop().start_tls(self.transport, self, context, server_side=True)
        except OSError:
            transport = None
        if transport is None:  # also what asyncio returns when the connection was aborted in the handshake
            self.transport.abort()
            self.world.leave(self)
            return
        self.transport, self.secured, self.upgrade = transport, True, None
        self._forget()
        self.data_received(b"")  # the client may have spoken before this task came to run again


def path(line: str) -> str:
    """What stands between the angle brackets of MAIL FROM or RCPT TO."""
    return line[line.find("<") + 1 : line.rfind(">")]


def next_answer(scripted: Scripted) -> str:
    """The reply for this attempt; "" when the world says yes."""
    if isinstance(scripted, list):
        return scripted.pop(0) if scripted else ""
    return scripted
