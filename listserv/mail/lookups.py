"""Questions to the DNS and what it says, as values; how pure code asks without waiting.

What judges a message by the DNS is a plain function with an `Ask`: it gives what is known, and raises `Missing` for
what is not yet.  Whoever called the function finds the answer and calls it again (`net.authenticator` does).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple


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
