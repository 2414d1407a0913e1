"""Consent on record: what somebody's membership came from and what became of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any


class Step(StrEnum):
    JOINED = "joined"  # a member from now on, or gets the posts again
    CONFIRMED = "confirmed"  # said yes to the question whether it was he who asked; an admin decides
    INVITED = "invited"
    ACCEPTED = "accepted"  # said yes to an invitation
    DECLINED = "declined"  # said no to a question or an invitation, or an admin said no
    LEFT = "left"
    RETURNED = "returned"  # by the undo of a leave
    REMOVED = "removed"
    BANNED = "banned"
    UNBANNED = "unbanned"
    ROLE = "role"  # member, moderator or owner from now on
    ADDED = "address-added"  # said that this mailbox belongs to somebody's account
    MOVED = "address-changed"  # said that this mailbox takes the place of another of the same person
    KEPT = "address-kept"  # objected, and has the place back
    ENDED = "ended"  # the group was deleted, and with it everybody's place; of nobody in particular


@dataclass(frozen=True, slots=True)
class Consent:
    """One row of the record.  `facts` are those of a person, None when they were erased."""

    id: int
    step: Step
    group: str  # address, "" is the whole site
    way: str  # mail, web, shell, clock
    at: datetime
    facts: Mapping[str, Any] | None
