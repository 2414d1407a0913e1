"""A post: seen before? who wrote it? what do the rules say? written down with the answer it gets."""

from collections.abc import Sequence
from typing import assert_never

from listserv.access_log import events
from listserv.flows import holding
from listserv.flows.reading import Reading
from listserv.flows.site import Act
from listserv.mail import trace
from listserv.mail.message import Author
from listserv.model.envelope import Envelope, Proof, Reply
from listserv.model.group import Group
from listserv.model.post import Accept, Discard, Hold, Reject
from listserv.rules import RULES, Facts, Judgement, judge
from listserv.store import accounts, groups, journal, posts


def take(act: Act, group: Group, envelope: Envelope, reading: Reading) -> Reply:
    """The verdict as a reply; what it promises is written down in this transaction."""
    before = posts.seen_before(act.tx, group.id, reading.key)
    size = len(reading.content)
    if before is not None:
        note = events.post_repeated(
            act.now,
            act.who,
            group=group.address,
            message_id=reading.message_id,
            mail_from=envelope.mail_from,
            size=size,
        )
        journal.write(act.tx, note)
        return Reply(250, "2.0.0", f"{before} (known already)")
    judgement = consider(act, group, envelope, reading)
    match judgement.verdict:
        case Accept():
            said = _accept(act, group, envelope, reading)
        case Hold() as hold:
            said = _hold(act, group, envelope, reading, hold.reasons, judgement.by)
        case Discard() as discard:
            said = _discard(act, group, envelope, reading, discard.reason, judgement.by)
        case Reject() as refusal:
            _log_rejection(act, group, envelope, reading, judgement, refusal.status)
            return Reply(refusal.code, refusal.status, refusal.text)
        case _:
            assert_never(judgement.verdict)
    posts.remember(act.tx, group.id, reading.key, said, act.now)
    return Reply(250, "2.0.0", said)


def consider(act: Act, group: Group, envelope: Envelope, reading: Reading) -> Judgement:
    """What the rules say; changes nothing."""
    return judge(gather(act, group, envelope, reading), RULES)


def gather(act: Act, group: Group, envelope: Envelope, reading: Reading) -> Facts:
    author = reading.author
    known = isinstance(author, Author)
    return Facts(
        group=group,
        size=len(reading.content),
        author=author.address if isinstance(author, Author) else None,
        author_fault="" if isinstance(author, Author) else author.reason,
        proof=envelope.proof,
        member=accounts.member(act.tx, group.id, reading.author_address) if known else None,
        is_banned=known and groups.is_banned(act.tx, group.id, reading.author_address),
        peer_is_trusted=envelope.peer.trusted,
        hops=reading.hops,
        is_own_loop=trace.own_loop(reading.message, group.list_id, act.site.tags.loop_guard(group.list_id)),
        robot=reading.declared,
        looks_automatic=reading.looks_automatic,
        is_from_a_list=reading.is_from_a_list,
        names_the_group=group.address in reading.named,
        recipients=reading.recipients,
        command=reading.command,
    )


def _accept(act: Act, group: Group, envelope: Envelope, reading: Reading) -> str:
    number = groups.next_number(act.tx, group.id)
    _keep(act, group, envelope, reading, state="due", number=number)
    note = events.post_accepted(
        act.now,
        act.who,
        group=group.address,
        message_id=reading.message_id,
        post=number,
        mail_from=envelope.mail_from,
        size=len(reading.content),
    )
    journal.write(act.tx, note)
    journal.note(act.tx, reading.message_id, act.now, "accepted", f"post {number} of {group.address}")
    journal.count(act.tx, act.now.date(), group.id, "accepted")
    return f"accepted as post {number} of {group.address}"


def _hold(
    act: Act, group: Group, envelope: Envelope, reading: Reading, reasons: tuple[str, ...], by: Sequence[str]
) -> str:
    post_id, digest = _keep(act, group, envelope, reading, state="held", number=None)
    hold = holding.hold_post(act, group, reading, post_id, digest, reasons, envelope.proof is not Proof.REFUTED)
    note = events.post_held(
        act.now,
        act.who,
        group=group.address,
        message_id=reading.message_id,
        hold=hold,
        rules=tuple(by),
        mail_from=envelope.mail_from,
        size=len(reading.content),
    )
    journal.write(act.tx, note)
    journal.note(act.tx, reading.message_id, act.now, "held", f"{group.address}: {'; '.join(reasons)}")
    journal.count(act.tx, act.now.date(), group.id, "held")
    return f"held for the admins of {group.address}"


def _discard(act: Act, group: Group, envelope: Envelope, reading: Reading, reason: str, by: Sequence[str]) -> str:
    note = events.post_discarded(
        act.now,
        act.who,
        group=group.address,
        message_id=reading.message_id,
        rules=tuple(by),
        mail_from=envelope.mail_from,
        size=len(reading.content),
    )
    journal.write(act.tx, note)
    journal.note(act.tx, reading.message_id, act.now, "discarded", f"{group.address}: {reason}")
    journal.count(act.tx, act.now.date(), group.id, "discarded")
    return f"received; {group.address} does not distribute it: {reason}"


def _log_rejection(
    act: Act, group: Group, envelope: Envelope, reading: Reading, judgement: Judgement, status: str
) -> None:
    note = events.post_rejected(
        act.now,
        act.who,
        group=group.address,
        message_id=reading.message_id,
        rules=judgement.by,
        status=status,
        mail_from=envelope.mail_from,
        size=len(reading.content),
    )
    journal.write(act.tx, note)
    journal.note(
        act.tx, reading.message_id, act.now, "rejected", f"{group.address}: {status} by {', '.join(judgement.by)}"
    )


def _keep(
    act: Act, group: Group, envelope: Envelope, reading: Reading, *, state: str, number: int | None
) -> tuple[int, bytes]:
    """The post's id and the digest of its bytes, which are stored now."""
    digest = posts.keep(act.tx, reading.content, act.now)
    peer = envelope.peer
    came = {
        "helo": peer.helo,
        "ip": peer.ip,
        "lmtp": peer.lmtp,
        "tls": peer.tls,
        "smtputf8": envelope.smtputf8,
        "mail_from": envelope.mail_from,
        "trusted": peer.trusted,
        "evidence": {
            "proof": envelope.evidence.proof.value,
            "wish": envelope.evidence.wish.value,
            "results": envelope.evidence.results,
            "why": list(envelope.evidence.why),
        },
    }
    id = posts.add(
        act.tx,
        state=state,
        now=act.now,
        group_id=group.id,
        number=number,
        digest=digest,
        message_id=reading.message_id,
        author=reading.author_address,
        envelope=came,
    )
    journal.note(
        act.tx, reading.message_id, act.now, "received", f"from {peer.helo} [{peer.ip}] <{envelope.mail_from}>"
    )
    return id, digest
