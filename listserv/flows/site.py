"""The site as its acts see it: names, wording, secrets of one kind, and chance.

Everything an act needs besides its transaction, so that acts stay plain functions of their arguments.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from listserv.access_log.line import Way, Who
from listserv.hooks import Feature
from listserv.mail import tag
from listserv.mail.recipient import SITE_NAME
from listserv.model.address import Address
from listserv.model.envelope import Peer, Proof
from listserv.model.group import Group
from listserv.store.db import Tx
from listserv.texts import Texts


@dataclass(frozen=True, slots=True)
class Site:
    name: str
    hostname: str  # HELO name, domain of our Message-IDs, authserv-id
    url: str  # public base of the pages, "" when the web part is off
    domains: frozenset[str]
    operators: tuple[str, ...]
    max_message_bytes: int
    node: str
    texts: Texts
    tags: tag.Tagger
    chance: Callable[[int], bytes]  # that many random octets
    features: Sequence[Feature] = ()
    authserv_ids: frozenset[str] = frozenset()  # of our own MTAs in front
    accepts_unknown: bool = True  # [smtp] unknown_authors
    slot: int = 0  # which of this node's delivery processes; 0: the only one, or what delivers nothing

    @property
    def claimant(self) -> str:
        """In whose name this process takes deliveries: its next run gets back what this one had in hand."""
        return f"{self.node}/{self.slot}" if self.slot else self.node

    def who(self, way: Way, account: str = "", ip: str = "") -> Who:
        return Who(way, self.node, account, ip)

    def writer(self, peer: Peer, account: str = "") -> Who:
        """Somebody who acts by mail."""
        return Who(Way.MAIL if peer.helo else Way.SHELL, self.node, account, peer.ip)

    def forgeable_ids(self, *, trusted: bool) -> frozenset[str]:
        """Authserv-ids that nobody may have reported under before us; a trusted peer's stay (RFC 8601 §5)."""
        return frozenset({self.hostname}) if trusted else self.authserv_ids | {self.hostname}

    def is_ours(self, address: Address) -> bool:
        return address.domain in self.domains

    @property
    def domain(self) -> str:
        """Of the site's own addresses: the host's name where mail for it comes to us."""
        return self.hostname if self.hostname in self.domains else min(self.domains)

    def door(self, word: str, tag_: str = "") -> str:
        """The address of a door that belongs to no group: `listserv-confirm+<token>@…`."""
        return f"{SITE_NAME}-{word}{'+' + tag_ if tag_ else ''}@{self.domain}"

    def believes(self, proof: Proof) -> bool:
        """Whether an author so proven has the rights of the member or admin that From names."""
        return proof is Proof.PROVEN or (proof is Proof.UNKNOWN and self.accepts_unknown)

    def message_id(self, word: str) -> str:
        """A new Message-ID that begins with this word."""
        return f"<{word}.{self.chance(12).hex()}@{self.hostname}>"

    def confirm_url(self, token: str) -> str:
        """The page that answers a question with one tap, "" when the web part is off."""
        return f"{self.url}/confirm/{token}" if self.url and token else ""

    def leave_url(self, group: Group, tag_: str) -> str:
        """The page behind the one-click link (RFC 8058), "" when the web part is off."""
        return f"{self.url}/leave/{group.address}/{tag_}" if self.url else ""


@dataclass(frozen=True, slots=True)
class Act:
    """One transaction's here and now: handed through the acts of one message, request or command.

    envelope, message_id  the sender and the Message-ID of the mail that acts, "" for any other way
    """

    tx: Tx
    site: Site
    now: datetime
    who: Who
    envelope: str = ""
    message_id: str = ""
