"""The rule about how fast one author answers in one group: what ends the talk of machines with each other.

A responder that says nothing of itself answers every copy it gets, and where replies go to the group it gets its own
answers back.  People do not write so fast: who answers ten threads in the evening needs longer than `WITHIN`, and
what a mail program sends at once after a flight is a dozen, about several things; a machine says the same each time.
Whoever begins something, once or a thousand times, is no concern of this rule.
"""

from datetime import timedelta

from listserv.model.post import Hold, Verdict
from listserv.rules.judge import Facts

WITHIN = timedelta(minutes=10)
_MINUTES = WITHIN // timedelta(minutes=1)


def too_fast(facts: Facts) -> Verdict | None:
    """What is held counts as well, so that it does not begin anew while it goes on.  Admins have machines too."""
    most = facts.group.policy.pace
    if not most:
        return None
    if facts.lately >= most:
        return _hold("", facts.lately)
    if facts.alike >= alike(most):
        return _hold(" with this subject", facts.alike)
    return None


def alike(most: int) -> int:
    """Of so many posts how many may have the same subject: a third, and one at least."""
    return -(-most // 3)


def _hold(which: str, number: int) -> Hold:
    return Hold((f"it came too fast after other answers of its author{which}, {number} in {_MINUTES} minutes",))
