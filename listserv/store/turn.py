"""Whose turn it is to write to an SQLite file: a lock beside it, at which processes wait in the kernel.

SQLite itself waits by sleeping and trying again, longer and longer, up to 0.1 s while the other one has long finished.
Whoever holds the lock and is killed lets go of it.  It is a courtesy only: SQLite's own lock is what protects the file,
and serves alone where this one cannot be had.

Sources: flock(2); SQLite's sqliteDefaultBusyCallback.
"""

import fcntl
import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

log = logging.getLogger("listserv.store")


class Turn:
    """That of one process, whose threads wait for each other; None: a database that needs no turns."""

    def __init__(self, path: Path | None) -> None:
        self._thread = threading.Lock()
        self._fd = _opened(path) if path else None

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Until the end of this block nobody else writes."""
        if self._fd is None:
            yield
            return
        with self._thread:
            fcntl.flock(self._fd, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.flock(self._fd, fcntl.LOCK_UN)

    def close(self) -> None:
        with self._thread:
            if self._fd is not None:
                os.close(self._fd)
            self._fd = None


def _opened(path: Path) -> int | None:
    try:
        return os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as fault:
        log.debug("no turns: %s", fault)
        return None
