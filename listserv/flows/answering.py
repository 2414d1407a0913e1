"""Doors that answer or pass on: help, the owners, the operators, and the word to a known author about refusals."""

from collections.abc import Sequence

from listserv.access_log import events
from listserv.flows import asking, budgeting, notifying, objecting
from listserv.flows.notifying import Letter
from listserv.flows.objecting import ANSWER_WITHIN
from listserv.flows.reading import Reading
from listserv.flows.site import Act
from listserv.mail import header, trace
from listserv.mail.header import LOOP_FIELD, structured
from listserv.mail.recipient import Door
from listserv.model.account import Member
from listserv.model.address import Address
from listserv.model.envelope import RECEIVED, Envelope, Proof, Reply
from listserv.model.group import Group
from listserv.model.post import HoldKind
from listserv.model.token import Action
from listserv.store import accounts, budgets, deliveries, editions, holds, journal, posts
from listserv.store.editions import Edition

KEEP_MAIL_FOR = ANSWER_WITHIN * 13  # a quarter: mail to operators that nobody is named for


def help(act: Act, group: Group | None, envelope: Envelope, reading: Reading) -> Reply:
    """How to use the group, or the site: once a day to who is proven; to anybody else within the budget of a question.

    To a refuted author nobody answers, nor to who never wants to be written to again.
    """
    author = reading.answerable(act.site.domains)
    if author is None:
        return RECEIVED
    by = budgeting.party(envelope, reading)
    if by.proof is Proof.REFUTED:
        return asking.reply(asking.Refuted(by.why), author.address, by)
    key, token = author.address.key, ""
    member = accounts.member(act.tx, group.id, key) if group else None
    is_proven = by.proof is Proof.PROVEN
    if is_proven:
        if not budgeting.once_a_day(act, "help", f"{group.id if group else 0} {key}"):
            return RECEIVED
    elif not budgeting.affords(act, author.address, by):  # whoever is named, and whether he objects
        return asking.reply(asking.Busy(), author.address, by)
    elif objecting.may_write(act, key):
        id = group.id if group else None
        token = notifying.issue(act, Action.OBJECT, key, {}, lives=ANSWER_WITHIN, group_id=id)
    else:
        return RECEIVED
    _send_help(act, group, author.address, member, token, reading.message_id)
    return RECEIVED


def _send_help(
    act: Act, group: Group | None, address: Address, member: Member | None, token: str, answers: str
) -> None:
    to = notifying.to_actor(act, group, address.key)
    assert to is not None  # it was parsed as an address
    letter = Letter("help-site", {}, token, answers=answers, again=True)
    if group is not None:
        letter = Letter("help", {"member": member}, token, answers=answers)
    notifying.send(act, group, to, letter)
    line = events.help_asked(act.now, act.who, group=group.address if group else "", message_id=answers)
    journal.write(act.tx, line)


def to_admins(act: Act, group: Group, envelope: Envelope, reading: Reading) -> Reply:
    """Mail to -owner goes to the admins as it is, never to the members."""
    recipients = [(admin.mailbox_id, admin.address) for admin in accounts.admins(act.tx, group.id)]
    guard = act.site.tags.loop_guard(f"owner.{group.list_id}")
    sender = group.door(Door.BOUNCES)
    return _forward(act, envelope, reading, recipients, guard, sender, group, "owner")


def to_operators(act: Act, envelope: Envelope, reading: Reading, role: str) -> Reply:
    """Mail to postmaster, abuse or security; where no operator is named it waits in `hold list`."""
    if act.site.operators:
        recipients: list[tuple[int | None, str]] = [(None, address) for address in act.site.operators]
        return _forward(act, envelope, reading, recipients, act.site.tags.loop_guard(role), "", None, role)
    values = {
        "digest": posts.keep(act.tx, reading.content, act.now),
        "author": reading.author_address,
        "subject": reading.subject[:998],
        "reasons": [f"mail to {role}@, and [site] operators names nobody"],
        "noticed": True,
    }
    hold = holds.add(act.tx, HoldKind.MAIL, values, act.now, act.now + KEEP_MAIL_FOR)
    _log(act, envelope, reading, None, role, hold)
    return RECEIVED


def tell_refusals(act: Act, reading: Reading, groups: Sequence[Group], refused: Sequence[tuple[str, Reply]]) -> None:
    """Some recipients took the message, some did not: SMTP has one answer, so a known author gets the rest by mail.

    He is known who is a member of any of the groups he wrote to and whose From is not refuted; one such mail a day,
    about all that refused it.  Where nothing proves that he wrote it, that is one mail with the word that a post waits.
    """
    author = reading.author_address
    known = ((group, accounts.member(act.tx, group.id, author)) for group in groups)
    group, member = next(((group, member) for group, member in known if member), (None, None))
    if group is None or member is None or reading.robot or reading.proof is Proof.REFUTED:
        return
    if reading.proof is not Proof.PROVEN and not objecting.may_tell(act, author):
        return
    if not budgets.first_anywhere(act.tx, group.id, "refused", author, act.now):
        return
    by_address = {address.lower(): reply.text for address, reply in refused}  # he may have named one many times
    why = dict.fromkeys(by_address.values())
    facts = {"subject": reading.subject, "address": ", ".join(by_address), "why": "; ".join(why)}
    letter = Letter("refused", facts, answers=reading.message_id)
    notifying.send(act, group, notifying.to_member(group, member), letter)


def _forward(
    act: Act,
    envelope: Envelope,
    reading: Reading,
    recipients: Sequence[tuple[int | None, str]],
    guard: str,
    mail_from: str,
    group: Group | None,
    role: str,
) -> Reply:
    """The message untouched, with our Received and a guard against loops on top."""
    mark = guard.encode()
    if any(field.value == mark for field in reading.message.all(LOOP_FIELD.lower())):
        return RECEIVED  # our own copy has come back; an answer would go in circles too
    if reading.hops > trace.MAX_HOPS:
        return Reply(554, "5.4.6", f"this message has {reading.hops} hops: a mail loop")
    if group is not None and not budgets.first(act.tx, group.id, b"owner" + reading.key, act.now):
        return RECEIVED
    own = trace.missing(reading.message, act.site.hostname, reading.message_id.strip("<>").partition("@")[0], act.now)
    forged = act.site.forgeable_ids(trusted=envelope.peer.trusted)
    kept = (*header.results_field(envelope.evidence.results), *own, *header.strip(reading.message, forged, []))
    edition = Edition(
        kind="forward",
        style="bulk",
        mail_from=mail_from,
        message_id=reading.message_id,
        group_id=group.id if group else None,
        top=trace.received(envelope, act.site.hostname, act.site.chance(6).hex()),
        fields=structured(LOOP_FIELD, guard) + b"".join(field.raw for field in kept),
        digest=posts.keep(act.tx, reading.content, act.now),
        start=reading.message.body_at,
    )
    id = editions.add(act.tx, edition, act.now)
    deliveries.address_to(act.tx, id, recipients, act.now)
    _log(act, envelope, reading, group, role)
    return RECEIVED


def _log(
    act: Act, envelope: Envelope, reading: Reading, group: Group | None, role: str, hold: int | None = None
) -> None:
    line = events.mail_to_owner(
        act.now,
        act.who,
        group=group.address if group else "",
        message_id=reading.message_id,
        door=role,
        hold=hold,
        mail_from=envelope.mail_from,
        size=len(reading.content),
    )
    journal.write(act.tx, line)
    journal.note(act.tx, reading.message_id, act.now, "forwarded", f"to {role}")
