"""Who is this?  SPF, DKIM and DMARC of one message, weighed into `Evidence`.

An author is proven when a pass is aligned with the domain in From; refuted when that domain publishes SPF or a DMARC
policy and nothing aligned passes; unknown otherwise, and whenever the DNS left open whether something would have
passed.  What a stranger's own DNS does not say changes nothing: only identifiers that could be aligned count as open.

Of a peer that is trusted, or of which we know no address, SPF says nothing.  What our own MTAs in front found is
believed from a trusted peer, but the alignment of it is judged here.

Sources: RFC 9989 §5.3 (what a receiver does), RFC 8601 (results), RFC 8617 (ARC: a hint, never a proof).
"""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal

from listserv.mail import dkim, dmarc, results, spf
from listserv.mail.dkim import Body, Signature, Verdict
from listserv.mail.dmarc import Record, Walk
from listserv.mail.lookups import Answer, Ask, Missing, Question
from listserv.mail.message import Message
from listserv.mail.results import Result
from listserv.mail.spf import Spf
from listserv.model.address import Address
from listserv.model.envelope import DmarcPolicy, Envelope, Evidence, Proof

Reported = tuple[str, tuple[Result, ...]] | None  # authserv-id and results of our own MTA
_KNOWN_RESULTS = frozenset({"pass", "fail", "softfail", "neutral", "none", "temperror", "permerror", "policy"})


@dataclass(frozen=True, slots=True)
class Identifier:
    """A domain that passed, or would have if the DNS had spoken: `how` is spf or dkim, `by` who found it, "" for us."""

    how: Literal["spf", "dkim"]
    domain: str
    passed: bool
    by: str = ""

    def __str__(self) -> str:
        return f"{self.how.upper()} for {self.domain}" + (f", as {self.by} says" if self.by else "")


@dataclass(slots=True)
class Examination:
    """One message under examination.  `conclude` is called until it misses nothing; what is done is not done again.

    author      None: From names nobody in particular
    signatures  those to be verified, and `body` their hashes
    ids         authserv-ids of our own MTAs
    """

    message: Message
    author: Address | None
    envelope: Envelope
    signatures: tuple[Signature, ...]
    body: Body
    hostname: str
    ids: Collection[str] = ()
    _done: dict[Any, Any] = field(default_factory=dict)

    @property
    def _domain(self) -> str:
        """The author's domain; "" for an address literal, about which no DNS says anything."""
        return self.author.domain if self.author and not self.author.domain.startswith("[") else ""

    def conclude(self, ask: Ask) -> Evidence:
        """Raises Missing, with all that can be asked now."""
        envelope, peer = self.envelope, self.envelope.peer
        work: dict[Any, Callable[[], Any]] = {
            number: partial(dkim.verify, self.message, signature, self.body, envelope.at, ask)
            for number, signature in enumerate(self.signatures)
        }
        if peer.ip and not peer.trusted:
            work["spf"] = partial(spf.check, peer.ip, envelope.mail_from, peer.helo, ask)
        if self._domain:
            work["walk"] = partial(dmarc.walk, self._domain, ask)
            work["published"] = partial(spf.published, self._domain, ask)
        done = self._all(work)
        sent: Spf | None = done.get("spf")
        verdicts: list[Verdict] = [done[number] for number in range(len(self.signatures))]
        reported = results.believed(self.message, self.ids) if peer.trusted and self.ids else None
        if not self._domain:
            dmarc_policy = DmarcPolicy.NONE if self.author else DmarcPolicy.UNKNOWN
            why = "the address of the author has no domain" if self.author else "From names nobody in particular"
            return self._evidence(sent, verdicts, None, Proof.UNKNOWN, dmarc_policy, why)
        walk: Walk = done["walk"]
        identifiers = list(
            _identifiers(sent, [each for each in verdicts if each.signature.covers(self.message)], reported)
        )
        policy = walk.policy if walk.policy and walk.policy.applies else None
        aligned = self._all(
            {each: partial(dmarc.aligned, walk, each.domain, ask, strict=_strict(policy, each)) for each in identifiers}
        )
        proof, why = self._proof(identifiers, aligned, policy, done["published"], reported)
        dmarc_policy = dmarc.applicable(walk, self._exists(ask))
        found = _dmarc(self._domain, proof, policy, walk, reported, asked=sent is not None)
        evidence = self._evidence(sent, verdicts, found, proof, dmarc_policy, why, walk, reported)
        by_path = any(each.how == "spf" and each.passed and aligned[each] for each in identifiers)
        return replace(evidence, is_by_signature=proof is Proof.PROVEN and not by_path)

    def _all(self, work: dict[Any, Callable[[], Any]]) -> dict[Any, Any]:
        """What each piece of work gives; raises Missing with what any of them misses."""
        missing: list[Missing] = []
        for name, do in work.items():
            if name not in self._done:
                try:
                    self._done[name] = do()
                except Missing as missed:
                    missing.append(missed)
        if missing:
            questions = (question for each in missing for question in each.questions)
            raise Missing(*questions, is_idle=all(each.is_idle for each in missing))
        return {name: self._done[name] for name in work}

    def _exists(self, ask: Ask) -> bool:
        known = ask(Question(self._domain, "TXT"))
        return known.exists if isinstance(known, Answer) else True

    def _proof(
        self,
        identifiers: list[Identifier],
        aligned: dict[Identifier, bool | None],
        policy: Record | None,
        published: bool | None,
        reported: Reported,
    ) -> tuple[Proof, str]:
        """The proof, and why in one sentence."""
        for each in identifiers:
            if each.passed and aligned[each]:
                return Proof.PROVEN, f"proven by {each}"
        verdict = _reported_dmarc(reported, self._domain)
        if verdict is not None and reported is not None and verdict in ("pass", "fail"):
            proof = Proof.PROVEN if verdict == "pass" else Proof.REFUTED
            return proof, f"{proof} by DMARC for {self._domain}, as {reported[0]} says"
        for each in identifiers:
            if aligned[each] or (aligned[each] is None and each.passed):
                return Proof.UNKNOWN, f"unknown: the DNS left {each} open"
            if aligned[each] is None:
                return Proof.UNKNOWN, f"unknown: the DNS left open whether {each.domain} may speak for {self._domain}"
        if "spf" not in self._done:
            return Proof.UNKNOWN, "unknown: no valid signature, and the peer's address says nothing about the author"
        if policy is not None or published:
            what = f"DMARC at {policy.domain}" if policy else "SPF"
            return Proof.REFUTED, f"refuted: {self._domain} publishes {what}, and nothing vouches for this message"
        if published is None:
            return Proof.UNKNOWN, f"unknown: the DNS is silent about {self._domain}"
        return Proof.UNKNOWN, f"unknown: {self._domain} publishes neither SPF nor DMARC"

    def _evidence(
        self,
        sent: Spf | None,
        verdicts: list[Verdict],
        found: Result | None,
        proof: Proof,
        dmarc_policy: DmarcPolicy,
        conclusion: str,
        walk: Walk | None = None,
        reported: Reported = None,
    ) -> Evidence:
        written = [_spf_result(sent)] if sent else list(_copied(reported, "spf", "smtp.mailfrom"))
        written += [dkim_result(verdict, is_one_of_many=len(verdicts) > 1) for verdict in verdicts] or [
            Result("dkim", "none")
        ]
        written += [found] if found else []
        why = list(_sentences(sent, self.envelope.peer.ip, verdicts, walk, results.arc(self.message)))
        return Evidence(proof, dmarc_policy, results.written(self.hostname, written), (*why, conclusion))


def _identifiers(sent: Spf | None, verdicts: list[Verdict], reported: Reported) -> Iterator[Identifier]:
    """What passed, and what the DNS left open; each once."""
    found: dict[Identifier, None] = {}
    if sent and sent.domain and (sent.result == "pass" or sent.is_in_doubt):
        found[Identifier("spf", sent.domain, sent.result == "pass")] = None
    for verdict in verdicts:
        if verdict.result == "pass" or verdict.is_in_doubt:
            found[Identifier("dkim", verdict.signature.domain, verdict.result == "pass")] = None
    for result in reported[1] if reported else ():
        for how, name in (("spf", "smtp.mailfrom"), ("dkim", "header.d")):
            if result.method == how and result.result == "pass" and result.domain(name):
                assert reported is not None
                found[Identifier("spf" if how == "spf" else "dkim", result.domain(name), True, reported[0])] = None
    return iter(found)


def _strict(policy: Record | None, identifier: Identifier) -> bool:
    if policy is None:
        return False
    return policy.strict_spf if identifier.how == "spf" else policy.strict_dkim


def _reported_dmarc(reported: Reported, domain: str) -> str | None:
    """What our own MTA found by DMARC for exactly this domain."""
    said = [r for r in reported[1] if r.method == "dmarc" and r.domain("header.from") == domain] if reported else []
    return said[0].result if said else None


def _copied(reported: Reported, method: str, name: str) -> Iterator[Result]:
    """Results of our own MTA, for our own field, without what says more than a domain."""
    for result in reported[1] if reported else ():
        if result.method == method and result.result in _KNOWN_RESULTS and result.domain(name):
            yield Result(method, result.result, ((name, result.domain(name)),))


def _spf_result(sent: Spf) -> Result:
    named = ((f"smtp.{sent.identity}", sent.domain),) if sent.domain else ()
    return Result("spf", sent.result, named)


def dkim_result(verdict: Verdict, *, is_one_of_many: bool) -> Result:
    """As it is reported; `header.b` tells signatures apart (RFC 6008)."""
    signature = verdict.signature
    named = [("header.d", signature.domain), ("header.s", signature.selector)] if signature.domain else []
    if named and is_one_of_many and signature.beginning:
        named.append(("header.b", signature.beginning))
    return Result("dkim", verdict.result, tuple(named))


def _dmarc(
    domain: str, proof: Proof, policy: Record | None, walk: Walk, reported: Reported, *, asked: bool
) -> Result | None:
    """RFC 9989 §8: what is to be written about DMARC; None when too little was looked at."""
    result = _reported_dmarc(reported, domain)
    if proof is Proof.PROVEN and policy is not None:
        result = "pass"
    elif result not in ("pass", "fail"):
        if policy is None:
            result = "none" if walk.is_certain else "temperror"
        elif proof is Proof.REFUTED:
            result = "fail"
        else:
            result = "temperror" if asked else None
    return Result("dmarc", result, (("header.from", domain),)) if result else None


def _sentences(sent: Spf | None, ip: str, verdicts: list[Verdict], walk: Walk | None, arc: str) -> Iterator[str]:
    if sent:
        fault = f" ({sent.why})" if sent.why else ""
        yield f"SPF {sent.result}{fault}: {sent.domain or 'no domain'} from {ip}"
    for verdict in verdicts:
        signature = verdict.signature
        because = f", because {verdict.why}" if verdict.why else ""
        yield f"DKIM {verdict.result}: {signature.domain or 'a signature'} {signature.selector}".rstrip() + because
    if not verdicts:
        yield "DKIM none: it is not signed"
    if walk is not None:
        policy = walk.policy
        if not walk.is_certain:
            yield f"DMARC: the DNS is silent about {walk.silent}"
        elif policy is None:
            yield f"DMARC none: nothing is published for {walk.domain}"
        else:
            weak = ", for a test" if policy.is_testing else "" if policy.applies else ", which counts for nothing"
            yield f"DMARC: {policy.domain} wants p={policy.p}{weak}"
    if arc:
        yield arc
