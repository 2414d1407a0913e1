"""One node of the site, put together from its settings: database, secrets, keys, wording, features, access log.

The daemon and the command line both begin here, so every command works beside a running daemon and
makes what is missing.
"""

import os
import secrets as chance
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from sqlalchemy import make_url

from listserv import files, keyring
from listserv.access_log.journal import Journal
from listserv.features import FEATURES
from listserv.flows import expiring
from listserv.flows.site import Site
from listserv.keyring import Keyring
from listserv.mail.tag import Tagger
from listserv.settings import Settings, UnknownAuthors
from listserv.store import jobs, secrets
from listserv.store.db import Database, Tx
from listserv.store.upgrade import upgrade
from listserv.texts import Texts


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Node:
    """Close it when done; `clock` is an argument of everything that happens here."""

    settings: Settings
    db: Database
    site: Site
    keys: Keyring
    journal: Journal
    clock: Callable[[], datetime]

    @classmethod
    def open(cls, settings: Settings, clock: Callable[[], datetime] = utc_now, *, signs: bool = True) -> Self:
        """Who does not sign leaves the DKIM keys alone, and need not be able to read them.

        Raises what the parts raise: OSError, UnsafeKey, NewerDatabase, SQLAlchemy's errors.
        """
        data_dir = settings.site.data_dir
        data_dir.mkdir(parents=True, exist_ok=True)
        db = Database(settings.database.url)
        try:
            _own_database(settings)
            upgrade(db)
            _own_database(settings)
            secret = db.write_now(_prepare, clock())
            open_keys = keyring.open if signs else Keyring
            keys = open_keys(data_dir / "dkim", settings.site.domains, settings.dkim.selector)
        except BaseException:
            db.close()
            raise
        files = Journal(settings.access_log.path, retention_days=settings.access_log.retention_days)
        return cls(settings, db, _site(settings, secret), keys, files, clock)

    def in_slot(self, slot: int) -> Self:
        """The same node, as one of its delivery processes sees it."""
        return replace(self, site=replace(self.site, slot=slot))

    def close(self) -> None:
        self.db.close()


def node_name(data_dir: Path) -> str:
    """What the machine was called when this folder was first used, and a mark that tells two folders apart.

    It is kept in the folder, and on the disk before anything is done in this name: what waits in it is found again
    when the machine is renamed, and after a power cut.
    """
    path = data_dir / "node"
    if not path.exists() or not path.read_text("utf-8").strip():
        _name_node(path, f"{socket.gethostname()}-{chance.token_hex(2)}\n")
    return path.read_text("utf-8").strip()


def _name_node(path: Path, name: str) -> None:
    """Whole and durable; when two processes begin at once, one name stays."""
    unfinished = path.with_name(f".node.{os.getpid()}.tmp")
    with unfinished.open("w", encoding="utf-8") as file:
        file.write(name)
        file.flush()
        os.fsync(file.fileno())
    _own(unfinished, 0o640, path.parent)
    if path.exists():  # empty: a power cut took what an earlier version had written
        unfinished.replace(path)
    else:
        with suppress(FileExistsError):
            path.hardlink_to(unfinished)
        unfinished.unlink()
    files.sync(path.parent)


def _prepare(tx: Tx, now: datetime) -> bytes:
    jobs.ensure(tx, expiring.JOBS, now)
    return secrets.ensure(tx, secrets.HMAC, chance.token_bytes(32), now)


def _site(settings: Settings, secret: bytes) -> Site:
    site = settings.site
    return Site(
        name=site.name,
        hostname=site.hostname,
        url=site.url if settings.http.listen else "",
        domains=frozenset(site.domains),
        operators=tuple(map(str, site.operators)),
        max_message_bytes=settings.smtp.max_message_bytes,
        node=node_name(site.data_dir),
        texts=Texts([site.data_dir / "templates"]),
        tags=Tagger((secret,)),
        chance=chance.token_bytes,
        features=FEATURES,
        authserv_ids=frozenset(settings.smtp.authserv_ids),
        accepts_unknown=settings.smtp.unknown_authors is UnknownAuthors.ACCEPT,
    )


def _own_database(settings: Settings) -> None:
    """SQLite's files belong to whoever owns data_dir, and to nobody else."""
    url = make_url(settings.database.url)
    if url.get_backend_name() != "sqlite" or not url.database:
        return
    for suffix in ("", "-wal", "-shm", "-turn"):
        path = Path(url.database + suffix)
        if path.exists():
            _own(path, 0o600, settings.site.data_dir)


def _own(path: Path, mode: int, data_dir: Path) -> None:
    """Made by root, it belongs to whoever owns data_dir."""
    if path.stat().st_mode & 0o777 != mode:
        path.chmod(mode)
    files.give_to_owner_of(data_dir, path)
