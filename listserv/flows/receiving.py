"""What comes in: which door it is for, what it says, and one transaction that writes it all down.

`read` is pure and happens before the transaction; `welcome` answers RCPT; `take` is the transaction.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import assert_never

from listserv.access_log import events
from listserv.flows import answering, bouncing, budgeting, commanding, confirming, joining, posting
from listserv.flows.reading import Reading
from listserv.flows.site import Act, Site
from listserv.mail import message, recipient, tag
from listserv.mail.recipient import Door, Recipient
from listserv.model.address import parse
from listserv.model.envelope import RECEIVED, Envelope, Peer, Proof, Reply
from listserv.model.group import Group, Joining, Mode
from listserv.store import groups, journal, tokens
from listserv.store.db import Tx

ACTING = (Door.SUBSCRIBE, Door.UNSUBSCRIBE, Door.HELP, Door.REQUEST, Door.MAIL, Door.NOMAIL)
YOUNG = timedelta(days=7)  # how long a signature alone proves that its author wants this now

UNKNOWN = Reply(550, "5.1.1", "no such address here")
NO_CONFIRMATION = Reply(550, "5.1.1", "no such confirmation; it may be too old")
ELSEWHERE = Reply(550, "5.7.1", "we relay for nobody: this address is not ours")


@dataclass(frozen=True, slots=True)
class Target:
    """What an address of ours means here and now."""

    address: str
    door: Door
    group: Group | None = None  # None: the operators, or the whole site
    role: str = ""  # postmaster, abuse or security, when group is None
    tag: str = ""


def find(tx: Tx, site: Site, address: str) -> Target | Reply:
    """The door behind an address, or the refusal that belongs to it."""
    known = parse(address if "@" in address else f"{address}@{site.hostname}")
    if known is None:
        return UNKNOWN
    role = recipient.site_role(known)
    is_site_door = recipient.is_site_door(known)
    if not site.is_ours(known) and not ((role or is_site_door) and known.domain == site.hostname):
        return ELSEWHERE
    if role:
        return Target(address, Door.OWNER, None, role)
    if is_site_door:
        return Target(address, Door.REQUEST)
    if token := recipient.site_tag(known):
        return Target(address, Door.CONFIRM, None, tag=token) if _issued(tx, token) else NO_CONFIRMATION
    readings = recipient.readings(known)
    group = groups.longest(tx, [reading.group for reading in readings])
    if group is None:
        return UNKNOWN
    meant = next(reading for reading in readings if reading.group == group.address)
    return _closed(tx, site, group, meant) or Target(address, meant.door, group, "", meant.tag)


def _closed(tx: Tx, site: Site, group: Group, meant: Recipient) -> Reply | None:
    """A door that is shut says so where SMTP can: the sender's own server tells him."""
    match meant.door:
        case Door.SUBSCRIBE if group.policy.joining in (Joining.INVITE, Joining.CLOSED):
            return Reply(
                550, "5.7.1", f"people join {group.address} by invitation; {group.door('owner')} reaches the admins"
            )
        case Door.BOUNCES if meant.tag and site.tags.read_bounce(group.id, meant.tag) is None:
            return Reply(550, "5.1.1", "no such return path")
        case Door.UNSUBSCRIBE if meant.tag and site.tags.read_leave(group.id, meant.tag) is None:
            return UNKNOWN
        case Door.CONFIRM if meant.tag and not _issued(tx, meant.tag):
            return NO_CONFIRMATION
        case Door.DIGEST:
            said = f"there are no digests yet; {group.door('mail')} is each post, {group.door('nomail')} none"
            return Reply(550, "5.3.3", said)
    return None


def _issued(tx: Tx, token: str) -> bool:
    return tag.read_token(token) is not None and tokens.find(tx, tag.digest(token)) is not None


def welcome(tx: Tx, site: Site, address: str) -> Reply | None:
    """None: this recipient is welcome; else the reply at RCPT."""
    found = find(tx, site, address)
    return found if isinstance(found, Reply) else None


def forged_return_path(tx: Tx, site: Site, address: str) -> Group | None:
    """The group, when this is a return path that we never made: somebody wants a member charged."""
    known = parse(address)
    meant = [r for r in recipient.readings(known) if r.door is Door.BOUNCES and r.tag] if known else []
    group = groups.find(tx, meant[0].group) if meant else None
    forged = group is not None and site.tags.read_bounce(group.id, meant[0].tag) is None
    return group if forged else None


def note_forgery(tx: Tx, site: Site, peer: Peer, mail_from: str, group: Group, now: datetime) -> None:
    journal.write(tx, events.bounce_forged(now, site.writer(peer), group=group.address, mail_from=mail_from))


def take(tx: Tx, site: Site, envelope: Envelope, reading: Reading) -> tuple[Reply, ...]:
    """Write down what this message means to each of its recipients: one reply for SMTP, one each for LMTP."""
    reading = replace(reading, proof=envelope.proof)  # it may have been read before anybody knew
    who = site.writer(envelope.peer, reading.author_address or envelope.mail_from)
    act = Act(tx, site, envelope.at, who, envelope.mail_from, reading.message_id)
    replies = _each(act, envelope, reading)
    if envelope.peer.lmtp:
        return tuple(replies)
    refused = [(a, r) for a, r in zip(envelope.rcpt_to, replies, strict=True) if not r.positive]
    if not refused or len(refused) == len(replies):
        return (replies[0],)
    answering.tell_refusals(act, reading, _groups(act, envelope), refused)
    return (Reply(250, "2.0.0", f"accepted for {len(replies) - len(refused)} of {len(replies)} recipients"),)


def _groups(act: Act, envelope: Envelope) -> list[Group]:
    found = [find(act.tx, act.site, address) for address in envelope.rcpt_to]
    return [target.group for target in found if isinstance(target, Target) and target.group]


def _each(act: Act, envelope: Envelope, reading: Reading) -> list[Reply]:
    """One reply for each recipient; who is named twice is served once."""
    known: dict[tuple[int, str, Door, str], Reply] = {}
    replies = []
    for address in envelope.rcpt_to:
        target = find(act.tx, act.site, address)
        if isinstance(target, Reply):
            replies.append(target)
            continue
        place = (target.group.id if target.group else 0, target.role, target.door, target.tag)
        if place not in known:
            heard = _heard(act, envelope, reading, target)
            known[place] = _one(act, heard, replace(reading, proof=heard.proof), target)
        replies.append(known[place])
    return replies


def _heard(act: Act, envelope: Envelope, reading: Reading, target: Target) -> Envelope:
    """The message as this door believes it.

    A signature alone proves who wrote it, but not that he sent it here and now: whoever has read it can send it again.
    So behind every door that acts it counts only if it is addressed to this door, young, and here for the first time.
    """
    evidence = envelope.evidence
    if not evidence.is_by_signature or target.door not in ACTING:
        return envelope
    known = parse(target.address)
    said = message.date(reading.message)
    if known is None or known.key not in reading.named:
        why = "it is not addressed to this door"
    elif said is None or abs(envelope.at - said) > YOUNG:
        why = "it is old, or has no date"
    elif not budgeting.once(act, "signed", f"{known.key} {reading.key.hex()}", YOUNG * 2):
        why = "it came before"
    else:
        return envelope
    doubt = f"unknown: only a signature vouches for it, and {why}"
    return replace(envelope, evidence=replace(evidence, proof=Proof.UNKNOWN, why=(*evidence.why, doubt)))


def _one(act: Act, envelope: Envelope, reading: Reading, target: Target) -> Reply:
    """What this target makes of the message; what is taken has a line in the access log, whatever came of it."""
    lines = journal.lines(act.tx)
    reply = _through(act, envelope, reading, target)
    if reply.positive and journal.lines(act.tx) == lines:
        line = events.mail_ignored(
            act.now,
            act.who,
            group=target.group.address if target.group else "",
            message_id=reading.message_id,
            door=target.door.value,
            why="nothing to do",
            mail_from=envelope.mail_from,
        )
        journal.write(act.tx, line)
    return reply


def _through(act: Act, envelope: Envelope, reading: Reading, target: Target) -> Reply:
    group = target.group
    if group is None and target.role:
        return answering.to_operators(act, envelope, reading, target.role)
    if not target.tag and target.door in (Door.POST, Door.OWNER, Door.CONFIRM, Door.REQUEST):
        answer = confirming.by_reference(act, group, reading, target.door)
        if answer is not None:
            return answer
    if group is None:
        return _site_wide(act, envelope, reading, target)
    match target.door:
        case Door.POST:
            return posting.take(act, group, envelope, reading)
        case Door.OWNER:
            return answering.to_admins(act, group, envelope, reading)
        case Door.HELP:
            return answering.help(act, group, envelope, reading)
        case Door.SUBSCRIBE:
            return joining.asked(act, group, envelope, reading)
        case Door.UNSUBSCRIBE:
            return joining.asked_to_leave(act, group, envelope, reading, target.tag)
        case Door.CONFIRM:
            answered = confirming.take(act, group, reading, target.tag)
            return answered or answering.to_admins(act, group, envelope, reading)
        case Door.BOUNCES:
            return bouncing.take(act, group, reading, target.tag)
        case Door.REQUEST:
            return commanding.take(act, group, envelope, reading, partial(_redeem, act, reading))
        case Door.MAIL:
            return commanding.set_mode(act, group, envelope, reading, Mode.EACH)
        case Door.NOMAIL:
            return commanding.set_mode(act, group, envelope, reading, Mode.NONE)
        case Door.DIGEST:  # refused at RCPT
            raise AssertionError("a door that is closed")
        case _:
            assert_never(target.door)


def _site_wide(act: Act, envelope: Envelope, reading: Reading, target: Target) -> Reply:
    """The doors that belong to no group: commands, and answers to questions about several groups or none."""
    answered = confirming.take(act, None, reading, target.tag) if target.door is Door.CONFIRM else None
    return answered or commanding.take(act, None, envelope, reading, partial(_redeem, act, reading))


def _redeem(act: Act, reading: Reading, text: str) -> Reply:
    """What a token stands for that was written into a mail of commands; its group is its own."""
    token = tokens.find(act.tx, tag.digest(text))
    group = groups.get(act.tx, token.group_id) if token and token.group_id is not None else None
    return confirming.take(act, group, reading, text) or RECEIVED
