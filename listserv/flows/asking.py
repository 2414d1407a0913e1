"""Questions: whoever asks for something in somebody's name makes us write to him, so that has a budget.

    outcome = asking.ask(act, address, Wish(Action.JOIN, group), party(envelope, reading))
    return asking.reply(outcome, address, party)

A *wish* becomes a request, and a mail names it; a yes to that mail does what it names and nothing else
(`confirming`).  Who is proven is asked at once, in a mail of its own.  What anybody else asks for in somebody's name:

* one open question for a mailbox, over all groups and wishes, and one such mail a day;
* what is asked for later waits and joins the next mail, which leaves when the former one was answered with a yes;
* a question that nobody answers takes what waits behind it with it, and there is none for a month;
* a no ends that: no stranger makes us ask again.  “Never write to me again” is kept for every mail that its owner did
  not ask for with proof.

Both are kept as keyed hashes.  The askers have budgets, too, by their network and by their domains.  Nothing that an
asker wrote is in a question.
"""

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, assert_never

from listserv.flows import consenting, notifying
from listserv.flows.agreeing import Yes
from listserv.flows.notifying import Letter, To
from listserv.flows.reading import Reading
from listserv.flows.site import Act
from listserv.mail import tag
from listserv.model.address import Address, parse
from listserv.model.consent import Step
from listserv.model.envelope import RECEIVED, Envelope, Proof, Reply
from listserv.model.group import Group
from listserv.model.token import Action, Request, Token
from listserv.store import accounts, buckets, groups, objections, requests, tokens
from listserv.store.buckets import Budget
from listserv.texts import DEFAULT_LANGUAGE

ANSWER_WITHIN = timedelta(days=7)
REST = timedelta(days=30)  # after a question that nobody answered
MOST_WAITING = 20  # wishes behind an open question; one more would be a mail that nobody reads
EACH_TURN = 500  # mailboxes asked in one transaction

MAIL = Budget(1, timedelta(days=1))  # to one mailbox, whoever caused it
NETWORK = Budget(20, timedelta(minutes=6))  # unproven wishes from one address, or one /64
DOMAIN = Budget(100, timedelta(minutes=1))  # unproven wishes by one domain in the envelope or From
PERSON = Budget(20, timedelta(minutes=30))  # proven wishes of one author
PROVEN_DOMAIN = Budget(1000, timedelta(seconds=10))

QUESTIONS = (Action.ASK, Action.CONFIRM, Action.INVITE, Action.JOIN, Action.LEAVE, Action.OBJECT)

ALONE = (Action.ADD_ADDRESS, Action.CHANGE_ADDRESS)

OUR_OWN = ("address", "language", "asked")  # what a request's document holds besides the wish's own


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody is to be asked; `doc` is what the act needs to know, and belongs to the same mail's yes."""

    action: Action
    group: Group | None
    doc: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Party:
    """Who asks: what is proven about him, and whose budgets he uses.

    network  of the client that brought it, "" for one that we trust
    domains  of From and of the envelope
    """

    proof: Proof
    why: str = ""
    network: str = ""
    domains: tuple[str, ...] = ()
    trusted: bool = False


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
class Unwanted:
    """No question may go there: its owner wants none, or has not answered the last one for less than a month."""


@dataclass(frozen=True, slots=True)
class Busy:
    """More was asked for than this party, its domain or this mailbox may make us ask."""


@dataclass(frozen=True, slots=True)
class Refuted:
    """The author's domain says that he did not write this; `why` is the check that failed."""

    why: str


Outcome = Asked | Pending | Waits | Unwanted | Busy | Refuted


def party(envelope: Envelope, reading: Reading) -> Party:
    """Who asks by this message."""
    named = (reading.author_address.rpartition("@")[2], envelope.mail_from.rpartition("@")[2].lower())
    peer = envelope.peer
    return Party(
        proof=envelope.proof,
        why=envelope.evidence.why[-1] if envelope.evidence.why else "",
        network="" if peer.trusted or peer.lmtp else network(peer.ip),
        domains=tuple(dict.fromkeys(domain for domain in named if domain)),
        trusted=peer.trusted or peer.lmtp,
    )


def network(ip: str) -> str:
    """Whose budget an address uses: its own for IPv4, that of its /64 for IPv6, where one customer has them all."""
    try:
        known = ipaddress.ip_address(ip)
    except ValueError:
        return ip
    if known.version == 4:
        return str(known)
    mapped = known.ipv4_mapped
    return str(mapped) if mapped else str(ipaddress.ip_network((known, 64), strict=False))


def ask(act: Act, address: Address, wish: Wish, by: Party, *, language: str = "", answers: str = "") -> Outcome:
    """Ask the owner of this mailbox whether it is his wish.

    language  for a mailbox whose own is unknown; "" is the group's
    answers   Message-ID of what made us ask
    """
    return ask_all(act, address, [wish], by, language=language, answers=answers)


def ask_all(
    act: Act, address: Address, wishes: Sequence[Wish], by: Party, *, language: str = "", answers: str = ""
) -> Outcome:
    """The same for several wishes of one message, in one mail."""
    if by.proof is Proof.REFUTED:
        return Refuted(by.why)
    if not affords(act, address, by):
        return Busy()
    if by.proof is Proof.PROVEN:
        made = [_request(act, address, wish, language) for wish in wishes]
        _send(act, address, made, Action.CONFIRM, answers)
        return Asked()
    return _ask(act, address, wishes, language, answers)


def may_write(act: Act, key: str, *, is_member: bool = False) -> bool:
    """Whether one mail that nobody proven asked for may go to this mailbox now; if so, that is its mail of the day.

    is_member  he is asked about what bears his name, whatever he once said no to
    """
    if objects(act, key) or (not is_member and resting(act, key)) or _open(_questions(act, key), act):
        return False
    return buckets.spend(act.tx, _name(act, "mail", key), MAIL, act.now)


def once_a_day(act: Act, what: str, whose: str) -> bool:
    """True at most once in 24 hours for this kind of mail and this mailbox; only a keyed hash is kept."""
    return buckets.spend(act.tx, _name(act, what, whose), MAIL, act.now)


def once(act: Act, what: str, whose: str, within: timedelta) -> bool:
    """True the first time within this span; only a keyed hash is kept."""
    return buckets.spend(act.tx, _name(act, what, whose), Budget(1, within), act.now)


def reply(outcome: Outcome, address: Address, by: Party, instead: str = "") -> Reply:
    """What SMTP says of it; `instead` is another way, for whom we cannot ask.

    A peer that we trust is told yes: a refusal would become a bounce to whom From names.
    """
    match outcome:
        case Asked():
            return Reply(250, "2.0.0", f"please answer the mail that goes to {address}")
        case Pending():
            return Reply(250, "2.0.0", f"please answer the mail that went to {address}")
        case Waits():
            return Reply(250, "2.0.0", f"our next mail to {address} asks this, once the one before is answered")
        case Unwanted():
            said = Reply(550, "5.7.1", f"we cannot write to {address} at present, nothing has changed{instead}")
        case Busy():
            said = Reply(450, "4.7.1", "too much was asked for lately; please try again later")
        case Refuted(why):
            said = Reply(550, "5.7.1", f"{address} did not write this, its domain says{f': {why}' if why else ''}")
        case _:
            assert_never(outcome)
    return RECEIVED if by.trusted else said


def objects(act: Act, key: str) -> bool:
    """Its owner has said “never write to me again”."""
    return bool(objections.among(act.tx, act.site.tags.hashes("never", key)))


def objecting(act: Act, keys: Sequence[str]) -> set[str]:
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


def send_waiting(act: Act) -> int:
    """The job: the next mail to everybody whose wishes wait and who may be asked now.  How many."""
    keys = requests.waiting(act.tx, act.now, MAIL.every, EACH_TURN)
    sent = 0
    for key in keys:
        known = [request for request in requests.open_of(act.tx, key) if request.token is None]
        if not buckets.left(act.tx, _name(act, "mail", key), MAIL, act.now) or _open(_questions(act, key), act):
            continue
        leaving = all(request.action is Action.LEAVE for request in known)
        if objects(act, key) or resting(act, key, leaving=leaving):
            requests.remove(act.tx, [request.id for request in known])
            continue
        buckets.spend(act.tx, _name(act, "mail", key), MAIL, act.now)
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
    mail = _name(act, "mail", address.key)
    may = buckets.left(act.tx, mail, MAIL, act.now)  # held from here on: two who ask at once are not two mails
    leaving = all(wish.action is Action.LEAVE for wish in wishes)
    if objects(act, address.key) or resting(act, address.key, leaving=leaving):
        return Unwanted()
    known = requests.open_of(act.tx, address.key)
    fresh = [wish for wish in wishes if not any(_same(request, wish) for request in known)]
    if not fresh:
        return Pending()
    waiting = [request for request in known if request.token is None]
    if len(waiting) + len(fresh) > MOST_WAITING:
        return Busy()
    made = [_request(act, address, wish, language) for wish in fresh]
    if not may or _open(_questions(act, address.key), act):
        return Waits()
    buckets.spend(act.tx, mail, MAIL, act.now)
    together = _together([*waiting, *made])
    _send(act, address, together, Action.ASK, answers)
    return Asked() if made[0] in together else Waits()


def affords(act: Act, address: Address, by: Party) -> bool:
    """Whether this party may make us write to this mailbox once more; it costs all its budgets."""
    if by.proof is Proof.PROVEN:
        budgets = [("proven", address.key, PERSON), ("proven-domain", address.domain, PROVEN_DOMAIN)]
    else:
        budgets = [("domain", domain, DOMAIN) for domain in by.domains]
        budgets += [("network", by.network, NETWORK)] if by.network else []
    named = sorted((_name(act, what, whose), budget) for what, whose, budget in budgets)  # in one order: no deadlock
    return all(buckets.spend(act.tx, name, budget, act.now) for name, budget in named)


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


def _questions(act: Act, key: str) -> list[Token]:
    """What strangers have made us ask lately; older ones do not count any more."""
    return tokens.sent_since(act.tx, key, act.now - ANSWER_WITHIN - REST, (Action.ASK, Action.VOUCH))


def _open(questions: Sequence[Token], act: Act) -> bool:
    return any(token.state == "open" and not _is_over(token, act) for token in questions)


def _rests(token: Token, act: Act) -> bool:
    """After a no, or a term in which nobody answered, there is a month of rest."""
    if token.state == "declined":
        return token.made_at > act.now - REST
    over = token.state in ("open", "expired") and _is_over(token, act)
    return over and token.expires_at is not None and token.expires_at > act.now - REST


def _is_over(token: Token, act: Act) -> bool:
    return token.expires_at is not None and token.expires_at <= act.now


def group_of(act: Act, request: Request) -> Group | None:
    """The group that a request is about, None for the whole site."""
    return groups.get(act.tx, request.group_id) if request.group_id is not None else None


def _name(act: Act, what: str, whose: str) -> bytes:
    return act.site.tags.hashes(f"budget.{what}", whose)[0]
