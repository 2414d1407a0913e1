"""Copies and their outcomes: what is stamped on an edition for one mailbox, and what an answer means.

A stamp is a return path that bears a tag, the List-Unsubscribe fields and a signature.  Everything else
of a copy is shared by all who get the edition.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import assert_never

from listserv.access_log.events import Way
from listserv.flows import bouncing
from listserv.flows.site import Act, Site
from listserv.mail import header, message
from listserv.mail.message import Field
from listserv.mail.signature import Prepared, Signer
from listserv.model.delivery import Copy, Deferred, Failed, Outcome, Sent
from listserv.model.group import DeliveryStyle
from listserv.store import deliveries, queue, schema, secrets
from listserv.store.db import Tx
from listserv.store.deliveries import Delivery, Loaded, Settled

PATIENCE = timedelta(days=5)
LADDER = tuple(timedelta(seconds=s) for s in (30, 120, 300, 900, 1800, 3600, 7200, 14400))
IN_DOUBT = timedelta(seconds=600)  # RFC 5321 §4.5.3.2.6: so long the peer may still be at work on our last dot
JITTER = 0.2
RECIPIENTS = 50  # in one transaction of an edition that is the same for all


@dataclass(frozen=True, slots=True)
class Printed:
    """An edition prepared for its stamps: what is hashed once, is hashed."""

    edition: Loaded
    prepared: Prepared | None  # None: no key for its domain
    head: bytes = b""  # of editions that are the same for all


def claim_deliveries(tx: Tx, node: str, now: datetime, limit: int) -> list[Delivery]:
    """Due deliveries, ours for a while; none while the operator has paused the queue."""
    if secrets.get(tx, secrets.PAUSED) is not None:
        return []
    return [deliveries.delivery(row) for row in queue.claim(tx, schema.deliveries, node, now, limit)]


def prepare(edition: Loaded, signers: Mapping[str, Signer]) -> Printed:
    """Where all get the same bytes the head is made here, once; its signature bears the time of the edition."""
    signer = signers.get(edition.domain)
    fields = message.parse(edition.fields + b"\r\n").fields
    printed = Printed(edition, signer.prepare(fields, edition.body) if signer else None)
    if edition.kind == "post" and edition.style == DeliveryStyle.PERSONAL:
        return printed
    leave = header.stamp_fields(edition.group.door("unsubscribe")) if edition.kind == "post" and edition.group else ()
    return replace(printed, head=_head(printed, leave, edition.made_at))


def stamp(site: Site, printed: Printed, batch: Sequence[Delivery], now: datetime) -> Copy:
    """The copy for these deliveries: for one, or for several where all copies are the same."""
    edition, group, delivery = printed.edition, printed.edition.group, batch[0]
    mail_from, head = edition.mail_from, printed.head
    if edition.kind == "post" and group is not None:
        if edition.style != DeliveryStyle.BULK:
            mail_from = group.door("bounces", site.tags.bounce(group.id, delivery.id))
        if not head:
            leave = site.tags.leave(group.id, delivery.mailbox_id or 0)
            own = header.stamp_fields(group.door("unsubscribe", leave), site.leave_url(group, leave))
            head = _head(printed, own, now)
    return Copy(mail_from, tuple(delivery.recipient for delivery in batch), head, edition.body)


def _head(printed: Printed, own: tuple[Field, ...], at: datetime) -> bytes:
    """Our Received on top, the signature, what is the reader's own, and what all share."""
    signature = printed.prepared.sign(own, at) if printed.prepared else b""
    return b"".join((printed.edition.top, signature, *(field.raw for field in own), printed.edition.fields, b"\r\n"))


def batches(waiting: Sequence[Delivery], printed: Printed) -> list[list[Delivery]]:
    """What goes in one transaction: one delivery, or up to RECIPIENTS of an edition that is the same for all."""
    size = RECIPIENTS if printed.edition.style == DeliveryStyle.BULK else 1
    return [list(waiting[start : start + size]) for start in range(0, len(waiting), size)]


def settled(delivery: Delivery, outcome: Outcome, now: datetime, chance: Callable[[int], bytes]) -> Settled:
    """What the outcome of one try makes of the delivery."""
    match outcome:
        case Sent(reply):
            return Settled(delivery.id, delivery.tries, "sent", now, reply)
        case Failed(reply):
            return Settled(delivery.id, delivery.tries, "failed", now, reply)
        case Deferred(reply, in_doubt):
            due = again(delivery, now, in_doubt=in_doubt, chance=chance)
            if due is None:
                return Settled(delivery.id, delivery.tries, "failed", now, f"gave up after 5 days: {reply}")
            return Settled(delivery.id, delivery.tries, "due", due, reply)
        case _:
            assert_never(outcome)


def again(delivery: Delivery, now: datetime, *, in_doubt: bool, chance: Callable[[int], bytes]) -> datetime | None:
    """When to try next, or None when patience is over.  Jitter keeps a crowd from coming back together."""
    if now - delivery.made_at >= PATIENCE:
        return None
    step = LADDER[min(delivery.tries, len(LADDER)) - 1]
    spread = 1 + JITTER * (chance(1)[0] / 127.5 - 1)
    return now + max(step * spread, IN_DOUBT if in_doubt else timedelta())


def record(tx: Tx, site: Site, results: Sequence[Settled], now: datetime) -> None:
    """Outcomes written down; a 5xx that says the mailbox is not there is charged to it."""
    deliveries.settle(tx, results, now)
    for result in results:
        if result.state == "failed":
            bouncing.refused_on_the_wire(Act(tx, site, now, site.who(Way.MAIL)), result.id, result.reply)


def give_up_hand(tx: Tx, batch: Sequence[Delivery], due: datetime) -> None:
    """What was claimed and not tried goes back as if it had not been claimed."""
    for delivery in batch:
        values = {"state": "due", "due": due, "tries": delivery.tries - 1}
        queue.settle(tx, schema.deliveries, delivery.id, delivery.tries, **values)
