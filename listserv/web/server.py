"""The doors of the pages: HTTP/1.1 in the caller's event loop, by uvicorn's protocol on h11.

    pages = Pages(app, settings.http.listen)
    await pages.start()      # all doors are open, or an OSError says which one is not and why
    await pages.stop(30.0)   # who is being served gets the answer, at most so many seconds later

Of uvicorn only the protocol is used: its server handles signals, exits the process and wakes up ten times a second.
What the protocol lacks is here: a limit to the connections, counted from the first octet on, and a time in which
each exchange has to end, so that nobody holds a connection by sending slowly, not at all, or without reading.
"""

import asyncio
import contextlib
import errno
import logging
import os
import socket
from collections.abc import Sequence
from pathlib import Path

from starlette.types import ASGIApp
from uvicorn import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from listserv.settings import Listen, TcpPort, UnixSocket

MAX_CONNECTIONS = 500
EXCHANGE_SECONDS = 30.0  # from the end of the last answer, or the connection, to the end of the next answer
KEEP_ALIVE_SECONDS = 5
MAX_HEADER_BYTES = 16_384

_AT_ONCE = 16  # connections accepted in one go
_WAITING = 512  # connections that may wait in the kernel
_PARTING_SECONDS = 1.0  # for a task to notice that its client is gone
_FULL = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 30\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Pages:
    """All doors of one process."""

    def __init__(
        self,
        app: ASGIApp,
        listen: Sequence[Listen],
        *,
        max_connections: int = MAX_CONNECTIONS,
        exchange_seconds: float = EXCHANGE_SECONDS,
    ) -> None:
        self._config = _config(app)
        self._listen = tuple(listen)
        self._max_connections = max_connections
        self._exchange_seconds = exchange_seconds
        self._state = ServerState()
        self._guests: set[_Connection] = set()
        self._servers: list[asyncio.Server] = []
        self.bound: tuple[Listen, ...] = ()

    async def start(self) -> None:
        """Open all doors or none; then `bound` has their addresses in the order of `listen`, with the real ports."""
        self._config.load()
        logging.getLogger("python_multipart").setLevel(logging.ERROR)  # it warns about every odd request
        sockets = _bind_all(self._listen)
        loop = asyncio.get_running_loop()
        for bound in sockets:
            server = await loop.create_server(self._connection, sock=bound, backlog=_AT_ONCE)
            bound.listen(_WAITING)
            self._servers.append(server)
        self.bound = tuple(map(_name, sockets))

    async def stop(self, grace: float) -> None:
        """Close the doors and the idle connections; wait up to `grace` seconds for the others, then abort them."""
        self._close_doors()
        guests = tuple(self._guests)
        for guest in guests:
            guest.shutdown()
        tasks: set[asyncio.Future[None]] = set(self._state.tasks)
        await _wait({*tasks, *(guest.end for guest in guests)}, grace)
        for guest in guests:
            guest.transport.abort()  # who waits for a client goes on, and ends
        await _wait(tasks, _PARTING_SECONDS)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _connection(self) -> "_Connection":
        return _Connection(self._config, self._state, self._guests, self._max_connections, self._exchange_seconds)

    def _close_doors(self) -> None:
        for server in self._servers:
            server.close()
        self._servers.clear()
        for door in self.bound:
            if isinstance(door, UnixSocket):
                door.path.unlink(missing_ok=True)
        self.bound = ()


class _Connection(H11Protocol):
    """One client, for a limited time."""

    def __init__(
        self, config: Config, state: ServerState, guests: "set[_Connection]", max_guests: int, exchange_seconds: float
    ) -> None:
        super().__init__(config, state, app_state={})
        self._guests = guests
        self._max_guests = max_guests
        self._exchange_seconds = exchange_seconds
        self._deadline: asyncio.TimerHandle | None = None
        self.end: asyncio.Future[None] = self.loop.create_future()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self._guests) >= self._max_guests:
            transport.write(_FULL)
            transport.close()
        self._guests.add(self)
        self._begin()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._begin()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._guests.discard(self)
        if self._deadline:
            self._deadline.cancel()
        if not self.end.done():
            self.end.set_result(None)

    def _begin(self) -> None:
        """A new exchange.  Who takes too long is not told: it may be the reading that lasts."""
        if self._deadline:
            self._deadline.cancel()
        self._deadline = self.loop.call_later(self._exchange_seconds, self.transport.abort)


def _config(app: ASGIApp) -> Config:
    """Who asked is found out by `kit.client_ip`; requests are not logged, because their addresses may hold a tag."""
    return Config(
        app,
        interface="asgi3",
        http=H11Protocol,
        ws="none",
        lifespan="off",
        workers=1,
        proxy_headers=False,
        forwarded_allow_ips=[],
        access_log=False,
        log_config=None,
        log_level="error",
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        h11_max_incomplete_event_size=MAX_HEADER_BYTES,
    )


async def _wait(ends: set[asyncio.Future[None]], seconds: float) -> None:
    if ends:
        await asyncio.wait(ends, timeout=seconds)


def _bind_all(listens: Sequence[Listen]) -> list[socket.socket]:
    with contextlib.ExitStack() as undo:
        sockets = []
        for listen in listens:
            sockets.append(undo.enter_context(_bind(listen)))
            if isinstance(listen, UnixSocket):
                undo.callback(listen.path.unlink, missing_ok=True)
        undo.pop_all()
    return sockets


def _bind(listen: Listen) -> socket.socket:
    """The listening socket; an OSError that names the setting, the address, and what is wrong with it."""
    try:
        if isinstance(listen, UnixSocket):
            return _bind_path(listen.path)
        family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
        return socket.create_server((listen.host, listen.port), family=family, backlog=_WAITING)
    except OSError as error:
        is_taken = error.errno == errno.EADDRINUSE
        why = "is in use; is another daemon running?" if is_taken else (error.strerror or str(error))
        raise OSError(error.errno, f"[http] listen: cannot listen on {listen}: {why}") from error


def _bind_path(path: Path) -> socket.socket:
    """A unix socket that every web server of this machine may connect to, as it may to a port."""
    with contextlib.ExitStack() as undo:
        bound = undo.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        _remove_stale(path)
        bound.bind(str(path))
        path.chmod(0o666)
        bound.listen(_WAITING)
        undo.pop_all()
    return bound


def _remove_stale(path: Path) -> None:
    """A socket that nobody answers at any more goes; anything else at its path stays and is in use."""
    if not path.is_socket():
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
        else:
            raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))


def _name(bound: socket.socket) -> Listen:
    name = bound.getsockname()
    return UnixSocket(Path(name)) if isinstance(name, str) else TcpPort(name[0], name[1])
