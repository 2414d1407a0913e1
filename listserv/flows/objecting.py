"""Who wants no mail of ours: he has said so, or has not answered the last question.

* A question that nobody answers is followed by none for a month.
* A no ends that: no stranger makes us ask again.
* “Never write to me again” is kept for every mail that its owner did not ask for with proof.

The last two are kept as keyed hashes.
"""

from collections.abc import Sequence
from datetime import timedelta

from listserv.flows import budgeting, consenting
from listserv.flows.agreeing import Yes
from listserv.flows.site import Act
from listserv.model.consent import Step
from listserv.model.token import Action, Token
from listserv.store import accounts, objections, requests, tokens

ANSWER_WITHIN = timedelta(days=7)
REST = timedelta(days=30)  # after a question that nobody answered

QUESTIONS = (Action.ASK, Action.CONFIRM, Action.INVITE, Action.JOIN, Action.LEAVE, Action.OBJECT)


def may_write(act: Act, key: str, *, is_member: bool = False) -> bool:
    """Whether one mail that nobody proven asked for may go to this mailbox now; if so, that is its mail of the day.

    is_member  he is asked about what bears his name, whatever he once said no to
    """
    if objects(act, key) or (not is_member and resting(act, key)) or has_question(act, key):
        return False
    return budgeting.spend_mail(act, key)


def may_tell(act: Act, key: str) -> bool:
    """Whether this mailbox may be told now of mail in its name that nothing proves to be its own: once a day."""
    return not objects(act, key) and budgeting.once_a_day(act, "told", key)


def may_tell_fate(act: Act, key: str) -> bool:
    """The same of what an admin, or time, made of it: some in a day, however many there were."""
    return not objects(act, key) and budgeting.spend_fate(act, key)


def objects(act: Act, key: str) -> bool:
    """Its owner has said “never write to me again”."""
    return bool(objections.among(act.tx, act.site.tags.hashes("never", key)))


def among(act: Act, keys: Sequence[str]) -> set[str]:
    """Those of these whose owners have said “never write to me again”."""
    hashes = {digest: key for key in keys for digest in act.site.tags.hashes("never", key)}
    return {hashes[digest] for digest in objections.among(act.tx, list(hashes))}


def resting(act: Act, key: str, *, leaving: bool = False) -> bool:
    """No stranger makes us write there: its owner has said no once, or has not answered in the last month.

    leaving  a no from longer ago does not count: nobody is kept in a group by it
    """
    if not leaving and objections.among(act.tx, act.site.tags.hashes("no", key)):
        return True
    return any(_rests(token, act) for token in _questions(act, key))


def said_no(act: Act, token: Token, wishes: Sequence[Yes]) -> None:
    """A no to a question: what it asked goes, what waited behind it too, and no stranger makes us ask again.

    It is on record of people whom we know, or whom somebody proven has asked for: nobody else's address is kept.
    """
    tokens.decline(act.tx, token.digest)
    if token.action is not Action.ASK or accounts.mailbox(act.tx, token.actor) is not None:
        for wish in wishes:
            consenting.record(act, Step.DECLINED, wish.group, wish.actor, what=wish.action.value, **wish.evidence)
    requests.remove_named(act.tx, token.digest)
    if token.action is Action.ASK:
        objections.add(act.tx, act.site.tags.hashes("no", token.actor)[0], act.now)
        requests.remove_of(act.tx, [token.actor])


def never_again(act: Act, key: str) -> None:
    """“Never write to me again”: kept for good, and whatever this mailbox was asked is void."""
    for purpose in ("never", "no"):
        objections.add(act.tx, act.site.tags.hashes(purpose, key)[0], act.now)
    tokens.end_all(act.tx, [key], QUESTIONS)


def welcome_again(act: Act, key: str) -> None:
    """The owner has shown that he wants something of us: he has answered what he, or an admin, asked for."""
    hashes = act.site.tags.hashes
    objections.remove(act.tx, [*hashes("never", key), *hashes("no", key)])


def has_question(act: Act, key: str) -> bool:
    """A question that a stranger made us ask waits for its answer there."""
    return any(token.state == "open" and not _is_over(token, act) for token in _questions(act, key))


def _questions(act: Act, key: str) -> list[Token]:
    """What strangers have made us ask lately; older ones do not count any more."""
    return tokens.sent_since(act.tx, key, act.now - ANSWER_WITHIN - REST, (Action.ASK, Action.VOUCH))


def _rests(token: Token, act: Act) -> bool:
    """After a no, or a term in which nobody answered, there is a month of rest."""
    if token.state == "declined":
        return token.made_at > act.now - REST
    over = token.state in ("open", "expired") and _is_over(token, act)
    return over and token.expires_at is not None and token.expires_at > act.now - REST


def _is_over(token: Token, act: Act) -> bool:
    return token.expires_at is not None and token.expires_at <= act.now
