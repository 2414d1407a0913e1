"""Budgets: who makes us write to somebody has so many mails, by his network, his domains or his own mailbox.

A mailbox has one, too: a mail a day that nobody proven asked for.  Names are kept as keyed hashes.
"""

import ipaddress
from dataclasses import dataclass
from datetime import timedelta

from listserv.flows.reading import Reading
from listserv.flows.site import Act
from listserv.model.address import Address
from listserv.model.envelope import Envelope, Proof
from listserv.store import buckets
from listserv.store.buckets import Budget

MAIL = Budget(1, timedelta(days=1))  # to one mailbox, whoever caused it
FATE = Budget(10, timedelta(days=1) / 10)  # to one mailbox: what became of posts that nothing proves to be its own
PUZZLED = Budget(2, timedelta(hours=12))  # to one admin: that he was not understood, about the same hold
NETWORK = Budget(20, timedelta(minutes=6))  # unproven wishes from one address, or one /64
DOMAIN = Budget(100, timedelta(minutes=1))  # unproven wishes by one domain in the envelope or From
PERSON = Budget(20, timedelta(minutes=30))  # proven wishes of one author
PROVEN_DOMAIN = Budget(1000, timedelta(seconds=10))


@dataclass(frozen=True, slots=True)
class Party:
    """Who asks: what is proven about him, and whose budgets he uses.

    network  of the client that brought it, "" for one that we trust
    domains  of From and of the envelope
    """

    proof: Proof
    why: str = ""
    network: str = ""
    domains: tuple[str, ...] = ()
    trusted: bool = False


def party(envelope: Envelope, reading: Reading) -> Party:
    """Who asks by this message."""
    named = (reading.author_address.rpartition("@")[2], envelope.mail_from.rpartition("@")[2].lower())
    peer = envelope.peer
    return Party(
        proof=envelope.proof,
        why=envelope.evidence.why[-1] if envelope.evidence.why else "",
        network="" if peer.trusted or peer.lmtp else network(peer.ip),
        domains=tuple(dict.fromkeys(domain for domain in named if domain)),
        trusted=peer.trusted or peer.lmtp,
    )


def network(ip: str) -> str:
    """Whose budget an address uses: its own for IPv4, that of its /64 for IPv6, where one customer has them all."""
    try:
        known = ipaddress.ip_address(ip)
    except ValueError:
        return ip
    if known.version == 4:
        return str(known)
    mapped = known.ipv4_mapped
    return str(mapped) if mapped else str(ipaddress.ip_network((known, 64), strict=False))


def affords(act: Act, address: Address, by: Party) -> bool:
    """Whether this party may make us write to this mailbox once more; it costs all its budgets."""
    if by.proof is Proof.PROVEN:
        budgets = [("proven", address.key, PERSON), ("proven-domain", address.domain, PROVEN_DOMAIN)]
    else:
        budgets = [("domain", domain, DOMAIN) for domain in by.domains]
        budgets += [("network", by.network, NETWORK)] if by.network else []
    named = sorted((_name(act, what, whose), budget) for what, whose, budget in budgets)  # in one order: no deadlock
    return all(buckets.spend(act.tx, name, budget, act.now) for name, budget in named)


def mail_is_left(act: Act, key: str) -> bool:
    """Whether this mailbox has its mail of the day; the budget is held until the transaction ends."""
    return buckets.left(act.tx, _name(act, "mail", key), MAIL, act.now)


def spend_mail(act: Act, key: str) -> bool:
    """True when that was so; from now on it has none for a day."""
    return once_a_day(act, "mail", key)


def spend_fate(act: Act, key: str) -> bool:
    """True while this mailbox may be told what became of posts that nothing proves to be its own."""
    return buckets.spend(act.tx, _name(act, "fate", key), FATE, act.now)


def spend_puzzled(act: Act, key: str, hold: int) -> bool:
    """True while this admin may be told that his answer about this hold, the first of a summary, was not understood.

    Else a responder of his that says nothing of itself would answer that, too, and so on.
    """
    return buckets.spend(act.tx, _name(act, "puzzled", f"{hold} {key}"), PUZZLED, act.now)


def once_a_day(act: Act, what: str, whose: str) -> bool:
    """True at most once in 24 hours for this kind of mail and this mailbox; only a keyed hash is kept."""
    return once(act, what, whose, MAIL.every)


def once(act: Act, what: str, whose: str, within: timedelta) -> bool:
    """True the first time within this span; only a keyed hash is kept."""
    return buckets.spend(act.tx, _name(act, what, whose), Budget(1, within), act.now)


def _name(act: Act, what: str, whose: str) -> bytes:
    return act.site.tags.hashes(f"budget.{what}", whose)[0]
