"""Whose turn it is to write to an SQLite file: a lock beside it, at which processes wait in the kernel.

SQLite itself waits by sleeping and trying again, longer and longer, up to 0.1 s while the other one has long finished.
Whoever holds the lock and is killed lets go of it; who is stopped does not, and is not waited for without end.  It is a
courtesy only: SQLite's own lock is what protects the file, and serves alone where this one cannot be had.

Sources: flock(2); SQLite's sqliteDefaultBusyCallback.
"""

import fcntl
import logging
import os
import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

log = logging.getLogger("listserv.store")

PATIENCE = 5.0  # seconds; no transaction of a process that runs takes so long


class Turn:
    """That of one process, whose threads wait for each other; None: a database that needs no turns."""

    def __init__(self, path: Path | None) -> None:
        self._thread = threading.Lock()
        self._fd = _opened(path) if path else None
        self._waiter = _Waiter(path) if path and self._fd is not None else None

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Until the end of this block nobody else writes; but for one who stood still for too long before."""
        if self._fd is None:
            yield
            return
        with self._thread:
            fd = self._take(self._fd)
            try:
                yield
            finally:
                if fd is not None:
                    fcntl.flock(fd, fcntl.LOCK_UN)

    def _take(self, fd: int) -> int | None:
        """The descriptor that has the lock; None: it cannot be had now."""
        with suppress(BlockingIOError):
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return fd
        return self._waiter.take() if self._waiter else None

    def close(self) -> None:
        with self._thread:
            if self._waiter:
                self._waiter.close()
            if self._fd is not None:
                os.close(self._fd)
            self._fd = None


class _Waiter:
    """A thread that waits for the lock, because no call of flock ends by a clock."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd: int | None = None
        self._asked: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._got: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._waits = False  # for nobody: whoever asked has gone
        self._deciding = threading.Lock()

    def take(self) -> int | None:
        """The descriptor that has the lock, after PATIENCE at the latest; None at once while it was in vain before."""
        with self._deciding:
            if self._waits:
                return None
        if self._fd is None:
            self._fd = _opened(self._path)
            if self._fd is None:
                return None
            threading.Thread(target=self._serve, args=(self._fd,), name="turn", daemon=True).start()
        self._asked.put(True)
        with suppress(queue.Empty):
            return self._got.get(timeout=PATIENCE)
        with self._deciding:
            with suppress(queue.Empty):
                return self._got.get_nowait()
            self._waits = True
        log.info("another process has written to the database for more than %g s; is it stopped?", PATIENCE)
        return None

    def close(self) -> None:
        self._asked.put(False)

    def _serve(self, fd: int) -> None:
        while self._asked.get():
            fcntl.flock(fd, fcntl.LOCK_EX)
            with self._deciding:
                if self._waits:
                    self._waits = False
                    fcntl.flock(fd, fcntl.LOCK_UN)
                else:
                    self._got.put(fd)
        os.close(fd)


def _opened(path: Path) -> int | None:
    try:
        return os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as fault:
        log.debug("no turns: %s", fault)
        return None
