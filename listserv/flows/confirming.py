"""Answers to our own mails: a token in the address, or in the Message-ID that the answer refers to."""

import re
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from listserv.access_log import events
from listserv.flows import believing, joining, moderating, notifying
from listserv.flows.holding import HOLD_FOR, UNDO_FOR, empty_approves
from listserv.flows.joining import RECEIVED
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
from listserv.store import accounts, budgets, holds, journal, tokens
from listserv.store.holds import Held

SECOND_WITHIN = timedelta(days=2)

_REFERENCE = re.compile(r"<confirm\.([a-z2-7]{26})@")


def by_reference(act: Act, group: Group, reading: Reading, door: Door) -> Reply | None:
    """The answer, when this mail came to another door but replies to one of our questions; else None.

    Some programs answer From and not Reply-To, some people the wrong address.
    """
    said = [*message.in_reply_to(reading.message), *message.references(reading.message)]
    for id in reversed(said):
        match = _REFERENCE.match(id.lower())
        token = tokens.find(act.tx, tag.digest(match[1])) if match else None
        if token is None or token.group_id != group.id:
            continue
        if door is Door.POST and not _is_for_us(act, group, reading, token):
            continue
        return take(act, group, reading, match[1]) if match else None
    return None


def _is_for_us(act: Act, group: Group, reading: Reading, token: Token) -> bool:
    """An answer to us that went to the post address: the members are not to read the token in it."""
    if token.action is Action.VOUCH:
        return reading.author_address == token.actor
    is_admin = accounts.admin(act.tx, group.id, reading.author_address) is not None
    return token.action in (Action.DECIDE, Action.DECIDE_BATCH) and is_admin


def take(act: Act, group: Group, reading: Reading, text: str) -> Reply:
    """Mail to -confirm: what the token stands for, done in this transaction."""
    canonical = tag.read_token(text)
    token = tokens.find(act.tx, tag.digest(canonical)) if canonical else None
    if token is None or token.group_id != group.id:
        return Reply(550, "5.1.1", "no such confirmation; it may be too old")
    if why := automatic.robot(reading.message, reading.mail_from):
        return _refuse(act, group, token.action, f"robot: {why}")
    match token.action:
        case Action.DECIDE:
            return _decide(act, group, reading, token)
        case Action.DECIDE_BATCH:
            return _decide_batch(act, group, reading, token)
        case Action.VOUCH:
            return _vouch(act, group, reading, token)
        case _:
            return _consent(act, group, reading, token)


def _consent(act: Act, group: Group, reading: Reading, token: Token) -> Reply:
    """A mere reply is a yes, unless it says no."""
    member = accounts.member(act.tx, group.id, token.actor)
    if command.consent(reading.plain, reading.html) is Consent.NO:
        tokens.decline(act.tx, token.digest)
        return _refuse(act, group, token.action, "declined")
    if not tokens.redeem(act.tx, token.digest, act.now):
        _repeat(act, group, reading, token, member)
        return _refuse(act, group, token.action, token.state)
    match token.action:
        case Action.JOIN | Action.INVITE:
            joining.confirmed(act, group, token)
        case Action.LEAVE:
            joining.left(act, group, token)
        case Action.RETURN:
            joining.returned(act, group, token)
        case Action.SECOND:
            _second(act, group, reading, token)
        case Action.DECIDE | Action.DECIDE_BATCH | Action.VOUCH:
            raise AssertionError("decided elsewhere")
    return RECEIVED


def _vouch(act: Act, group: Group, reading: Reading, token: Token) -> Reply:
    """An author says which posts in his name are his; who has the token has his mailbox, whatever From says."""
    if not tokens.redeem(act.tx, token.digest, act.now):
        _repeat(act, group, reading, token, accounts.member(act.tx, group.id, token.actor))
        return _refuse(act, group, token.action, token.state)
    believing.answered(act, token, command.own(reading.plain, reading.html, len(token.doc["holds"])))
    return RECEIVED


def _repeat(act: Act, group: Group, reading: Reading, token: Token, member: Member | None) -> None:
    """A used or expired token: say kindly what has happened, once a day."""
    to = notifying.to_actor(act, group, token.actor)
    if to is not None and budgets.first_today(act.tx, group.id, "repeat", token.actor, act.now):
        facts = {"token": "", "state": token.state, "used_at": token.used_at, "action": token.action, "is_in": member}
        notifying.send(act, group, to, Letter("used-token", {"used": facts}, answers=reading.message_id))


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
            _answer(act, group, reading, admin, moderating.decide(act, group, held.id, said, admin.key), said)
    return RECEIVED


def _answer(act: Act, group: Group, reading: Reading, admin: Member, result: Decision, verb: Verb) -> None:
    """What an admin hears back: nothing when all went as he said, but for an undo; else what is so."""
    if isinstance(result, Decided) and not isinstance(verb, Undo):
        return
    by = "" if isinstance(result, Decided) else _who(act, group, result.held.decided_by)
    facts = {"held": result.held, "why": result.why if isinstance(result, NotDecided) else "", "by": by}
    letter = Letter("hold-result", facts, _anew(act, group, admin, result.held), answers=reading.message_id)
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


def _second(act: Act, group: Group, reading: Reading, token: Token) -> None:
    """The admin has said from his own mailbox that the decision was his, or the many that a summary asked for."""
    admin = accounts.admin(act.tx, group.id, token.actor)
    if admin is None:
        return
    if "each" in token.doc:
        said = [(id, _read(word, reason)) for id, word, reason in token.doc["each"]]
        ids = [id for id, _ in said]
        waiting = holds.some(act.tx, ids)
        results = [
            (n, moderating.decide(act, group, id, verb, admin.key))
            for n, (held, (id, verb)) in enumerate(zip(waiting, said, strict=True), 1)
            if held is not None
        ]
        _tell_results(act, group, reading, admin, {"results": results, "line": "", "waiting": waiting}, ids)
    elif token.hold_id is not None and holds.get(act.tx, token.hold_id) is not None:
        verb = _read(token.doc["verb"], token.doc["reason"])
        _answer(act, group, reading, admin, moderating.decide(act, group, token.hold_id, verb, admin.key), verb)


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
    _tell_results(
        act, group, reading, admin, {"results": results, "line": line, "waiting": waiting}, token.doc["holds"]
    )
    return RECEIVED


def _tell_results(
    act: Act, group: Group, reading: Reading, admin: Member, facts: dict[str, Any], ids: Sequence[int]
) -> None:
    """What has become of the summary, with a token for what is left of it."""
    lives = HOLD_FOR + UNDO_FOR
    again = notifying.issue(act, Action.DECIDE_BATCH, admin.key, {"holds": ids}, lives=lives, group_id=group.id)
    letter = Letter("batch-result", facts, again, answers=reading.message_id)
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


def _refuse(act: Act, group: Group, what: Action, why: str) -> Reply:
    line = events.token_refused(act.now, act.who, group=group.address, what=what.value, why=why)
    journal.write(act.tx, line)
    return RECEIVED
