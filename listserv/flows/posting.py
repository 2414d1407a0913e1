"""A post: seen before? who wrote it? what do the rules say? written down with the answer it gets.

A copy whose author was not believed never stands in the way of the real one: it is remembered under a key of its own,
and what of it still waits is thrown away when a believed copy comes.
"""

from collections.abc import Mapping, Sequence
from typing import Any, assert_never

from listserv.access_log import events
from listserv.flows import holding, vouching
from listserv.flows.reading import Reading
from listserv.flows.site import Act
from listserv.mail import tag, trace
from listserv.mail.message import Author
from listserv.model.envelope import UNCHECKED, DmarcPolicy, Envelope, Evidence, Peer, Proof, Reply
from listserv.model.group import Group
from listserv.model.post import Accept, Ask, Discard, Hold, HoldState, Reject, WaitsFor
from listserv.rules import RULES, Facts, Judgement, judge
from listserv.rules.pace import WITHIN
from listserv.store import facts, groups, holds, journal, ledger, posts, tokens
from listserv.store.facts import Known, Recent
from listserv.store.posts import Post

REPLACED = "the same post came from its proven author"


def take(act: Act, group: Group, envelope: Envelope, reading: Reading) -> Reply:
    """The verdict as a reply; what it promises is written down in this transaction."""
    doubted = posts.doubted(reading.key)
    known = _look(act, group, reading)
    seen = known.answered
    before = _known_already(act, group, reading, seen)
    if before is not None:
        _log_repeat(act, group, envelope, reading)
        return Reply(250, "2.0.0", f"{before} (known already)")
    judgement = judge(_facts(act, group, envelope, reading, known), RULES)
    match judgement.verdict:
        case Accept():
            said = _accept(act, group, envelope, reading)
        case Hold(reasons):
            said = _hold(act, group, envelope, reading, reasons, judgement.by)
        case Ask(reasons):
            said = _ask(act, group, envelope, reading, reasons, judgement.by)
        case Discard(reason):
            log_discard(act, group, envelope, reading, reason, judgement.by)
            ledger.discarded(act.tx, act.now.date(), group.id)
            return Reply(250, "2.0.0", f"received; {group.address} does not distribute it: {reason}")
        case Reject(status, text, code):
            log_rejection(act, group, envelope, reading, judgement, status)
            return Reply(code, status, text)
        case _:
            assert_never(judgement.verdict)
    believed = act.site.believes(reading.proof)
    if believed and doubted in seen:
        _replace_doubted(act, group, reading)
    facts.remember(act.tx, group.id, reading.key if believed else doubted, said, act.now)
    return Reply(250, "2.0.0", said)


def known_already(act: Act, group: Group, reading: Reading) -> str | None:
    """What was answered to the same post before, or None.  A believed one is no repeat of a doubted one that waits."""
    return _known_already(act, group, reading, _look(act, group, reading).answered)


def _look(act: Act, group: Group, reading: Reading) -> Known:
    most = group.policy.pace
    recent = Recent(act.now - WITHIN, act.now, reading.subject_key, most) if most and reading.answers else None
    return facts.look(act.tx, group.id, (reading.key, posts.doubted(reading.key)), reading.author_address, recent)


def _known_already(act: Act, group: Group, reading: Reading, seen: Mapping[bytes, str]) -> str | None:
    if reading.key in seen or not seen:
        return seen.get(reading.key)
    went_on = not act.site.believes(reading.proof) or any(post.number for post in _copies(act, group, reading))
    return seen[posts.doubted(reading.key)] if went_on else None


def _copies(act: Act, group: Group, reading: Reading) -> list[Post]:
    return posts.of_message(act.tx, group.id, reading.message_id, reading.author_address)


def _replace_doubted(act: Act, group: Group, reading: Reading) -> None:
    """What waits in this author's name under this Message-ID, and was not believed, is thrown away."""
    for post in _copies(act, group, reading):
        held = holds.of_post(act.tx, post.id) if post.state == "held" else None
        if held is None or act.site.believes(envelope_of(post).proof):
            continue
        if holds.decide(act.tx, held.id, HoldState.OPEN, HoldState.DISCARDED, REPLACED, act.now):
            posts.move(act.tx, post.id, state="discarded", done_at=act.now)
            line = events.post_replaced(
                act.now, act.who, group=group.address, message_id=post.message_id, hold=held.id, author=held.author
            )
            journal.write(act.tx, line)
            journal.note(act.tx, post.message_id, act.now, "replaced", f"{group.address}: {REPLACED}")


def consider(act: Act, group: Group, envelope: Envelope, reading: Reading) -> Judgement:
    """What the rules say; changes nothing."""
    return judge(gather(act, group, envelope, reading), RULES)


def gather(act: Act, group: Group, envelope: Envelope, reading: Reading) -> Facts:
    """What they look at."""
    return _facts(act, group, envelope, reading, _look(act, group, reading))


def _facts(act: Act, group: Group, envelope: Envelope, reading: Reading, known: Known) -> Facts:
    author = reading.author
    return Facts(
        group=group,
        size=len(reading.content),
        author=author.address if isinstance(author, Author) else None,
        author_fault="" if isinstance(author, Author) else author.reason,
        proof=envelope.proof,
        is_believed=act.site.believes(envelope.proof),
        why=envelope.evidence.why,
        member=known.member,
        is_banned=known.is_banned,
        peer_is_trusted=envelope.peer.trusted,
        hops=reading.hops,
        is_own_loop=trace.own_loop(reading.message, group.list_id, act.site.tags.loop_guard(group.list_id)),
        robot=reading.declared,
        looks_automatic=reading.looks_automatic,
        is_from_a_list=reading.is_from_a_list,
        names_the_group=group.address in reading.named,
        recipients=reading.recipients,
        command=reading.command,
        shows_a_right=bool(reading.rights) and tokens.any_open(act.tx, [tag.digest(each) for each in reading.rights]),
        lately=known.lately,
        alike=known.alike,
    )


def _accept(act: Act, group: Group, envelope: Envelope, reading: Reading) -> str:
    number = groups.next_number(act.tx, group.id)
    came = _came(act, group, envelope, reading)
    if act.site.believes(envelope.proof):
        posts.accept(act.tx, act.now, number=number, **came)
    else:  # a believed copy that shares this commit looks for it
        posts.add(act.tx, state="due", now=act.now, number=number, **came)
    _log_acceptance(act, group, envelope, reading, number)
    return f"accepted as post {number} of {group.address}"


def distribute(act: Act, group: Group, envelope: Envelope, reading: Reading, post_id: int) -> None:
    """A post that has waited for its author goes to the members."""
    number = groups.next_number(act.tx, group.id)
    posts.move(act.tx, post_id, state="due", due=act.now, number=number)
    _log_acceptance(act, group, envelope, reading, number)


def _log_acceptance(act: Act, group: Group, envelope: Envelope, reading: Reading, number: int) -> None:
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


def _hold(
    act: Act, group: Group, envelope: Envelope, reading: Reading, reasons: tuple[str, ...], by: Sequence[str]
) -> str:
    came = _came(act, group, envelope, reading)
    post_id = posts.add(act.tx, state="held", now=act.now, number=None, **came)
    hold = holding.hold_post(act, group, reading, post_id, came["digest"], reasons)
    log_hold(act, group, envelope, reading, hold, WaitsFor.ADMINS, reasons, by)
    return f"held for the admins of {group.address}"


def _ask(
    act: Act, group: Group, envelope: Envelope, reading: Reading, reasons: tuple[str, ...], by: Sequence[str]
) -> str:
    came = _came(act, group, envelope, reading)
    post_id = posts.add(act.tx, state="held", now=act.now, number=None, **came)
    hold = vouching.hold(act, group, reading, post_id, came["digest"], reasons)
    log_hold(act, group, envelope, reading, hold, WaitsFor.AUTHOR, reasons, by)
    return f"held until {reading.author_address} has confirmed it"


def log_hold(
    act: Act,
    group: Group,
    envelope: Envelope,
    reading: Reading,
    hold: int,
    waits_for: WaitsFor,
    reasons: tuple[str, ...],
    by: Sequence[str],
) -> None:
    note = events.post_held(
        act.now,
        act.who,
        group=group.address,
        message_id=reading.message_id,
        hold=hold,
        waits_for=waits_for.value,
        rules=tuple(by),
        mail_from=envelope.mail_from,
        size=len(reading.content),
    )
    journal.write(act.tx, note)
    journal.note(act.tx, reading.message_id, act.now, "held", f"{group.address}: {'; '.join(reasons)}")
    journal.count(act.tx, act.now.date(), group.id, "held")


def log_discard(act: Act, group: Group, envelope: Envelope, reading: Reading, reason: str, by: Sequence[str]) -> None:
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


def log_rejection(
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


def _log_repeat(act: Act, group: Group, envelope: Envelope, reading: Reading) -> None:
    note = events.post_repeated(
        act.now,
        act.who,
        group=group.address,
        message_id=reading.message_id,
        mail_from=envelope.mail_from,
        size=len(reading.content),
    )
    journal.write(act.tx, note)


def _subject_key(act: Act, reading: Reading) -> bytes | None:
    """None: it is no answer, or it is not believed who wrote it; it does not count for `pace`."""
    counts = reading.answers and reading.author_address and act.site.believes(reading.proof)
    return reading.subject_key if counts else None


def _came(act: Act, group: Group, envelope: Envelope, reading: Reading) -> dict[str, Any]:
    """The columns of a post that say what came and how; its bytes are stored, its arrival is noted."""
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
            "dmarc_policy": envelope.evidence.dmarc_policy.value,
            "results": envelope.evidence.results,
            "why": list(envelope.evidence.why),
        },
    }
    client = f"{peer.helo} [{peer.ip}] " if peer.ip else ""
    journal.note(act.tx, reading.message_id, act.now, "received", f"from {client}<{envelope.mail_from}>")
    return {
        "group_id": group.id,
        "digest": posts.keep(act.tx, reading.content, act.now),
        "message_id": reading.message_id,
        "author": reading.author_address,
        "subject_key": _subject_key(act, reading),
        "envelope": came,
    }


def envelope_of(post: Post) -> Envelope:
    """How it came, as far as a post keeps that."""
    came = post.envelope
    peer = Peer(came["ip"], came["helo"], lmtp=came["lmtp"], trusted=came.get("trusted", came["lmtp"]), tls=came["tls"])
    return Envelope(came["mail_from"], (), peer, post.received_at, came["smtputf8"], _evidence(came.get("evidence")))


def _evidence(found: Mapping[str, Any] | None) -> Evidence:
    """UNCHECKED for a post that came before there was any."""
    if found is None:
        return UNCHECKED
    return Evidence(Proof(found["proof"]), DmarcPolicy(found["dmarc_policy"]), found["results"], tuple(found["why"]))
