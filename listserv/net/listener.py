"""The doors: where SMTP and LMTP clients come in.

    listener = Listener([Door(("127.0.0.1", 8025))], hostname, house, clock)
    await listener.start()      # all doors are open, or an OSError says which one is not and why
    await listener.stop(30.0)   # who is in DATA or waits for a commit is served, at most so many seconds

Everything runs in the caller's event loop.  What a session is: `session`, and below it `connection` (the wire),
`content` (the message), `grammar` (the words), `gate` (limits and timers).

Sources: RFC 5321 §3.8 (421 at shutdown); RFC 2033 (LMTP).
"""

import asyncio
import ipaddress
import socket
import ssl
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from listserv.net import sockets
from listserv.net.connection import silence_aiosmtpd, slim_tls
from listserv.net.content import Budget
from listserv.net.doorway import Doorway
from listserv.net.gate import DEFAULTS, Gate, Limits
from listserv.net.house import Desk, House
from listserv.net.session import Session
from listserv.net.sockets import Address

__all__ = ["Door", "House", "Limits", "Listener", "open_doors"]

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_AT_ONCE = 16  # connections accepted in one go, so that the gate sees them before the descriptors run out
_NEXT = 1  # where several processes accept: the others are there for the rest

_OURS: dict[str, Any] = {"cleanup_socket": False} if sys.version_info >= (3, 13) else {}  # we remove it, at the end


@dataclass(frozen=True, slots=True)
class Door:
    """Where to listen; `key` is the setting that says so."""

    address: Address
    lmtp: bool = False

    @property
    def key(self) -> str:
        return "[lmtp] listen" if self.lmtp else "[smtp] listen"

    def __str__(self) -> str:
        return sockets.shown(self.address)


def open_doors(doors: Sequence[Door]) -> list[socket.socket]:
    """All of them or none, in their order; an OSError says which one cannot be opened and why."""
    wanted = [(door.key, door.address) for door in doors]
    return sockets.bind_all(wanted, mode=0o666)  # an MTA is another user; its folder says who may connect


class Listener:
    """All doors of one process.  `tls` is offered at the SMTP doors; peers inside `trusted` are taken at their word.

    doorway  the doors, opened already and shared with other processes; None: opened here
    """

    def __init__(
        self,
        doors: Sequence[Door],
        hostname: str,
        house: House,
        clock: Callable[[], datetime],
        limits: Limits = DEFAULTS,
        tls: ssl.SSLContext | None = None,
        trusted: Sequence[Network] = (),
        budget: Budget | None = None,
        doorway: Doorway | None = None,
    ) -> None:
        self._doors = tuple(doors)
        self._trusted = tuple(trusted)
        self._doorway = doorway
        self._servers: list[asyncio.Server] = []
        budget, gate = budget or Budget(limits.memory), Gate(doorway)
        self._desk = Desk(house, hostname, clock, limits, self._trusts, budget, tls, gate)
        self.bound: tuple[Address, ...] = ()

    async def start(self) -> None:
        """Open all doors or none; then `bound` has their addresses in the order of the doors, with the real ports."""
        silence_aiosmtpd()
        slim_tls()
        opened = self._doorway.opened if self._doorway else open_doors(self._doors)
        self.bound = tuple(map(sockets.name, opened))
        for door, bound in zip(self._doors, opened, strict=True):
            self._servers.append(await self._serve(door, bound))

    async def _serve(self, door: Door, bound: socket.socket) -> asyncio.Server:
        def session() -> Session:
            return Session(self._desk, lmtp=door.lmtp)

        loop = asyncio.get_running_loop()
        at_once = _NEXT if self._doorway and self._doorway.processes > 1 else _AT_ONCE
        if isinstance(door.address, str):
            server = await loop.create_unix_server(session, sock=bound, backlog=at_once, **_OURS)
        else:
            server = await loop.create_server(session, sock=bound, backlog=at_once)
        bound.listen(sockets.WAITING)
        return server

    def reload(self, limits: Limits) -> None:
        """Sessions that begin from now on keep to `limits`; `memory` needs a new start."""
        self._desk.limits = limits

    async def stop(self, grace: float) -> None:
        """Close the doors and send the idle away; wait up to `grace` seconds for the others, then abort them."""
        desk = self._desk
        desk.stopping = True
        self._close_doors()
        for guest in tuple(desk.guests):
            guest.retire()
        loop = asyncio.get_running_loop()
        ends = loop.time() + grace
        while (tasks := self._under_way()) and (left := ends - loop.time()) > 0:
            await asyncio.wait(tasks, timeout=left)
        for guest in tuple(desk.guests):
            guest.abort()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        desk.budget.close()

    def _close_doors(self) -> None:
        for server in self._servers:
            server.close()
        self._servers.clear()
        if self._doorway is None:
            sockets.remove(self.bound)

    def _under_way(self) -> set[asyncio.Task[object]]:
        tasks: set[asyncio.Task[object]] = {*self._desk.commits}
        tasks.update(guest.conversation for guest in self._desk.guests if guest.conversation)
        return {task for task in tasks if not task.done()}

    def _trusts(self, ip: str) -> bool:
        address = ipaddress.ip_address(ip.partition("%")[0])
        return any(address in network for network in self._trusted)
