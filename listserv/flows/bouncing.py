"""Bounces: what the world says by a report or on the wire, charged to what it is about.

That a mailbox is not there is charged to that mailbox and no other; nothing is suspended by it yet, it is counted, at
most once a day, and shown.  That a receiver did not want the message (policy, authentication, spam, size) is charged
to the message: it stands in its trace and in the group's counts, and no mailbox is the worse for it.
"""

import re
from datetime import timedelta
from typing import assert_never

from listserv.access_log import events
from listserv.access_log.line import Way
from listserv.flows.reading import Reading
from listserv.flows.site import Act
from listserv.mail import blame, report
from listserv.mail.blame import Blame
from listserv.model.envelope import RECEIVED, Reply
from listserv.model.group import Group
from listserv.store import accounts, bounces, deliveries, groups, journal
from listserv.store.deliveries import Addressed

REFUSED = "refused"  # in the trace and the counts: the message was not wanted
_CODE = re.compile(r"5\.\d{1,3}\.\d{1,3}")


def take(act: Act, group: Group, reading: Reading, tag: str) -> Reply:
    """A report to the return path of a copy.  Without a tag (bulk mode) it is logged and charged to nobody."""
    delivery_id = act.site.tags.read_bounce(group.id, tag) if tag else None
    copy = deliveries.addressed(act.tx, delivery_id) if delivery_id is not None else None
    said = report.read(reading.message)
    if copy is not None and said is not None and said.hard:
        charge(act, group, copy, said.hard[0].status, said.hard[0].diagnostic)
    elif copy is not None and said is not None and said.refused:
        _refused(act, group, copy, said.refused[0].status, said.refused[0].diagnostic)
    else:
        line = events.report_logged(
            act.now,
            act.who,
            group=group.address,
            message_id=copy.message_id if copy else "",
            kind="delivery-status" if said else "unknown",
            status=next((r.status for r in said.recipients), "") if said else "",
        )
        journal.write(act.tx, line)
    return RECEIVED


def refused_on_the_wire(act: Act, id: int, reply: str) -> None:
    """A delivery that ended with 5xx; its reply stands in the delivery's own row."""
    match blame.of_reply(reply):
        case Blame.MAILBOX:
            copy = deliveries.addressed(act.tx, id)
            if copy is not None and copy.group_id is not None and copy.mailbox_id is not None:
                charge(act, groups.get(act.tx, copy.group_id), copy, _status(reply), reply)
        case Blame.MESSAGE:
            copy = deliveries.addressed(act.tx, id)
            journal.count(act.tx, act.now.date(), copy.group_id if copy else None, REFUSED)
        case Blame.NOBODY:
            pass
        case other:
            assert_never(other)


def _status(reply: str) -> str:
    found = _CODE.search(reply)
    return found[0] if found else ""


def _refused(act: Act, group: Group, copy: Addressed, status: str, diagnostic: str) -> None:
    """A report that the message was not wanted; on the wire the copy's own row says so."""
    line = events.message_refused(
        act.now, act.who, group=group.address, message_id=copy.message_id, member=copy.recipient, status=status
    )
    journal.write(act.tx, line)
    journal.note(act.tx, copy.message_id, act.now, REFUSED, f"{copy.recipient}: {status} {diagnostic}")
    journal.count(act.tx, act.now.date(), group.id, REFUSED)


def charge(act: Act, group: Group, copy: Addressed, status: str, diagnostic: str) -> None:
    """One bounce a day at most counts for a mailbox; each is written down."""
    if copy.mailbox_id is None:
        return
    if not bounces.any_since(act.tx, copy.mailbox_id, act.now - timedelta(days=1)):
        accounts.charge(act.tx, copy.mailbox_id, act.now, f"{status} {diagnostic}")
    bounces.add(act.tx, copy.mailbox_id, group.id, act.now, status, diagnostic, copy.message_id)
    who = act.site.who(Way.MAIL)
    line = events.bounce_reported(
        act.now, who, group=group.address, message_id=copy.message_id, member=copy.recipient, status=status
    )
    journal.write(act.tx, line)
    journal.note(act.tx, copy.message_id, act.now, "bounced", f"{copy.recipient}: {status} {diagnostic}")
