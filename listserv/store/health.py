"""What the database says of itself, for `listserv check`."""

from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import func, select, text

from listserv.store.db import Tx
from listserv.store.schema import events, posts


@dataclass(frozen=True, slots=True)
class Health:
    """`safe` in words: what makes a commit last.  `clock` is its own time, or that of the newest thing it knows."""

    server: str
    safe: str
    clock: datetime | None


def look(tx: Tx) -> Health:
    if tx.dialect.name == "sqlite":
        version = tx.execute(text("SELECT sqlite_version()")).scalar_one()
        journal = tx.execute(text("PRAGMA journal_mode")).scalar_one()
        level = {0: "OFF", 1: "NORMAL", 2: "FULL", 3: "EXTRA"}[tx.execute(text("PRAGMA synchronous")).scalar_one()]
        return Health(f"SQLite {version}", f"journal_mode={journal} synchronous={level}", _newest(tx))
    version = tx.execute(text("SHOW server_version")).scalar_one()
    settings = [f"{name}={tx.execute(text(f'SHOW {name}')).scalar_one()}" for name in ("fsync", "synchronous_commit")]
    return Health(f"PostgreSQL {version}", " ".join(settings), tx.execute(select(func.now())).scalar_one())


def _newest(tx: Tx) -> datetime | None:
    """When something was written down last; a clock that says less has been set back."""
    last = [
        tx.execute(select(column).order_by(table.c.id.desc()).limit(1)).scalar_one_or_none()
        for table, column in ((events, events.c.at), (posts, posts.c.received_at))
    ]
    return max((at.astimezone(UTC) for at in last if at), default=None)
