"""The one way to the database: `await db.write(work, ...)` and `await db.read(work, ...)`.

`work(tx, ...)` is a plain function.  It runs in a worker thread inside a transaction, so it cannot
await: nothing slow happens while a lock is held.  It returns values, never rows that are still
attached.  If it collides with another transaction it is simply called again; therefore it has no
effect outside the database.

Group commit: whatever waits for a writer shares one transaction and one fsync, also what has come while another process
had its `turn` to write to an SQLite file; and the rows that it only appends (`later`) one statement for each table.
When any piece of work fails, none of it has happened, and each is run again in a transaction of its own: so a fault is
its maker's alone, and what goes well pays for no savepoints.  Nobody is told of success before that fsync has happened.

A `Stroke` is work that is one statement.  When nobody shares its commit it is a transaction by itself, and passes by
all that a transaction costs on our side: more than the fsync, where copies go out by the thousand.

`write_behind` is for who waits for rows that others make: his work joins the transaction that makes them.  So what is
to happen next is claimed in the very commit that says it is to happen, and costs neither an fsync nor a turn.

Where SQLite and PostgreSQL differ: `dialects`, `engines`, and what these name.
"""

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection, Dialect, Executable, UpdateBase, event, make_url, text
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError

from listserv.store import engines, large, rows
from listserv.store.bells import Bells, rung, silence
from listserv.store.engines import READERS, WRITERS
from listserv.store.turn import Turn

log = logging.getLogger("listserv.store")

Tx = Connection
P = ParamSpec("P")
T = TypeVar("T")

ATTEMPTS = 5
GROUP = 64  # pieces of work that may share one commit
MANY = 3  # where so many shared the last one, the next is put off until as many are here
GATHER = 0.002  # or so many seconds
KEPT_SECONDS = 1.0  # that a writer's connection rests before the pool looks whether it still lives

_LATER = "listserv later"
_KNOWN = "listserv known"

_COLLISIONS = (OperationalError, IntegrityError)  # deadlock, SQLITE_BUSY, connection lost, a race lost to a unique key

_UNREACHABLE = "08"  # what libpq says of no connection has no code; PostgreSQL's class for it
_PASSES = (
    _UNREACHABLE,
    "53",
    "57P",
    "SQLITE_CANTOPEN",
    "SQLITE_FULL",
    "SQLITE_IOERR",
    "SQLITE_READONLY",
    "SQLITE_BUSY",
)


@dataclass(frozen=True, slots=True)
class Stroke:
    """Work for `write` that is one statement and rings no bell; `says` it with its values, made `native`."""

    says: Callable[[Dialect], tuple[UpdateBase, Mapping[str, Any]]]

    def __call__(self, tx: Tx) -> None:
        statement, values = self.says(tx.dialect)
        rows.run(tx, statement, values)


class _Kept(threading.local):
    """What a writer keeps from one transaction to the next: its connection, until that time of the monotonic clock."""

    is_writer = False
    tx: Tx | None = None
    until = 0.0


@dataclass(slots=True, eq=False)
class _Job:
    """Work for a writer, and who waits for it.  `fault` and `result` are the writer's, until it says `done`."""

    work: Callable[[Tx], Any]
    loop: asyncio.AbstractEventLoop
    done: asyncio.Future[Any]
    result: Any = None
    fault: BaseException | None = None


class Database:
    """Threads and connections to one database.  Make it once per process; `close` it at the end."""

    def __init__(self, url: str) -> None:
        self.url = make_url(url)
        self._writer, self._reader = engines.opened(self.url)
        self._kept = _Kept()
        event.listen(self._writer, "savepoint", _write_later)
        event.listen(self._writer, "rollback_savepoint", _forget_later)
        self._bells = Bells(self.url)
        is_file = engines.is_sqlite(self.url) and bool(self.url.database)
        self._turn = Turn(Path(f"{self.url.database}-turn") if is_file else None)
        self._readers = ThreadPoolExecutor(READERS, "read")
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._behind: dict[_Job, str] = {}  # who waits for a bell, and which
        self._writers = [threading.Thread(target=self._serve, name=f"write-{n}", daemon=True) for n in range(WRITERS)]
        self._started = False
        self._starting = threading.Lock()

    async def write(self, work: Callable[Concatenate[Tx, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What `work` returned, after the commit is on disk."""
        job = self._job(work if isinstance(work, Stroke) else partial(_call, work, args, kwargs))
        self._jobs.put(job)
        result: T = await job.done
        return result

    async def write_behind(
        self, name: str, wake: Awaitable[None], work: Callable[Concatenate[Tx, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """The same, but later: at the end of the next transaction of this process that rings `name`, and in its commit.

        By itself when `wake` is over before.  So `work` asks itself what time it is.
        """
        job = self._job(partial(_call, work, args, kwargs))
        self._behind[job] = name
        waking = asyncio.ensure_future(wake)
        try:
            await asyncio.wait((waking, job.done), return_when=asyncio.FIRST_COMPLETED)
            if self._behind.pop(job, ""):  # else a writer has it
                self._jobs.put(job)
            result: T = await job.done
        finally:
            waking.cancel()
            self._behind.pop(job, "")
        return result

    async def read(self, work: Callable[Concatenate[Tx, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What `work` returned from one consistent snapshot."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._readers, partial(self.read_now, work, *args, **kwargs))

    def write_now(self, work: Callable[Concatenate[Tx, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The same as `write`, without an event loop: for the command line and for tests."""
        return self._alone(partial(_call, work, args, kwargs))

    def read_now(self, work: Callable[Concatenate[Tx, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        with self._reader.begin() as tx:
            return work(tx, *args, **kwargs)

    async def listen(self, heard: Callable[[Collection[str]], None]) -> None:
        """Until it is cancelled: `heard` is called with what `ring` has named, whoever rang it, after the commit."""
        await self._bells.listen(heard)

    def close(self) -> None:
        """Finish what was handed in, then let go of every connection."""
        if self._started:
            for _ in self._writers:
                self._jobs.put(None)
            for thread in self._writers:
                thread.join()
        self._readers.shutdown()
        self._writer.dispose()
        self._reader.dispose()
        self._turn.close()

    def _job(self, work: Callable[[Tx], Any]) -> _Job:
        loop = asyncio.get_running_loop()
        self._start()
        return _Job(work, loop, loop.create_future())

    def _start(self) -> None:
        with self._starting:
            if not self._started:
                for thread in self._writers:
                    thread.start()
                self._started = True

    def _serve(self) -> None:
        siblings = 0
        self._kept.is_writer = True
        while group := self._next(siblings):
            fault = self._together(group)
            siblings = len(group) + self._jobs.qsize()  # who came meanwhile would have been with them a moment later
            if fault is not None:
                self._apart(group, fault)
            _tell(group)
            del group  # and with it the message that it may have written, which is not to wait for the next
        if self._kept.tx:
            self._kept.tx.close()

    def _next(self, siblings: int) -> list[_Job]:
        """What waits for a writer, at most GROUP; nothing at the end.

        Where so many came together before, or just after each other, they are likely to come again: the first ones wait
        for the others a moment, because a commit costs more than what is in it.
        """
        group: list[_Job] = []
        job = self._jobs.get()
        patience = time.monotonic() + (GATHER if siblings >= MANY else 0.0)
        while job is not None:
            group.append(job)
            if len(group) == GROUP:
                return group
            try:
                if len(group) < siblings and (left := patience - time.monotonic()) > 0:
                    job = self._jobs.get(timeout=left)
                else:
                    job = self._jobs.get_nowait()
            except queue.Empty:
                return group
        if group:
            self._jobs.put(None)  # the end is for after this group
        return group

    def _together(self, group: list[_Job]) -> BaseException | None:
        """One transaction for all, for who has come before it was our turn, and for who waits behind them.

        None, or what went wrong.
        """
        if len(group) == 1 and self._struck(group[0].work):
            return None
        try:
            with self._begin() as tx:
                group += self._here(GROUP - len(group))
                for job in group:
                    job.result = job.work(tx)
                for job in self._followers(tx):
                    group.append(job)  # first: whatever happens now, it is told
                    job.result = job.work(tx)
        except BaseException as fault:  # handed to the caller, who waits for it
            return fault
        return None

    def _apart(self, group: Sequence[_Job], fault: BaseException) -> None:
        """One transaction for each, because whose fault it was shows when he is alone; who was alone has tried once."""
        log.debug("a group of %d is taken apart: %s", len(group), type(fault).__name__)
        tried = len(group) == 1
        if tried and not isinstance(fault, _COLLISIONS):
            group[0].fault = fault
            return
        for job in group:
            try:
                job.result = self._alone(job.work, tried=tried)
            except BaseException as own:  # handed to the caller, who waits for it
                job.fault = own

    def _here(self, most: int) -> list[_Job]:
        """What else waits for a writer now."""
        found: list[_Job] = []
        with suppress(queue.Empty):
            while len(found) < most and (job := self._jobs.get_nowait()) is not None:
                found.append(job)
            if len(found) < most:
                self._jobs.put(None)  # the end is for after this group
        return found

    def _struck(self, work: Callable[[Tx], Any]) -> bool:
        """Whether this is a stroke, and has been carried out by itself; else it is tried as all other work."""
        if not isinstance(work, Stroke):
            return False
        try:
            with self._connected() as tx, self._turn.taken():
                rows.strike(tx, *work.says(tx.dialect))
        except Exception as fault:  # whatever it is, it comes again, and is told then
            log.debug("a stroke fails: %s", type(fault).__name__)
            return False
        return True

    def _followers(self, tx: Tx) -> Iterator[_Job]:
        """Who waits for what has been rung in this transaction; all that it has written can be read."""
        for job, name in tuple(self._behind.items()):
            if name in rung(tx):
                _write_later(tx)  # first: where it fails, he waits on
                if self._behind.pop(job, ""):  # else it comes by itself: its time is over
                    yield job

    def _alone(self, work: Callable[[Tx], T], *, tried: bool = False) -> T:
        """What it gives; `tried`: it has collided once."""
        if tried:
            time.sleep(0.04)
        for attempt in range(1 + tried, ATTEMPTS + 1):
            try:
                with self._begin() as tx:
                    return work(tx)
            except _COLLISIONS:
                if attempt == ATTEMPTS:
                    raise
                time.sleep(0.02 * 2**attempt)  # a worker thread may sleep
        raise AssertionError("unreachable")

    @contextmanager
    def _connected(self) -> Iterator[Tx]:
        """A connection, which a writer keeps for the next time when all goes well."""
        kept = self._kept
        tx, kept.tx = kept.tx, None
        if tx is not None and time.monotonic() > kept.until:
            tx.close()
            tx = None
        tx = tx or self._writer.connect()
        try:
            yield tx
        except BaseException:
            tx.close()
            raise
        if kept.is_writer and not large.is_worn(tx):
            kept.tx, kept.until = tx, time.monotonic() + KEPT_SECONDS
        else:
            tx.close()

    @contextmanager
    def _begin(self) -> Iterator[Tx]:
        with self._connected() as tx, self._turn.taken(), tx.begin():
            info = tx.info  # now: there is none when the connection has died
            info.pop(_LATER, None)  # of a transaction that failed
            silence(tx)
            info[_KNOWN] = {}
            try:
                yield tx
                _write_later(tx)
                rang = self._bells.before(tx)
            finally:
                del info[_KNOWN]
        self._bells.after(rang)


def _tell(group: Sequence[_Job]) -> None:
    """Everybody hears what became of his work: one call for each event loop, not one for each piece."""
    for loop in {job.loop for job in group}:
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(_hear, [job for job in group if job.loop is loop])


def _hear(group: Sequence[_Job]) -> None:
    for job in group:
        if job.done.done():  # who waited has gone
            continue
        if job.fault is not None:
            job.done.set_exception(job.fault)
        else:
            job.done.set_result(job.result)


def later(tx: Tx, statement: Executable, row: Mapping[str, Any]) -> None:
    """One row more for `statement`, which runs once, for all its rows, before the commit.

    For rows that this transaction only adds: neither it nor those who share its commit can read them.  Give the same
    statement object each time.
    """
    tx.info.setdefault(_LATER, {}).setdefault(statement, []).append(row)


def _write_later(tx: Tx, *_name: str) -> None:
    tx.info[_KNOWN] = {}
    for statement, added in tx.info.pop(_LATER, {}).items():
        rows.append(tx, statement, added)


def _forget_later(tx: Tx, *_name: object) -> None:
    tx.info.pop(_LATER, None)
    tx.info[_KNOWN] = {}


def known(tx: Tx) -> dict[Any, Any]:
    """What this writing transaction has found out already; those who share a commit need not ask again.

    Empty when it begins, and always for one that only reads.  Who changes what stands here forgets it.
    """
    found: dict[Any, Any] = tx.info.get(_KNOWN, {})
    return found


def _call(work: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any], tx: Tx) -> T:
    return work(tx, *args, **kwargs)


def is_reachable(database: Database) -> str | None:
    """None, or why the database cannot be used, in one line."""
    try:
        database.read_now(lambda tx: tx.execute(text("SELECT 1")).scalar_one())
    except DBAPIError as fault:
        return _said(fault)
    return None


def away(fault: BaseException | None) -> str | None:
    """In one line why the database cannot be used at the moment, where that is what went wrong; else None.

    It cannot be reached, is going down, or its disk is full: no fault of our code, and it passes.
    """
    if not isinstance(fault, DBAPIError) or not (fault.connection_invalidated or isinstance(fault, OperationalError)):
        return None
    code = getattr(fault.orig, "sqlite_errorname", None) or getattr(fault.orig, "sqlstate", None) or _UNREACHABLE
    return _said(fault) if code.startswith(_PASSES) else None


def _said(fault: DBAPIError) -> str:
    return next(iter(str(fault.orig).strip().splitlines()), type(fault.orig).__name__)
