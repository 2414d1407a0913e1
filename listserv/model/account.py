"""People, their mailboxes, and a mailbox's place in a group."""

from dataclasses import dataclass
from datetime import datetime

from listserv.model.group import Mode, Role


@dataclass(frozen=True, slots=True)
class Mailbox:
    """An address known to this server.  `key` is what two spellings of it have in common."""

    id: int
    account_id: int
    address: str
    key: str
    name: str  # of the account
    language: str  # "" is unknown
    proven: bool
    bounces: int = 0
    bounce_reply: str = ""


@dataclass(frozen=True, slots=True)
class Member:
    """A mailbox in a group.  `mode` NONE with role moderator or owner may be a role only."""

    subscription_id: int
    mailbox_id: int
    address: str
    key: str
    name: str
    language: str
    role: Role
    mode: Mode
    moderated: bool
    joined_at: datetime
    how: str
    bounces: int = 0
    bounce_reply: str = ""
