"""Copies and their outcomes: what is stamped on an edition for one mailbox, and what an answer means.

A stamp is a return path that bears a tag, the List-Unsubscribe fields and a signature.  Everything else
of a copy is shared by all who get the edition.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import assert_never

from listserv.access_log.line import Way
from listserv.flows import bouncing
from listserv.flows.site import Act, Site
from listserv.mail import header, message
from listserv.mail.message import Field
from listserv.mail.signature import Form, Prepared, Signer
from listserv.mail.tag import TAG_CHARACTERS
from listserv.model.delivery import Copy, Deferred, Failed, Outcome, Sent
from listserv.model.group import DeliveryStyle, Group
from listserv.store import deliveries, queue, schema, secrets
from listserv.store.db import Tx
from listserv.store.deliveries import Delivery, Settled
from listserv.store.editions import Loaded

PATIENCE = timedelta(days=5)
LADDER = tuple(timedelta(seconds=s) for s in (30, 120, 300, 900, 1800, 3600, 7200, 14400))
IN_DOUBT = timedelta(seconds=600)  # RFC 5321 §4.5.3.2.6: so long the peer may still be at work on our last dot
JITTER = 0.2
RECIPIENTS = 50  # in one transaction of an edition that is the same for all


@dataclass(frozen=True, slots=True)
class Printed:
    """An edition prepared for its stamps: what can be made, checked and hashed once, is."""

    edition: Loaded
    head: bytes  # what its copies share of the header, to the empty line
    return_path: tuple[str, ...] = ()  # around the tag of a delivery; () where all have the edition's own
    own: "Own | None" = None  # of personal editions


@dataclass(frozen=True, slots=True)
class Own:
    """The header lines of one member, but for the tag of the member and the signature."""

    leave: tuple[bytes, ...]  # List-Unsubscribe and what belongs to it, around the tag
    form: Form | None  # None: no key for its domain


def claim_deliveries(
    tx: Tx, node: str, now: datetime, limit: int, after: int = 0, avoid: Collection[str] = ()
) -> list[Delivery]:
    """Due deliveries, ours for a while; none while the operator has paused the queue."""
    if secrets.get(tx, secrets.PAUSED) is not None:
        return []
    return deliveries.claim(tx, node, now, limit, after, avoid)


def prepare(site: Site, edition: Loaded, signers: Mapping[str, Signer]) -> Printed:
    """Where all get the same bytes the head is whole; its signature bears the time of the edition."""
    signer = signers.get(edition.domain)
    fields = message.parse(edition.fields + b"\r\n").fields
    prepared = signer.prepare(fields, edition.body) if signer else None
    group = edition.group if edition.kind == "post" else None
    if group is None:
        return Printed(edition, _head(edition, prepared, ()))
    gap = _gap(site, group)
    path = () if edition.style == DeliveryStyle.BULK else tuple(group.door("bounces", gap).split(gap))
    if edition.style != DeliveryStyle.PERSONAL:
        return Printed(edition, _head(edition, prepared, header.stamp_fields(group.door("unsubscribe"))), path)
    return Printed(edition, edition.fields + b"\r\n", path, _own(site, group, gap, prepared))


def _gap(site: Site, group: Group) -> str:
    """A word for a tag's place, as long as a tag, so that lines are folded alike; it stands nowhere else."""
    words = (letter * TAG_CHARACTERS for letter in "xyz")
    return next(word for word in words if word not in group.address + site.url)


def _own(site: Site, group: Group, gap: str, prepared: Prepared | None) -> Own:
    own = header.stamp_fields(group.door("unsubscribe", gap), site.leave_url(group, gap))
    leave = b"".join(field.raw for field in own).split(gap.encode())
    return Own(tuple(leave), prepared.form(own, gap.encode()) if prepared else None)


def _head(edition: Loaded, prepared: Prepared | None, leave: tuple[Field, ...]) -> bytes:
    """Our Received on top, the signature, how to leave, and what the author wrote."""
    signature = prepared.sign(leave, edition.made_at) if prepared else b""
    return b"".join((edition.top, signature, *(field.raw for field in leave), edition.fields, b"\r\n"))


def stamp(site: Site, printed: Printed, batch: Sequence[Delivery], now: datetime) -> Copy:
    """The copy for these deliveries: for one, or for several where all copies are the same."""
    edition, delivery, mail_from, own = printed.edition, batch[0], printed.edition.mail_from, b""
    group = edition.group
    if printed.return_path and group:
        mail_from = site.tags.bounce(group.id, delivery.id).join(printed.return_path)
    if printed.own and group:
        tag = site.tags.leave(group.id, delivery.mailbox_id or 0).encode()
        signature = printed.own.form.sign(tag, now) if printed.own.form else b""
        own = b"".join((edition.top, signature, tag.join(printed.own.leave)))
    to = (delivery.recipient,) if len(batch) == 1 else tuple([each.recipient for each in batch])
    return Copy(mail_from, to, printed.head, edition.body, own)


def batches(
    waiting: Sequence[Delivery], printed: Printed, is_slow: Callable[[str], bool]
) -> list[tuple[str, list[Delivery]]]:
    """What goes in one transaction, and to which destination, "" when to several.

    One delivery, or up to RECIPIENTS of an edition that is the same for all; a slow destination has its own.
    """
    if printed.edition.style != DeliveryStyle.BULK:
        return [(delivery.destination, [delivery]) for delivery in waiting]
    together: dict[str, list[Delivery]] = {}
    for delivery in waiting:
        together.setdefault(delivery.destination if is_slow(delivery.destination) else "", []).append(delivery)
    cut = [
        (name, some[start : start + RECIPIENTS])
        for name, some in together.items()
        for start in range(0, len(some), RECIPIENTS)
    ]
    return [(name or (some[0].destination if len(some) == 1 else ""), some) for name, some in cut]


def settled(
    batch: Sequence[Delivery],
    outcomes: Sequence[Outcome],
    now: datetime,
    chance: Callable[[int], bytes],
    notice: int | None = None,
) -> list[Settled]:
    """What the outcomes of one try make of these deliveries; `notice` is their edition when that is one."""
    if len(batch) == 1:
        return _settled(batch, outcomes[0], now, chance, notice)
    alike: dict[tuple[Outcome, int], list[Delivery]] = {}
    for delivery, outcome in zip(batch, outcomes, strict=True):
        alike.setdefault((outcome, delivery.tries), []).append(delivery)
    return [each for (outcome, _), some in alike.items() for each in _settled(some, outcome, now, chance, notice)]


def _settled(
    alike: Sequence[Delivery], outcome: Outcome, now: datetime, chance: Callable[[int], bytes], notice: int | None
) -> list[Settled]:
    """Of deliveries that are at the same try."""
    match outcome:
        case Sent(reply):
            return [Settled([each.id for each in alike], alike[0].tries, "sent", now, reply, notice)]
        case Failed(reply):
            return [Settled([each.id for each in alike], alike[0].tries, "failed", now, reply, notice)]
        case Deferred():
            return [_put_off(each, outcome, now, chance, notice) for each in alike]
        case _:
            assert_never(outcome)


def _put_off(
    delivery: Delivery, outcome: Deferred, now: datetime, chance: Callable[[int], bytes], notice: int | None
) -> Settled:
    due = again(delivery, now, in_doubt=outcome.in_doubt, chance=chance)
    if due is None:
        return Settled([delivery.id], delivery.tries, "failed", now, f"gave up after 5 days: {outcome.reply}", notice)
    return Settled([delivery.id], delivery.tries, "due", due, outcome.reply)


def again(delivery: Delivery, now: datetime, *, in_doubt: bool, chance: Callable[[int], bytes]) -> datetime | None:
    """When to try next, or None when patience is over.  Jitter keeps a crowd from coming back together."""
    if now - delivery.made_at >= PATIENCE:
        return None
    step = LADDER[min(delivery.tries, len(LADDER)) - 1]
    spread = 1 + JITTER * (chance(1)[0] / 127.5 - 1)
    return now + max(step * spread, IN_DOUBT if in_doubt else timedelta())


def recording(site: Site, results: Sequence[Settled], now: datetime) -> Callable[[Tx], None]:
    """`record` as work for a writer: a stroke where it is no more than that, as for most copies that go out."""
    stroke = deliveries.settling(results, now) if all(result.state == "sent" for result in results) else None
    return stroke or partial(record, site=site, results=results, now=now)


def record(tx: Tx, site: Site, results: Sequence[Settled], now: datetime) -> None:
    """Outcomes written down; a 5xx that says the mailbox is not there is charged to it."""
    deliveries.settle(tx, results, now)
    for result in results:
        for id in result.ids if result.state == "failed" else ():
            bouncing.refused_on_the_wire(Act(tx, site, now, site.who(Way.MAIL)), id, result.reply)


def give_up_hand(tx: Tx, batch: Sequence[Delivery], due: datetime) -> None:
    """What was claimed and not tried goes back as if it had not been claimed."""
    for delivery in batch:
        values = {"state": "due", "due": due, "tries": delivery.tries - 1}
        queue.settle(tx, schema.deliveries, delivery.id, delivery.tries, **values)
