"""Groups and what their owners decide."""

from dataclasses import dataclass, field
from enum import StrEnum


class Kind(StrEnum):
    DISCUSSION = "discussion"
    ANNOUNCE = "announce"
    BLOG = "blog"


class Posting(StrEnum):
    """Who may post without being a stranger."""

    MEMBERS = "members"
    ANYONE = "anyone"
    MODERATORS = "moderators"
    OWNERS = "owners"


class Strangers(StrEnum):
    """What becomes of a post by somebody who may not post."""

    REJECT = "reject"
    HOLD = "hold"


class Joining(StrEnum):
    CONFIRM = "confirm"
    MODERATED = "moderated"
    INVITE = "invite"
    CLOSED = "closed"


class DeliveryStyle(StrEnum):
    """personal: own return path, one-click link and signature; verp: own return path, same bytes; bulk: neither."""

    PERSONAL = "personal"
    VERP = "verp"
    BULK = "bulk"


class ReplyTo(StrEnum):
    AUTHOR = "author"
    GROUP = "group"


class From(StrEnum):
    """Whose address a post bears.

    auto    the author's; the group's when his domain's DMARC policy would lose what we change
    author  his always; what that policy would lose is not changed
    group   the group's always
    """

    AUTO = "auto"
    AUTHOR = "author"
    GROUP = "group"


class Role(StrEnum):
    MEMBER = "member"
    MODERATOR = "moderator"
    OWNER = "owner"

    @property
    def is_admin(self) -> bool:
        """Admin = moderator or owner."""
        return self is not Role.MEMBER


class Mode(StrEnum):
    EACH = "each"
    DIGEST = "digest"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Policy:
    """What a group's owners decide.  The database holds only the differences from these defaults.

    `help` in a field's metadata is the sentence that `group show` prints.  A name that Python keeps for itself has a
    line behind it, `from_`; people and programs write it without (`model.setting`).
    """

    title: str = field(default="", metadata={"help": "name of the group in List-Id and notices"})
    description: str = field(default="", metadata={"help": "one paragraph about the group"})
    language: str = field(default="en", metadata={"help": "language of notices to people whose own is unknown"})
    topics: tuple[str, ...] = field(
        default=(), metadata={"help": "what the group is about, comma-separated; ads go by them"}
    )
    moderated: bool = field(default=False, metadata={"help": "every post waits for an admin"})
    posting: Posting = field(default=Posting.MEMBERS, metadata={"help": "who may post"})
    strangers: Strangers = field(default=Strangers.REJECT, metadata={"help": "what happens to everybody else's posts"})
    joining: Joining = field(default=Joining.CONFIRM, metadata={"help": "how people come in"})
    welcome: str = field(default="", metadata={"help": "text in the mail to a new member"})
    farewell: str = field(default="", metadata={"help": "text in the mail to somebody who has left"})
    listed: bool = field(default=False, metadata={"help": "named in public lists of groups"})
    delivery: DeliveryStyle = field(
        default=DeliveryStyle.PERSONAL,
        metadata={"help": "one-click link per member, return path per member, or neither"},
    )
    subject_tag: str = field(default="", metadata={"help": "put before every subject, e.g. [sailing]"})
    footer: str = field(default="", metadata={"help": "text put below every post"})
    reply_to: ReplyTo = field(default=ReplyTo.AUTHOR, metadata={"help": "where replies go by default"})
    from_: From = field(default=From.AUTO, metadata={"help": "whose address posts bear, as DMARC asks, or always one"})
    max_message_bytes: int = field(
        default=0, metadata={"help": "largest post; 0: what [smtp] max_message_bytes allows"}
    )
    pace: int = field(
        default=24,
        metadata={
            "help": "more answers of one author in 10 minutes wait for an admin, or a third on one subject; 0: never"
        },
    )
    archive: str = field(default="none", metadata={"help": "who may read old posts"})
    ads: bool = field(default=True, metadata={"help": "posts may carry one ad"})


DEFAULTS = Policy()


@dataclass(frozen=True, slots=True)
class Group:
    """A group as the database knows it.  `address` is local@domain in lower case."""

    id: int
    address: str
    kind: Kind
    policy: Policy = DEFAULTS

    @property
    def local(self) -> str:
        return self.address.rpartition("@")[0]

    @property
    def domain(self) -> str:
        return self.address.rpartition("@")[2]

    @property
    def title(self) -> str:
        return self.policy.title or self.local

    @property
    def list_id(self) -> str:
        """RFC 2919 §2: the group's address with a dot for the @; it never changes."""
        return f"{self.local}.{self.domain}"

    def door(self, word: str, tag: str = "") -> str:
        """The address of one of the group's doors: `sailing-owner@…`, `sailing-confirm+<token>@…`."""
        return f"{self.local}-{word}{'+' + tag if tag else ''}@{self.domain}"
