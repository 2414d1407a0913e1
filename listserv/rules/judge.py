"""From facts to a verdict.

A rule is a function: it sees the facts and says what it thinks, or None.  A rejection, a discard, an
acceptance or a question to the author ends the hearing; holds pile up, so that a moderator reads every reason
at once; silence is consent.  Rules do no I/O: whatever they need is in the facts.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from listserv.model.account import Member
from listserv.model.address import Address
from listserv.model.envelope import Proof
from listserv.model.group import Group
from listserv.model.post import Accept, Hold, Verdict


@dataclass(frozen=True, slots=True)
class Facts:
    """All that may be looked at.  The author is who From names, and nobody else."""

    group: Group
    size: int  # bytes
    author: Address | None
    author_fault: str = ""  # why there is no author
    proof: Proof = Proof.UNKNOWN
    is_believed: bool = True  # proven, or unknown where that is enough: what the rights of a member need
    why: tuple[str, ...] = ()  # what SPF, DKIM and DMARC found
    member: Member | None = None  # the author's place in the group
    is_banned: bool = False
    peer_is_trusted: bool = False  # a 5xx would make our own MTA write a bounce to whoever From or MAIL FROM names
    hops: int = 0
    is_own_loop: bool = False
    robot: str | None = None  # why the message is a machine's
    looks_automatic: str | None = None  # why it may be one
    is_from_a_list: bool = False  # it bears somebody's List-* fields
    names_the_group: bool = True  # in To or Cc
    recipients: int = 1  # in To and Cc
    command: str | None = None  # the administrative word it consists of
    shows_a_right: bool = False  # a token of ours is in it that still counts for whoever has it
    lately: int = 0  # of an answer: other believed ones of its author in the last `pace.WITHIN`; no more are counted
    alike: int = 0  # of these those with its subject


Rule = Callable[[Facts], Verdict | None]


@dataclass(frozen=True, slots=True)
class Judgement:
    verdict: Verdict
    by: tuple[str, ...]  # names of the rules that spoke: for the access log, `explain` and the moderator


def judge(facts: Facts, rules: Sequence[Rule]) -> Judgement:
    reasons: list[str] = []
    spoke: list[str] = []
    for rule in rules:
        opinion = rule(facts)
        if opinion is None:
            continue
        spoke.append(rule.__name__)
        if not isinstance(opinion, Hold):
            return Judgement(opinion, tuple(spoke))
        reasons += opinion.reasons
    return Judgement(Hold(tuple(reasons)) if reasons else Accept(), tuple(spoke))
