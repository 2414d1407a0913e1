"""Who may come in, and how long he may stay.

`Limits` are the numbers; `Gate` counts connections; `Timers` end a session that is idle, too old or too slow.  They
end it by aborting: a close waits until the peer has read what we owe it, and a peer that never reads would stay.

Sources: RFC 5321 §4.5.3.2.7 (5 minutes per command); RFC 5321 §3.8 and RFC 7504 (421).
"""

import asyncio
import ipaddress
import resource
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from listserv.model.envelope import Reply
from listserv.net.doorway import Doorway

SPARE_DESCRIPTORS = 64  # for the database, the log, outgoing connections
LINGER = 10.0  # seconds that a peer has to read our last words

FULL = Reply(421, "4.7.0", "Too many connections; try again later")


@dataclass(frozen=True, slots=True)
class Limits:
    """What one listener lets its clients do.  Times are in seconds.

    min_data_rate    octets a second, averaged over DATA, after a grace of `idle_timeout`
    slow_after       errors after which each further one costs `error_delay`
    max_errors       errors after which the session ends; both start anew with each message taken
    spool_over       octets of a message that stay in memory; the rest goes to an unlinked temporary file
    memory           octets of all messages of this process that may be in memory; a bigger message passes alone
    """

    max_message_bytes: int = 10_485_760
    max_recipients: int = 1000
    max_connections: int = 1000
    max_connections_per_address: int = 100
    idle_timeout: float = 300.0
    session_timeout: float = 3600.0
    min_data_rate: float = 500.0
    max_header_bytes: int = 102_400
    max_header_fields: int = 1000
    max_field_bytes: int = 65_536
    max_errors: int = 10
    slow_after: int = 5
    error_delay: float = 1.0
    max_idle_commands: int = 100  # NOOP, RSET, VRFY, HELP, EHLO between two messages, before they count as errors
    spool_over: int = 262_144
    memory: int = 16 * 1024 * 1024


DEFAULTS = Limits()


class Gate:
    """Counts connections, over all and per network: /32 of IPv4, /64 of IPv6.

    Where several processes take mail, those of the others at the same `doorway` count as well.
    """

    def __init__(self, doorway: Doorway | None = None) -> None:
        self._here: Counter[str] = Counter()
        self._total = 0
        self._doorway = doorway

    def enter(self, ip: str, limits: Limits, *, exempt: bool) -> Reply | None:
        """None: counted in; else the refusal.  `exempt` from what counts per network: trusted peers, unix sockets."""
        network = None if exempt else network_of(ip)
        self._count(network, 1)  # first: of two processes that let the last one in, neither may have missed the other
        if not self._is_over(network, limits):
            return None
        self._count(network, -1)
        return FULL

    def leave(self, ip: str, *, exempt: bool) -> None:
        """Who came in by `enter` goes, with the same arguments."""
        self._count(None if exempt else network_of(ip), -1)

    def _count(self, network: str | None, by: int) -> None:
        self._total += by
        if self._doorway:
            self._doorway.count(network, by)
        if network is None:
            return
        self._here[network] += by
        if not self._here[network]:
            del self._here[network]

    def _is_over(self, network: str | None, limits: Limits) -> bool:
        there = self._doorway
        if (
            self._total > descriptors_allow()
            or self._total + (there.elsewhere if there else 0) > limits.max_connections
        ):
            return True
        if network is None:
            return False
        whole = self._here[network] + (there.elsewhere_from(network) if there else 0)
        return whole > limits.max_connections_per_address


def network_of(ip: str) -> str:
    """What one client can be expected to own: an IPv4 address, a /64 of IPv6, "" for a unix socket."""
    if ":" not in ip:
        return ip
    return str(ipaddress.IPv6Network((ip.partition("%")[0], 64), strict=False))


def descriptors_allow() -> int:
    """How many sessions the process has file descriptors for; each needs two, for its socket and its spool.

    A process that is out of descriptors cannot even refuse, and its event loop tries to accept again and again.
    """
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(1, (soft - SPARE_DESCRIPTORS) // 2) if soft != resource.RLIM_INFINITY else 2**31


def _nobody(_reason: str) -> None:
    """Who is to be aborted when there is nobody any more."""


class Timers:
    """Calls `abort` with the reason when the session has been idle, has lasted or has dawdled for too long.

    One timer for all reasons, which finds out when it rings whether it is time: a command or an octet that
    arrives costs no timer of its own.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, limits: Limits, abort: Callable[[str], None]) -> None:
        self._loop = loop
        self._limits = limits
        self._abort = abort
        self._working = False
        self._data_since: float | None = None
        self._data_bytes = 0
        self._touched = loop.time()
        self._ends = self._touched + limits.session_timeout
        self._handle = loop.call_at(self._next(self._touched)[0], self._ring)

    def touch(self) -> None:
        """A command has come."""
        self._touched = self._loop.time()

    def received(self, octets: int) -> None:
        """Progress: in DATA it counts, elsewhere only a whole command does."""
        if self._data_since is not None:
            self._data_bytes += octets
            self._touched = self._loop.time()

    def data_begins(self) -> None:
        self._data_since = self._touched = self._loop.time()
        self._data_bytes = 0

    def data_ends(self) -> None:
        self._data_since = None

    def working(self, now: bool) -> None:
        """While we work the client is not idle."""
        self._working = now
        self._touched = self._loop.time()

    def linger(self) -> None:
        """The last words are said: the peer has a moment to read them."""
        self.cancel()
        self._handle = self._loop.call_later(LINGER, self._abort, "the last reply was never read")

    def cancel(self) -> None:
        self._handle.cancel()

    def end(self) -> None:
        """The session is over, and nothing here holds it any longer."""
        self.cancel()
        self._abort = _nobody

    def _ring(self) -> None:
        now = self._loop.time()
        due, reason = self._next(now)
        if due <= now:
            self._abort(reason)
        else:
            self._handle = self._loop.call_at(due, self._ring)

    def _next(self, now: float) -> tuple[float, str]:
        """When to look again at the latest, and what is wrong when that moment has come."""
        idle = self._limits.idle_timeout
        dues = [(self._ends, "session too long"), ((now if self._working else self._touched) + idle, "idle too long")]
        if self._data_since is not None:
            credit = self._data_bytes / self._limits.min_data_rate
            dues.append((self._data_since + idle + credit, "too slow in DATA"))
        return min(dues)
