"""Answers to our own mails: a token in the address, or in the Message-ID that the answer refers to."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from listserv.access_log import events
from listserv.flows import addressing, asking, believing, commanding, joining, moderating, notifying
from listserv.flows.asking import RECEIVED, Deed, Effect, Yes
from listserv.flows.holding import HOLD_FOR, UNDO_FOR, empty_approves
from listserv.flows.moderating import Decided, Decision, NotDecided, Verb
from listserv.flows.notifying import Letter
from listserv.flows.reading import Reading
from listserv.flows.site import Act
from listserv.mail import automatic, command, message, tag
from listserv.mail.command import Approve, Batch, Consent, Discard, Nothing, Reject, Unclear, Undo
from listserv.mail.recipient import Door
from listserv.model.account import Member
from listserv.model.envelope import Reply
from listserv.model.group import Group
from listserv.model.post import HoldState
from listserv.model.token import Action, Token
from listserv.store import accounts, groups, holds, journal, requests, tokens
from listserv.store.holds import Held

SECOND_WITHIN = timedelta(days=2)

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
        return _refuse(act, group, token.action, f"robot: {why}")
    if token.action in (Action.DECIDE, Action.DECIDE_BATCH):
        return _decision(act, group, reading, token)
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
    if why := automatic.robot(reading.message, reading.mail_from):
        return why
    if automatic.begins_away(reading.message):
        return "subject of a responder"
    return "text of a responder" if command.away(reading.plain, reading.html) else None


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
    Action.SECOND: lambda act, yes: _second(act, yes),
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
        asking.never_again(act, token.actor)
        tokens.decline(act.tx, token.digest)
        _refuse(act, group, token.action, "never again")
        return Declined(said)
    if said is Consent.NO and token.state != "used":
        asking.said_no(act, token, named(act, token) if token.state == "open" else ())
        _refuse(act, group, token.action, "declined")
        return Declined(said)
    if said is Consent.NO or token.action is Action.OBJECT or not tokens.redeem(act.tx, token.digest, act.now):
        _refuse(act, group, token.action, token.state)
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
        asking.welcome_again(act, token.actor)
    return Done(tuple(done))


def _vouch(act: Act, token: Token, said: Consent, how: Answer) -> Result:
    """An author says which posts in his name are his; who has the token has his mailbox, whatever From says."""
    if said is Consent.NEVER:
        asking.never_again(act, token.actor)
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
    if to is None or asking.objects(act, token.actor) or token.action is Action.OBJECT:
        return
    if asking.once_a_day(act, "repeat", f"{_id(group)} {token.actor}"):
        member = accounts.member(act.tx, group.id, token.actor) if group else None
        said = token.doc.get("wishes") or [[token.action.value, group.address if group else ""]]
        about = [(action, groups.find(act.tx, address) if address else None, address) for action, address in said]
        wishes = [(action, known) for action, known, address in about if known or not address]
        facts = {"state": token.state, "used_at": token.used_at, "wishes": wishes, "is_in": member}
        notifying.send(act, group, to, Letter("used-token", {"used": facts}, answers=reading.message_id))


def _id(group: Group | None) -> int | None:
    return group.id if group else None


def _decision(act: Act, group: Group | None, reading: Reading, token: Token) -> Reply:
    if group is None or token.state != "open":
        return _refuse(act, group, token.action, token.state)
    return (_decide if token.action is Action.DECIDE else _decide_batch)(act, group, reading, token)


def _decide(act: Act, group: Group, reading: Reading, token: Token) -> Reply:
    """An admin's answer to a hold notice.  It counts only from a believed mailbox of an admin of this group."""
    held = holds.get(act.tx, token.hold_id) if token.hold_id else None
    if held is None:
        return Reply(550, "5.1.1", "what this was about has gone")
    said = command.decision(reading.plain, reading.html)
    admin = accounts.admin(act.tx, group.id, reading.author_address)
    if admin is None or not act.site.believes(reading.proof):
        return _from_elsewhere(act, group, reading, token, held, said)
    if isinstance(said, Nothing) and empty_approves(held):
        said = Approve()
    match said:
        case Nothing():
            return _unclear(act, group, reading, admin, held, "")
        case Unclear(line):
            return _unclear(act, group, reading, admin, held, line)
        case Approve() | Reject() | Discard() | Undo():
            result = moderating.decide(act, group, held.id, said, admin.key)
            _answer(act, group, reading.message_id, admin, result, said)
    return RECEIVED


def _answer(act: Act, group: Group, answers: str, admin: Member, result: Decision, verb: Verb) -> None:
    """What an admin hears back: nothing when all went as he said, but for an undo; else what is so."""
    if isinstance(result, Decided) and not isinstance(verb, Undo):
        return
    by = "" if isinstance(result, Decided) else _who(act, group, result.held.decided_by)
    facts = {"held": result.held, "why": result.why if isinstance(result, NotDecided) else "", "by": by}
    letter = Letter("hold-result", facts, _anew(act, group, admin, result.held), answers=answers)
    notifying.send(act, group, notifying.to_member(group, admin), letter)


def _anew(act: Act, group: Group, admin: Member, held: Held) -> str:
    """A token for the answer to our answer: whatever mail about a hold is replied to, the reply decides."""
    return notifying.issue(act, Action.DECIDE, admin.key, {}, lives=None, group_id=group.id, hold_id=held.id)


def _who(act: Act, group: Group, key: str) -> str:
    member = accounts.member(act.tx, group.id, key) if key else None
    return f"{member.name} <{member.address}>" if member and member.name else key


def _unclear(act: Act, group: Group, reading: Reading, admin: Member, held: Held, line: str) -> Reply:
    """Nothing has changed; the answer says what can be said."""
    facts = {"held": held, "line": line}
    letter = Letter("hold-unclear", facts, _anew(act, group, admin, held), answers=reading.message_id)
    notifying.send(act, group, notifying.to_member(group, admin), letter)
    note = events.hold_unclear(
        act.now,
        act.who,
        group=group.address,
        message_id=reading.message_id,
        hold=held.id,
        why="no word of ours" if line else "nothing said",
    )
    journal.write(act.tx, note)
    return RECEIVED


def _from_elsewhere(
    act: Act, group: Group, reading: Reading, token: Token, held: Held, said: command.Decision
) -> Reply:
    """The right token from a mailbox that is no admin's, or may not be his: whose token it is confirms with one tap."""
    owner = accounts.admin(act.tx, group.id, token.actor)
    why = "wrong-person" if accounts.admin(act.tx, group.id, reading.author_address) is None else "unproven"
    if owner is None or isinstance(said, Nothing | Unclear):
        return _refuse(act, group, token.action, why)
    if not tokens.unanswered_since(act.tx, owner.key, act.now - SECOND_WITHIN, Action.SECOND, hold_id=held.id):
        word, reason = _written(said)
        doc = {"verb": word, "reason": reason}
        second = notifying.issue(
            act, Action.SECOND, owner.key, doc, lives=SECOND_WITHIN, group_id=group.id, hold_id=held.id
        )
        facts = {"held": held, "verb": word, "reason": reason, "days": SECOND_WITHIN.days, "why": why}
        letter = Letter("hold-second", facts, second)
        notifying.send(act, group, notifying.to_member(group, owner), letter)
    return _refuse(act, group, token.action, why)


def _second(act: Act, yes: Yes) -> Effect:
    """The admin has said from his own mailbox that the decision was his, or the many that a summary asked for."""
    group = yes.group
    admin = accounts.admin(act.tx, group.id, yes.actor) if group else None
    if group is None or admin is None:
        return Effect.CLOSED
    if "each" in yes.doc:
        said = [(id, _read(word, reason)) for id, word, reason in yes.doc["each"]]
        ids = [id for id, _ in said]
        waiting = holds.some(act.tx, ids)
        results = [
            (n, moderating.decide(act, group, id, verb, admin.key))
            for n, (held, (id, verb)) in enumerate(zip(waiting, said, strict=True), 1)
            if held is not None
        ]
        _tell_results(act, group, yes.message_id, admin, {"results": results, "line": "", "waiting": waiting}, ids)
        return Effect.DONE
    if yes.hold_id is None or holds.get(act.tx, yes.hold_id) is None:
        return Effect.CLOSED
    verb = _read(yes.doc["verb"], yes.doc["reason"])
    result = moderating.decide(act, group, yes.hold_id, verb, admin.key)
    _answer(act, group, yes.message_id, admin, result, verb)
    return Effect.DONE if isinstance(result, Decided) else Effect.NOTHING


def _decide_batch(act: Act, group: Group, reading: Reading, token: Token) -> Reply:
    """An answer to a summary: one line for many."""
    said = command.batch(reading.plain, reading.html)
    admin = accounts.admin(act.tx, group.id, reading.author_address)
    if admin is None or not act.site.believes(reading.proof):
        return _batch_from_elsewhere(act, group, token, said, "wrong-person" if admin is None else "unproven")
    waiting = holds.some(act.tx, token.doc["holds"])  # the numbers of the summary are places in this list
    results: list[tuple[int, Decision]] = []
    if isinstance(said, tuple):
        for batch in said:
            results += _each(act, group, batch, waiting, admin)
    line = said.line if isinstance(said, Unclear) else ""
    facts = {"results": results, "line": line, "waiting": waiting}
    _tell_results(act, group, reading.message_id, admin, facts, token.doc["holds"])
    return RECEIVED


def _tell_results(
    act: Act, group: Group, answers: str, admin: Member, facts: dict[str, Any], ids: Sequence[int]
) -> None:
    """What has become of the summary, with a token for what is left of it."""
    lives = HOLD_FOR + UNDO_FOR
    again = notifying.issue(act, Action.DECIDE_BATCH, admin.key, {"holds": ids}, lives=lives, group_id=group.id)
    letter = Letter("batch-result", facts, again, answers=answers)
    notifying.send(act, group, notifying.to_member(group, admin), letter)


def _batch_from_elsewhere(
    act: Act, group: Group, token: Token, said: tuple[Batch, ...] | Nothing | Unclear, why: str
) -> Reply:
    """As `_from_elsewhere`: whose token it is confirms all of it with one tap."""
    owner = accounts.admin(act.tx, group.id, token.actor)
    waiting = holds.some(act.tx, token.doc["holds"])
    chosen = [
        (held, batch.decision)
        for batch in (said if isinstance(said, tuple) else ())
        for held in (waiting[number - 1] for number in batch.chosen(len(waiting)))
        if held is not None and held.state is HoldState.OPEN
    ]
    since = act.now - SECOND_WITHIN
    if owner is None or not chosen:
        return _refuse(act, group, token.action, why)
    if not tokens.unanswered_since(act.tx, owner.key, since, Action.SECOND, group_id=group.id):
        each = [(held, *_written(verb)) for held, verb in chosen]
        doc = {"each": [[held.id, word, reason] for held, word, reason in each]}
        second = notifying.issue(act, Action.SECOND, owner.key, doc, lives=SECOND_WITHIN, group_id=group.id)
        letter = Letter("batch-second", {"each": each, "days": SECOND_WITHIN.days, "why": why}, second)
        notifying.send(act, group, notifying.to_member(group, owner), letter)
    return _refuse(act, group, token.action, why)


def _written(verb: Verb) -> tuple[str, str]:
    """A decision as a token keeps it: its word, and the reason of a rejection."""
    return type(verb).__name__.lower(), verb.reason if isinstance(verb, Reject) else ""


def _read(word: str, reason: str) -> Verb:
    verbs: dict[str, Verb] = {"approve": Approve(), "discard": Discard(), "undo": Undo()}
    return verbs.get(word, Reject(reason))


def _each(
    act: Act, group: Group, batch: Batch, waiting: list[Held | None], admin: Member
) -> list[tuple[int, Decision]]:
    chosen = [(n, waiting[n - 1]) for n in batch.chosen(len(waiting))]
    return [(n, moderating.decide(act, group, held.id, batch.decision, admin.key)) for n, held in chosen if held]


def _refuse(act: Act, group: Group | None, what: Action, why: str) -> Reply:
    line = events.token_refused(act.now, act.who, group=group.address if group else "", what=what.value, why=why)
    journal.write(act.tx, line)
    return RECEIVED
