"""The doors of the pages: HTTP/1.1 in the caller's event loop, by uvicorn's protocol on h11.

    pages = Pages(app, settings.http.listen)
    await pages.start()      # all doors are open, or an OSError says which one is not and why
    await pages.stop(30.0)   # who is being served gets the answer, at most so many seconds later

Of uvicorn only the protocol is used: its server handles signals, exits the process and wakes up ten times a second.
What the protocol lacks is here: a limit to the connections, counted from the first octet on, and a time in which
each exchange has to end, so that nobody holds a connection by sending slowly, not at all, or without reading.
"""

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path

from starlette.types import ASGIApp
from uvicorn import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from listserv.net import sockets
from listserv.settings import Listen, TcpPort, UnixSocket

MAX_CONNECTIONS = 500
EXCHANGE_SECONDS = 30.0  # from the end of the last answer, or the connection, to the end of the next answer
KEEP_ALIVE_SECONDS = 5
MAX_HEADER_BYTES = 16_384

_AT_ONCE = 16  # connections accepted in one go
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
        wanted = [("[http] listen", _address(listen)) for listen in self._listen]
        opened = sockets.bind_all(wanted, mode=0o666)  # as to a port, any web server of this machine may connect
        self.bound = tuple(_listen(sockets.name(bound)) for bound in opened)
        loop = asyncio.get_running_loop()
        for bound in opened:
            server = await loop.create_server(self._connection, sock=bound, backlog=_AT_ONCE)
            bound.listen(sockets.WAITING)
            self._servers.append(server)

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
        sockets.remove(map(_address, self.bound))
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


def _address(listen: Listen) -> sockets.Address:
    return str(listen.path) if isinstance(listen, UnixSocket) else (listen.host, listen.port)


def _listen(address: sockets.Address) -> Listen:
    return UnixSocket(Path(address)) if isinstance(address, str) else TcpPort(*address)
