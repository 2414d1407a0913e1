"""The verbs of SMTP and LMTP, between a `Connection` and the `House`.

Promises: what the house refuses is refused before the message is sent; a message that is taken is handed over whole
and once, and the hand-over is finished whatever becomes of the client; its answer is the house's own.  There is no
AUTH, before and after STARTTLS.

Sources: RFC 5321 §4.1.1, §4.3.2 (order); RFC 2033 §4.2 (LMTP: one reply per recipient after DATA); RFC 3207;
RFC 1870, 2034, 2920, 6152, 6531 (what EHLO offers); RFC 1047 (why a hang-up cancels nothing).
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial

import aiosmtpd.smtp
from aiosmtpd.smtp import TLSSetupException

from listserv.model.envelope import Envelope, Reply
from listserv.net import grammar, replies
from listserv.net.connection import Act, Connection
from listserv.net.content import Spool, receive
from listserv.net.gate import network_of
from listserv.net.lanes import Room

SURPLUS = 1000  # recipients beyond the limit of one transaction; whoever goes on after so many refusals is to blame
CROWD = 64  # messages that are being taken; with more they begin one after the other, and others are heard between

log = logging.getLogger("listserv.listener")


class Session(Connection):
    """One client's session; the transaction lives in aiosmtpd's envelope, whose `mail_from` "" is the null sender."""

    _surplus = 0  # recipients of this transaction that were too many

    @property
    def _open(self) -> aiosmtpd.smtp.Envelope:
        assert self.envelope is not None
        return self.envelope

    def act(self, verb: str) -> Act | None:
        known = (_LMTP if self.peer.lmtp else _SMTP).get(verb)
        return partial(known, self) if known else None

    async def ehlo(self, argument: str) -> None:
        if await self._greet(argument, extended=True):
            offers = ["PIPELINING", f"SIZE {self.limits.max_message_bytes}", "8BITMIME", "SMTPUTF8"]
            offers += ["STARTTLS"] if self._tls_is_possible else []
            await self.say(Reply(250, "", "\n".join([self.desk.hostname, *offers, "ENHANCEDSTATUSCODES"])))

    async def helo(self, argument: str) -> None:
        if await self._greet(argument, extended=False):
            await self.say(Reply(250, "", self.desk.hostname))

    async def _greet(self, argument: str, *, extended: bool) -> bool:
        name = grammar.host(argument)
        if name is None:
            await self.refuse(replies.ODD_ARGUMENT)
            return False
        self._forget()
        assert self.session is not None
        self.session.extended_smtp = extended
        self.peer = replace(self.peer, helo=name)
        return True

    def _forget(self) -> None:
        self.envelope = self._create_envelope()
        self._surplus = 0

    async def starttls(self, argument: str) -> None:
        """After it everything begins anew; what was sent along in the clear is dropped (RFC 3207 §4.2)."""
        if argument or not self._tls_is_possible:
            await self.refuse(replies.ODD_ARGUMENT if argument else replies.NO_TLS)
            return
        await self._turn_comes()  # a handshake takes half a millisecond, and a crowd may begin them all at once
        await super().smtp_STARTTLS("")
        if not self.peer.tls:
            raise TLSSetupException from ConnectionResetError()  # the client went away during the handshake

    @property
    def _tls_is_possible(self) -> bool:
        return self.tls_context is not None and not self.peer.tls

    async def noop(self, _argument: str) -> None:
        await self.say(replies.OK)

    async def rset(self, _argument: str) -> None:
        self._forget()
        await self.say(replies.OK)

    async def help(self, _argument: str) -> None:
        await self.say(replies.HELP)

    async def vrfy(self, argument: str) -> None:
        await (self.say(replies.UNVERIFIED) if argument else self.refuse(replies.ODD_ARGUMENT))

    async def quit(self, _argument: str) -> None:
        await self.end(replies.BYE)

    async def mail(self, argument: str) -> None:
        wanted = self._mail(argument)
        if isinstance(wanted, grammar.Mail):
            wanted = await self._ask(self.desk.house.busy()) or wanted
        if isinstance(wanted, Reply):
            await self.refuse(wanted)
            return
        self._open.mail_from, self._open.smtp_utf8 = wanted.sender, wanted.utf8
        await self.say(replies.SENDER_OK)

    def _mail(self, argument: str) -> grammar.Mail | Reply:
        if not self.peer.helo:
            return replies.NO_GREETING
        if self._open.mail_from is not None:
            return replies.NESTED
        assert self.session is not None
        return grammar.mail(argument, self.limits.max_message_bytes, extended=self.session.extended_smtp)

    async def rcpt(self, argument: str) -> None:
        address = self._rcpt(argument)
        if isinstance(address, str):
            sender = self._open.mail_from or ""
            address = await self._ask(self.desk.house.recipient(self.peer, sender, address)) or address
        if isinstance(address, Reply):
            self._surplus += address is replies.TOO_MANY_RECIPIENTS
            await self.refuse(address, blamed=self._surplus > SURPLUS)
            return
        self._open.rcpt_tos.append(address)
        await self.say(replies.RECIPIENT_OK)

    def _rcpt(self, argument: str) -> str | Reply:
        if self._open.mail_from is None:
            return replies.NO_MAIL
        if len(self._open.rcpt_tos) >= self.limits.max_recipients:
            return replies.TOO_MANY_RECIPIENTS
        return grammar.rcpt(argument, utf8=self._open.smtp_utf8)

    async def data(self, argument: str) -> None:
        refusal = replies.ODD_ARGUMENT if argument else None if self._open.rcpt_tos else replies.NO_RECIPIENT
        refusal = refusal or await self._ask(self.desk.house.busy())
        if refusal:
            await self.refuse(refusal)
            return
        await self.say(replies.GO_AHEAD)
        await self.flush()
        answers = await self._message()
        self._forget()
        await self.say(*answers)

    async def _message(self) -> Sequence[Reply]:
        """Read it, hand it over, and say what became of it."""
        spool = Spool(self.desk.budget, self.limits)
        self.timers.data_begins()
        try:
            fault = await receive(self.wire, spool, self.limits, self.desk.shares, self._turn_comes)
            self.timers.data_ends()
            if fault:
                self.errors += fault.code >= 500
                return self._to_all(fault)
            self.errors = self.idle_commands = 0
            return await self._hand_over(spool)
        except (asyncio.IncompleteReadError, ConnectionError):
            raise  # the client has hung up
        except Exception:
            log.exception("a message was not handed over by a fault of ours")
            return self._to_all(replies.OUR_FAULT)
        finally:
            spool.close()

    async def _hand_over(self, spool: Spool) -> Sequence[Reply]:
        """Into memory, when there is room, and to the house."""
        self.timers.working(True)
        try:
            room = await self.desk.budget.take(spool.size, network_of(self.peer.ip))
            try:
                if len(self.desk.commits) >= CROWD:
                    await self.desk.shares.turn()
                commit = self._commit(self._sealed(), await spool.load(), room)
            except BaseException:
                self.desk.budget.give(room)
                raise
            spool.close()
            task = asyncio.create_task(commit)
            self.desk.commits.add(task)
            task.add_done_callback(self.desk.commits.discard)
            return await asyncio.shield(task)
        finally:
            self.timers.working(False)

    def _sealed(self) -> Envelope:
        opened = self._open
        assert opened.mail_from is not None
        return Envelope(
            opened.mail_from, tuple(opened.rcpt_tos), self.peer, at=self.desk.clock(), smtputf8=opened.smtp_utf8
        )

    async def _commit(self, envelope: Envelope, content: bytes, room: Room) -> Sequence[Reply]:
        """Tracked by the desk and shielded from the client: its hang-up does not stop it."""
        expected = len(envelope.rcpt_to) if envelope.peer.lmtp else 1
        try:
            answers = await self.desk.house.accept(envelope, content)
            if len(answers) != expected:
                raise ValueError(f"{len(answers)} replies for {expected}")
        except Exception:
            log.exception("a message was not taken by a fault of ours")
            return self._to_all(replies.OUR_FAULT)
        else:
            return answers
        finally:
            self.desk.budget.give(room)

    def _to_all(self, reply: Reply) -> Sequence[Reply]:
        return [reply] * (len(self._open.rcpt_tos) if self.peer.lmtp else 1)

    async def _ask(self, question: Awaitable[Reply | None]) -> Reply | None:
        """The house's answer; a fault of its own is not the client's."""
        try:
            return await question
        except Exception:
            log.exception("a question was not answered by a fault of ours")
            return replies.OUR_FAULT


_BOTH: dict[str, Callable[[Session, str], Awaitable[None]]] = {
    "MAIL": Session.mail,
    "RCPT": Session.rcpt,
    "DATA": Session.data,
    "RSET": Session.rset,
    "NOOP": Session.noop,
    "QUIT": Session.quit,
    "HELP": Session.help,
    "VRFY": Session.vrfy,
    "STARTTLS": Session.starttls,
}
_SMTP = _BOTH | {"EHLO": Session.ehlo, "HELO": Session.helo}
_LMTP = _BOTH | {"LHLO": Session.ehlo}
