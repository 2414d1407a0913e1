"""Answers to our own mails: a token in the address, or in the Message-ID that the answer refers to."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from listserv.flows import addressing, asking, believing, budgeting, commanding, deciding, joining, notifying, objecting
from listserv.flows.agreeing import Deed, Effect, Yes, refuse
from listserv.flows.notifying import Letter
from listserv.flows.reading import Reading
from listserv.flows.site import Act
from listserv.mail import command, message, tag
from listserv.mail.command import Consent
from listserv.mail.recipient import Door
from listserv.model.envelope import RECEIVED, Reply
from listserv.model.group import Group
from listserv.model.token import Action, Token
from listserv.store import accounts, groups, requests, tokens

_REFERENCE = re.compile(r"<confirm\.([a-z2-7]{26})@")


def by_reference(act: Act, group: Group | None, reading: Reading, door: Door) -> Reply | None:
    """The answer, when this mail came to another door but replies to one of our questions; else None.

    Some programs answer From and not Reply-To, some people the wrong address.
    """
    said = [*message.in_reply_to(reading.message), *message.references(reading.message)]
    for id in reversed(said):
        match = _REFERENCE.match(id.lower())
        token = tokens.find(act.tx, tag.digest(match[1])) if match else None
        if token is None or token.group_id != _id(group):
            continue
        if door is Door.POST and not _is_for_us(act, group, reading, token):
            continue
        return take(act, group, reading, match[1]) if match else None
    return None


def _is_for_us(act: Act, group: Group | None, reading: Reading, token: Token) -> bool:
    """An answer to us that went to the post address: the members are not to read the token in it."""
    if token.action is Action.VOUCH:
        return reading.author_address == token.actor
    is_admin = group is not None and accounts.admin(act.tx, group.id, reading.author_address) is not None
    return token.action in (Action.DECIDE, Action.DECIDE_BATCH) and is_admin


def take(act: Act, group: Group | None, reading: Reading, text: str) -> Reply | None:
    """Mail to -confirm: what the token stands for, done in this transaction.

    None: it answers a mail that asked nothing, so whatever it says is for a person.
    """
    canonical = tag.read_token(text)
    token = tokens.find(act.tx, tag.digest(canonical)) if canonical else None
    if token is None or token.group_id != _id(group):
        return Reply(550, "5.1.1", "no such confirmation; it may be too old")
    if why := _robot(reading):
        return refuse(act, group, token.action, f"robot: {why}")
    if token.action in (Action.DECIDE, Action.DECIDE_BATCH):
        return deciding.decide(act, group, reading, token)
    said = command.consent(reading.plain, reading.html)
    if token.action is Action.OBJECT and said is not Consent.NEVER:
        return None
    only = None
    if token.action is Action.VOUCH:  # numbers count from 1, places from 0
        numbers = command.own(reading.plain, reading.html, len(token.doc["holds"]))
        only = frozenset(number - 1 for number in numbers)
    how = Answer(reading.message_id, command.about(reading.plain, reading.html), only)
    result = answer(act, token, said, how)
    if isinstance(result, Over):
        _repeat(act, group, reading, result.token)
    return RECEIVED


def _robot(reading: Reading) -> str | None:
    """Why this answer was not written by a person.

    Here a responder's subject or first lines are enough: the cost of a mistake is one more tap, and of the other one a
    member who never said yes.
    """
    return reading.robot or reading.responder


@dataclass(frozen=True, slots=True)
class Answer:
    """How somebody answered.

    message_id  of his mail, "" for the page
    said        about himself: name, region, country
    only        places of the wishes that he confirms, None for all
    """

    message_id: str = ""
    said: Mapping[str, str] = field(default_factory=dict)
    only: frozenset[int] | None = None


@dataclass(frozen=True, slots=True)
class Done:
    """He said yes: each wish that the question named, and what it came to."""

    wishes: tuple[tuple[Yes, Effect], ...]


@dataclass(frozen=True, slots=True)
class Declined:
    """He said no, or that he never wants to be written to again; nothing has changed but that."""

    said: Consent


@dataclass(frozen=True, slots=True)
class Over:
    """The token was used, has expired or was ended; nothing has changed."""

    token: Token


Result = Done | Declined | Over

# What a yes does, whichever way it came: by mail or by the page.
DEEDS: Mapping[Action, Deed] = {
    Action.JOIN: joining.confirmed,
    Action.INVITE: joining.confirmed,
    Action.LEAVE: joining.left,
    Action.RETURN: joining.returned,
    Action.SECOND: deciding.seconded,
    Action.COMMAND: commanding.confirmed,
    Action.ADD_ADDRESS: addressing.added,
    Action.CHANGE_ADDRESS: addressing.changed,
    Action.KEEP_ADDRESS: addressing.kept,
}


def answer(act: Act, token: Token, said: Consent, how: Answer) -> Result:
    """What the owner of the mailbox says to a question of ours, done in this transaction.

    Whoever has the token has read the mail, so it counts for the mailbox that the mail went to.
    """
    if token.action is Action.VOUCH:
        return _vouch(act, token, said, how)
    group = groups.get(act.tx, token.group_id) if token.group_id is not None else None
    if said is Consent.NEVER:
        objecting.never_again(act, token.actor)
        tokens.decline(act.tx, token.digest)
        refuse(act, group, token.action, "never again")
        return Declined(said)
    if said is Consent.NO and token.state != "used":
        objecting.said_no(act, token, named(act, token) if token.state == "open" else ())
        refuse(act, group, token.action, "declined")
        return Declined(said)
    if said is Consent.NO or token.action is Action.OBJECT or not tokens.redeem(act.tx, token.digest, act.now):
        refuse(act, group, token.action, token.state)
        return Over(token)
    wishes = named(act, token)
    requests.remove_named(act.tx, token.digest)
    done = []
    for place, wish in enumerate(wishes):
        if how.only is not None and place not in how.only:
            continue
        yes = replace(wish, message_id=how.message_id, said=how.said)
        done.append((yes, DEEDS[yes.action](act, yes)))
    if token.action is not Action.ASK:
        objecting.welcome_again(act, token.actor)
    return Done(tuple(done))


def _vouch(act: Act, token: Token, said: Consent, how: Answer) -> Result:
    """An author says which posts in his name are his; who has the token has his mailbox, whatever From says."""
    if said is Consent.NEVER:
        objecting.never_again(act, token.actor)
    if not tokens.redeem(act.tx, token.digest, act.now):
        return Declined(said) if said is Consent.NEVER else Over(token)
    places = range(len(token.doc["holds"])) if said is Consent.YES else range(0)
    own = {place + 1 for place in places if how.only is None or place in how.only}
    believing.answered(act, token, own)
    return Done(((named(act, token)[0], Effect.DONE),)) if own else Declined(said)


def has_page(token: Token) -> bool:
    """Whether a question with this token can be answered on a page."""
    return token.action in (Action.ASK, Action.CONFIRM, Action.OBJECT, Action.VOUCH) or token.action in DEEDS


def named(act: Act, token: Token) -> tuple[Yes, ...]:
    """What the question with this token asks; () when it is over, or asks nothing."""
    shown = token.doc.get("text", {})
    if token.action in (Action.ASK, Action.CONFIRM):
        asked = requests.named_by(act.tx, token.digest)
        return tuple(
            Yes(each.action, asking.group_of(act, each), each.key, each.doc, each.made_at, shown) for each in asked
        )
    if token.action not in DEEDS and token.action is not Action.VOUCH:
        return ()
    group = groups.get(act.tx, token.group_id) if token.group_id is not None else None
    return (Yes(token.action, group, token.actor, token.doc, token.made_at, shown, hold_id=token.hold_id),)


def _repeat(act: Act, group: Group | None, reading: Reading, token: Token) -> None:
    """A used or expired token: say kindly what has happened, once a day."""
    to = notifying.to_actor(act, group, token.actor)
    if to is None or objecting.objects(act, token.actor) or token.action is Action.OBJECT:
        return
    if budgeting.once_a_day(act, "repeat", f"{_id(group)} {token.actor}"):
        member = accounts.member(act.tx, group.id, token.actor) if group else None
        said = token.doc.get("wishes") or [[token.action.value, group.address if group else ""]]
        about = [(action, groups.find(act.tx, address) if address else None, address) for action, address in said]
        wishes = [(action, known) for action, known, address in about if known or not address]
        facts = {"state": token.state, "used_at": token.used_at, "wishes": wishes, "is_in": member}
        notifying.send(act, group, to, Letter("used-token", {"used": facts}, answers=reading.message_id))


def _id(group: Group | None) -> int | None:
    return group.id if group else None
