"""Questions: whoever asks for something in somebody's name makes us write to him, so that is limited.

    by = budgeting.party(envelope, reading)
    outcome = asking.ask(act, address, Wish(Action.JOIN, group), by)
    return asking.reply(outcome, address, by)

A *wish* becomes a request, and a mail names it; a yes to that mail does what it names and nothing else
(`confirming`).  Who is proven is asked at once, in a mail of its own.  What anybody else asks for in somebody's name:

* one open question for a mailbox, over all groups and wishes, and one such mail a day;
* what is asked for later waits and joins the next mail, which leaves when the former one was answered with a yes;
* a question that nobody answers takes what waits behind it with it, and a no ends that (`objecting`).

The askers have budgets, too (`budgeting`).  Nothing that an asker wrote is in a question.

Whoever proves nothing hears one answer, whatever came of it: neither what SMTP says nor what it costs him tells
whether somebody is a member, was asked before, or wants no mail.  The owner of the mailbox reads that in his own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, assert_never

from listserv.flows import budgeting, consenting, notifying, objecting
from listserv.flows.budgeting import Party
from listserv.flows.notifying import Letter, To
from listserv.flows.objecting import ANSWER_WITHIN, REST
from listserv.flows.site import Act
from listserv.mail import tag
from listserv.model.address import Address, parse
from listserv.model.envelope import RECEIVED, Proof, Reply
from listserv.model.group import Group
from listserv.model.token import Action, Request
from listserv.store import accounts, groups, requests
from listserv.texts import DEFAULT_LANGUAGE

MOST_WAITING = 20  # wishes behind an open question; one more would be a mail that nobody reads
EACH_TURN = 500  # mailboxes asked in one transaction

ALONE = (Action.ADD_ADDRESS, Action.CHANGE_ADDRESS)

OUR_OWN = ("address", "language", "asked")  # what a request's document holds besides the wish's own


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody is to be asked; `doc` is what the act needs to know, and belongs to the same mail's yes."""

    action: Action
    group: Group | None
    doc: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Asked:
    """A question is on its way."""


@dataclass(frozen=True, slots=True)
class Pending:
    """The same is asked already, or waits for its turn."""


@dataclass(frozen=True, slots=True)
class Waits:
    """The next mail names it, once the one before is answered."""


@dataclass(frozen=True, slots=True)
class Idle:
    """There is nothing to ask: it is so already, or is no matter of this mailbox."""


@dataclass(frozen=True, slots=True)
class Unwanted:
    """No question may go there: its owner wants none, or has not answered the last one for less than a month."""


@dataclass(frozen=True, slots=True)
class Busy:
    """More was asked for than this party, its domain or this mailbox may make us ask."""


@dataclass(frozen=True, slots=True)
class Refuted:
    """The author's domain says that he did not write this; `why` is the check that failed."""

    why: str


Outcome = Asked | Pending | Waits | Idle | Unwanted | Busy | Refuted


def ask(act: Act, address: Address, wish: Wish, by: Party, *, language: str = "", answers: str = "") -> Outcome:
    """Ask the owner of this mailbox whether it is his wish.

    language  for a mailbox whose own is unknown; "" is the group's
    answers   Message-ID of what made us ask
    """
    return ask_all(act, address, [wish], by, language=language, answers=answers)


def ask_all(
    act: Act, address: Address, wishes: Sequence[Wish], by: Party, *, language: str = "", answers: str = ""
) -> Outcome:
    """The same for several wishes of one message, in one mail; without any it costs the same."""
    if by.proof is Proof.REFUTED:
        return Refuted(by.why)
    if not budgeting.affords(act, address, by):
        return Busy()
    if not wishes:
        return Idle()
    if by.proof is Proof.PROVEN:
        made = [_request(act, address, wish, language) for wish in wishes]
        _send(act, address, made, Action.CONFIRM, answers)
        return Asked()
    return _ask(act, address, wishes, language, answers)


def reply(outcome: Outcome, address: Address, by: Party, instead: str = "") -> Reply:
    """What SMTP says of it; `instead` is another way, for whom we cannot ask.

    Who is not proven hears the same of all that depends on whose mailbox it is.
    A peer that we trust is told yes: a refusal would become a bounce to whom From names.
    """
    if by.proof is not Proof.PROVEN and not isinstance(outcome, Busy | Refuted):
        one = f"received; a mail to {address} asks what is to be confirmed, unless one went there lately{instead}"
        return Reply(250, "2.0.0", one)
    match outcome:
        case Asked():
            return Reply(250, "2.0.0", f"please answer the mail that goes to {address}")
        case Pending():
            return Reply(250, "2.0.0", f"please answer the mail that went to {address}")
        case Waits():
            return Reply(250, "2.0.0", f"our next mail to {address} asks this, once the one before is answered")
        case Idle():
            return RECEIVED
        case Unwanted():
            said = Reply(550, "5.7.1", f"we cannot write to {address} at present, nothing has changed{instead}")
        case Busy():
            said = Reply(450, "4.7.1", "too much was asked for lately; please try again later")
        case Refuted(why):
            said = Reply(550, "5.7.1", f"{address} did not write this, its domain says{f': {why}' if why else ''}")
        case _:
            assert_never(outcome)
    return RECEIVED if by.trusted else said


def send_waiting(act: Act) -> int:
    """The job: the next mail to everybody whose wishes wait and who may be asked now.  How many."""
    keys = requests.waiting(act.tx, act.now, budgeting.MAIL.every, EACH_TURN)
    sent = 0
    for key in keys:
        known = [request for request in requests.open_of(act.tx, key) if request.token is None]
        if not budgeting.mail_is_left(act, key) or objecting.has_question(act, key):
            continue
        leaving = all(request.action is Action.LEAVE for request in known)
        if objecting.objects(act, key) or objecting.resting(act, key, leaving=leaving):
            requests.remove(act.tx, [request.id for request in known])
            continue
        budgeting.spend_mail(act, key)
        address = parse(known[0].doc["address"])
        assert address is not None  # it was judged when it was stored
        _send(act, address, _together(known), Action.ASK)
        sent += 1
    return sent


def lapse(act: Act) -> int:
    """The job: what was asked and is over, or waited behind a question that nobody answered, goes."""
    return requests.lapse(act.tx, act.now - REST)


def _ask(act: Act, address: Address, wishes: Sequence[Wish], language: str, answers: str) -> Outcome:
    """The same for somebody who has proven nothing."""
    may = budgeting.mail_is_left(act, address.key)  # held from here on: two who ask at once are not two mails
    leaving = all(wish.action is Action.LEAVE for wish in wishes)
    if objecting.objects(act, address.key) or objecting.resting(act, address.key, leaving=leaving):
        return Unwanted()
    known = requests.open_of(act.tx, address.key)
    fresh = [wish for wish in wishes if not any(_same(request, wish) for request in known)]
    if not fresh:
        return Pending()
    waiting = [request for request in known if request.token is None]
    if len(waiting) + len(fresh) > MOST_WAITING:
        return Busy()
    made = [_request(act, address, wish, language) for wish in fresh]
    if not may or objecting.has_question(act, address.key):
        return Waits()
    budgeting.spend_mail(act, address.key)
    together = _together([*waiting, *made])
    _send(act, address, together, Action.ASK, answers)
    return Asked() if made[0] in together else Waits()


def _send(act: Act, address: Address, asked: Sequence[Request], action: Action, answers: str = "") -> None:
    """The mail that names these and no others; its token is the right to just that."""
    wishes = [(request, group_of(act, request)) for request in asked]
    group = wishes[0][1]  # whose door the answer comes to
    known = accounts.mailbox(act.tx, address.key)
    said = [request.doc["language"] for request in asked if "language" in request.doc]
    spoken = group.policy.language if group else DEFAULT_LANGUAGE
    to = To(address, (known.language if known else "") or (said or [spoken])[0], known.id if known else None)
    about = [[request.action.value, group.address if group else ""] for request, group in wishes]
    doc = {"wishes": about, "text": consenting.shown(act, "question", to.language)}
    token = notifying.issue(act, action, address.key, doc, lives=ANSWER_WITHIN, group_id=group.id if group else None)
    requests.name(act.tx, [request.id for request in asked], tag.digest(token))
    facts = {"wishes": wishes, "days": ANSWER_WITHIN.days}
    notifying.send(act, group, to, Letter("question", facts, token, answers=answers))


def _request(act: Act, address: Address, wish: Wish, language: str) -> Request:
    known = {"address": str(address), "language": language, "asked": consenting.asked(act)}
    doc = {**wish.doc, **{name: value for name, value in known.items() if value}}
    return requests.add(act.tx, address.key, wish.action, wish.group.id if wish.group else None, doc, act.now)


def _together(waiting: Sequence[Request]) -> list[Request]:
    """What one mail may name: who gives another mailbox a say in all that is his is asked that, and nothing else."""
    if waiting[0].action in ALONE:
        return [waiting[0]]
    return [request for request in waiting if request.action not in ALONE]


def _same(request: Request, wish: Wish) -> bool:
    """Who asks, and how he spells and speaks, makes no other wish of it."""
    if request.action is not wish.action or request.group_id != (wish.group.id if wish.group else None):
        return False
    return {key: value for key, value in request.doc.items() if key not in OUR_OWN} == dict(wish.doc)


def group_of(act: Act, request: Request) -> Group | None:
    """The group that a request is about, None for the whole site."""
    return groups.get(act.tx, request.group_id) if request.group_id is not None else None
