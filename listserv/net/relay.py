"""Sends copies to the next hop and says what became of them.

`send` never raises for anything that the world does: each recipient gets an Outcome.  At most `connections` sockets
are open at any moment, sessions that are saying goodbye included; an idle session is kept for `idle_seconds`, and ends
after `max_transactions`.  Cancelling a `send` closes its connection and nothing else.
"""

import asyncio
import logging
import ssl

from listserv.model.delivery import Copy, Deferred, Failed, Outcome
from listserv.net.dialling import VERIFIED, dial, tls_context
from listserv.net.dialogue import Dialogue, Patience
from listserv.net.routes import Smarthost, Tls
from listserv.net.transaction import Bodies, Transaction, prepare

__all__ = ["Patience", "Relay", "Smarthost", "Tls"]

IDLE_SECONDS = 10.0
MAX_TRANSACTIONS = 100

_CLOSING = Deferred("421 4.3.2 this server is shutting down", unreachable=True)

log = logging.getLogger(__name__)


class _Slot:
    """The right to one connection, and the session that was last opened under it."""

    def __init__(self) -> None:
        self.dialogue: Dialogue | None = None
        self.opening: asyncio.Timeout | None = None

    async def kept(self) -> Dialogue | None:
        """The session, if it can still be used; otherwise nothing of it is left open."""
        if self.dialogue is None:
            return None
        if self.dialogue.usable:
            self.dialogue.wake()
            return self.dialogue
        await self.dialogue.gone.wait()
        self.dialogue = None
        return None

    def give_up(self) -> None:
        """End what is under way; the one who waits for it hears of it as an outcome."""
        if self.dialogue:
            self.dialogue.abort()
        if self.opening:
            self.opening.reschedule(0)


class Relay:
    """The way out.  Any number of `send`s may run at the same time; they share the connections."""

    def __init__(
        self,
        smarthost: Smarthost,
        *,
        patience: Patience | None = None,
        trust: ssl.SSLContext | None = None,
        idle_seconds: float = IDLE_SECONDS,
        max_transactions: int = MAX_TRANSACTIONS,
    ) -> None:
        """`trust` replaces the system's authorities where certificates are verified."""
        self._smarthost = smarthost
        self._context = trust if trust and smarthost.tls in VERIFIED else tls_context(smarthost.tls)
        self._patience = patience or Patience()
        self._idle_seconds = idle_seconds
        self._max_transactions = max_transactions
        self._bodies = Bodies()
        self._closing = False
        self._all = [_Slot() for _ in range(smarthost.connections)]
        self._free: asyncio.LifoQueue[_Slot] = asyncio.LifoQueue()  # the session used last is the likeliest to live
        for slot in self._all:
            self._free.put_nowait(slot)

    async def send(self, copy: Copy) -> tuple[Outcome, ...]:
        """One outcome per recipient of `copy`, in order."""
        slot = await self._free.get()
        try:
            if self._closing:
                return (_CLOSING,) * len(copy.rcpt_to)
            transaction = prepare(copy, self._bodies)
            if isinstance(transaction, Failed):
                log.error("copy for %s: %s", copy.rcpt_to, transaction.reply)
                return (transaction,) * len(copy.rcpt_to)
            return await self._send(slot, transaction)
        except BaseException:
            slot.give_up()
            raise
        finally:
            self._free.put_nowait(slot)

    async def close(self, grace: float) -> None:
        """End all sessions.  What is on the wire has `grace` seconds to end; what waits for a connection has none."""
        self._closing = True
        limit = asyncio.get_running_loop().call_later(grace, self._give_up)
        slots = [await self._free.get() for _ in self._all]
        limit.cancel()
        for slot in slots:
            if slot.dialogue:
                slot.dialogue.leave()
        for slot in slots:
            if slot.dialogue:
                await slot.dialogue.gone.wait()
            self._free.put_nowait(slot)  # for those who call `send` even now
        self._bodies.forget()

    def _give_up(self) -> None:
        for slot in self._all:
            slot.give_up()

    async def _send(self, slot: _Slot, transaction: Transaction) -> tuple[Outcome, ...]:
        """A kept session may turn out to have ended while it was idle: then, and only then, there is a second try."""
        kept = await slot.kept()
        if kept:
            delivered = await kept.deliver(transaction)
            self._keep(kept)
            if not delivered.unheard:
                return delivered.outcomes
            await slot.kept()
        fresh = await self._open(slot)
        if isinstance(fresh, Deferred):
            return (fresh,) * len(transaction.recipients)
        delivered = await fresh.deliver(transaction)
        self._keep(fresh)
        return delivered.outcomes

    async def _open(self, slot: _Slot) -> Dialogue | Deferred:
        if self._closing:
            return _CLOSING
        try:
            async with asyncio.timeout(None) as slot.opening:
                opened = await dial(self._smarthost, self._patience, self._context)
        except TimeoutError:
            return _CLOSING
        finally:
            slot.opening = None
        if isinstance(opened, Dialogue):
            slot.dialogue = opened
        return opened

    def _keep(self, dialogue: Dialogue) -> None:
        if dialogue.transactions >= self._max_transactions or self._closing:
            dialogue.leave()
        else:
            dialogue.rest(self._idle_seconds)
