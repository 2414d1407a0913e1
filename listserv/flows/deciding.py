"""An admin's reply to a hold notice, or to a summary of them: which decision it is, and whether it counts.

It counts from a believed mailbox of an admin of this group.  The right token from any other mailbox makes us ask the
admin whose it is, who confirms with one tap (`seconded`).  What a decision does: `moderating`.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from listserv.access_log import events
from listserv.flows import budgeting, moderating, notifying
from listserv.flows.agreeing import Effect, Yes, refuse
from listserv.flows.holding import HOLD_FOR, UNDO_FOR, empty_approves
from listserv.flows.moderating import Decided, Decision, NotDecided, Verb
from listserv.flows.notifying import Letter
from listserv.flows.reading import Reading
from listserv.flows.site import Act
from listserv.mail import command
from listserv.mail.command import Approve, Batch, Discard, Nothing, Reject, Unclear, Undo
from listserv.model.account import Member
from listserv.model.envelope import RECEIVED, Reply
from listserv.model.group import Group
from listserv.model.post import HoldState
from listserv.model.token import Action, Token
from listserv.store import accounts, holds, journal, tokens
from listserv.store.holds import Held

SECOND_WITHIN = timedelta(days=2)


def decide(act: Act, group: Group | None, reading: Reading, token: Token) -> Reply:
    """What SMTP says to an admin's reply, whose decision is done in this transaction when it counts."""
    if group is None or token.state != "open":
        return refuse(act, group, token.action, token.state)
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
    if budgeting.spend_puzzled(act, admin.key, held.id):
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
        return refuse(act, group, token.action, why)
    if not tokens.unanswered_since(act.tx, owner.key, act.now - SECOND_WITHIN, Action.SECOND, hold_id=held.id):
        word, reason = _written(said)
        doc = {"verb": word, "reason": reason}
        second = notifying.issue(
            act, Action.SECOND, owner.key, doc, lives=SECOND_WITHIN, group_id=group.id, hold_id=held.id
        )
        facts = {"held": held, "verb": word, "reason": reason, "days": SECOND_WITHIN.days, "why": why}
        letter = Letter("hold-second", facts, second)
        notifying.send(act, group, notifying.to_member(group, owner), letter)
    return refuse(act, group, token.action, why)


def seconded(act: Act, yes: Yes) -> Effect:
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
    if not results and not budgeting.spend_puzzled(act, admin.key, token.doc["holds"][0]):
        return RECEIVED
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
        return refuse(act, group, token.action, why)
    if not tokens.unanswered_since(act.tx, owner.key, since, Action.SECOND, group_id=group.id):
        each = [(held, *_written(verb)) for held, verb in chosen]
        doc = {"each": [[held.id, word, reason] for held, word, reason in each]}
        second = notifying.issue(act, Action.SECOND, owner.key, doc, lives=SECOND_WITHIN, group_id=group.id)
        letter = Letter("batch-second", {"each": each, "days": SECOND_WITHIN.days, "why": why}, second)
        notifying.send(act, group, notifying.to_member(group, owner), letter)
    return refuse(act, group, token.action, why)


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
