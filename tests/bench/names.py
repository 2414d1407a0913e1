"""A name server in a process of its own: the SPF, DKIM and DMARC records of the authors' domain, and nothing else.

with serving({"k1._domainkey.d00.invalid": "v=DKIM1; …"}) as port: ...
"""

import json
import select
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

TTL = 3600  # seconds: a resolver may keep them


@contextmanager
def serving(texts: Mapping[str, str]) -> Iterator[int]:
    """The UDP port where these TXT records are, until the end."""
    command = [sys.executable, "-m", "tests.bench.names", json.dumps(dict(texts))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        try:
            yield int(process.stdout.readline())
        finally:
            process.communicate()


def answer(query: dns.message.Message, texts: Mapping[str, str]) -> dns.message.Message:
    reply = dns.message.make_response(query, recursion_available=True)
    reply.flags |= dns.flags.AA
    asked = query.question[0]
    name = asked.name.to_text(omit_final_dot=True).lower()
    if not any(known == name or known.endswith(f".{name}") for known in texts):
        reply.set_rcode(dns.rcode.NXDOMAIN)
    elif asked.rdtype == dns.rdatatype.TXT and name in texts:
        text = texts[name]
        pieces = " ".join(f'"{text[at : at + 255]}"' for at in range(0, len(text), 255))
        reply.answer.append(dns.rrset.from_text(asked.name, TTL, "IN", "TXT", pieces))
    if not reply.answer:  # RFC 2308 §5: so that resolvers may keep that there is nothing
        reply.authority.append(
            dns.rrset.from_text("invalid.", TTL, "IN", "SOA", f"ns.invalid. host.invalid. 1 {TTL} {TTL} {TTL} {TTL}")
        )
    return reply


def main() -> None:
    texts = json.loads(sys.argv[1])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as door:
        door.bind(("127.0.0.1", 0))
        print(door.getsockname()[1], flush=True)
        while select.select([door, sys.stdin], [], [])[0] == [door]:  # until the parent has gone
            data, client = door.recvfrom(65_535)
            door.sendto(answer(dns.message.from_wire(data), texts).to_wire(), client)


if __name__ == "__main__":
    main()
