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

SQLite and PostgreSQL differ in this module, in `bells`, and in no other.
"""

import asyncio
import json
import logging
import queue
import sqlite3
import threading
import time
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy import (
    ARRAY,
    JSON,
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Dialect,
    Engine,
    ExceptionContext,
    Executable,
    Select,
    Subquery,
    Text,
    UpdateBase,
    any_,
    bindparam,
    cast,
    create_engine,
    event,
    func,
    make_url,
    select,
    text,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError
from sqlalchemy.types import TypeEngine

from listserv.store import rows
from listserv.store.bells import Bells, rung, silence
from listserv.store.turn import Turn

log = logging.getLogger("listserv.store")

Tx = Connection
P = ParamSpec("P")
T = TypeVar("T")

ATTEMPTS = 5
GROUP = 64  # pieces of work that may share one commit
MANY, GATHER = (
    3,
    0.002,
)  # where so many shared the last one, the next is put off until as many are here, or so many seconds
READERS = 4
WRITERS = 1  # SQLite has one by nature; on PostgreSQL several groups would wait for each other's rows, and deadlock
KEPT_SECONDS = 1.0  # that a writer's connection rests before the pool looks whether it still lives
LOCK_SECONDS = 30  # how long SQLite waits for another process to finish its transaction

CHECKPOINT = 8_000  # pages of SQLite's log; rarely enough that one commit in a hundred does not wait for it

LARGE = 1_000_000  # octets of one value
_WORN = "listserv worn"
_LATER = "listserv later"
_KNOWN = "listserv known"

_COLLISIONS = (OperationalError, IntegrityError)  # deadlock, SQLITE_BUSY, connection lost, a race lost to a unique key


class UnsafeDatabase(Exception):
    """The server does not keep what it has committed; a 250 would be a lie (RELIABILITY R1)."""


@dataclass(frozen=True, slots=True)
class Stroke:
    """Work for `write` that is one statement and rings no bell; `says` it with its values, as `native` makes them."""

    says: Callable[[Dialect], tuple[UpdateBase, Mapping[str, Any]]]

    def __call__(self, tx: Tx) -> None:
        statement, values = self.says(tx.dialect)
        run_many(tx, statement, [values])


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
        is_sqlite = self.url.get_backend_name() == "sqlite"
        self._writer, self._reader = (_sqlite if is_sqlite else _postgresql)(self.url)
        self._strike = _strike_sqlite if is_sqlite else _strike_postgresql
        self._kept = _Kept()
        for made in (self._writer, self._reader):
            event.listen(made, "checkin", _retire)
        event.listen(self._writer, "savepoint", _write_later)
        event.listen(self._writer, "rollback_savepoint", _forget_later)
        self._bells = Bells(self.url)
        self._turn = Turn(Path(f"{self.url.database}-turn") if is_sqlite and self.url.database else None)
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
                self._strike(tx, work)
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
        if kept.is_writer and _WORN not in tx.info:
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


class Upsert:
    """INSERT … ON CONFLICT, which each dialect has a class of its own for: `made` gets its `insert`, for each once."""

    def __init__(self, made: Callable[[Any], Executable]) -> None:
        self._made = {"sqlite": made(sqlite.insert), "postgresql": made(postgresql.insert)}

    def __call__(self, tx: Tx) -> Executable:
        return self._made[tx.dialect.name]


def octets(tx: Tx, column: Column[bytes], key: Column[T], value: T) -> bytes | None:
    """A large value of the row with this key; None when there is no such row.

    From PostgreSQL piece by piece: it comes as hexadecimal text, which libpq and psycopg would both hold whole.
    """
    row = {"value": value}
    if tx.dialect.name == "sqlite":
        found = tx.execute(_whole(column, key), row).scalar_one_or_none()
        carried(tx, found)
        return found
    size = tx.execute(_length(column, key), row).scalar_one_or_none()
    if size is None:
        return None
    starts = range(1, size + 1, LARGE)
    return b"".join(tx.execute(_piece(column, key), {"start": at, **row}).scalar_one() for at in starts)


@cache
def _whole(column: Column[bytes], key: Column[Any]) -> Select[bytes]:
    return select(column).where(key == bindparam("value"))


@cache
def _length(column: Column[bytes], key: Column[Any]) -> Select[int]:
    return select(func.length(column)).where(key == bindparam("value"))


@cache
def _piece(column: Column[bytes], key: Column[Any]) -> Select[bytes]:
    return select(func.substr(column, bindparam("start"), LARGE)).where(key == bindparam("value"))


def run_many(tx: Tx, statement: UpdateBase, rows: Sequence[Mapping[str, Any]]) -> None:
    """The statement once for each row of values.

    Past what SQLAlchemy does for each value, which costs more than the database: values have to be as `native` makes
    them.
    """
    sql, names = _compiled(statement, tx.dialect)
    tx.exec_driver_sql(sql, [tuple([row[name] for name in names]) for row in rows] if names else list(rows))


def among(dialect: Dialect, column: Column[int], name: str) -> ColumnElement[bool]:
    """Whether the column's value is one of those of the parameter `name`, which `numbers` makes.

    Unlike IN it is the same statement for any number of them.
    """
    if dialect.name == "sqlite":
        return column.in_(select(func.json_each(bindparam(name, type_=Text)).table_valued("value").c.value))
    return column == any_(bindparam(name, type_=ARRAY(BigInteger)))


def numbers(dialect: Dialect, values: Collection[int]) -> Any:
    """The parameter of `among`."""
    return f"[{','.join(map(str, values))}]" if dialect.name == "sqlite" else list(values)


def entries(dialect: Dialect, name: str) -> Subquery:
    """The rows of the parameter `name`, which `mapped` makes: a `number` and the `words` that belong to it."""
    given = bindparam(name, type_=Text)
    each = func.json_each(given) if dialect.name == "sqlite" else func.json_each_text(cast(given, JSON))
    entry = each.table_valued("key", "value")
    return select(cast(entry.c.key, BigInteger).label("number"), entry.c.value.label("words")).subquery()


def mapped(values: Mapping[int, str]) -> str:
    """The parameter of `entries`."""
    return json.dumps(values)


def native(dialect: Dialect, kind: TypeEngine[T], value: T) -> Any:
    """The value as this database's driver takes it."""
    convert = kind.dialect_impl(dialect).bind_processor(dialect)
    return convert(value) if convert else value


@cache
def _compiled(statement: UpdateBase, dialect: Dialect) -> tuple[str, Sequence[str]]:
    """What the driver is told, and the order of the values, where it takes them by order."""
    compiled = statement.compile(dialect=dialect)
    return compiled.string, compiled.positiontup or ()


def carried(tx: Tx, content: bytes | None) -> None:
    """Said of bytes that went through this transaction: when they are many, its connection is not used again.

    libpq keeps its buffers as large as they ever were, and SQLite's cached statements keep what was bound last.
    """
    if content is not None and len(content) > LARGE:
        tx.info[_WORN] = True


def _retire(connection: Any, record: Any) -> None:
    if record.info.pop(_WORN, False):
        record.invalidate()


def _call(work: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any], tx: Tx) -> T:
    return work(tx, *args, **kwargs)


def _strike_sqlite(tx: Tx, stroke: Stroke) -> None:
    statement, values = stroke.says(tx.dialect)
    sql, names = _compiled(statement, tx.dialect)
    driver: Any = tx.connection.dbapi_connection
    driver.execute(sql, [values[name] for name in names])  # outside of BEGIN and COMMIT each statement is a transaction


def _strike_postgresql(tx: Tx, stroke: Stroke) -> None:
    statement, values = stroke.says(tx.dialect)
    sql, _ = _compiled(statement, tx.dialect)
    driver: Any = tx.connection.dbapi_connection
    driver.autocommit = True
    try:
        driver.execute(sql, values)
    finally:
        driver.autocommit = False


def _sqlite(url: URL) -> tuple[Engine, Engine]:
    """WAL lets readers read beside the writer; synchronous=FULL, because NORMAL forgets commits in a power cut.

    The log is carried into the file every CHECKPOINT pages, by the commit that comes then; a post alone writes dozens.
    """

    def engine(begin: str, pool_size: int) -> Engine:
        made = create_engine(
            url,
            hide_parameters=True,  # in error texts: they are bodies, addresses and tokens
            pool_size=pool_size,
            max_overflow=8,
            connect_args={"timeout": LOCK_SECONDS, "check_same_thread": False},
        )

        @event.listens_for(made, "connect")
        def _(connection: Any, record: Any) -> None:
            connection.isolation_level = None  # SQLAlchemy says BEGIN, not the driver
            _to_wal(connection)
            for pragma in ("synchronous=FULL", "foreign_keys=ON", f"wal_autocheckpoint={CHECKPOINT}"):
                connection.execute(f"PRAGMA {pragma}")

        @event.listens_for(made, "begin")
        def _(connection: Connection) -> None:
            connection.exec_driver_sql(begin)

        return made

    return engine("BEGIN IMMEDIATE", 2), engine("BEGIN", READERS)


def _to_wal(connection: sqlite3.Connection) -> None:
    """A new file changes over only while nobody else looks at it, and SQLite does not wait for that by itself."""
    for attempt in range(1, 2 * ATTEMPTS + 1):
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError:
            if attempt == 2 * ATTEMPTS:
                raise
            time.sleep(0.02 * attempt)
        else:
            return


def _without_detail(context: ExceptionContext) -> None:
    """PostgreSQL adds the row that it refuses, with everybody in it, to what it says: that is for no log."""
    said, fault = getattr(context.original_exception, "diag", None), context.sqlalchemy_exception
    if said is not None and said.message_primary:
        whole, primary = str(context.original_exception), f"{said.message_primary} ({said.sqlstate})"
        context.original_exception.args = (primary,)
        if fault is not None:
            fault.args = tuple(str(each).replace(whole, primary) for each in fault.args)


def _postgresql(url: URL) -> tuple[Engine, Engine]:
    """READ COMMITTED to write, REPEATABLE READ to read a snapshot; connections are checked before use."""
    made = partial(create_engine, url, hide_parameters=True, max_overflow=2, pool_pre_ping=True)
    writer = made(pool_size=WRITERS)
    reader = made(pool_size=READERS, isolation_level="REPEATABLE READ")

    for each in (writer, reader):
        event.listen(each, "handle_error", _without_detail)

    @event.listens_for(writer, "connect")
    def _(connection: Any, record: Any) -> None:
        with connection.cursor() as cursor:
            for name in ("fsync", "synchronous_commit"):
                value = cursor.execute(f"SHOW {name}").fetchone()[0]
                if value == "off":
                    raise UnsafeDatabase(f"PostgreSQL runs with {name} = off: it forgets commits; set it to on")
        connection.commit()

    return writer, reader


def is_reachable(database: Database) -> str | None:
    """None, or why the database cannot be used, in one line."""
    try:
        database.read_now(lambda tx: tx.execute(text("SELECT 1")).scalar_one())
    except DBAPIError as fault:
        return str(fault.orig).strip().splitlines()[0]
    return None
