"""Who is this?  Asks the DNS what `mail.evidence` wants to know, within the time that a message may take.

    authenticator = Authenticator(Resolver(servers, 5.0), "lists.example.org", timeout=5.0)
    evidence = await authenticator.check(message, author, envelope)

With everything in the cache it does not wait at all.  What the DNS does not say in time is unknown, never an error; but
what nobody could be asked, because a crowd of questions was before it, is no reason to believe somebody.
"""

import asyncio
from collections.abc import Collection, Iterable

from listserv.mail import dkim
from listserv.mail.evidence import Examination
from listserv.mail.lookups import Known, Missing, Question, Silence
from listserv.mail.message import Author, Message, NoAuthor
from listserv.model.envelope import Envelope, Evidence, Proof
from listserv.net.gate import network_of
from listserv.net.resolver import Resolver
from listserv.settings import Settings

MAX_QUESTIONS = 150  # of one message: SPF may ask 111, each walk 8, each signature 1
_IDLE = 4  # the part of its time that a message waits for what its sender may delay
_LARGE = 100_000  # octets; more is hashed beside the event loop


class Authenticator:
    """`ids`: authserv-ids of our own MTAs, believed from trusted peers."""

    def __init__(self, resolver: Resolver, hostname: str, timeout: float, ids: Collection[str] = ()) -> None:
        self._resolver = resolver
        self._hostname = hostname
        self._timeout = timeout
        self._ids = frozenset(ids)
        self._turn = asyncio.Lock()

    async def check(self, message: Message, author: Author | NoAuthor, envelope: Envelope) -> Evidence | None:
        """Takes `timeout` seconds at most, and what hashing takes.

        None: it stayed unknown who wrote it, because there was no place for a question to the DNS; ask again later.
        """
        address = author.address if isinstance(author, Author) else None
        signatures = dkim.signatures(message, address.domain if address else "")
        if len(message.raw) > _LARGE:
            body = await asyncio.to_thread(dkim.hashed, message, signatures)
        else:
            body = dkim.hashed(message, signatures)
        examination = Examination(message, address, envelope, signatures, body, self._hostname, self._ids)
        view = _View(self._resolver, self._timeout, network_of(envelope.peer.ip))
        while True:
            try:
                evidence = examination.conclude(view.ask)
            except Missing as missed:
                await view.find(missed.questions, is_idle=missed.is_idle)
                async with self._turn:  # hundreds may have waited for the same moment: one goes on in each round
                    await asyncio.sleep(0)
            else:
                return None if view.is_crowded and evidence.proof is Proof.UNKNOWN else evidence

    async def close(self) -> None:
        await self._resolver.close()


def configured(settings: Settings) -> Authenticator | None:
    """As [smtp] and [dns] say; None when `authenticate` is off."""
    if not settings.smtp.authenticate:
        return None
    patience = float(settings.dns.timeout_seconds)
    resolver = Resolver([(each.host, each.port) for each in settings.dns.servers], patience)
    return Authenticator(resolver, settings.site.hostname, patience, settings.smtp.authserv_ids)


class _View:
    """The DNS as one message sees it: what it has been told stays so, and its time and its questions are counted."""

    def __init__(self, resolver: Resolver, timeout: float, network: str) -> None:
        self.is_crowded = False  # there was no place for one of its questions
        self._resolver = resolver
        self._network = network
        self._answers: dict[Question, Known] = {}
        self._timeout = timeout
        self._ends: float | None = None  # the time begins with the first question

    def ask(self, question: Question) -> Known:
        known = self._answers.get(question)
        if known is None:
            known = self._resolver.known(question)
            if known is None:
                raise Missing(question)
            self._answers[question] = known
        return known

    async def find(self, questions: Iterable[Question], *, is_idle: bool) -> None:
        now = asyncio.get_running_loop().time()
        self._ends = self._ends or now + self._timeout
        wanted = list(dict.fromkeys(questions))
        room = max(0, MAX_QUESTIONS - len(self._answers))
        if self._ends > now:
            most = self._timeout / _IDLE if is_idle else self._timeout
            asked = await self._resolver.find(wanted[:room], min(most, self._ends - now), self._network)
            self.is_crowded = self.is_crowded or not (asked or is_idle)
        for question in wanted[:room]:
            known = self._resolver.known(question)
            self._answers[question] = known or Silence(f"no answer from the DNS within {self._timeout:g} s")
        for question in wanted[room:]:
            self._answers[question] = Silence("the message asks too much of the DNS")
