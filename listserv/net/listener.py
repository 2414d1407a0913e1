"""The doors: where SMTP and LMTP clients come in.

    listener = Listener([Door(("127.0.0.1", 8025))], hostname, house, clock)
    await listener.start()      # all doors are open, or an OSError says which one is not and why
    await listener.stop(30.0)   # who is in DATA or waits for a commit is served, at most so many seconds

Everything runs in the caller's event loop.  What a session is: `session`, and below it `connection` (the wire),
`content` (the message), `grammar` (the words), `gate` (limits and timers).

Sources: RFC 5321 §3.8 (421 at shutdown); RFC 2033 (LMTP).
"""

import asyncio
import contextlib
import errno
import ipaddress
import os
import socket
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from listserv.net.connection import silence_aiosmtpd, slim_tls
from listserv.net.content import Budget
from listserv.net.gate import DEFAULTS, Limits
from listserv.net.house import Desk, House
from listserv.net.session import Session

__all__ = ["Door", "House", "Limits", "Listener"]

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = tuple[str, int] | str  # host (an IPv6 address without brackets) and port, or the path of a unix socket

_AT_ONCE = 16  # connections accepted in one go, so that the gate sees them before the descriptors run out
_WAITING = 512  # connections that may wait in the kernel


@dataclass(frozen=True, slots=True)
class Door:
    """Where to listen; `key` is the setting that says so."""

    address: Address
    lmtp: bool = False

    @property
    def key(self) -> str:
        return "[lmtp] listen" if self.lmtp else "[smtp] listen"

    def __str__(self) -> str:
        if isinstance(self.address, str):
            return f"unix:{self.address}"
        host, port = self.address
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


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
    ) -> None:
        self._doors = tuple(doors)
        self._trusted = tuple(trusted)
        self._servers: list[asyncio.Server] = []
        self._desk = Desk(house, hostname, clock, limits, self._trusts, Budget(limits.memory), tls)
        self.bound: tuple[Address, ...] = ()

    async def start(self) -> None:
        """Open all doors or none; then `bound` has their addresses in the order of the doors, with the real ports."""
        silence_aiosmtpd()
        slim_tls()
        sockets: list[socket.socket] = []
        try:
            for door in self._doors:
                sockets.append(_bind(door))  # noqa: PERF401 - what is bound has to be closed when the next one fails
        except OSError:
            for bound in sockets:
                bound.close()
            raise
        for door, bound in zip(self._doors, sockets, strict=True):
            self._servers.append(await self._serve(door, bound))
        self.bound = tuple(_name(bound) for bound in sockets)

    async def _serve(self, door: Door, bound: socket.socket) -> asyncio.Server:
        def session() -> Session:
            return Session(self._desk, lmtp=door.lmtp)

        loop = asyncio.get_running_loop()
        create = loop.create_unix_server if isinstance(door.address, str) else loop.create_server
        server = await create(session, sock=bound, backlog=_AT_ONCE)
        bound.listen(_WAITING)
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
        for door in self._doors:
            if isinstance(door.address, str):
                with contextlib.suppress(FileNotFoundError):
                    Path(door.address).unlink()

    def _under_way(self) -> set[asyncio.Task[object]]:
        tasks: set[asyncio.Task[object]] = {*self._desk.commits}
        tasks.update(guest.conversation for guest in self._desk.guests if guest.conversation)
        return {task for task in tasks if not task.done()}

    def _trusts(self, ip: str) -> bool:
        address = ipaddress.ip_address(ip.partition("%")[0])
        return any(address in network for network in self._trusted)


def _bind(door: Door) -> socket.socket:
    """The listening socket of `door`; an OSError that names it, its key and what to do."""
    try:
        if isinstance(door.address, str):
            return _bind_path(door.address)
        host, port = door.address
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=_WAITING)
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        why = "is in use; is another daemon running?" if taken else (error.strerror or str(error))
        raise OSError(error.errno, f"{door.key}: cannot listen on {door}: {why}") from error


def _bind_path(path: str) -> socket.socket:
    """A unix socket at `path`; one that nobody answers at any more is replaced."""
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _remove_stale(path)
        bound.bind(path)
        bound.listen(_WAITING)
    except OSError:
        bound.close()
        raise
    return bound


def _remove_stale(path: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            Path(path).unlink()
        except FileNotFoundError:
            pass
        else:
            raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))


def _name(bound: socket.socket) -> Address:
    name = bound.getsockname()
    return name if isinstance(name, str) else (name[0], name[1])
