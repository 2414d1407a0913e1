"""The DNS for the daemon: cached, shared between messages, never waited for longer than a message may take.

    resolver = Resolver([("192.0.2.53", 53)], timeout=5.0)
    resolver.known(question)             # from the cache, or None
    await resolver.find(questions, 5.0)  # then they are known, if only as Silence, or there was no place to ask them

A server that answers nothing, not even what every resolver knows, is left alone for a minute; when all are, questions
are answered with Silence at once.  What was seen lately outlives such a time as long as its own TTL allows, so that a
policy is not forgotten because the DNS is down.

Places for questions are few, and who makes us ask hundreds that nobody answers waits for them himself (`lanes`).

Sources: RFC 1034 §5 (resolvers), RFC 2308 (negative answers), RFC 7766 (TCP after truncation), RFC 8767 (stale answers,
of which only those inside their TTL are served).
"""

import asyncio
import logging
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import dns.asyncquery
import dns.exception
import dns.message
import dns.name
import dns.rcode
import dns.resolver

from listserv.mail.lookups import NOTHING, Answer, Known, Question, Silence
from listserv.net.lanes import Lane

log = logging.getLogger("listserv.dns")

DEAD_FOR = 60.0  # seconds
SILENCE_KEPT = 30.0  # seconds: who asks about a silent domain again does not wait again
FRESH_AT_LEAST = 5.0  # seconds, whatever the TTL says
FRESH_AT_MOST = 3_600.0
KEPT_AT_MOST = 86_400.0
NEGATIVE_AT_MOST = 900.0
MAX_ENTRIES = 20_000
MAX_OCTETS = 16_000_000
_AT_ONCE = 1_000  # questions under way, each with a socket
_AT_ONCE_BELOW = 50  # of them about one domain: whoever owns a silent one cannot take all places
_WAITING = 2  # the part of a question's time in which it has to get a place, so that there is some for the answer
_DATAGRAM = 65_535  # octets
_PATIENCE = (1 / 3, 1 / 2)  # of the time for a question: two rounds over all servers, because datagrams get lost
_MISSES = 2  # silences in a row, the probe's too, that make a server dead
_OVERHEAD = 300  # octets of an entry besides its data

Servers = Sequence[tuple[str, int]]


@dataclass(slots=True)
class Entry:
    """`fresh`: not asked again until then; `valid`: kept in place of Silence until then."""

    known: Known
    fresh: float
    valid: float
    octets: int


@dataclass(slots=True)
class Server:
    """`missed`: how often in a row it was silent, also about what it must know; `heard`: when it last said anything."""

    host: str
    port: int
    heard: float = 0.0
    missed: int = 0
    missed_at: float = 0.0
    dead_until: float = 0.0
    probe: asyncio.Task[None] | None = None


@dataclass(slots=True)
class Crowd:
    """Questions about one domain."""

    places: Lane
    waiting: int = 0


class Resolver:
    """For one event loop; `close` it when done."""

    def __init__(self, servers: Servers, timeout: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._servers = [Server(*each) for each in (servers or system())]
        self._timeout = timeout
        self._clock = clock
        self._cache: dict[Question, Entry] = {}
        self._octets = 0
        self._asking: dict[tuple[Question, str | None], asyncio.Task[bool]] = {}  # by question and who wants to know
        self._placed: dict[Question, asyncio.Task[bool]] = {}  # those of them that have a place
        self._places = Lane(_AT_ONCE)
        self._crowds: dict[str, Crowd] = {}

    def known(self, question: Question) -> Known | None:
        """What is fresh in the cache."""
        entry = self._cache.get(question)
        return entry.known if entry is not None and entry.fresh > self._clock() else None

    async def find(self, questions: Iterable[Question], timeout: float, network: str | None = None) -> bool:
        """Ask what is not known, all at the same time; back when all is known, or after `timeout` seconds.

        What takes longer goes on and is known later.  False: there was no place to ask something, which says nothing
        about who would have answered.

        network  who makes us ask, as the gate counts
        """
        tasks = {each: self._task(each, network) for each in set(questions) if self.known(each) is None}
        if tasks:
            await asyncio.wait(tasks.values(), timeout=max(0.0, timeout))
        return all(task.result() if task.done() else self._placed.get(each) is task for each, task in tasks.items())

    async def close(self) -> None:
        tasks = [*self._asking.values(), *(each.probe for each in self._servers if each.probe)]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _task(self, question: Question, network: str | None) -> asyncio.Task[bool]:
        """One for all who want to know, but that nobody waits for a place behind a crowd that wants to know it too."""
        key = question, network
        task = self._placed.get(question) or self._asking.get(key)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._find(question, network), name=f"dns {question.name}")
            self._asking[key] = task
            task.add_done_callback(lambda _: self._asking.pop(key, None))
        return task

    async def _find(self, question: Question, network: str | None) -> bool:
        """False: there was no place, and nothing was asked."""
        name = _name(question.name)
        if name is None:
            self._keep(question, NOTHING, NEGATIVE_AT_MOST)
            return True
        known: Known = Silence(f"no answer from the DNS within {self._timeout:g} s")
        ttl, placed = SILENCE_KEPT, False
        with suppress(TimeoutError):
            async with asyncio.timeout(self._timeout / _WAITING) as patience, self._place(question, network):
                placed = True
                if self.known(question) is not None:
                    return True
                patience.reschedule(asyncio.get_running_loop().time() + self._timeout)
                query = dns.message.make_query(name, question.kind, use_edns=0, payload=1_232)
                known, ttl = await self._ask(query, question)
        if placed:
            self._keep(question, known, ttl)
        return placed

    @asynccontextmanager
    async def _place(self, question: Question, network: str | None) -> AsyncIterator[None]:
        """Wait for a place among the questions about this domain, and among all."""
        me = asyncio.current_task()
        assert me is not None
        labels = question.name.split(".")
        domain = ".".join(labels[-4:] if labels[-1] == "arpa" else labels[-2:])
        crowd = self._crowds.setdefault(domain, Crowd(Lane(_AT_ONCE_BELOW)))
        crowd.waiting += 1
        try:
            async with _taken(crowd.places, network), _taken(self._places, network):
                self._placed[question] = me
                yield
        finally:
            if self._placed.get(question) is me:
                del self._placed[question]
            crowd.waiting -= 1
            if not crowd.waiting:
                del self._crowds[domain]

    async def _ask(self, query: dns.message.Message, question: Question) -> tuple[Known, float]:
        """What the first server says that knows; those that were silent lately are asked last."""
        known = Silence("no resolver answers" if self._servers else "there is no resolver")
        for patience in _PATIENCE:
            alive = [each for each in self._servers if each.dead_until <= self._clock()]
            spoken = 0
            for server in sorted(alive, key=lambda each: each.missed):
                reply = await self._exchange(server, query, patience * self._timeout / len(alive))
                if reply is None:
                    continue
                if reply.rcode() in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
                    return _read(reply, question)
                known = Silence(f"the DNS says {dns.rcode.to_text(reply.rcode())}")
                spoken += 1
            if spoken == len(alive):
                break
        return known, SILENCE_KEPT

    async def _exchange(
        self, server: Server, query: dns.message.Message, patience: float
    ) -> dns.message.Message | None:
        """The server's reply, or None when it is silent or says nonsense."""
        began = self._clock()
        doubt = asyncio.get_running_loop().call_later(patience / 3, self._probe, server, patience / 2)
        try:
            async with asyncio.timeout(patience):
                reply = await _over_the_wire(server, query)
        except (OSError, EOFError):  # TimeoutError is one
            if max(server.heard, server.missed_at) <= began:
                self._missed(server)
            return None
        except dns.exception.DNSException:
            reply = None
        finally:
            doubt.cancel()
        server.heard, server.missed = self._clock(), 0
        return reply

    def _probe(self, server: Server, patience: float) -> None:
        """Find out whether it is the server or the question that gets no answer."""

        async def ask() -> None:
            with suppress(OSError, EOFError, dns.exception.DNSException):
                async with asyncio.timeout(patience):
                    await _over_the_wire(server, dns.message.make_query(dns.name.root, "NS"))
                server.heard, server.missed = self._clock(), 0
            server.probe = None

        if server.probe is None:
            server.probe = asyncio.get_running_loop().create_task(ask(), name=f"dns probe {server.host}")

    def _missed(self, server: Server) -> None:
        server.missed, server.missed_at = server.missed + 1, self._clock()
        if server.missed >= _MISSES:
            server.missed = _MISSES - 1  # so that after its time one silence is enough
            server.dead_until = self._clock() + DEAD_FOR
            log.warning("the resolver %s is silent; it is not asked for %.0f s", server.host, DEAD_FOR)

    def _keep(self, question: Question, known: Known, ttl: float) -> None:
        """Into the cache; Silence does not take the place of what is still valid."""
        now = self._clock()
        fresh = _fresh(known, ttl)
        old = self._cache.pop(question, None)
        if old is not None:
            self._octets -= old.octets
            if isinstance(known, Silence) and isinstance(old.known, Answer) and old.valid > now:
                known, ttl = old.known, old.valid - now
                fresh = min(ttl, SILENCE_KEPT)
        octets = _OVERHEAD + len(question.name) + _octets(known)
        self._cache[question] = Entry(known, now + fresh, now + max(fresh, min(ttl, KEPT_AT_MOST)), octets)
        self._octets += octets
        while len(self._cache) > MAX_ENTRIES or self._octets > MAX_OCTETS:
            self._octets -= self._cache.pop(next(iter(self._cache))).octets


@asynccontextmanager
async def _taken(places: Lane, network: str | None) -> AsyncIterator[None]:
    room = await places.take(1, network)
    try:
        yield
    finally:
        places.give(room)


def system() -> list[tuple[str, int]]:
    """The system's resolvers, as /etc/resolv.conf names them; [] where there are none."""
    try:
        found = dns.resolver.Resolver(configure=True)
    except (dns.exception.DNSException, OSError):
        return []
    return [(str(each), found.port) for each in found.nameservers]


def _fresh(known: Known, ttl: float) -> float:
    """Seconds before it is asked again."""
    most = FRESH_AT_MOST if isinstance(known, Answer) and not known.is_void else NEGATIVE_AT_MOST
    return max(FRESH_AT_LEAST, min(ttl, most))


def _octets(known: Known) -> int:
    if isinstance(known, Silence):
        return len(known.why)
    return sum(map(len, known.texts)) + sum(len(host) + 20 for _, host in known.hosts)


def _name(name: str) -> dns.name.Name | None:
    """The labels as they are, without any escape; None for what cannot be a name."""
    try:
        return dns.name.Name([*(label.encode("utf-8", "surrogateescape") for label in name.split(".")), b""])
    except dns.exception.DNSException:
        return None


async def _over_the_wire(server: Server, query: dns.message.Message) -> dns.message.Message:
    """By UDP, and by TCP when that was cut off."""
    try:
        return await _by_datagram(server, query)
    except dns.message.Truncated:
        return await dns.asyncquery.tcp(query, server.host, None, server.port)


async def _by_datagram(server: Server, query: dns.message.Message) -> dns.message.Message:
    """What comes from elsewhere or belongs to another question is ignored (RFC 5452 §9.1).

    On a socket of our own: a datagram endpoint of uvloop that is cancelled at a bad moment is never closed, and so
    neither is its loop.
    """
    with socket.socket(socket.AF_INET6 if ":" in server.host else socket.AF_INET, socket.SOCK_DGRAM) as door:
        door.setblocking(False)
        door.connect((server.host, server.port))
        door.send(query.to_wire())
        while True:
            octets = await asyncio.get_running_loop().sock_recv(door, _DATAGRAM)
            try:
                reply = dns.message.from_wire(octets, raise_on_truncation=True)
            except dns.message.Truncated as cut:
                if query.is_response(cut.message()):  # type: ignore[no-untyped-call]
                    raise
            except dns.exception.DNSException:
                pass
            else:
                if query.is_response(reply):
                    return reply


def _read(reply: dns.message.Message, question: Question) -> tuple[Known, float]:
    """The answer and its TTL (RFC 2308 §5 for what is not there)."""
    assert isinstance(reply, dns.message.QueryMessage)
    try:
        chain = reply.resolve_chaining()
    except dns.exception.DNSException:
        return Silence("the DNS says nonsense"), SILENCE_KEPT
    ttl = float(min(chain.minimum_ttl, KEPT_AT_MOST))
    if chain.answer is None:
        return Answer(exists=reply.rcode() != dns.rcode.NXDOMAIN), min(ttl, NEGATIVE_AT_MOST)
    if question.kind == "MX":
        return Answer(hosts=tuple(sorted((each.preference, _text(each.exchange)) for each in chain.answer))), ttl
    return Answer(tuple(sorted(_data(question.kind, each) for each in chain.answer))), ttl


def _data(kind: str, each: Any) -> bytes:
    if kind == "TXT":
        return b"".join(each.strings)
    if kind == "PTR":
        return _text(each.target).encode("ascii", "replace")
    return str(each.address).encode("ascii")


def _text(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=True).lower()
