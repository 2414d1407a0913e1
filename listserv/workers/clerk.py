"""Carries lines of the access log from their rows to this node's files, and keeps the files in order."""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta

from listserv.access_log.journal import Journal
from listserv.store import journal
from listserv.store.db import Database

LINES = 500  # in one go
PAUSE = 0.05  # seconds between two goes: each looks what stands in the file already, and waits for the disk
TIDY_EVERY = timedelta(hours=1)


class Clerk:
    """`once` is the body of its loop.  Rows go only after their lines are in the file, so a fault loses nothing."""

    def __init__(self, db: Database, files: Journal, node: str, clock: Callable[[], datetime]) -> None:
        self._db = db
        self._files = files
        self._node = node
        self._clock = clock
        self._tidied_at: datetime | None = None

    async def once(self) -> bool:
        await self._tidy()
        rows = await self._db.read(journal.pending, self._node, LINES)
        if rows:
            await asyncio.to_thread(self._files.append, rows)
            await self._db.write(journal.written, [id for id, _ in rows])
        return bool(rows)

    async def _tidy(self) -> None:
        now = self._clock()
        if self._tidied_at is None or abs(now - self._tidied_at) >= TIDY_EVERY:
            self._tidied_at = now
            await asyncio.to_thread(self._files.tidy, now)


def write_now(db: Database, files: Journal, node: str) -> None:
    """The same for the command line: what it has just done stands in the log before it ends."""
    while rows := db.read_now(journal.pending, node, LINES):
        files.append(rows)
        db.write_now(journal.written, [id for id, _ in rows])
