"""Sends copies to the next hop and says what became of them.

`send` never raises for anything that the world does: each recipient gets an Outcome.  At most `connections` sockets
are open at any moment, sessions that are saying goodbye included; an idle session is kept for `idle_seconds`, and ends
after `max_transactions`.  Cancelling a `send` closes its connection and nothing else.
"""

import asyncio
import logging
import ssl
from collections.abc import Awaitable
from typing import Protocol

from listserv.model.delivery import Copy, Deferred, Failed, Outcome
from listserv.net.dialling import VERIFIED, dial, tls_context
from listserv.net.dialogue import Delivered, Dialogue, Patience
from listserv.net.routes import Smarthost, Tls
from listserv.net.transaction import Halves, Transaction, prepare

__all__ = ["Patience", "Relay", "Smarthost", "Tls"]

IDLE_SECONDS = 10.0
MAX_TRANSACTIONS = 1_000  # as many as servers take that count them

_CLOSING = Deferred("421 4.3.2 this server is shutting down", unreachable=True)

log = logging.getLogger(__name__)


class _Slot:
    """The right to one connection, and the session that was last opened under it."""

    def __init__(self) -> None:
        self.dialogue: Dialogue | None = None
        self.opening: asyncio.Timeout | None = None

    def kept(self) -> Dialogue | None:
        """The session, if it can still be used."""
        if self.dialogue is None or not self.dialogue.usable:
            return None
        self.dialogue.wake()
        return self.dialogue

    async def clear(self) -> None:
        """Back when nothing is left open of a session that cannot be used any more."""
        if self.dialogue:
            await self.dialogue.gone.wait()
            self.dialogue = None

    def give_up(self) -> None:
        """End what is under way; the one who waits for it hears of it as an outcome."""
        if self.dialogue:
            self.dialogue.abort()
        if self.opening:
            self.opening.reschedule(0)


class Source(Protocol):
    """Where copies come from, and who hears what became of them."""

    def take(self) -> Copy | None:
        """The next one; None when there is none at hand."""

    def ended(self, copy: Copy, outcomes: tuple[Outcome, ...]) -> Awaitable[None] | None:
        """One outcome per recipient, in order.  The next copy of the same `work` goes when what this gives is over."""


class _Alone:
    """One copy."""

    def __init__(self, copy: Copy) -> None:
        self._copy: Copy | None = copy
        self.outcomes: tuple[Outcome, ...] = ()

    def take(self) -> Copy | None:
        copy, self._copy = self._copy, None
        return copy

    def ended(self, copy: Copy, outcomes: tuple[Outcome, ...]) -> None:
        self.outcomes = outcomes


class _Row:
    """The copies of one `work`: the one under way, and the one behind it, once its envelope has been asked for."""

    copy: Copy
    transaction: Transaction
    refused: tuple[Failed, ...]  # () unless it cannot be said to any relay

    def __init__(self, source: Source, halves: Halves) -> None:
        self._source = source
        self._halves = halves
        self._behind: tuple[Copy, Transaction | Failed] | None = None

    def forward(self) -> bool:
        """To the next copy; False when there is none."""
        behind, self._behind = self._behind or self._take(), None
        if behind is None:
            return False
        self.copy, prepared = behind
        if isinstance(prepared, Failed):
            log.error("a copy for %d recipients: %s", len(self.copy.rcpt_to), prepared.reply)
            self.refused = (prepared,) * len(self.copy.rcpt_to)
        else:
            self.transaction, self.refused = prepared, ()
        return True

    def ask(self) -> Transaction | None:
        """What comes behind the copy under way."""
        self._behind = self._behind or self._take()
        prepared = self._behind[1] if self._behind else None
        return prepared if isinstance(prepared, Transaction) else None

    def _take(self) -> tuple[Copy, Transaction | Failed] | None:
        copy = self._source.take()
        return None if copy is None else (copy, prepare(copy, self._halves))


class Relay:
    """The way out.  Any number of `send`s and `work`s may run at the same time; they share the connections."""

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
        self._halves = Halves()
        self._closing = False
        self._all = [_Slot() for _ in range(smarthost.connections)]
        self._free: asyncio.LifoQueue[_Slot] = asyncio.LifoQueue()  # the session used last is the likeliest to live
        for slot in self._all:
            self._free.put_nowait(slot)

    async def send(self, copy: Copy) -> tuple[Outcome, ...]:
        """One outcome per recipient of `copy`, in order."""
        alone = _Alone(copy)
        await self.work(alone)
        return alone.outcomes

    async def work(self, source: Source) -> None:
        """Send what `source` has, one copy after the other over one connection, until it has nothing at hand."""
        slot = await self._free.get()
        row = _Row(source, self._halves)
        try:
            while row.forward():
                outcomes = row.refused or await self._send(slot, row)
                if turn := source.ended(row.copy, outcomes):
                    await turn
            self._rest(slot)
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
        self._halves.forget()

    def _give_up(self) -> None:
        for slot in self._all:
            slot.give_up()

    async def _send(self, slot: _Slot, row: _Row) -> tuple[Outcome, ...]:
        """A kept session may turn out to have ended while it was idle: then, and only then, there is a second try."""
        if self._closing:
            return (_CLOSING,) * len(row.copy.rcpt_to)
        if kept := slot.kept():
            delivered = await self._deliver(kept, row)
            if not delivered.unheard:
                return delivered.outcomes
        fresh = await self._open(slot)
        if isinstance(fresh, Deferred):
            return (fresh,) * len(row.copy.rcpt_to)
        return (await self._deliver(fresh, row)).outcomes

    def _deliver(self, dialogue: Dialogue, row: _Row) -> Awaitable[Delivered]:
        if dialogue.transactions + 1 >= self._max_transactions or self._closing:
            return self._deliver_last(dialogue, row)
        return dialogue.deliver(row.transaction, row.ask)

    async def _deliver_last(self, dialogue: Dialogue, row: _Row) -> Delivered:
        delivered = await dialogue.deliver(row.transaction)
        dialogue.leave()
        return delivered

    async def _open(self, slot: _Slot) -> Dialogue | Deferred:
        await slot.clear()
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

    def _rest(self, slot: _Slot) -> None:
        if slot.dialogue and self._closing:
            slot.dialogue.leave()
        elif slot.dialogue:
            slot.dialogue.rest(self._idle_seconds)
