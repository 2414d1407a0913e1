"""A stored, single-use, expiring right to one action; and the wishes that a question names."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any


class Action(StrEnum):
    JOIN = "join"  # the one who asked to join says yes
    INVITE = "invite"  # the one who was invited says yes
    LEAVE = "leave"  # the one who asked to leave says yes
    RETURN = "return"  # undo of a leave
    DECIDE = "decide"  # an admin decides on a hold
    DECIDE_BATCH = "decide-batch"  # an admin decides on the holds of a summary
    SECOND = "second"  # an admin confirms a decision that came from another mailbox
    COMMAND = "command"  # the one in whose name commands came says yes
    ADD_ADDRESS = "add-address"  # the owner of a mailbox says that it belongs to somebody's account
    CHANGE_ADDRESS = "change-address"  # the same of a mailbox that is to take another's place
    KEEP_ADDRESS = "keep-address"  # undo of that, by the mailbox whose place was taken
    ASK = "ask"  # a question about requests, caused by somebody who has proven nothing: it has a budget
    CONFIRM = "confirm"  # the same, caused by a proven author
    OBJECT = "object"  # a mail that asks nothing; only “never write to me again” answers it
    VOUCH = "vouch"  # an author says whether held posts are his


@dataclass(frozen=True, slots=True)
class Token:
    """What a token stands for.  The token itself is only in the mail it was sent with."""

    digest: bytes
    action: Action
    group_id: int | None
    hold_id: int | None
    actor: str  # key of the mailbox it was sent to
    doc: Mapping[str, Any]
    state: str  # open, used, expired, declined, ended
    made_at: datetime
    expires_at: datetime | None
    used_at: datetime | None


@dataclass(frozen=True, slots=True)
class Request:
    """One wish that the owner of a mailbox is asked to confirm; `token` is that of the mail that names it, if any."""

    id: int
    key: str  # of the mailbox that is asked
    action: Action
    group_id: int | None
    doc: Mapping[str, Any]
    made_at: datetime
    token: bytes | None
