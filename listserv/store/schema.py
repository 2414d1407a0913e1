"""The tables.  Columns for what is searched, documents for what is only read whole.

Every queue (`posts`, `deliveries`, `jobs`) has the columns state, due, lease, tries and node;
`store/queue.py` moves them and says what a crash leaves behind.
"""

from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    TypeDecorator,
    UniqueConstraint,
    text,
)

VERSION = "0005"  # the newest migration; a database beyond it belongs to a newer program


class Moment(TypeDecorator[datetime]):
    """An aware UTC time.  Naive ones are refused at this border."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def result_processor(self, dialect: Dialect, coltype: Any) -> Any:
        """Rows that were made together have the same times: what was read lately is not read again."""
        convert = super().result_processor(dialect, coltype)
        return convert and lru_cache(maxsize=256)(convert)

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"naive time: {value}")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _faults() -> tuple[Column[Any], ...]:
    """How often our own code failed on it since it was last told to try, and how it failed last: a traceback."""
    return (
        Column("faults", Integer, nullable=False, server_default=text("0")),
        Column("fault", String, nullable=False, server_default=""),
    )


metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)
Id = BigInteger().with_variant(Integer, "sqlite")


def _table(name: str, *columns: Any, **options: Any) -> Table:
    """Ids are never used twice, on SQLite either: tags in old mails name them."""
    numbered = any(isinstance(c, Column) and c.name == "id" for c in columns)
    return Table(name, metadata, *columns, sqlite_autoincrement=numbered, **options)


def _id() -> Column[int]:
    return Column("id", Id, primary_key=True)


def _of(
    table: str, *, nullable: bool = False, ondelete: str = "CASCADE", name: str = "", index: bool = False
) -> Column[int]:
    column = name or f"{table.removesuffix('es') if table == 'mailboxes' else table.removesuffix('s')}_id"
    return Column(column, Id, ForeignKey(f"{table}.id", ondelete=ondelete), nullable=nullable, index=index)


def _moment(name: str, *, nullable: bool = False) -> Column[datetime]:
    return Column(name, Moment, nullable=nullable)


def _queue() -> tuple[Column[Any], ...]:
    """What every row that waits has.

    state    due, taken, or one of the queue's own ends
    due      not before this time
    lease    a taken row belongs to `node` until then; renewed while the worker lives
    tries    how often it was claimed; with the id it names one claim
    """
    return (
        Column("state", String(12), nullable=False),
        _moment("due"),
        _moment("lease", nullable=True),
        Column("tries", Integer, nullable=False, server_default="0"),
        Column("node", String(255), nullable=True),
    )


def _waiting(table: str) -> tuple[Index, ...]:
    """Small, whatever has been delivered: finished rows leave these indexes."""
    due, taken, aside = text("state = 'due'"), text("state = 'taken'"), text("state = 'aside'")
    return (
        Index(f"ix_{table}_aside", "id", sqlite_where=aside, postgresql_where=aside),
        Index(f"ix_{table}_waiting", "due", "id", sqlite_where=due, postgresql_where=due),
        Index(f"ix_{table}_taken", "lease", sqlite_where=taken, postgresql_where=taken),
    )


def _partial(name: str, *columns: str, where: str) -> Index:
    return Index(name, *columns, sqlite_where=text(where), postgresql_where=text(where))


secrets = _table(
    "secrets",
    Column("name", String(40), primary_key=True),
    Column("value", LargeBinary, nullable=False),
    _moment("made_at"),
)

accounts = _table(
    "accounts",
    _id(),
    Column("name", String(200), nullable=False, server_default=""),
    Column("region", String(200), nullable=False, server_default=""),
    Column("country", String(200), nullable=False, server_default=""),
    _moment("made_at"),
)

mailboxes = _table(
    "mailboxes",
    _id(),
    _of("accounts", index=True),
    Column("address", String(320), nullable=False),  # as it was written
    Column("key", String(320), nullable=False, unique=True),  # in lower case: what two spellings share
    Column("domain", String(255), nullable=False),
    Column("language", String(12), nullable=False, server_default=""),
    _moment("proven_at", nullable=True),
    Column("bounces", Integer, nullable=False, server_default="0"),
    _moment("bounced_at", nullable=True),
    Column("bounce_reply", String(500), nullable=False, server_default=""),
)

groups = _table(
    "groups",
    _id(),
    Column("address", String(320), nullable=False, unique=True),
    Column("kind", String(12), nullable=False),
    Column("policy", JSON, nullable=False),  # differences from model.group.DEFAULTS
    Column("last_number", Integer, nullable=False, server_default="0"),
    _moment("made_at"),
)

subscriptions = _table(
    "subscriptions",
    _id(),
    _of("groups"),
    _of("mailboxes", index=True),
    Column("role", String(12), nullable=False),
    Column("mode", String(12), nullable=False),
    Column("moderated", Boolean, nullable=False),
    _moment("joined_at"),
    Column("how", String(200), nullable=False),
    Column("own_posts", Boolean, nullable=False, server_default=text("true")),  # gets what he wrote himself
    Column("copies", Boolean, nullable=False, server_default=text("true")),  # also of posts that name him in To or Cc
    Column("visible", Boolean, nullable=False, server_default=text("false")),  # `who` may name him
    UniqueConstraint("group_id", "mailbox_id"),
    Index("ix_subscriptions_fanout", "group_id", "id"),
)

bans = _table(
    "bans",
    Column("group_id", Id, ForeignKey("groups.id", ondelete="CASCADE"), primary_key=True),
    Column("key", String(320), primary_key=True),
    _moment("made_at"),
)

messages = _table(
    "messages",
    Column("digest", LargeBinary(32), primary_key=True),  # SHA-256 of the content
    Column("content", LargeBinary, nullable=False),
    Column("size", Integer, nullable=False),
    _moment("stored_at"),
)

posts = _table(
    "posts",
    _id(),
    _of("groups"),
    Column("number", Integer, nullable=True),
    Column("digest", LargeBinary(32), nullable=True, index=True),
    Column("message_id", String(998), nullable=False, index=True),
    Column("author", String(320), nullable=False),
    Column("subject_key", LargeBinary(8), nullable=True),  # None: no answer, or nobody believed who wrote it
    *_queue(),
    Column("cursor", Id, nullable=False, server_default="0"),  # subscriptions up to here have their delivery
    Column("edition_id", Id, nullable=True),
    Column("envelope", JSON, nullable=False),
    _moment("received_at"),
    _moment("done_at", nullable=True),
    *_faults(),
    UniqueConstraint("group_id", "number"),
    *_waiting("posts"),
    _partial("ix_posts_pace", "group_id", "author", "received_at", where="subject_key IS NOT NULL"),
)

holds = _table(
    "holds",
    _id(),
    Column("kind", String(12), nullable=False),  # post, join, mail
    _of("groups", nullable=True),
    _of("posts", nullable=True, index=True),
    Column("digest", LargeBinary(32), nullable=True, index=True),
    Column("author", String(320), nullable=False),
    Column("author_name", String(200), nullable=False, server_default=""),
    Column("subject", String(998), nullable=False, server_default=""),
    Column("reasons", JSON, nullable=False),
    Column("state", String(12), nullable=False),  # open, approved, rejected, discarded, expired
    Column("waits_for", String(12), nullable=False, server_default="admins"),  # or the author himself
    _moment("since"),
    _moment("expires_at"),
    Column("noticed", Boolean, nullable=False, server_default=text("false")),  # a notice or summary named it
    Column("decided_by", String(320), nullable=False, server_default=""),
    _moment("decided_at", nullable=True),
    Index("ix_holds_group_state", "group_id", "state"),
)

tokens = _table(
    "tokens",
    Column("digest", LargeBinary(32), primary_key=True),  # SHA-256 of the token; the token itself is in the mail only
    Column("action", String(24), nullable=False),
    _of("groups", nullable=True),
    _of("holds", nullable=True, index=True),
    Column("actor", String(320), nullable=False),  # key of the mailbox it was sent to
    Column("doc", JSON, nullable=False),
    Column("state", String(12), nullable=False),  # open, used, expired
    _moment("made_at"),
    _moment("expires_at", nullable=True),  # None: lives as long as its hold
    _moment("used_at", nullable=True),
    Index("ix_tokens_actor", "actor", "action"),
)

requests = _table(  # what somebody is to be asked, or has been asked in the mail with this token
    "requests",
    _id(),
    Column("key", String(320), nullable=False, index=True),  # of the mailbox that is asked
    Column("action", String(24), nullable=False),
    _of("groups", nullable=True, index=True),
    Column("doc", JSON, nullable=False),
    _moment("made_at"),
    Column("token", LargeBinary(32), nullable=True, index=True),  # digest; None: no mail has named it yet
)

objections = _table(  # who never wants to be written to again, as a keyed hash of the address
    "objections", Column("digest", LargeBinary(32), primary_key=True), _moment("made_at")
)

buckets = _table(  # how much somebody has asked for lately; the name is a keyed hash
    "buckets",
    Column("name", LargeBinary(32), primary_key=True),
    Column("level", Float, nullable=False),
    Column("at", Moment, nullable=False, index=True),
)

consents = _table(  # append-only; each row's digest covers the one before
    "consents",
    _id(),
    Column("act", String(24), nullable=False),
    Column("group", String(320), nullable=False),  # its address, "" is the whole site
    Column("way", String(12), nullable=False),
    _moment("at"),
    Column("personal", LargeBinary(32), nullable=False),  # salted hash of what stands in consent_details
    Column("digest", LargeBinary(32), nullable=False, unique=True),
)

consent_details = _table(  # what erasure takes away; the chain stays verifiable without it
    "consent_details",
    Column("consent_id", Id, ForeignKey("consents.id", ondelete="CASCADE"), primary_key=True),
    Column("key", String(320), nullable=False, index=True),  # of the mailbox
    Column("salt", LargeBinary(16), nullable=False),
    Column("facts", JSON, nullable=False),
)

editions = _table(
    "editions",
    _id(),
    Column("kind", String(12), nullable=False),  # post, notice, forward
    _of("posts", nullable=True, index=True),
    _of("groups", nullable=True),
    Column("style", String(12), nullable=False),  # personal, verp, bulk
    Column("mail_from", String(320), nullable=False),  # of notices and bulk; else the return path bears a tag
    Column("message_id", String(998), nullable=False, index=True),
    Column("top", LargeBinary, nullable=False),  # our Received line
    Column("fields", LargeBinary, nullable=False),  # the header that all copies share
    Column("before", LargeBinary, nullable=False),  # body = before + content[start:] + after
    Column("digest", LargeBinary(32), nullable=True, index=True),
    Column("start", Integer, nullable=False, server_default="0"),
    Column("after", LargeBinary, nullable=False),
    Column("ad_id", Id, nullable=True),
    _moment("made_at"),
    *_faults(),
)

deliveries = _table(
    "deliveries",
    _id(),
    _of("editions"),
    _of("mailboxes", nullable=True, ondelete="SET NULL", index=True),
    Column("recipient", String(320), nullable=False),
    Column("destination", String(255), nullable=False),
    *_queue(),
    _moment("made_at"),
    _moment("done_at", nullable=True),
    Column("reply", String(500), nullable=False, server_default=""),
    UniqueConstraint("edition_id", "recipient"),
    *_waiting("deliveries"),
    _partial("ix_deliveries_fresh", "edition_id", "id", where="state = 'due' AND tries = 0"),
    _partial("ix_deliveries_again", "due", "id", where="state = 'due' AND tries > 0"),
    Index(
        "ix_deliveries_failed",
        "done_at",
        sqlite_where=text("state = 'failed'"),
        postgresql_where=text("state = 'failed'"),
    ),
)

jobs = _table("jobs", _id(), Column("name", String(40), nullable=False, unique=True), *_queue(), *_waiting("jobs"))

journal = _table(  # lines on their way to the access log of the node that wrote them
    "journal", _id(), Column("node", String(255), nullable=False, index=True), Column("line", String, nullable=False)
)

events = _table(  # what `trace` tells besides the deliveries
    "events",
    _id(),
    Column("message_id", String(998), nullable=False, index=True),
    _moment("at"),
    Column("what", String(40), nullable=False),
    Column("detail", String(500), nullable=False),
)

seen = _table(  # what was accepted lately, so that a sender's second try is a no-op
    "seen",
    Column("group_id", Id, ForeignKey("groups.id", ondelete="CASCADE"), primary_key=True),
    Column("key", LargeBinary(32), primary_key=True, index=True),
    Column("reply", String(200), nullable=False),
    Column("at", Moment, nullable=False, index=True),
)

counts = _table(  # aggregates only; also where things end that leave no row
    "counts",
    Column("day", Date, primary_key=True),
    Column("group_id", Id, primary_key=True),  # 0: no group; counts outlive the group
    Column("what", String(40), primary_key=True),
    Column("number", Integer, nullable=False),
)

bounces = _table(
    "bounces",
    _id(),
    _of("mailboxes", index=True),
    _of("groups", nullable=True),
    Column("at", Moment, nullable=False),
    Column("status", String(12), nullable=False),
    Column("diagnostic", String(500), nullable=False),
    Column("message_id", String(998), nullable=False),
)

ads = _table(
    "ads",
    _id(),
    Column("title", String(200), nullable=False),
    Column("text", String, nullable=False),
    Column("html", String, nullable=False, server_default=""),
    Column("advertiser", String(200), nullable=False, server_default=""),
    Column("groups", JSON, nullable=False),  # addresses; with topics empty too: everywhere
    Column("topics", JSON, nullable=False),
    Column("starts", Date, nullable=True),
    Column("ends", Date, nullable=True),
    Column("state", String(12), nullable=False),  # running, paused
    _moment("made_at"),
)

ad_counts = _table(
    "ad_counts",
    Column("ad_id", Id, ForeignKey("ads.id", ondelete="CASCADE"), primary_key=True),
    Column("day", Date, primary_key=True),
    Column("group_id", Id, primary_key=True),
    Column("editions", Integer, nullable=False, server_default="0"),
    Column("copies", Integer, nullable=False, server_default="0"),
)
