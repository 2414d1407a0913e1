"""A message to a group, and what may be thought of it."""

from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class Accept:
    """It goes to the members now."""


@dataclass(frozen=True, slots=True)
class Hold:
    """An admin decides; `reasons` are sentences without a full stop, for the admin and the author."""

    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Ask:
    """The author himself says first whether it is his; `reasons` as for Hold."""

    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Reject:
    """The client is told 5xx with this enhanced status and text; nothing is stored."""

    status: str
    text: str
    code: int = 550


@dataclass(frozen=True, slots=True)
class Discard:
    """The client is told 250 and nothing happens, because an answer could make a loop."""

    reason: str


Verdict = Accept | Hold | Ask | Reject | Discard


class HoldKind(StrEnum):
    POST = "post"
    JOIN = "join"
    MAIL = "mail"  # to the operators, when no operator is configured


class WaitsFor(StrEnum):
    """Who decides on a hold."""

    ADMINS = "admins"
    AUTHOR = "author"  # whether he wrote it at all; then it is judged


class HoldState(StrEnum):
    OPEN = "open"
    APPROVED = "approved"
    REJECTED = "rejected"
    DISCARDED = "discarded"
    EXPIRED = "expired"
