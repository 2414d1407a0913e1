"""What an address of ours means: a group, a door of it, and a tag (INTERFACE: addresses).

`sailing@`, `sailing-owner@`, `sailing+leave@`, `sailing-confirm+<token>@`: the words stand after `-` or
`+`, in upper or lower case.  Which reading is right depends on which groups exist, so all are given.
"""

import re
from dataclasses import dataclass
from enum import StrEnum

from listserv.model.address import Address

MAX_GROUP_OCTETS = 28  # leaves room for the longest word and its tag in 64 octets


class Door(StrEnum):
    """Each value is the word we write ourselves."""

    POST = "post"
    SUBSCRIBE = "subscribe"
    UNSUBSCRIBE = "unsubscribe"
    HELP = "help"
    OWNER = "owner"
    BOUNCES = "bounces"
    CONFIRM = "confirm"
    REQUEST = "request"
    DIGEST = "digest"
    NOMAIL = "nomail"
    MAIL = "mail"


WORDS = {
    "subscribe": Door.SUBSCRIBE,
    "join": Door.SUBSCRIBE,
    "unsubscribe": Door.UNSUBSCRIBE,
    "leave": Door.UNSUBSCRIBE,
    "signoff": Door.UNSUBSCRIBE,
    "help": Door.HELP,
    "owner": Door.OWNER,
    "admin": Door.OWNER,
    "bounces": Door.BOUNCES,
    "confirm": Door.CONFIRM,
    "request": Door.REQUEST,
    "digest": Door.DIGEST,
    "nomail": Door.NOMAIL,
    "mail": Door.MAIL,
}
SITE = ("postmaster", "abuse", "security")  # RFC 2142: these reach the operators
SITE_NAME = "listserv"  # what stands in a group's place in the doors of the whole site
RESERVED = (*SITE, SITE_NAME, "mailer-daemon")
_TAGGED = (Door.UNSUBSCRIBE, Door.BOUNCES, Door.CONFIRM)

_WORD = re.compile(rf"(.+)[-+]({'|'.join(sorted(WORDS, key=len, reverse=True))})(?:\+([a-z2-7]+))?")
_NAME = re.compile(r"(?!.*\.\.)[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?\Z")


@dataclass(frozen=True, slots=True)
class Recipient:
    """One reading: the group of this address, by this door.  `tag` is in lower case, "" when there is none."""

    group: str
    door: Door
    tag: str = ""


def readings(address: Address) -> tuple[Recipient, ...]:
    """All readings of an address at one of our domains, the longest group name first."""
    local = address.local.lower()
    whole = Recipient(f"{local}@{address.domain}", Door.POST)
    match = _WORD.fullmatch(local)
    if match is None:
        return (whole,)
    name, word, tag = match.groups(default="")
    door = WORDS[word]
    if tag and door not in _TAGGED:
        return (whole,)
    return (whole, Recipient(f"{name}@{address.domain}", door, tag))


def site_tag(address: Address) -> str:
    """The token in `listserv-confirm+<token>@`, "" for any other address."""
    match = _WORD.fullmatch(address.local.lower())
    return match[3] or "" if match and match[1] == SITE_NAME and WORDS[match[2]] is Door.CONFIRM else ""


def is_site_door(address: Address) -> bool:
    """`listserv@`, the door of commands over all groups."""
    return address.local.lower() == SITE_NAME


def site_role(address: Address) -> str | None:
    """`postmaster`, `abuse` or `security`, or None."""
    local = address.local.lower()
    return local if local in SITE else None


def name_fault(local: str) -> str | None:
    """Why a group cannot be called so, or None."""
    if len(local.encode()) > MAX_GROUP_OCTETS:
        return f"at most {MAX_GROUP_OCTETS} characters may stand before the @"
    if not _NAME.match(local):
        return "a group's name is made of letters a to z, digits, single dots, hyphens and underscores"
    if local in RESERVED:
        return f"{local}@ is the site's own address"
    word = re.split(r"[-+]", local)[-1]
    if "-" in local and word in WORDS:
        return f"-{word} at the end is a door of another group"
    return None
