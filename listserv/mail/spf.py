"""SPF: may this client use that domain in MAIL FROM, or in HELO where MAIL FROM is null?

pyspf evaluates; this module gives it the DNS (it never asks by itself) and keeps to RFC 7208 where pyspf does not:
an error while names are looked up from the client's address is no match instead of temperror (§5.5), and explanations
(§6.2) are not fetched, because nobody reads them.

Sources: RFC 7208 (§2.3, §2.4 identities; §4.6.4: at most 10 terms that ask, 2 void look-ups, 10 hosts each).
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, assert_never

import spf

from listserv.mail.lookups import Answer, Ask, Known, Memory, Missing, Question, Silence, ask_all
from listserv.model import address

_MAX_LABEL = 63  # RFC 1035 §2.3.4
_MAX_RECORD = 4_096  # octets; honest ones have 450 (RFC 7208 §3.4), and pyspf's time grows with their square
_BROKEN = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, AssertionError, RecursionError)


@dataclass(frozen=True, slots=True)
class Spf:
    """One evaluation.

    result    as RFC 8601 §2.7.2 names it
    domain    the domain that was asked about, in lower case; "" when the client named none
    identity  "mailfrom", or "helo" for the null sender
    why       what is wrong with the records, "" when nothing is
    """

    result: str
    domain: str
    identity: str
    why: str = ""

    @property
    def is_in_doubt(self) -> bool:
        return self.result == "temperror"


_MEMORY: Final[Memory[Spf]] = Memory()


def identity(mail_from: str, helo: str) -> Spf:
    """What will be evaluated, with the result `none`."""
    if not mail_from:
        return Spf("none", address.domain_name(helo) or "", "helo")
    return Spf("none", address.domain_name(mail_from.rpartition("@")[2]) or "", "mailfrom")


def is_record(text: bytes) -> bool:
    """RFC 7208 §4.5: the version stands alone or before a blank."""
    return text[:6].lower() == b"v=spf1" and text[6:7] in (b"", b" ")


def published(domain: str, ask: Ask) -> bool | None:
    """Whether this domain has an SPF record, however it is written; None when the DNS is silent."""
    match ask(Question(domain, "TXT")):
        case Answer(texts):
            return any(map(is_record, texts))
        case Silence():
            return None


def check(ip: str, mail_from: str, helo: str, ask: Ask) -> Spf:
    """The result for a client at this IP address.  Raises Missing."""
    who = identity(mail_from, helo)
    if "." not in who.domain:
        return who  # RFC 7208 §4.3: none for what is no multi-label name
    key = ip, who.identity, who.domain
    return _MEMORY.conclude(key, partial(_evaluated, ip, mail_from, helo, who), ask, _says_the_same_to_all)


def _evaluated(ip: str, mail_from: str, helo: str, who: Spf, ask: Ask) -> Spf:
    local = mail_from.rpartition("@")[0] or "postmaster"
    query = _Query(ip.partition("%")[0], local, who.domain, helo, ask)
    try:
        result, _, _ = query.check()
    except _BROKEN as fault:  # a record that pyspf stumbles over, such as a prefix of 5,000 digits
        result, query.prob = "permerror", f"{type(fault).__name__} in the record"
    # pyspf's own words without what stands in the record: a stranger's text goes no further.
    why = re.split("[:'\"]", query.prob)[0][:80] if result in ("permerror", "temperror") else ""
    return Spf(result, who.domain, who.identity, why)


def _says_the_same_to_all(answers: Iterable[Known]) -> bool:
    """RFC 7208 §7: only a macro can make it depend on the local part, or on HELO beside MAIL FROM."""
    return not any(b"%" in text for known in answers if isinstance(known, Answer) for text in known.texts)


class _Query(spf.query):  # type: ignore[misc]
    """pyspf's evaluation, over answers that are there already."""

    def __init__(self, ip: str, local: str, domain: str, helo: str, ask: Ask) -> None:
        super().__init__(i=ip, s=f"{local}@{domain}", h=helo or "unknown")
        self.l, self.o, self.d = local, domain, domain  # pyspf divides at the first @, which may be quoted
        self.prob = ""
        self._ask = ask

    def dns(self, name: Any, qtype: str, cnames: object = None, ignore_void: bool = False) -> list[Any]:
        """As pyspf's own: [] is a void look-up, and TempError silence."""
        plain = str(name).lower().removesuffix(".")
        if not all(0 < len(label) <= _MAX_LABEL for label in plain.split(".")):
            return []
        match self._ask(Question(plain, qtype)):
            case Answer() as answer if answer.is_void:
                return [] if ignore_void else self._void()
            case Answer(texts, hosts):
                if qtype == "TXT" and any(len(text) > _MAX_RECORD and is_record(text) for text in texts):
                    raise spf.PermError(f"a record of more than {_MAX_RECORD} octets")
                if qtype in ("MX", "TXT"):
                    return list(hosts or texts)
                return [text.decode("ascii", "replace") for text in texts]
            case Silence(why):
                raise spf.TempError(why)
            case other:
                assert_never(other)

    def _void(self) -> list[Any]:
        self.void_lookups += 1
        if self.void_lookups > spf.MAX_VOID_LOOKUPS:
            raise spf.PermError(f"more than {spf.MAX_VOID_LOOKUPS} void look-ups")
        return []

    def dns_txt(self, domainname: str, rr: str = "TXT", ignore_void: bool = False) -> list[bytes]:
        return self.dns(domainname, rr, ignore_void=ignore_void) if domainname else []

    def dns_mx(self, domainname: str) -> Any:
        """The addresses of all mail servers, asked together."""
        hosts = self.dns(domainname, "MX")
        if len(hosts) <= spf.MAX_MX:
            ask_all(self._ask, [Question(host.lower().removesuffix("."), self.A) for _, host in hosts if host])
        return super().dns_mx(domainname)

    def validated_ptrs(self) -> list[str]:
        """RFC 7208 §5.5: at most 10 names; one that cannot be looked up is skipped, and an error is no match.

        Whoever has the client's address decides what is said here, and when.
        """
        try:
            names = self.dns_ptr(self.i)[: spf.MAX_PTR]
            ask_all(self._ask, [Question(name, self.A) for name in names])
        except spf.TempError:
            return []
        except Missing as missing:
            raise Missing(*missing.questions, is_idle=True) from None
        return [name for name in names if self._is_mine(name)]

    def _is_mine(self, name: str) -> bool:
        try:
            return bool(self.cidrmatch(self.dns_a(name, self.A), self.cidrmax))
        except spf.TempError:
            return False

    def get_explanation(self, spec: str) -> None:
        """Nobody reads it; pyspf would also catch `Missing` here."""
