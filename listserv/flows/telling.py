"""What a person may know: all that is held about him, his places, and who else is in a group and lets it be seen."""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from listserv.access_log import events
from listserv.flows import budgeting, consenting, notifying, objecting
from listserv.flows.notifying import Letter
from listserv.flows.site import Act
from listserv.mail.notice import File
from listserv.model.account import Account, Mailbox, Member
from listserv.model.consent import Consent
from listserv.model.group import Group
from listserv.store import accounts, consents, groups, journal, persons

MOST_NAMED = 500  # people of a group in one mail


@dataclass(frozen=True, slots=True)
class Places:
    """Where a person is, and who he is to others."""

    account: Account
    mailboxes: tuple[Mailbox, ...]
    places: tuple[tuple[Group, Member], ...]


@dataclass(frozen=True, slots=True)
class People:
    """Those of a group who allow it: name, region, country.  `size` counts all who have joined."""

    group: Group
    people: tuple[tuple[str, str, str], ...]
    size: int


@dataclass(frozen=True, slots=True)
class NotTold:
    """Nobody is named; `why`: stranger, often."""

    group: Group
    why: str


@dataclass(frozen=True, slots=True)
class DataSent:
    """A mail of its own has all of it."""

    address: str


def places(act: Act, mine: Mailbox, group: Group | None = None) -> Places:
    """The places of this person, in one group or all."""
    found = [(groups.get(act.tx, id), member) for id, member in accounts.places(act.tx, mine.account_id)]
    chosen = tuple((known, member) for known, member in found if group is None or known.id == group.id)
    boxes = tuple(accounts.mailboxes_of(act.tx, mine.account_id))
    return Places(accounts.account(act.tx, mine.account_id), boxes, chosen)


def people(act: Act, group: Group, mine: Mailbox | None) -> People | NotTold:
    """For members only, and once a day: a roster is not to be read by a script."""
    if mine is None or accounts.member(act.tx, group.id, mine.key) is None:
        return NotTold(group, "stranger")
    if not budgeting.once_a_day(act, "who", f"{group.id} {mine.account_id}"):
        return NotTold(group, "often")
    shown = tuple(persons.visible(act.tx, group.id, MOST_NAMED))
    return People(group, shown, accounts.count(act.tx, group.id))


def my_data(act: Act, mine: Mailbox, answers: str) -> DataSent:
    """Everything held about a person goes to the mailbox that has asked, to read and as a file."""
    where = places(act, mine)
    held = persons.dossier(act.tx, mine.account_id, [box.key for box in where.mailboxes])
    record = consents.of(act.tx, [box.key for box in where.mailboxes])
    never = objecting.objects(act, mine.key)
    document = {
        "at": act.now,
        "site": act.site.hostname,
        "account": {
            "name": where.account.name,
            "region": where.account.region,
            "country": where.account.country,
            "since": where.account.made_at,
        },
        "subscriptions": [_place(group, member) for group, member in where.places],
        "never_write_again": never,
        "consent": [_consent(one) for one in record],
        **held,
    }
    file = File("mydata.json", "application/json", json.dumps(document, default=_plain, indent=1).encode())
    facts = {"where": where, "held": held, "never": never, "record": [(one, consenting.words(one)) for one in record]}
    to = notifying.to_actor(act, None, mine.key)
    assert to is not None  # it was judged when it was stored
    notifying.send(act, None, to, Letter("mydata", facts, file=file, answers=answers))
    journal.write(act.tx, events.account_told(act.now, act.who, message_id=answers))
    return DataSent(mine.address)


def _place(group: Group, member: Member) -> dict[str, Any]:
    return {
        "group": group.address,
        "address": member.address,
        "role": member.role.value,
        "mode": member.mode.value,
        "moderated": member.moderated,
        "own_posts": member.own_posts,
        "copies": member.copies,
        "visible": member.visible,
        "joined": member.joined_at,
        "how": member.how,
    }


def _consent(one: Consent) -> dict[str, Any]:
    return {"step": one.step.value, "group": one.group, "way": one.way, "at": one.at, "facts": one.facts}


def _plain(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
