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
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from listserv.net import sockets
from listserv.net.connection import silence_aiosmtpd, slim_tls
from listserv.net.content import Budget
from listserv.net.gate import DEFAULTS, Limits
from listserv.net.house import Desk, House
from listserv.net.session import Session
from listserv.net.sockets import Address

__all__ = ["Door", "House", "Limits", "Listener"]

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_AT_ONCE = 16  # connections accepted in one go, so that the gate sees them before the descriptors run out


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


class Listener:
    """All doors of one process.  `tls` is offered at the SMTP doors; peers inside `trusted` are taken at their word."""

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
    ) -> None:
        self._doors = tuple(doors)
        self._trusted = tuple(trusted)
        self._servers: list[asyncio.Server] = []
        self._desk = Desk(house, hostname, clock, limits, self._trusts, budget or Budget(limits.memory), tls)
        self.bound: tuple[Address, ...] = ()

    async def start(self) -> None:
        """Open all doors or none; then `bound` has their addresses in the order of the doors, with the real ports."""
        silence_aiosmtpd()
        slim_tls()
        wanted = [(door.key, door.address) for door in self._doors]
        opened = sockets.bind_all(wanted, mode=0o666)  # an MTA is another user; its folder says who may connect
        self.bound = tuple(map(sockets.name, opened))
        for door, bound in zip(self._doors, opened, strict=True):
            self._servers.append(await self._serve(door, bound))

    async def _serve(self, door: Door, bound: socket.socket) -> asyncio.Server:
        def session() -> Session:
            return Session(self._desk, lmtp=door.lmtp)

        loop = asyncio.get_running_loop()
        create = loop.create_unix_server if isinstance(door.address, str) else loop.create_server
        server = await create(session, sock=bound, backlog=_AT_ONCE)
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
        sockets.remove(self.bound)

    def _under_way(self) -> set[asyncio.Task[object]]:
        tasks: set[asyncio.Task[object]] = {*self._desk.commits}
        tasks.update(guest.conversation for guest in self._desk.guests if guest.conversation)
        return {task for task in tasks if not task.done()}

    def _trusts(self, ip: str) -> bool:
        address = ipaddress.ip_address(ip.partition("%")[0])
        return any(address in network for network in self._trusted)
