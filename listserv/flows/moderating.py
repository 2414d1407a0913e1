"""Decided: by whoever answers first, told to the others, taken back, or left until it expires."""

from dataclasses import dataclass
from typing import assert_never

from listserv.access_log import events
from listserv.flows import joining, notifying, objecting, posting
from listserv.flows.holding import HOLD_FOR, UNDO_FOR
from listserv.flows.notifying import Letter
from listserv.flows.site import Act
from listserv.mail.command import Approve, Discard, Reject, Undo
from listserv.model.envelope import Proof
from listserv.model.group import Group
from listserv.model.post import HoldKind, HoldState, WaitsFor
from listserv.store import accounts, groups, holds, journal, posts
from listserv.store.holds import Held

Verb = Approve | Reject | Discard | Undo


@dataclass(frozen=True, slots=True)
class Decided:
    """It is so now, by this act."""

    held: Held


@dataclass(frozen=True, slots=True)
class DecidedBefore:
    """Somebody had decided; nothing has changed."""

    held: Held


@dataclass(frozen=True, slots=True)
class NotDecided:
    """An undo of what was never decided, or cannot be undone; nothing has changed."""

    held: Held
    why: str


Decision = Decided | DecidedBefore | NotDecided


def decide(act: Act, group: Group, id: int, verb: Verb, by: str) -> Decision:
    """Exactly one of two who decide at once does; the other learns who did, and when."""
    held = holds.get(act.tx, id)
    assert held is not None
    match verb:
        case Undo():
            return _undo(act, group, held, by)
        case Approve():
            state, note = HoldState.APPROVED, events.hold_approved
        case Reject():
            state, note = HoldState.REJECTED, events.hold_rejected
        case Discard():
            state, note = HoldState.DISCARDED, events.hold_discarded
        case _:
            assert_never(verb)
    if not holds.decide(act.tx, id, HoldState.OPEN, state, by, act.now):
        return DecidedBefore(_again(act, id))
    held = _again(act, id)
    message_id = _carry_out(act, group, held, verb)
    line = note(act.now, act.who, group=group.address, message_id=message_id, hold=id, author=held.author)
    journal.write(act.tx, line)
    journal.note(act.tx, message_id, act.now, state.value, f"{group.address} by {by}")
    _tell_the_others(act, group, held)
    return Decided(held)


def _again(act: Act, id: int) -> Held:
    held = holds.get(act.tx, id)
    assert held is not None
    return held


def _carry_out(act: Act, group: Group, held: Held, verb: Approve | Reject | Discard) -> str:
    """The Message-ID of what was decided on, "" for a join request."""
    if held.kind is HoldKind.JOIN:
        joining.decided(act, group, held, verb)
        return ""
    assert held.post_id is not None
    post = posts.get(act.tx, held.post_id)
    match verb:
        case Approve():
            number = groups.next_number(act.tx, group.id)
            posts.move(act.tx, post.id, state="due", due=act.now, number=number)
            journal.count(act.tx, act.now.date(), group.id, "accepted")
        case Reject(reason):
            posts.move(act.tx, post.id, state="rejected", done_at=act.now)
            _tell_author(act, group, held, post.message_id, "rejected", reason)
        case Discard():
            posts.move(act.tx, post.id, state="discarded", done_at=act.now)
    return post.message_id


def _undo(act: Act, group: Group, held: Held, by: str) -> Decision:
    if held.state not in (HoldState.REJECTED, HoldState.DISCARDED):
        why = "it still waits" if held.state is HoldState.OPEN else f"it was {held.state.value}"
        return NotDecided(held, why)
    if held.decided_at is None or act.now - held.decided_at > UNDO_FOR or (held.post_id and held.digest is None):
        return NotDecided(held, "it was decided too long ago")
    if not holds.reopen(act.tx, held.id, act.now + HOLD_FOR):
        return DecidedBefore(_again(act, held.id))
    message_id = ""
    if held.post_id is not None:
        # The post may have let go of its bytes already; the hold has kept them for this.
        posts.move(act.tx, held.post_id, state="held", done_at=None, digest=held.digest)
        message_id = posts.get(act.tx, held.post_id).message_id
    line = events.hold_undone(
        act.now, act.who, group=group.address, message_id=message_id, hold=held.id, author=held.author
    )
    journal.write(act.tx, line)
    journal.note(act.tx, message_id, act.now, "undone", f"{group.address} by {by}")
    return Decided(_again(act, held.id))


def _tell_the_others(act: Act, group: Group, held: Held) -> None:
    """Co-admins hear once by whom it was decided; of what waits for its author they have heard nothing."""
    if held.waits_for is WaitsFor.AUTHOR:
        return
    for admin in accounts.admins(act.tx, group.id):
        if admin.key != held.decided_by:
            notifying.send(act, group, notifying.to_member(group, admin), Letter("decided", {"held": held}))


def _tell_author(act: Act, group: Group, held: Held, message_id: str, template: str, reason: str = "") -> None:
    """Only a known author is written to: a member whose From was not refuted; else it could be anybody's address."""
    author = accounts.member(act.tx, group.id, held.author)
    if author is not None and _may_hear(act, held):
        facts = {"held": held, "reason": reason}
        notifying.send(act, group, notifying.to_member(group, author), Letter(template, facts, answers=message_id))


def _may_hear(act: Act, held: Held) -> bool:
    """What waited for its author, and he has not said that it is his, may be anybody's.

    What nothing proves may be as well, so of that he hears within a budget, and not when he wants no mail.
    """
    assert held.post_id is not None
    post = posts.get(act.tx, held.post_id)
    proof = posting.envelope_of(post).proof
    if held.waits_for is WaitsFor.AUTHOR:
        return False
    if proof is Proof.PROVEN or post.envelope.get("vouched", False):
        return True
    return proof is Proof.UNKNOWN and objecting.may_tell_fate(act, held.author)


def expire(act: Act, limit: int = 100) -> int:
    """Holds that nobody decided: closed, and known authors told.  How many."""
    overdue = holds.overdue(act.tx, act.now, limit)
    for held in overdue:
        expired = holds.decide(act.tx, held.id, HoldState.OPEN, HoldState.EXPIRED, "", act.now)
        if not expired or held.group_id is None:
            continue
        group, message_id = groups.get(act.tx, held.group_id), ""
        if held.post_id is not None:
            message_id = posts.get(act.tx, held.post_id).message_id
            posts.move(act.tx, held.post_id, state="expired", done_at=act.now)
            _tell_author(act, group, held, message_id, "expired")
        line = events.hold_expired(
            act.now, act.who, group=group.address, message_id=message_id, hold=held.id, author=held.author
        )
        journal.write(act.tx, line)
        journal.note(act.tx, message_id, act.now, "expired", group.address)
    return len(overdue)
