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
class Account:
    """A person: name, region and country are all that others may ever see of one who has not posted."""

    id: int
    name: str
    region: str
    country: str
    made_at: datetime


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
    account_id: int = 0
    region: str = ""  # of the account, as the name
    country: str = ""
    own_posts: bool = True  # gets what he wrote himself
    copies: bool = True  # also of posts that name him in To or Cc
    visible: bool = False  # `who` may name him
