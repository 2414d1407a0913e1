"""DMARC: what a domain wants done with mail in its name that nothing vouches for, and which other domains may vouch.

The tree walk finds records from a domain up to its top-level domain; from them come the policy and the organizational
domain, by which identifiers are aligned.  `pct` is gone (RFC 9989 Appendix A.6), and reports are not ours to send.

Sources: RFC 9989 (§4.4 alignment, §4.7 and §4.8 the record, §4.10 the walk, policy, organizational domain).
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, Literal, assert_never

from listserv.mail.lookups import Answer, Ask, Known, Memory, Question, Silence, ask_all
from listserv.model.envelope import DmarcPolicy

MAX_QUESTIONS = 8  # in one walk
_MAX_RECORD = 4_096  # octets read of one record

_VERSION = re.compile(rb"v[ \t]*=[ \t]*DMARC1[ \t]*(?:;|\Z)")
_TAG = re.compile(r"[ \t]*([A-Za-z]+)[ \t]*=(.*)\Z", re.DOTALL)
_URI = re.compile(r"[ \t]*[A-Za-z][A-Za-z0-9+.-]*:[!-+\--~]+[ \t]*\Z")

_WEAKER = {DmarcPolicy.REJECT: DmarcPolicy.QUARANTINE, DmarcPolicy.QUARANTINE: DmarcPolicy.NONE}
_WRITTEN = {each.value: each for each in (DmarcPolicy.NONE, DmarcPolicy.QUARANTINE, DmarcPolicy.REJECT)}


@dataclass(frozen=True, slots=True)
class Record:
    """A DMARC policy record.

    domain        where it was found, without `_dmarc`
    p, sp, np     what it asks for itself, existing and non-existent subdomains; None: not said
    psd           y: a public suffix; n: an organizational domain; u: neither is said
    is_testing    t=y: it does not want its policy applied in full yet
    applies       False: neither a valid policy nor an address for reports, so it counts for nothing (§4.10.1)
    """

    domain: str
    p: DmarcPolicy = DmarcPolicy.NONE
    sp: DmarcPolicy | None = None
    np: DmarcPolicy | None = None
    psd: Literal["y", "n", "u"] = "u"
    is_testing: bool = False
    strict_dkim: bool = False
    strict_spf: bool = False
    applies: bool = True


@dataclass(frozen=True, slots=True)
class Walk:
    """What is published from a domain upwards, the longest name first.

    silent  the longest name about which the DNS did not say, when anything could depend on it; "" when all is known
    """

    domain: str
    records: tuple[Record, ...] = ()
    silent: str = ""

    @property
    def organization(self) -> str:
        """The organizational domain (§4.10.2), as far as it is known."""
        for record in self.records:
            if record.psd == "n":
                return record.domain
            if record.psd == "y" and record.domain != self.domain:
                return _child(self.domain, record.domain)
        return self.records[-1].domain if self.records else self.domain

    @property
    def policy(self) -> Record | None:
        """The record to be applied: the domain's own, its organization's, or its public suffix's (§4.10.1)."""
        at = {record.domain: record for record in self.records}
        suffix = next((record for record in self.records if record.psd == "y"), None)
        return at.get(self.domain) or at.get(self.organization) or suffix

    @property
    def is_certain(self) -> bool:
        """Whether what the DNS did not say could change nothing about the policy."""
        return not self.silent or any(record.domain == self.domain for record in self.records)


_MEMORY: Final[Memory[Walk]] = Memory()


def targets(domain: str) -> list[str]:
    """The names that the walk visits: the domain, then at most seven labels, and so on to the last one (§4.10)."""
    labels = domain.split(".")
    rest = labels[1:] if len(labels) < MAX_QUESTIONS else labels[1 - MAX_QUESTIONS :]
    return [domain, *(".".join(rest[at:]) for at in range(len(rest)))]


def questions(domain: str) -> list[Question]:
    """What the walk asks; asked together, though the answer to one may make others needless."""
    return [Question(f"_dmarc.{name}", "TXT") for name in targets(domain)]


def walk(domain: str, ask: Ask) -> Walk:
    """The tree walk from this domain.  Raises Missing."""
    return _MEMORY.conclude(domain, partial(_walked, domain), ask)


def _walked(domain: str, ask: Ask) -> Walk:
    records: list[Record] = []
    silent = ""
    for name, known in zip(targets(domain), ask_all(ask, questions(domain)), strict=True):
        found = _record(name, known)
        if isinstance(found, Silence):
            # Some resolvers refuse to speak of top-level domains, where hardly any record is.
            silent = silent or (name if "." in name else "")
        elif found is not None:
            records.append(found)
            if found.psd != "u":
                break
    return Walk(domain, tuple(records), silent)


def read(domain: str, texts: Iterable[bytes]) -> Record | None:
    """The one record among these texts; several are none (§4.10, steps 2 and 6)."""
    found = [text for text in texts if _VERSION.match(text)]
    if len(found) != 1:
        return None
    tags = _tags(found[0])
    wanted = {name: _WRITTEN.get(tags[name]) for name in ("p", "sp", "np") if name in tags}
    psd = tags.get("psd")
    record = Record(
        domain,
        psd="y" if psd == "y" else "n" if psd == "n" else "u",
        is_testing=tags.get("t") == "y",
        strict_dkim=tags.get("adkim") == "s",
        strict_spf=tags.get("aspf") == "s",
    )
    if wanted.get("p") is None or None in wanted.values():
        heard = any(map(_URI.match, tags.get("rua", "").split(",")))
        return replace(record, applies=heard)
    return replace(record, p=wanted["p"] or DmarcPolicy.NONE, sp=wanted.get("sp"), np=wanted.get("np"))


def applicable(found: Walk, exists: bool) -> DmarcPolicy:
    """What the domain at the walk's start wants; UNKNOWN when that depends on what the DNS did not say.

    exists  False: the DNS says that there is no such domain, so `np` counts (§4.10.1)
    """
    record = found.policy
    if not found.is_certain:
        return DmarcPolicy.UNKNOWN
    if record is None or not record.applies:
        return DmarcPolicy.NONE
    wanted = record.p
    if record.domain != found.domain:
        below = record.sp if record.sp is not None else record.p
        wanted = below if exists or record.np is None else record.np
    return _WEAKER.get(wanted, DmarcPolicy.NONE) if record.is_testing else wanted


def aligned(author: Walk, identifier: str, ask: Ask, *, strict: bool) -> bool | None:
    """Whether who proved to be `identifier` may speak for the author's domain; None: the DNS did not say.

    Without a DMARC record a domain speaks for itself only.  Raises Missing.
    """
    if identifier == author.domain:
        return True
    related = _share_two_labels if author.silent else _within
    if strict or not related(identifier, author.domain if author.silent else author.organization):
        return False
    other = walk(identifier, ask)
    if author.silent or other.silent:
        return None
    return other.organization == author.organization


def _record(name: str, known: Known) -> Record | Silence | None:
    match known:
        case Answer(texts):
            return read(name, texts)
        case Silence():
            return known
        case _:
            assert_never(known)


def _tags(text: bytes) -> dict[str, str]:
    """Tag → value in lower case; what is no tag is left out, and the first of two counts (§4.8)."""
    tags: dict[str, str] = {}
    for part in text[:_MAX_RECORD].decode("ascii", "replace").split(";"):
        if tag := _TAG.match(part):
            tags.setdefault(tag[1].lower(), tag[2].strip(" \t").lower())
    return tags


def _child(domain: str, ancestor: str) -> str:
    """The name one label below `ancestor` on the way to `domain`."""
    labels = domain.split(".")
    return ".".join(labels[-(ancestor.count(".") + 2) :])


def _within(domain: str, ancestor: str) -> bool:
    return domain == ancestor or domain.endswith(f".{ancestor}")


def _share_two_labels(one: str, other: str) -> bool:
    return one.split(".")[-2:] == other.split(".")[-2:]
