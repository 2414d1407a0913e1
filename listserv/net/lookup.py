"""Questions to the DNS, for commands that wait for the answer.

An absent record is an answer; only silence, a refusal or nonsense raises `NoAnswer`.
"""

import ipaddress
from collections.abc import Sequence

import dns.exception
import dns.name
import dns.rdatatype
import dns.resolver

Servers = Sequence[tuple[str, int]]  # IP address and port; none: the system's resolvers


class NoAnswer(Exception):
    """The DNS said nothing that could be used, and why, in one line."""


def txt(name: str, servers: Servers = (), timeout: float = 5.0) -> list[str]:
    """The TXT records of this name, the strings of each joined (RFC 7208 §3.3); [] when there are none."""
    found = _ask(name, "TXT", servers, timeout)
    return [b"".join(each.strings).decode("utf-8", "replace") for each in found]


def mx(domain: str, servers: Servers = (), timeout: float = 5.0) -> list[tuple[int, str]]:
    """(preference, host) of each mail server, the first to be tried first; a null MX (RFC 7505) is (0, "")."""
    found = _ask(domain, "MX", servers, timeout)
    return sorted((each.preference, each.exchange.to_text(omit_final_dot=True).lower()) for each in found)


def addresses(host: str, servers: Servers = (), timeout: float = 5.0) -> list[str]:
    """The IP addresses of this host, IPv4 first."""
    return [each.address for kind in ("A", "AAAA") for each in _ask(host, kind, servers, timeout)]


def answers(servers: Servers = (), timeout: float = 5.0) -> None:
    """Returns when somebody answers what every resolver knows; raises NoAnswer."""
    _ask(".", "NS", servers, timeout)


def _ask(name: str, kind: str, servers: Servers, timeout: float) -> list[dns.resolver.Answer]:
    try:
        resolver = dns.resolver.Resolver(configure=not servers)
        if servers:
            resolver.nameservers = [_server(*server) for server in servers]
        resolver.lifetime = resolver.timeout = timeout
        return list(resolver.resolve(dns.name.from_text(name), kind, search=False))
    except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
        return []
    except dns.exception.Timeout:
        raise NoAnswer(f"no answer from the DNS within {timeout:g} s") from None
    except dns.exception.DNSException as fault:
        raise NoAnswer(f"the DNS cannot say: {str(fault).partition(';')[0].strip()}") from None
    except OSError as fault:
        raise NoAnswer(f"the DNS cannot be asked: {fault.strerror or fault}") from None


def _server(host: str, port: int) -> dns.nameserver.Nameserver:
    return dns.nameserver.Do53Nameserver(str(ipaddress.ip_address(host)), port)
