'''A name server on loopback, UDP and TCP, that knows what it is told.

    with nameserver() as dns:
        dns.zone("""
            a.example         TXT  "v=spf1 ip4:127.0.0.1 -all"
            _dmarc.a.example  TXT  "v=DMARC1; p=reject"
        """)
        dns.failing.add("b.example")

Everything may be changed at any time and counts from the next question on.
'''

import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

TTL = 60


@dataclass
class Nameserver:
    """What it says.

    records    (name without its last dot, type) → the data as in a zone file; CNAMEs are followed
    silent     it answers nothing at all;  mute: nothing about these names and those below them
    failing    SERVFAIL about these names and those below them;  broken: about everything
    failing_kinds  the same about these types of exactly this name
    truncated  answers by UDP are cut off, so that TCP is needed
    noisy      nonsense, and the answer to another question, come before each answer by UDP
    delay      seconds before each answer
    asked      every question so far: "name TYPE"
    """

    port: int
    records: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    silent: bool = False
    broken: bool = False
    truncated: bool = False
    noisy: bool = False
    delay: float = 0.0
    ttl: int = TTL
    mute: set[str] = field(default_factory=set)
    failing: set[str] = field(default_factory=set)
    failing_kinds: dict[str, set[str]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    by_tcp: int = 0

    @property
    def setting(self) -> str:
        """As `[dns] servers` has it."""
        return f"127.0.0.1:{self.port}"

    def zone(self, text: str) -> None:
        """More records, one a line: name, type, data."""
        for line in filter(None, map(str.strip, text.splitlines())):
            name, kind, data = line.split(None, 2)
            self.records.setdefault((name.lower(), kind), []).append(data)

    def answer(self, query: bytes, *, by_tcp: bool = False) -> bytes | None:
        """The reply; None is silence."""
        asked = dns.message.from_wire(query)
        question = asked.question[0]
        name = b".".join(question.name.labels[:-1]).decode("utf-8", "surrogateescape").lower()
        kind = dns.rdatatype.to_text(question.rdtype)
        self.asked.append(f"{name} {kind}")
        self.by_tcp += by_tcp
        if self.silent or _below(name, self.mute):
            return None
        reply = dns.message.make_response(asked)
        reply.flags |= dns.flags.RA
        if self.broken or _below(name, self.failing) or kind in self.failing_kinds.get(name, ()):
            reply.set_rcode(dns.rcode.SERVFAIL)
        elif self.truncated and not by_tcp:
            reply.flags |= dns.flags.TC
        else:
            self._fill(reply, name, kind)
        return reply.to_wire(max_size=65_535)

    def _fill(self, reply: dns.message.Message, name: str, kind: str) -> None:
        for _ in range(20):
            data = self.records.get((name, kind))
            alias = self.records.get((name, "CNAME"))
            if data or not alias:
                break
            reply.answer.append(_records(name, self.ttl, "CNAME", alias))
            name = alias[0].removesuffix(".").lower()
        if data:
            reply.answer.append(_records(name, self.ttl, kind, data))
        elif name and not any(known == name or known.endswith(f".{name}") for known, _ in self.records):
            reply.set_rcode(dns.rcode.NXDOMAIN)


def _name(name: str) -> dns.name.Name:
    return dns.name.Name([*(label.encode("utf-8", "surrogateescape") for label in name.split(".")), b""])


def _records(name: str, ttl: int, kind: str, data: list[str]) -> dns.rrset.RRset:
    """Names in the data are absolute, with or without their last dot."""
    return dns.rrset.from_text_list(_name(name), ttl, "IN", kind, data, origin=dns.name.root, relativize=False)


def _below(name: str, tops: set[str]) -> bool:
    return any(name == top or name.endswith(f".{top}") for top in tops)


@contextmanager
def nameserver() -> Iterator[Nameserver]:
    with _doors() as (udp, tcp):
        here = Nameserver(udp.getsockname()[1])
        threads = [threading.Thread(target=_serve_udp, args=(udp, here))]
        threads.append(threading.Thread(target=_serve_tcp, args=(tcp, here)))
        for thread in threads:
            thread.start()
        try:
            yield here
        finally:
            udp.sendto(b"", udp.getsockname())
            with socket.create_connection(tcp.getsockname()):
                pass
            for thread in threads:
                thread.join()


@contextmanager
def _doors() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A UDP and a TCP socket with the same port."""
    while True:
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.bind(("127.0.0.1", 0))
        try:
            tcp = socket.create_server(udp.getsockname())
        except OSError:
            udp.close()
            continue
        with udp, tcp:
            yield udp, tcp
        return


def _serve_udp(door: socket.socket, here: Nameserver) -> None:
    later: list[threading.Timer] = []
    while True:
        query, peer = door.recvfrom(4096)
        if not query:
            break
        reply = here.answer(query)
        if reply is None:
            continue
        if here.noisy:
            for nonsense in (b"?", bytes([reply[0] ^ 1]) + reply[1:]):
                door.sendto(nonsense, peer)
        if here.delay:
            later.append(threading.Timer(here.delay, door.sendto, (reply, peer)))
            later[-1].start()
        else:
            door.sendto(reply, peer)
    for timer in later:
        timer.cancel()
        timer.join()


def _serve_tcp(door: socket.socket, here: Nameserver) -> None:
    while True:
        client, _ = door.accept()
        with client, suppress(OSError, struct.error):
            client.settimeout(5.0)
            head = client.recv(2)
            if not head:
                break
            query = client.recv(struct.unpack("!H", head)[0])
            reply = here.answer(query, by_tcp=True)
            time.sleep(here.delay)
            if reply is not None:
                client.sendall(struct.pack("!H", len(reply)) + reply)
