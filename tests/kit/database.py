"""A database at the current schema without a server around it, and the few rows that most tests begin with."""

import asyncio
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Table, func, insert, select

from listserv.model.address import parse
from listserv.model.group import Group, Kind, Policy
from listserv.store import accounts, deliveries, editions, groups, posts
from listserv.store.db import Database, Tx
from listserv.store.editions import Edition
from listserv.store.upgrade import upgrade

NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)
CAME = {"ip": "192.0.2.1", "helo": "a.example", "lmtp": False, "tls": False, "mail_from": "", "smtputf8": False}


def located(url: str, folder: Path) -> str:
    """The URL of the fixture `url`, with SQLite's file in this folder."""
    return url if url.startswith("postgresql") else f"sqlite:///{folder}/listserv.db"


@contextmanager
def opened(url: str, folder: Path) -> Iterator[Database]:
    database = Database(located(url, folder))
    try:
        upgrade(database)
        yield database
    finally:
        database.close()


def group(tx: Tx, address: str = "walkers@lists.example", members: Iterable[str] = (), **policy: Any) -> Group:
    """A group whose members get each post."""
    made = groups.add(tx, address, Kind.DISCUSSION, Policy(**policy), NOW)
    for member in members:
        known = parse(member)
        assert known is not None, member
        accounts.subscribe(tx, made.id, accounts.ensure(tx, known, NOW, proven=True).id, NOW, "test")
    return made


def post(tx: Tx, group_id: int, content: bytes = b"From: a@a.example\r\n\r\nHi\r\n", **values: Any) -> int:
    """The id of a due post of these bytes."""
    digest = posts.keep(tx, content, NOW)
    fixed = {"group_id": group_id, "message_id": "<1@a.example>", "author": "a@a.example", "envelope": CAME}
    return posts.add(tx, **{"state": "due", "now": NOW, "digest": digest, **fixed, **values})


def edition(tx: Tx, to: Iterable[str] = (), now: datetime = NOW, **values: Any) -> int:
    """The id of an edition with a due delivery to each of these addresses."""
    kind = {"kind": "notice", "style": "verp", "message_id": "<1@lists.example>", "fields": b"Subject: x\r\n"}
    id = editions.add(tx, Edition(**{**kind, **values}), now)
    deliveries.address_to(tx, id, [(None, address) for address in to], now)
    return id


def fill(tx: Tx, table: Table, rows: Iterable[dict[str, Any]]) -> None:
    tx.execute(insert(table), list(rows))


def count(tx: Tx, table: Table, **equal: Any) -> int:
    """How many rows have these values."""
    chosen = select(func.count()).select_from(table)
    return int(tx.execute(chosen.filter_by(**equal)).scalar_one())


class Stopped:
    """A database that takes nothing more until it is let go: every writer is busy with this."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._go = threading.Event()
        self._entered = threading.Semaphore(0)
        self._writers: list[asyncio.Task[None]] = []

    def _work(self, tx: Tx) -> None:
        self._entered.release()
        assert self._go.wait(20)

    async def __aenter__(self) -> None:
        for _ in self._db._writers:
            self._writers.append(asyncio.create_task(self._db.write(self._work)))
            await asyncio.to_thread(self._entered.acquire)

    async def __aexit__(self, *fault: object) -> None:
        self._go.set()
        await asyncio.gather(*self._writers)
