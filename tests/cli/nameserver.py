"""A name server on loopback that knows what it is told."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import dns.flags
import dns.message
import dns.rcode
import dns.rrset


@dataclass
class Nameserver:
    """`records`: (name without its last dot, type) → the data as in a zone file; `silent`: it answers nothing."""

    port: int
    records: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    silent: bool = False

    def answer(self, query: bytes) -> bytes:
        asked = dns.message.from_wire(query)
        reply = dns.message.make_response(asked)
        reply.flags |= dns.flags.AA | dns.flags.RA
        question = asked.question[0]
        name = question.name.to_text(omit_final_dot=True)
        data = self.records.get((name, dns.rdatatype.to_text(question.rdtype)))
        if data:
            reply.answer.append(dns.rrset.from_text(question.name, 60, "IN", question.rdtype, *data))
        elif not any(known == name for known, _ in self.records):
            reply.set_rcode(dns.rcode.NXDOMAIN)
        return reply.to_wire()


@contextmanager
def nameserver() -> Iterator[Nameserver]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as door:
        door.bind(("127.0.0.1", 0))
        here = Nameserver(door.getsockname()[1])
        thread = threading.Thread(target=_serve, args=(door, here))
        thread.start()
        try:
            yield here
        finally:
            door.sendto(b"", door.getsockname())
            thread.join()


def _serve(door: socket.socket, here: Nameserver) -> None:
    while True:
        query, peer = door.recvfrom(4096)
        if not query:
            return
        if not here.silent:
            door.sendto(here.answer(query), peer)
