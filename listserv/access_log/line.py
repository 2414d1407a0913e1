"""A line of the access log: who did what, when and from where, as one JSON object that nothing in it can break."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

import msgspec

MAX_CHARACTERS = 998  # of one value: RFC 5322 §2.1.1, and a log is no place to store a message in

Value = str | int | bool | tuple[str, ...]

_UNSAFE = [*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029, *range(0xD800, 0xE000)]  # controls, line ends, surrogates
_TAGGED = re.compile(r"([-+](?:confirm|bounces|unsubscribe|leave|signoff)\+)[a-z2-7]+@", re.IGNORECASE)
_REPLACED = dict.fromkeys(_UNSAFE, "\ufffd")


class Way(StrEnum):
    """How an act reached us."""

    MAIL = "mail"
    WEB = "web"
    SHELL = "shell"
    CLOCK = "clock"  # nobody acted: a time was over


@dataclass(frozen=True, slots=True)
class Who:
    """Who acts and from where.  `account` is the acting person's address, "" if unknown; `node` the machine's name."""

    way: Way
    node: str
    account: str = ""
    ip: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """One event.  `rest` is what only this action has, in the order in which it is written."""

    time: datetime
    action: str
    who: Who
    group: str = ""
    message_id: str = ""
    post: int | None = None
    rest: tuple[tuple[str, Value | None], ...] = ()

    def json(self) -> str:
        """The line as one JSON object without line ends.

        The first nine fields are always there, "" or null when they have nothing to say; the rest is left out then.
        """
        always: list[tuple[str, Value | None]] = [
            ("time", rfc3339(self.time)),
            ("action", self.action),
            ("ip", self.who.ip),
            ("account", self.who.account),
            ("group", self.group),
            ("message_id", self.message_id),
            ("post", self.post),
            ("node", self.who.node),
            ("way", self.who.way.value),
        ]
        said = [(name, value) for name, value in self.rest if value is not None and value != "" and value != ()]
        record = {name: None if value is None else _safe(value) for name, value in (*always, *said)}
        return msgspec.json.encode(record).decode()


def rfc3339(time: datetime) -> str:
    """RFC 3339 §5.6 in UTC with milliseconds: as text it sorts as the times do.  A naive time is refused."""
    if time.tzinfo is None:
        raise ValueError(f"{time} has no time zone")
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{time.microsecond // 1000:03}Z"


def _safe(value: Value) -> Value:
    """Text that neither a terminal nor the database's text column can choke on, cut at MAX_CHARACTERS."""
    if isinstance(value, tuple):
        return tuple(_text(item) for item in value)
    return _text(value) if isinstance(value, str) else value


def _text(text: str) -> str:
    """Our own addresses that act for somebody, as senders of what came back, lose what they act by."""
    plain = text[:MAX_CHARACTERS].translate(_REPLACED)
    return _TAGGED.sub(r"\1…@", plain) if "+" in plain else plain
