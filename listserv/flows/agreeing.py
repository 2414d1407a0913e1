"""What a yes is: a wish that the owner of a mailbox has confirmed, the deed that does it, and what it comes to.

Deeds are found by the action (`confirming.DEEDS`), whichever way the yes came: by mail or by the page.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from listserv.access_log import events
from listserv.flows.site import Act
from listserv.model.address import Address, parse
from listserv.model.envelope import RECEIVED, Reply
from listserv.model.group import Group
from listserv.model.token import Action
from listserv.store import journal


@dataclass(frozen=True, slots=True)
class Yes:
    """A wish that the owner of the mailbox has confirmed.

    actor       key of the mailbox that was asked
    shown       which text the question had
    message_id  of the mail that said so, "" for the page
    said        what he added about himself: name, region, country
    """

    action: Action
    group: Group | None
    actor: str
    doc: Mapping[str, Any]
    asked_at: datetime
    shown: Mapping[str, str]
    message_id: str = ""
    said: Mapping[str, str] = field(default_factory=dict)
    hold_id: int | None = None

    @property
    def address(self) -> Address:
        """The mailbox as it was written when it was asked."""
        known = parse(self.doc.get("address", self.actor))
        assert known is not None  # it was judged before it was stored
        return known

    @property
    def evidence(self) -> dict[str, Any]:
        """For the consent record: who asked, and what the one who said yes was shown."""
        return {"asked": self.doc.get("asked", {}), "shown": self.shown}


class Effect(StrEnum):
    """What a confirmed wish came to."""

    DONE = "done"
    WAITS = "waits"  # for an admin
    CLOSED = "closed"  # what was possible when it was asked no longer is
    NOTHING = "nothing"  # it was so already


Deed = Callable[[Act, Yes], Effect]


def refuse(act: Act, group: Group | None, what: Action, why: str) -> Reply:
    """A right that does not count is noted, and who showed it is told no more than that his mail came."""
    line = events.token_refused(act.now, act.who, group=group.address if group else "", what=what.value, why=why)
    journal.write(act.tx, line)
    return RECEIVED
