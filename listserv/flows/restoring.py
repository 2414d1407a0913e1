"""A backup was restored: what waits in it may have been sent since, and is held until the operator has looked."""

from datetime import datetime

from listserv.access_log import events
from listserv.access_log.line import Way
from listserv.flows.site import Site
from listserv.store import journal, restored, secrets
from listserv.store.db import Tx
from listserv.store.restored import Waits
from listserv.texts import plural

MEND = (
    "`listserv queue list --restored` shows them, `listserv queue drop --restored` gives them up, "
    "`listserv queue resume` goes on"
)


def look_back(tx: Tx, site: Site, reached: int, now: datetime) -> Waits | None:
    """Deliveries are paused when this database is behind what its node has reached, and something waits in it.

    What waits, as long as it is held for that; else None.  In the next transaction the database catches up
    (`store.restored`): not in this one, since on PostgreSQL numbers stay drawn when a transaction fails.
    """
    if restored.come_to(tx) < reached and restored.waits(tx):
        if secrets.get(tx, secrets.PAUSED) is None:
            journal.write(tx, events.delivery_paused(now, site.who(Way.CLOCK)))
        restored.hold(tx, now)
    return held(tx)


def held(tx: Tx) -> Waits | None:
    """What waits until the operator resumes deliveries, because this database was restored; None when none is."""
    found = restored.held(tx)
    return restored.count(tx, found) if found else None


def said(waits: Waits) -> str:
    """In words, for the log and for the operator."""
    more = f" and {plural(waits.posts, 'post', 'posts')} not yet handed out" if waits.posts else ""
    found = f"{plural(waits.copies, 'copy', 'copies')}{more} may have been sent since"
    return f"the database is older than what was sent from here, as after a restore: {found}; nothing is delivered"
