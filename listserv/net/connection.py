"""One connection: aiosmtpd's protocol with a command loop of our own.

From aiosmtpd we keep the life of a connection, STARTTLS and the state of a transaction.  We replace what it leaves
open (measured: RELIABILITY of 1.4.6): only CRLF ends a line, timers abort, errors are counted and slow their maker
down, every reply has its enhanced code, an exception of ours is an opaque 451, a hang-up cancels no commit, and
nothing is inspected anew for each connection.  The verbs are in `session`.

Sources: RFC 5321 §2.3.8, §3.8, §4.3.2; RFC 3207 (STARTTLS); RFC 2920 (pipelining).
"""

import asyncio
import asyncio.sslproto
import logging
from abc import abstractmethod
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from aiosmtpd.smtp import SMTP, TLSSetupException

from listserv.model.envelope import Peer, Reply
from listserv.net import grammar, replies
from listserv.net.content import Wire
from listserv.net.gate import Timers
from listserv.net.house import Desk
from listserv.net.shares import COMMANDS, REPLIES, Inlet

IN_A_ROW = 4  # commands that came together and are obeyed together; whoever sends more waits for his turn

_IDLE = frozenset({"NOOP", "RSET", "HELP", "VRFY", "EHLO", "HELO", "LHLO"})
_NEVER = frozenset({"AUTH", "EXPN", "TURN", "ETRN", "BDAT", "BURL", "SEND", "SOML", "SAML"})
_BROWSER = frozenset({"GET", "POST", "PUT", "HEAD", "PATCH", "DELETE", "OPTIONS", "CONNECT"})

Act = Callable[[str], Awaitable[None]]

log = logging.getLogger("listserv.listener")


def silence_aiosmtpd() -> None:
    """It logs recipients, which may be tokens, at INFO, and bodies at DEBUG: nothing of that may reach any log."""
    theirs = logging.getLogger("mail.log")
    theirs.setLevel(logging.CRITICAL + 1)
    theirs.addFilter(_nothing)


def slim_tls() -> None:
    """asyncio gives each TLS connection a buffer of 256 KiB, thousands of which would be our whole memory."""
    asyncio.sslproto.SSLProtocol.max_size = COMMANDS


def _nothing(_record: logging.LogRecord) -> bool:
    return False


class Connection(SMTP):
    """From the greeting to the end, without the verbs."""

    transport: Any  # a transport of the loop's, or of asyncio.sslproto's

    def __init__(self, desk: Desk, *, lmtp: bool) -> None:
        # Not SMTP.__init__, which inspects its own class for each connection; what its other methods use stands here.
        self.loop = asyncio.get_running_loop()
        self.wire = Wire(limit=COMMANDS, loop=self.loop)
        asyncio.StreamReaderProtocol.__init__(self, self.wire, self._cb_client_connected, self.loop)
        self.transport = self.session = self.envelope = None
        self.tls_context = None if lmtp else desk.tls
        self._handle_hooks = {}
        self._tls_handshake_okay = True
        self._original_transport = self._tls_protocol = self._handler_coroutine = None
        self.desk = desk
        self.limits = desk.limits
        self.peer = Peer("", lmtp=lmtp, trusted=lmtp)
        self.errors = 0
        self.idle_commands = 0
        self._timers: Timers | None = None
        self._awaits_command = False
        self._in_a_row = 0  # commands that were here before the one before them was answered
        self._unsaid = b""  # replies that wait for those to the commands behind
        self._over = False

    # The life of a connection.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called again when TLS has begun: then all that the client has said is forgotten (RFC 3207 §4.2)."""
        if self._timers is None and not self._enter(transport):
            return
        self.peer = replace(self.peer, helo="", tls=self._tls_protocol is not None)
        super().connection_made(transport)
        self.transport.set_write_buffer_limits(high=REPLIES)
        if self.peer.tls:
            self.transport.set_read_buffer_limits(high=COMMANDS)

    def _enter(self, transport: Any) -> bool:
        name = transport.get_extra_info("peername")
        ip = name[0] if isinstance(name, tuple) else ""
        self.peer = replace(self.peer, ip=ip, trusted=self.peer.lmtp or (bool(ip) and self.desk.trusts(ip)))
        if self.desk.stopping:
            refusal: Reply | None = replies.SHUTTING_DOWN
        else:
            refusal = self.desk.gate.enter(ip, self.limits, exempt=self._exempt)
        if refusal:
            log.info("%s: %s", ip or "local", refusal)
            transport.write(replies.wire_form(refusal))
            transport.close()
            return False
        transport.set_protocol(Inlet(self))
        self._timers = Timers(self.loop, self.limits, self._abort)
        self.desk.guests.add(self)
        return True

    @property
    def _exempt(self) -> bool:
        return self.peer.trusted or not self.peer.ip

    def room(self) -> memoryview:
        return self.desk.shares.buffer[: self.wire.limit]

    def data_received(self, data: bytes | memoryview) -> None:
        if self._timers is not None:
            self._timers.received(len(data))
            self.wire.feed_data(data)

    def eof_received(self) -> bool | None:
        """What the client said before it hung up is answered; aiosmtpd would cancel the answer."""
        return asyncio.StreamReaderProtocol.eof_received(self) if self._timers is not None else False

    def connection_lost(self, error: Exception | None) -> None:
        if self._original_transport is not None:
            self._original_transport.close()
        asyncio.StreamReaderProtocol.connection_lost(self, error)
        if self._handler_coroutine is not None:
            self._handler_coroutine.cancel()  # a commit is a task of its own and goes on
        self._leave()
        self._client_connected_cb = None

    def _leave(self) -> None:
        """Once, however it ends; a failed handshake ends without connection_lost."""
        if self in self.desk.guests:
            self.desk.guests.remove(self)
            self.desk.gate.leave(self.peer.ip, exempt=self._exempt)
            self.timers.end()

    @property
    def timers(self) -> Timers:
        assert self._timers is not None
        return self._timers

    def _reset_timeout(self, duration: float | None = None) -> None:
        """aiosmtpd's timer closes, and waits for the peer to read; `Timers` abort."""

    def _abort(self, reason: str) -> None:
        log.info("%s: aborted, %s", self.peer.ip or "local", reason)
        self.abort()

    # What the listener does with a guest.

    @property
    def conversation(self) -> asyncio.Task[None] | None:
        return self._handler_coroutine

    def abort(self) -> None:
        self.transport.abort()
        self._leave()

    def retire(self) -> None:
        if self._awaits_command and not self._over:
            self._over = True
            self._writer.write(replies.wire_form(replies.SHUTTING_DOWN))
            self._part()

    def _part(self) -> None:
        """Close, and give the peer a moment to read what we said."""
        if self in self.desk.guests:
            self.timers.linger()
        self.transport.close()

    # The conversation.

    async def _handle_client(self) -> None:
        """What aiosmtpd runs as a task when the connection is made.

        At its end the session holds nothing that holds it: a thousand of them that go at the same time would make the
        next collection of garbage take longer than anybody may wait.
        """
        try:
            await self._converse()
        finally:
            self._over = True
            self._handler_coroutine = None
            del self._writer

    async def _converse(self) -> None:
        try:
            kind = "LMTP" if self.peer.lmtp else "ESMTP"
            await self.say(Reply(220, "", f"{self.desk.hostname} {kind}"))
            while not self._over:
                await self._turn()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client has hung up
        except TLSSetupException as failure:
            log.info("%s: no TLS: %s", self.peer.ip or "local", type(failure.__cause__).__name__)
            self.abort()
        self._part()

    async def _turn(self) -> None:
        """One command and its reply."""
        if self.desk.stopping:
            await self.end(replies.SHUTTING_DOWN)
            return
        self._in_a_row = self._in_a_row + 1 if self.wire.holds_a_line else 0
        if self._in_a_row > IN_A_ROW:
            await self._turn_comes()
        self._awaits_command = True
        line = await self._line()
        self._awaits_command = False
        self.timers.touch()
        try:
            await self._obey(grammar.command(line))
        except (asyncio.IncompleteReadError, ConnectionError, TLSSetupException):
            raise
        except Exception:
            log.exception("a fault of ours while obeying a command")
            await self.say(replies.OUR_FAULT)

    async def _turn_comes(self) -> None:
        """As `Shares.turn`; it is not the client who is idle meanwhile."""
        self.timers.working(True)
        try:
            await self.desk.shares.turn()
        finally:
            self.timers.working(False)

    async def _line(self) -> bytes:
        """A command line with its end; of an overlong one, what shows that it is."""
        overlong = b""
        while True:
            try:
                return overlong + await self.wire.readuntil(b"\n")
            except asyncio.LimitOverrunError as over:
                overlong = (await self.wire.readexactly(over.consumed))[: grammar.MAX_COMMAND + 1]

    async def _obey(self, command: grammar.Command | Reply) -> None:
        if isinstance(command, Reply):
            await self.refuse(command)
        elif command.verb in _BROWSER:
            await self.end(replies.UNKNOWN)  # a web page makes a browser speak: none of the lines to come is meant
        elif (act := self.act(command.verb)) is None:
            await self.refuse(replies.NOT_HERE if command.verb in _NEVER else replies.UNKNOWN)
        elif command.verb in _IDLE and self._loiters():
            await self.end(replies.LOITERING)
        else:
            await act(command.argument)

    @abstractmethod
    def act(self, verb: str) -> Act | None:
        """What is to be done with the argument of `verb`; None: the verb does not exist here."""

    def _loiters(self) -> bool:
        self.idle_commands += 1
        return self.idle_commands > self.limits.max_idle_commands

    async def say(self, *answers: Reply) -> None:
        """At once; when the client's next command is here already, together with its reply (RFC 2920 §3.2)."""
        self._unsaid += b"".join(map(replies.wire_form, answers))
        if self._over or not self.wire.holds_a_line or len(self._unsaid) > REPLIES:
            await self.flush()

    async def flush(self) -> None:
        """Nothing that was said waits any more."""
        said, self._unsaid = self._unsaid, b""
        if said:
            self._writer.write(said)
            await self._writer.drain()

    async def push(self, status: Any) -> None:
        """What aiosmtpd itself says: around STARTTLS only, and always as text."""
        await self.say(replies.enhanced(status))
        await self.flush()

    async def end(self, last: Reply) -> None:
        self._over = True
        await self.say(last)

    async def refuse(self, reply: Reply, *, blamed: bool = False) -> None:
        """Say no.  Errors of the client's are counted: it is slowed down, then shown the door.

        A trusted peer speaks for many others: unknown recipients from there are no sign of harvesting.
        """
        if blamed or (reply.code >= 500 and not (self.peer.trusted and reply.status.startswith(("5.1.", "5.7.")))):
            self.errors += 1
        if self.errors >= self.limits.max_errors:
            await self.end(replies.TOO_MANY_ERRORS)
            return
        if self.errors > self.limits.slow_after and (blamed or reply.code >= 500):
            await self.flush()
            await asyncio.sleep(self.limits.error_delay)
        await (self.end if reply.code == 421 else self.say)(reply)
