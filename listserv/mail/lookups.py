"""Questions to the DNS and what it says, as values; how pure code asks without waiting.

What judges a message by the DNS is a plain function with an `Ask`: it gives what is known, and raises `Missing` for
what is not yet.  Whoever called the function finds the answer and calls it again (`net.authenticator` does).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")


class Question(NamedTuple):
    """`name` in lower case without its last dot; `kind` is TXT, A, AAAA, MX or PTR."""

    name: str
    kind: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What there is, aliases followed; nothing is an answer too.

    texts   TXT: each record's strings joined (RFC 7208 §3.3, RFC 6376 §3.6.2.2); A, AAAA, PTR: as text
    hosts   MX: (preference, host)
    exists  False: neither the name nor anything below it exists (RFC 8020)
    """

    texts: tuple[bytes, ...] = ()
    hosts: tuple[tuple[int, str], ...] = ()
    exists: bool = True

    @property
    def is_void(self) -> bool:
        return not (self.texts or self.hosts)


NOTHING = Answer(exists=False)


@dataclass(frozen=True, slots=True)
class Silence:
    """The DNS did not say: no answer in time, SERVFAIL, or a limit of ours.  It may say so later."""

    why: str


Known = Answer | Silence
Ask = Callable[[Question], Known]


class Missing(BaseException):
    """These have to be asked first.  No Exception, so that no `except Exception` on the way keeps it.

    is_idle  whoever sends the message decides how long the answer takes, so it is not worth waiting for long
    """

    def __init__(self, *questions: Question, is_idle: bool = False) -> None:
        super().__init__(*questions)
        self.questions = questions
        self.is_idle = is_idle


def ask_all(ask: Ask, questions: Iterable[Question]) -> list[Known]:
    """What is known of each; those that are missing are missed together, so that they are asked at the same time."""
    known: list[Known] = []
    missing: list[Question] = []
    for question in questions:
        try:
            known.append(ask(question))
        except Missing as missed:
            missing += missed.questions
    if missing:
        raise Missing(*missing)
    return known


_REMEMBERED = 512  # conclusions of one kind
_SMALL = 8_192  # octets of the answers behind one


class Memory(Generic[T]):
    """What was concluded from answers of the DNS: again the same, as long as the DNS says the same, and no longer.

    Few answers only, for they are kept as well; when it is full, it begins anew.
    """

    def __init__(self) -> None:
        self._kept: dict[object, tuple[dict[Question, Known], T]] = {}

    def conclude(
        self, key: object, work: Callable[[Ask], T], ask: Ask, keeps: Callable[[Iterable[Known]], bool] = lambda _: True
    ) -> T:
        """What `work` gives, which depends on nothing but `key` and what it asks; else `keeps` is False of that.

        Raises what it raises.
        """
        kept = self._kept.get(key)
        if kept is not None and _is_so(kept[0], ask):
            return kept[1]
        heard: dict[Question, Known] = {}

        def hear(question: Question) -> Known:
            known = heard[question] = ask(question)
            return known

        found = work(hear)
        if sum(map(_octets, heard.values())) <= _SMALL and keeps(heard.values()):
            if len(self._kept) >= _REMEMBERED:
                self._kept.clear()
            self._kept[key] = heard, found
        return found


def _is_so(heard: dict[Question, Known], ask: Ask) -> bool:
    try:
        return all(ask(question) is known for question, known in heard.items())
    except Missing:
        return False


def _octets(known: Known) -> int:
    """About so many are kept with it."""
    if isinstance(known, Silence):
        return 100 + len(known.why)
    return 100 + sum(map(len, known.texts)) + sum(len(host) for _, host in known.hosts)
