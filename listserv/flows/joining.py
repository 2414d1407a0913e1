"""In and out: asked for by mail, confirmed by a reply, decided by an admin, done at once with a tag, undone.

Nothing unsolicited is sent: who is not known here gets at most one open question for a group, and few a
day, and its text holds nothing that the asker wrote.
"""

from dataclasses import dataclass
from datetime import timedelta
from types import MappingProxyType
from typing import assert_never

from listserv.access_log import events
from listserv.access_log.line import Way
from listserv.flows import asking, budgeting, consenting, holding, notifying, objecting
from listserv.flows.agreeing import Effect, Yes
from listserv.flows.asking import Asked, Idle, Outcome, Refuted, Waits, Wish
from listserv.flows.budgeting import Party
from listserv.flows.consenting import Facts
from listserv.flows.notifying import Letter, To
from listserv.flows.reading import Reading
from listserv.flows.site import Act
from listserv.mail.command import Approve, Discard, Reject
from listserv.mail.message import Author
from listserv.model.account import Member
from listserv.model.address import Address, parse
from listserv.model.consent import Step
from listserv.model.envelope import RECEIVED, Envelope, Proof, Reply
from listserv.model.group import Group, Joining, Mode
from listserv.model.token import Action
from listserv.store import accounts, budgets, groups, journal, tokens
from listserv.store.holds import Held
from listserv.texts import one_line

UNDO_WITHIN = timedelta(days=14)
ABOUT_LONGEST = 200  # characters of a name, region or country
BY_A_PROGRAM = "auto-submitted: auto-generated"  # as mail programs may leave in their user's name (RFC 3834 §5.1)
_SO_ALREADY = {"subscribe": "a member already", "unsubscribe": "not a member"}  # why a door had nothing to ask
UNWANTED = "never wants to be written to again, and only a mail that is proven to be his takes that back"


@dataclass(frozen=True, slots=True)
class Joined:
    member: Member


@dataclass(frozen=True, slots=True)
class AlreadyIn:
    member: Member


@dataclass(frozen=True, slots=True)
class Banned:
    address: str


Entry = Joined | AlreadyIn | Banned


def join(
    act: Act,
    group: Group,
    address: Address,
    how: str,
    name: str = "",
    mode: Mode = Mode.EACH,
    *,
    step: Step = Step.JOINED,
    evidence: Facts = MappingProxyType({}),
) -> Entry:
    """Make a mailbox a member.  Whoever is here, by this or another mailbox of his, and gets no posts gets them now.

    step, evidence  what the consent record says of it
    """
    if groups.is_banned(act.tx, group.id, address.key):
        return Banned(str(address))
    mailbox = accounts.ensure(act.tx, address, act.now, name, proven=True)
    known = accounts.member(act.tx, group.id, address.key)
    if known is not None and known.mode is not Mode.NONE:
        return AlreadyIn(known)
    if known is not None:
        accounts.change(act.tx, known.subscription_id, mode=mode.value)
    else:
        accounts.subscribe(act.tx, group.id, mailbox.id, act.now, how, mode=mode)
    tokens.end(act.tx, address.key, group.id, (Action.JOIN, Action.INVITE, Action.RETURN))
    line = events.member_joined(act.now, act.who, group=group.address, member=address.key, how=how)
    journal.write(act.tx, line)
    journal.count(act.tx, act.now.date(), group.id, "joined")
    consenting.record(act, step, group, address.key, **evidence)
    member = accounts.member(act.tx, group.id, address.key)
    assert member is not None
    return Joined(member)


def leave(act: Act, group: Group, member: Member, evidence: Facts = MappingProxyType({})) -> None:
    """Out at once, and a mail with undo.  An admin keeps the role and gets no posts any more."""
    end = accounts.silence if member.role.is_admin else accounts.unsubscribe
    if not end(act.tx, member.subscription_id):
        return  # somebody was faster: one farewell is enough
    tokens.end(act.tx, member.key, group.id, (Action.LEAVE, Action.RETURN))
    line = events.member_left(act.now, act.who, group=group.address, member=member.key)
    journal.write(act.tx, line)
    journal.count(act.tx, act.now.date(), group.id, "left")
    consenting.record(act, Step.LEFT, group, member.key, **evidence)
    to = notifying.to_member(group, member)
    doc = {
        "address": member.address,
        "mode": member.mode.value,
        "moderated": member.moderated,
        "delivery": {"own_posts": member.own_posts, "copies": member.copies, "visible": member.visible},
        "text": consenting.shown(act, "farewell", to.language),
    }
    token = notifying.issue(act, Action.RETURN, member.key, doc, lives=UNDO_WITHIN, group_id=group.id)
    facts = {"days": UNDO_WITHIN.days, "is_admin": member.role.is_admin}
    notifying.send(act, group, to, Letter("farewell", facts, token))


def leave_by_tag(act: Act, group: Group, tag: str) -> bool:
    """The one-click act: False when the tag is not this group's; who is out already stays out, and that is fine."""
    mailbox_id = act.site.tags.read_leave(group.id, tag)
    if mailbox_id is None:
        return False
    member = accounts.member_by_id(act.tx, group.id, mailbox_id)
    if member is not None:
        leave(act, group, member)
    return True


def asked(act: Act, group: Group, envelope: Envelope, reading: Reading) -> Reply:
    """Mail to -subscribe: one question to the mailbox that From names, answered by a mere reply or one tap."""
    author = reading.answerable(act.site.domains)
    if author is None or reading.hidden:
        return _ignored(act, group, reading, "subscribe", reading.robot or reading.hidden or "no single author")
    by = budgeting.party(envelope, reading)
    if envelope.proof is Proof.REFUTED:
        return _answered(act, group, reading, "subscribe", Refuted(by.why), by)
    if groups.is_banned(act.tx, group.id, author.address.key):
        return Reply(550, "5.7.1", f"{author.address} may not join {group.address}")
    if act.site.is_ours(author.address):
        return Reply(550, "5.7.1", "addresses at our own domains cannot be members: mail would go in circles")
    member = accounts.member(act.tx, group.id, author.address.key)
    if member is not None and member.mode is not Mode.NONE:
        return _already(act, group, reading, member, by)
    outcome = asking.ask(act, author.address, Wish(Action.JOIN, group), by, answers=reading.message_id)
    if isinstance(outcome, Asked | Waits):
        line = events.member_asked(act.now, act.who, group=group.address, member=author.address.key, hold=None)
        journal.write(act.tx, line)
    return _answered(act, group, reading, "subscribe", outcome, by)


def confirmed(act: Act, yes: Yes) -> Effect:
    """The one who asked to join has said yes; an invitation was accepted."""
    group, address = yes.group, yes.address
    assert group is not None
    policy = group.policy.joining
    if yes.action is Action.JOIN and policy in (Joining.INVITE, Joining.CLOSED):
        notifying.send(act, group, To(address, group.policy.language), Letter("closed"))
        return Effect.CLOSED
    if yes.action is Action.JOIN and policy is Joining.MODERATED:
        mailbox = accounts.ensure(act.tx, address, act.now, proven=True)
        _describe(act, address, yes)
        hold = holding.hold_join(act, group, mailbox)
        consenting.record(act, Step.CONFIRMED, group, address.key, **yes.evidence)
        line = events.member_asked(act.now, act.who, group=group.address, member=address.key, hold=hold)
        journal.write(act.tx, line)
        letter = Letter("join-waits", {"days": holding.HOLD_FOR.days})
        notifying.send(act, group, notifying.to_member(group, mailbox), letter)
        return Effect.WAITS
    invited = yes.action is Action.INVITE
    how = f"{'invited, and accepted' if invited else 'asked by mail, and confirmed'} {by_way(act)}"
    entry = join(
        act,
        group,
        address,
        how,
        yes.doc.get("name", ""),
        Mode(yes.doc.get("mode", Mode.EACH)),
        step=Step.ACCEPTED if invited else Step.JOINED,
        evidence=yes.evidence,
    )
    _describe(act, address, yes)
    match entry:
        case Joined(member):
            welcome(act, group, member)
            return Effect.DONE
        case AlreadyIn():
            return Effect.NOTHING
        case Banned():
            return Effect.CLOSED
        case _:
            assert_never(entry)


def by_way(act: Act) -> str:
    """How a yes came, in words for the member's record."""
    return "on the page" if act.who.way is Way.WEB else "by reply"


def _describe(act: Act, address: Address, yes: Yes) -> None:
    """Name, region and country, as the owner of the mailbox says them with his yes."""
    mailbox = accounts.mailbox(act.tx, address.key)
    said = {name: one_line(value)[:ABOUT_LONGEST] for name, value in yes.said.items() if one_line(value)}
    if mailbox is not None:
        accounts.describe(act.tx, mailbox.account_id, said)


def welcome(act: Act, group: Group, member: Member) -> None:
    tag = act.site.tags.leave(group.id, member.mailbox_id)
    facts = {"leave_url": act.site.leave_url(group, tag), "leave_mailbox": group.door("unsubscribe", tag)}
    notifying.send(act, group, notifying.to_member(group, member), Letter("welcome", facts))


def decided(act: Act, group: Group, held: Held, verb: Approve | Reject | Discard) -> None:
    """An admin's word on a join request; the asker has proven the mailbox, so he is told."""
    mailbox = accounts.mailbox(act.tx, held.author)
    address = parse(mailbox.address) if mailbox else None
    if mailbox is None or address is None:
        return
    match verb:
        case Approve():
            how, evidence = f"asked by mail, approved by {held.decided_by}", {"approved_by": held.decided_by}
            entry = join(act, group, address, how, evidence=evidence)
            if isinstance(entry, Joined):
                welcome(act, group, entry.member)
        case Reject(reason):
            consenting.record(act, Step.DECLINED, group, address.key, decided_by=held.decided_by)
            letter = Letter("join-rejected", {"reason": reason})
            notifying.send(act, group, notifying.to_member(group, mailbox), letter)
        case Discard():
            consenting.record(act, Step.DECLINED, group, address.key, decided_by=held.decided_by)


def invite(act: Act, group: Group, address: Address, name: str = "", mode: Mode = Mode.EACH) -> str | None:
    """Ask somebody whom an operator or admin added; or why he cannot be asked now, in words that follow his address."""
    if objecting.objects(act, address.key):
        return UNWANTED
    since = act.now - UNDO_WITHIN
    if tokens.unanswered_since(act.tx, address.key, since, Action.INVITE, group_id=group.id):
        return f"was invited in the last {UNDO_WITHIN.days} days and has not said yes"
    if not budgeting.spend_mail(act, address.key):
        return "had a question from us in the last 24 hours; there is one a day, over all groups: try again tomorrow"
    known = accounts.mailbox(act.tx, address.key)
    to = notifying.to_member(group, known) if known else To(address, group.policy.language)
    shown, asked = consenting.shown(act, "invitation", to.language), consenting.asked(act)
    doc = {"address": str(address), "name": name, "mode": mode.value, "text": shown, "asked": asked}
    token = notifying.issue(act, Action.INVITE, address.key, doc, lives=UNDO_WITHIN, group_id=group.id)
    notifying.send(act, group, to, Letter("invitation", {"days": UNDO_WITHIN.days}, token))
    line = events.member_invited(act.now, act.who, group=group.address, member=address.key)
    journal.write(act.tx, line)
    consenting.record(act, Step.INVITED, group, address.key, shown=shown)
    return None


def asked_to_leave(act: Act, group: Group, envelope: Envelope, reading: Reading, tag: str) -> Reply:
    """Mail to -unsubscribe: with a tag, or from a proven member, at once; else a question to the member's mailbox."""
    if tag:
        if reading.declared and not reading.declared.startswith(BY_A_PROGRAM):
            return _ignored(act, group, reading, "unsubscribe", reading.declared)
        return RECEIVED if leave_by_tag(act, group, tag) else Reply(550, "5.1.1", "no such address here")
    author = reading.answerable(act.site.domains)
    if author is None or reading.hidden:
        return _ignored(act, group, reading, "unsubscribe", reading.robot or reading.hidden or "not to be answered")
    member, by = accounts.member(act.tx, group.id, author.address.key), budgeting.party(envelope, reading)
    if member is not None and envelope.proof is Proof.PROVEN:
        leave(act, group, member)
        return RECEIVED
    wishes = [Wish(Action.LEAVE, group)] if member else []
    outcome = asking.ask_all(act, author.address, wishes, by, answers=reading.message_id)
    return _answered(act, group, reading, "unsubscribe", outcome, by)


def left(act: Act, yes: Yes) -> Effect:
    """The one who asked to leave has said yes."""
    assert yes.group is not None
    member = accounts.member(act.tx, yes.group.id, yes.actor)
    if member is None:
        return Effect.NOTHING
    leave(act, yes.group, member, yes.evidence)
    return Effect.DONE


def returned(act: Act, yes: Yes) -> Effect:
    """Undo of a leave, with the settings there were."""
    group = yes.group
    assert group is not None
    how, mode = "came back by the undo of the farewell mail", Mode(yes.doc["mode"])
    entry = join(act, group, yes.address, how, mode=mode, step=Step.RETURNED, evidence=yes.evidence)
    if not isinstance(entry, Joined):
        return Effect.NOTHING if isinstance(entry, AlreadyIn) else Effect.CLOSED
    wishes = yes.doc.get("delivery", {})
    accounts.change(act.tx, entry.member.subscription_id, moderated=yes.doc["moderated"], **wishes)
    line = events.member_returned(act.now, act.who, group=group.address, member=yes.actor)
    journal.write(act.tx, line)
    welcome(act, group, entry.member)
    return Effect.DONE


def _already(act: Act, group: Group, reading: Reading, member: Member, by: Party) -> Reply:
    """The member is told so, once a day; what nobody proven asked for is his mail of the day over all groups."""
    assert isinstance(reading.author, Author)
    outcome = asking.ask_all(act, reading.author.address, [], by)
    if isinstance(outcome, Idle) and (
        budgets.first_today(act.tx, group.id, "already", member.key, act.now)
        if by.proof is Proof.PROVEN
        else objecting.may_write(act, member.key)
    ):
        to = notifying.to_member(group, member)
        notifying.send(act, group, to, Letter("already-in", answers=reading.message_id))
    return _answered(act, group, reading, "subscribe", outcome, by)


def _answered(act: Act, group: Group, reading: Reading, door: str, outcome: Outcome, by: Party) -> Reply:
    """What SMTP says; what makes no mail has its line in the log."""
    assert isinstance(reading.author, Author)
    owner = f"{group.door('owner')} reaches the admins"
    instead = f"; the List-Unsubscribe of any post leaves at once, {owner}" if door == "unsubscribe" else f"; {owner}"
    said = asking.reply(outcome, reading.author.address, by, instead)
    if said.positive and not isinstance(outcome, Asked | Waits):
        why = _SO_ALREADY[door] if isinstance(outcome, Idle) else type(outcome).__name__.lower()
        _ignored(act, group, reading, door, why)
    return said


def _ignored(act: Act, group: Group, reading: Reading, door: str, why: str) -> Reply:
    line = events.mail_ignored(
        act.now,
        act.who,
        group=group.address,
        message_id=reading.message_id,
        door=door,
        why=why,
        mail_from=reading.mail_from,
    )
    journal.write(act.tx, line)
    return RECEIVED
