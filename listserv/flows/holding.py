"""Held: what waits for an admin, who is asked about it, and how many notices that makes."""

from datetime import timedelta

from listserv.flows import notifying, objecting
from listserv.flows.notifying import Letter
from listserv.flows.reading import Reading
from listserv.flows.site import Act
from listserv.mail.message import Author
from listserv.model.account import Mailbox, Member
from listserv.model.envelope import Proof
from listserv.model.group import Group
from listserv.model.post import HoldKind, WaitsFor
from listserv.model.token import Action
from listserv.rules.authors import MODERATION
from listserv.store import accounts, groups, holds, jobs
from listserv.store.holds import Held

HOLD_FOR = timedelta(days=14)
UNDO_FOR = timedelta(days=14)
ANNOUNCED_SINGLY = 5  # new holds of a group in an hour; the rest wait for one summary
SUMMARY = "summaries"  # the job that sends it
SUMMARY_AFTER = timedelta(seconds=15)


def hold_post(act: Act, group: Group, reading: Reading, post_id: int, digest: bytes, reasons: tuple[str, ...]) -> int:
    """The id of the hold.  The admins are asked, and a known author is told, once a day."""
    known = to_be_told(act, group, reading)
    id = enter(act, group, reading, post_id, digest, reasons, WaitsFor.ADMINS)
    announce(act, group, id)
    tell_author(act, group, reading, known, reasons)
    return id


def enter(
    act: Act,
    group: Group,
    reading: Reading,
    post_id: int,
    digest: bytes,
    reasons: tuple[str, ...],
    waits_for: WaitsFor,
) -> int:
    """The id of the new hold; nobody knows of it yet."""
    author = reading.author
    name = author.name if isinstance(author, Author) else ""
    values = {
        "group_id": group.id,
        "post_id": post_id,
        "digest": digest,
        "author": reading.author_address,
        "author_name": name[:200],
        "subject": reading.subject[:998],
        "reasons": list(reasons),
        "waits_for": waits_for.value,
    }
    return holds.add(act.tx, HoldKind.POST, values, act.now, act.now + HOLD_FOR)


def to_be_told(act: Act, group: Group, reading: Reading) -> Member | None:
    """The author, if he is to hear that his post will wait: a member, his From not refuted, his first in a day.

    Where nothing proves that it is his post, not if he wants no mail, or was told of another one lately.
    """
    key = reading.author_address
    if reading.proof is Proof.REFUTED or reading.robot:
        return None
    if holds.any_since(act.tx, key, act.now - timedelta(days=1)):
        return None
    member = accounts.member(act.tx, group.id, key)
    may = member is not None and (reading.proof is Proof.PROVEN or objecting.may_tell(act, key))
    return member if may else None


def tell_author(act: Act, group: Group, reading: Reading, known: Member | None, reasons: tuple[str, ...]) -> None:
    if known is not None:
        facts = {"subject": reading.subject, "reasons": reasons, "days": HOLD_FOR.days}
        to = notifying.to_member(group, known)
        notifying.send(act, group, to, Letter("awaiting", facts, answers=reading.message_id))


def hold_join(act: Act, group: Group, mailbox: Mailbox) -> int | None:
    """The id of the hold of a join request; None when one is waiting already."""
    if any(h.kind is HoldKind.JOIN and h.author == mailbox.key for h in holds.waiting(act.tx, group.id)):
        return None
    values = {
        "group_id": group.id,
        "author": mailbox.key,
        "author_name": mailbox.name,
        "reasons": ["an admin decides who joins this group"],
    }
    id = holds.add(act.tx, HoldKind.JOIN, values, act.now, act.now + HOLD_FOR)
    announce(act, group, id)
    return id


def announce(act: Act, group: Group, id: int) -> None:
    """A notice to every admin; when many come in an hour, the job of the summaries sees to the rest.

    The more there were, the longer a summary gathers; at most until the job's turn comes by itself.
    """
    noticed = holds.noticed_since(act.tx, group.id, act.now - timedelta(hours=1))
    if noticed >= ANNOUNCED_SINGLY:
        jobs.hurry(act.tx, SUMMARY, act.now + SUMMARY_AFTER * (noticed - ANNOUNCED_SINGLY + 1))
        return
    holds.mark_noticed(act.tx, [id])
    held = holds.get(act.tx, id)
    assert held is not None
    for admin in accounts.admins(act.tx, group.id):
        ask(act, group, held, admin)


def ask(act: Act, group: Group, held: Held, admin: Member) -> None:
    """The notice that an admin answers: a table of who, what and why, with the message attached."""
    token = notifying.issue(act, Action.DECIDE, admin.key, {}, lives=None, group_id=group.id, hold_id=held.id)
    facts = {"held": held, "admin": admin, "empty_approves": empty_approves(held)}
    letter = Letter(f"hold-{held.kind}", facts, token, html=True, attach=held.digest)
    notifying.send(act, group, notifying.to_member(group, admin), letter)


def empty_approves(held: Held) -> bool:
    """An empty answer says yes only where the group's moderation is the only reason."""
    return held.kind is HoldKind.POST and held.reasons == (MODERATION,)


def summarise(act: Act) -> int:
    """One numbered notice for all holds of a group that were not announced one by one.  How many notices."""
    sent = 0
    by_group: dict[int, list[Held]] = {}
    for held in holds.unnoticed(act.tx):
        assert held.group_id is not None
        by_group.setdefault(held.group_id, []).append(held)
    for group_id, waiting in by_group.items():
        group = groups.get(act.tx, group_id)
        holds.mark_noticed(act.tx, [held.id for held in waiting])
        for admin in accounts.admins(act.tx, group_id):
            doc = {"holds": [held.id for held in waiting]}
            token = notifying.issue(
                act, Action.DECIDE_BATCH, admin.key, doc, lives=HOLD_FOR + UNDO_FOR, group_id=group_id
            )
            letter = Letter("hold-summary", {"waiting": waiting}, token)
            notifying.send(act, group, notifying.to_member(group, admin), letter)
            sent += 1
    return sent
