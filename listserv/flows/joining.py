"""In and out: asked for by mail, confirmed by a reply, decided by an admin, done at once with a tag, undone.

Nothing unsolicited is sent: who is not known here gets at most one open question for a group, and few a
day, and its text holds nothing that the asker wrote.
"""

from dataclasses import dataclass
from datetime import timedelta

from listserv.access_log import events
from listserv.flows import holding, notifying
from listserv.flows.notifying import Letter, To
from listserv.flows.reading import Reading
from listserv.flows.site import Act
from listserv.mail import automatic
from listserv.mail.command import Approve, Discard, Reject
from listserv.mail.message import Author
from listserv.model.account import Member
from listserv.model.address import Address, parse
from listserv.model.envelope import Reply
from listserv.model.group import Group, Joining, Mode
from listserv.model.token import Action, Token
from listserv.store import accounts, budgets, groups, journal, tokens
from listserv.store.holds import Held

CONFIRM_WITHIN = timedelta(days=7)
UNDO_WITHIN = timedelta(days=14)
QUESTIONS_A_DAY = 3  # to one mailbox, over all groups

RECEIVED = Reply(250, "2.0.0", "received")


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


def join(act: Act, group: Group, address: Address, how: str, name: str = "", mode: Mode = Mode.EACH) -> Entry:
    """Make a mailbox a member.  Whoever is here and gets no posts gets them from now on."""
    if groups.is_banned(act.tx, group.id, address.key):
        return Banned(str(address))
    mailbox = accounts.ensure(act.tx, address, act.now, name, proven=True)
    known = accounts.member_by_id(act.tx, group.id, mailbox.id)
    if known is not None and known.mode is not Mode.NONE:
        return AlreadyIn(known)
    if known is not None:
        accounts.change(act.tx, known.subscription_id, mode=mode.value)
    else:
        accounts.subscribe(act.tx, group.id, mailbox.id, act.now, how, mode=mode)
    line = events.member_joined(act.now, act.who, group=group.address, member=address.key, how=how)
    journal.write(act.tx, line)
    journal.count(act.tx, act.now.date(), group.id, "joined")
    member = accounts.member_by_id(act.tx, group.id, mailbox.id)
    assert member is not None
    return Joined(member)


def leave(act: Act, group: Group, member: Member) -> None:
    """Out at once, and a mail with undo.  An admin keeps the role and gets no posts any more."""
    end = accounts.silence if member.role.is_admin else accounts.unsubscribe
    if not end(act.tx, member.subscription_id):
        return  # somebody was faster: one farewell is enough
    line = events.member_left(act.now, act.who, group=group.address, member=member.key)
    journal.write(act.tx, line)
    journal.count(act.tx, act.now.date(), group.id, "left")
    doc = {"address": member.address, "mode": member.mode.value, "moderated": member.moderated}
    token = notifying.issue(act, Action.RETURN, member.key, doc, lives=UNDO_WITHIN, group_id=group.id)
    letter = Letter("farewell", {"days": UNDO_WITHIN.days, "is_admin": member.role.is_admin}, token)
    notifying.send(act, group, notifying.to_member(group, member), letter)


def leave_by_tag(act: Act, group: Group, tag: str) -> bool:
    """The one-click act: False when the tag is not this group's; who is out already stays out, and that is fine."""
    mailbox_id = act.site.tags.read_leave(group.id, tag)
    if mailbox_id is None:
        return False
    member = accounts.member_by_id(act.tx, group.id, mailbox_id)
    if member is not None:
        leave(act, group, member)
    return True


def asked(act: Act, group: Group, reading: Reading) -> Reply:
    """Mail to -subscribe: one question to the mailbox that From names, answered by a mere reply."""
    author = reading.author
    if not isinstance(author, Author) or automatic.unanswerable(reading.message, reading.mail_from, act.site.domains):
        return _ignored(act, group, reading, "subscribe", reading.robot or "no single author")
    if groups.is_banned(act.tx, group.id, author.address.key):
        return Reply(550, "5.7.1", f"{author.address} may not join {group.address}")
    if act.site.is_ours(author.address):
        return Reply(550, "5.7.1", "addresses at our own domains cannot be members: mail would go in circles")
    member = accounts.member(act.tx, group.id, author.address.key)
    if member is not None and member.mode is not Mode.NONE:
        return _already(act, group, reading, member)
    if not _may_ask(act, group, author.address.key, Action.JOIN):
        return _ignored(act, group, reading, "subscribe", "asked lately")
    token = notifying.issue(
        act, Action.JOIN, author.address.key, {"address": str(author.address)}, lives=CONFIRM_WITHIN, group_id=group.id
    )
    facts = {"days": CONFIRM_WITHIN.days, "moderated": group.policy.joining is Joining.MODERATED}
    to = To(author.address, group.policy.language)
    notifying.send(act, group, to, Letter("confirm-join", facts, token, answers=reading.message_id))
    line = events.member_asked(act.now, act.who, group=group.address, member=author.address.key, hold=None)
    journal.write(act.tx, line)
    return Reply(250, "2.0.0", f"please answer the mail that goes to {author.address}")


def confirmed(act: Act, group: Group, token: Token) -> None:
    """The one who asked to join has said yes; an invitation was accepted."""
    address = parse(token.doc["address"])
    assert address is not None
    policy = group.policy.joining
    if token.action is Action.JOIN and policy in (Joining.INVITE, Joining.CLOSED):
        notifying.send(act, group, To(address, group.policy.language), Letter("closed"))
        return
    if token.action is Action.JOIN and policy is Joining.MODERATED:
        mailbox = accounts.ensure(act.tx, address, act.now, proven=True)
        hold = holding.hold_join(act, group, mailbox)
        line = events.member_asked(act.now, act.who, group=group.address, member=address.key, hold=hold)
        journal.write(act.tx, line)
        letter = Letter("join-waits", {"days": holding.HOLD_FOR.days})
        notifying.send(act, group, notifying.to_member(group, mailbox), letter)
        return
    how = "invited, and accepted by reply" if token.action is Action.INVITE else "asked by mail, and confirmed by reply"
    entry = join(act, group, address, how, token.doc.get("name", ""), Mode(token.doc.get("mode", Mode.EACH)))
    if isinstance(entry, Joined):
        welcome(act, group, entry.member)


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
            entry = join(act, group, address, f"asked by mail, approved by {held.decided_by}")
            if isinstance(entry, Joined):
                welcome(act, group, entry.member)
        case Reject(reason):
            letter = Letter("join-rejected", {"reason": reason})
            notifying.send(act, group, notifying.to_member(group, mailbox), letter)
        case Discard():
            pass


def invite(act: Act, group: Group, address: Address, name: str = "", mode: Mode = Mode.EACH) -> bool:
    """Ask somebody whom an operator or admin added; False when there is an open invitation already."""
    if not _may_ask(act, group, address.key, Action.INVITE):
        return False
    doc = {"address": str(address), "name": name, "mode": mode.value}
    token = notifying.issue(act, Action.INVITE, address.key, doc, lives=UNDO_WITHIN, group_id=group.id)
    notifying.send(
        act, group, To(address, group.policy.language), Letter("invitation", {"days": UNDO_WITHIN.days}, token)
    )
    line = events.member_invited(act.now, act.who, group=group.address, member=address.key)
    journal.write(act.tx, line)
    return True


def asked_to_leave(act: Act, group: Group, reading: Reading, tag: str) -> Reply:
    """Mail to -unsubscribe: with a tag at once, without one a question to the member's own mailbox."""
    if tag:
        if not reading.mail_from:
            return _ignored(act, group, reading, "unsubscribe", "null-sender")
        return RECEIVED if leave_by_tag(act, group, tag) else Reply(550, "5.1.1", "no such address here")
    if automatic.unanswerable(reading.message, reading.mail_from, act.site.domains):
        return _ignored(act, group, reading, "unsubscribe", reading.robot or "not to be answered")
    member = accounts.member(act.tx, group.id, reading.author_address) if reading.author_address else None
    if member is None or not _may_ask(act, group, member.key, Action.LEAVE):
        return _ignored(act, group, reading, "unsubscribe", "not a member" if member is None else "asked lately")
    token = notifying.issue(act, Action.LEAVE, member.key, {}, lives=CONFIRM_WITHIN, group_id=group.id)
    letter = Letter("confirm-leave", {"days": CONFIRM_WITHIN.days}, token, answers=reading.message_id)
    notifying.send(act, group, notifying.to_member(group, member), letter)
    return Reply(250, "2.0.0", f"please answer the mail that goes to {member.address}")


def left(act: Act, group: Group, token: Token) -> bool:
    """The one who asked to leave has said yes; False when he was out already."""
    member = accounts.member(act.tx, group.id, token.actor)
    if member is None:
        return False
    leave(act, group, member)
    return True


def returned(act: Act, group: Group, token: Token) -> None:
    """Undo of a leave, with the settings there were."""
    address = parse(token.doc["address"])
    assert address is not None
    mode = Mode(token.doc["mode"])
    entry = join(act, group, address, "came back by the undo of the farewell mail", mode=mode)
    if not isinstance(entry, Joined):
        return
    if token.doc["moderated"]:
        accounts.change(act.tx, entry.member.subscription_id, moderated=True)
    line = events.member_returned(act.now, act.who, group=group.address, member=address.key)
    journal.write(act.tx, line)
    welcome(act, group, entry.member)


def _already(act: Act, group: Group, reading: Reading, member: Member) -> Reply:
    if budgets.first_today(act.tx, group.id, "already", member.key, act.now):
        to = notifying.to_member(group, member)
        notifying.send(act, group, to, Letter("already-in", answers=reading.message_id))
    return RECEIVED


def _may_ask(act: Act, group: Group, key: str, action: Action) -> bool:
    """Not while a question is open or has been declined, and not too many in a day."""
    day_ago = act.now - timedelta(days=1)
    term = UNDO_WITHIN if action is Action.INVITE else CONFIRM_WITHIN
    if tokens.unanswered_since(act.tx, key, act.now - term, action, group_id=group.id):
        return False
    return tokens.asked_since(act.tx, key, day_ago) < QUESTIONS_A_DAY


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
