"""The access log's files: appended by several processes, one file a day (UTC), compressed, deleted in time.

    access.log                    a link to the newest file; an ordinary file of that name is left alone
    access-2026-11-22.log         a day's lines, in the order in which they were written
    access-2026-11-22.2.log       the same day's second file: the first has max_bytes or is compressed already
    access-2026-11-20.log.gz      a day that is over; complete as soon as it has this name
    access-2026-11-20.log.gz.tmp  being compressed, or left over from a kill, then overwritten by the next `tidy`

Whoever writes to a file, compresses or removes it holds its flock, and looks under the lock whether the file is
still the one of that name: so a line goes neither into a file that is about to vanish nor through another line.

What a crash leaves, and who repairs it:

    during a write (power cut)       a torn last line: the next line begins on a line of its own, readers skip the torn
    between append and the rows' end the lines stand in the file and the rows wait: `append` leaves out what is there
    before .gz has its name          both .log and .gz.tmp: `tidy` begins again
    after it                         both .log and .gz, the same lines: readers take .gz, `tidy` removes .log
"""

import errno
import gzip
import ipaddress
import os
import re
import shutil
import stat
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from fcntl import LOCK_EX, flock
from itertools import count
from pathlib import Path

import msgspec

from listserv.access_log.line import rfc3339
from listserv.files import give_to_owner_of, sync

MAX_BYTES = 100_000_000
LOOK_BACK = 1_000_000  # bytes before the end, and four times what is to be written, searched for what is there already
LATE = timedelta(hours=1)  # a day's last lines may reach its file so long after midnight

Row = tuple[int, str]  # the row's id and the line's JSON, as `Line.json` made it
Record = dict[str, object]  # a line as it is read back

_TIME = re.compile(r'\{"time":"(\d{4}-\d\d-\d\d)T')
_PEOPLE = ("account", "member", "author", "mail_from", "owner")  # the fields that hold a person's address


@dataclass(frozen=True, slots=True, order=True)
class _File:
    """One file of the journal by its name; ordered by day and part."""

    day: str
    part: int
    path: Path
    ending: str = ""  # "", ".gz" or ".gz.tmp"


@dataclass(frozen=True, slots=True)
class _Left:
    """How a file was when we had written `lines` last."""

    inode: int
    size: int
    lines: frozenset[bytes]


class Journal:
    """The files beside `path`.  It holds nothing open, and threads and processes may share it.

    It remembers how it left each day's file: as long as nobody else has written there, it need not be searched.
    """

    def __init__(self, path: Path, *, retention_days: int, max_bytes: int = MAX_BYTES) -> None:
        if retention_days < 1:
            raise ValueError("retention_days must be 1 or more")
        self.path = path
        self.retention = timedelta(days=retention_days)
        self.max_bytes = max_bytes
        stem, suffix = re.escape(path.stem), re.escape(path.suffix)
        self._left: dict[str, _Left] = {}  # by day; only the last one
        self._name = re.compile(rf"{stem}-(\d{{4}}-\d\d-\d\d)(?:\.([1-9]\d*))?{suffix}(\.gz|\.gz\.tmp)?\Z")

    def append(self, rows: Sequence[Row]) -> None:
        """Write each row's line into the file of its day, with `"line":ID` as its last field; durable on return.

        Lines that are there already, from a run that was killed or by another process, are not written again:
        as long as rows are appended oldest first they stand near the end.  A day's lines are written whole or,
        when OSError is raised (disk full, folder not writable), not at all; then the rows are to be kept.
        """
        days: dict[str, list[bytes]] = {}
        for id, text in rows:
            days.setdefault(_day(text), []).append(f'{text[:-1]},"line":{id}}}\n'.encode())
        for day, lines in sorted(days.items()):
            self._write(day, lines)

    def search(
        self,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        ip: str = "",
        account: str = "",
        group: str = "",
        action: str = "",
    ) -> Iterator[Record]:
        """The lines that meet all conditions, oldest file first.

        since (included), until (excluded)   aware times
        ip        an address or a network: 192.0.2.1, 2001:db8::/32; ValueError if it is neither
        account   an address, whether it acted or was acted upon
        action    one action, or all whose name begins so: `post` finds post.accepted
        """
        first, end = rfc3339(since) if since else "", rfc3339(until) if until else "~"
        network = ipaddress.ip_network(ip, strict=False) if ip else None
        for file in self._readable():
            if not first[:10] <= file.day <= end[:10]:
                continue
            for record in filter(None, map(_record, _lines(file))):
                if (
                    first <= str(record["time"]) < end
                    and (network is None or _inside(record.get("ip"), network))
                    and (not account or account.lower() in (str(record.get(field, "")).lower() for field in _PEOPLE))
                    and (not group or record.get("group") == group.lower())
                    and (not action or f"{record['action']}.".startswith(f"{action}."))
                ):
                    yield record

    def tidy(self, now: datetime) -> None:
        """Remove what reaches its age, compress the days that are over.  May take seconds per 100 MB.

        A file goes as soon as its first line can be `retention` old, so none of its lines outlives that.
        """
        today = now.astimezone(UTC).date()
        current = (now.astimezone(UTC) - LATE).date().isoformat()
        for file in self._files():
            if date.fromisoformat(file.day) <= today - self.retention:
                file.path.unlink(missing_ok=True)
            elif not file.ending and file.day < current:
                _compress(file.path)

    def _write(self, day: str, lines: list[bytes]) -> None:
        self._make_folder()
        with self._claim(day) as (fd, path):
            found = os.fstat(fd)
            size = found.st_size
            if size == 0:
                _adopt(fd, path)
            self._point_to(path)
            left = self._left.get(day)
            untouched = left is not None and (left.inode, left.size) == (found.st_ino, size)
            there = left.lines if left and untouched else self._there(day, lines)
            block = b"".join(line for line in lines if line not in there)
            if size and os.pread(fd, 1, size - 1) != b"\n":
                block = b"\n" + block
            try:
                while block:  # one write; a second one only learns why the first fell short
                    block = block[os.write(fd, block) :]
                os.fdatasync(fd)
            except OSError:
                self._left = {}
                os.ftruncate(fd, size)
                raise
            self._left = {day: _Left(found.st_ino, os.fstat(fd).st_size, frozenset(lines))}

    def _there(self, day: str, lines: list[bytes]) -> frozenset[bytes]:
        """Those of the lines that stand in the last bytes of the day's files.

        Whole lines are compared: an empty table may begin to count its rows anew, and a restored one does.
        """
        last = LOOK_BACK + 4 * sum(map(len, lines))
        files = [file for file in self._readable() if file.day == day][-2:]  # a file that has just begun says little
        return frozenset(line for file in files for line in set(lines).intersection(_lines(file, last)))

    @contextmanager
    def _claim(self, day: str) -> Iterator[tuple[int, Path]]:
        """The file in which the day goes on, open and locked."""
        for part in count(1):
            path = self.path.with_name(f"{self.path.stem}-{day}{f'.{part}' if part > 1 else ''}{self.path.suffix}")
            if _zipped(path).exists():
                continue
            fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o640)
            try:
                flock(fd, LOCK_EX)
                if os.fstat(fd).st_size < self.max_bytes and _still_named(fd, path):
                    yield fd, path
                    return
            finally:
                os.close(fd)

    def _make_folder(self) -> None:
        folder = self.path.parent
        if not folder.exists():
            folder.mkdir(mode=0o750, parents=True, exist_ok=True)
            give_to_owner_of(folder.parent, folder)

    def _point_to(self, path: Path) -> None:
        """Let the link name `path`, unless it names something newer or is no link of ours."""
        if self.path.is_symlink():
            old = self._name.match(str(self.path.readlink()))
            new = self._name.match(path.name)
            if old and new and (old[1], int(old[2] or 1)) >= (new[1], int(new[2] or 1)):
                return
        elif self.path.exists():
            return
        link = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        link.unlink(missing_ok=True)
        link.symlink_to(path.name)
        link.replace(self.path)

    def _files(self) -> list[_File]:
        """All files of the journal, also leftovers; none if there is no folder yet."""
        if not self.path.parent.exists():
            return []
        names = ((path, self._name.match(path.name)) for path in self.path.parent.iterdir())
        return sorted(_File(name[1], int(name[2] or 1), path, name[3] or "") for path, name in names if name)

    def _readable(self) -> list[_File]:
        """The files that together hold each line once."""
        files = [file for file in self._files() if file.ending != ".gz.tmp"]
        zipped = {(file.day, file.part) for file in files if file.ending}
        return [file for file in files if file.ending or (file.day, file.part) not in zipped]


def _day(text: str) -> str:
    """The day (UTC) of a line that `Line.json` made."""
    time = _TIME.match(text)
    if time is None or not text.endswith("}") or "\n" in text:
        raise ValueError(f"not a line of the access log: {text[:80]!r}")
    return time[1]


def _zipped(path: Path) -> Path:
    return path.with_name(path.name + ".gz")


def _still_named(fd: int, path: Path) -> bool:
    """Whether the open file is the one of that name, and not yet compressed."""
    try:
        return os.path.samestat(os.fstat(fd), path.lstat()) and not _zipped(path).exists()
    except FileNotFoundError:
        return False


def _adopt(fd: int, path: Path) -> None:
    """A new file: its mode, its owner, and its name on the disk."""
    os.fchmod(fd, stat.S_IRUSR | stat.S_IWUSR | stat.S_IRGRP)
    give_to_owner_of(path.parent, fd)
    sync(path.parent)


def _compress(path: Path) -> None:
    """path.gz in the place of path, or nothing changed.  Waits for whoever writes to it."""
    try:
        source = path.open("rb+")
    except FileNotFoundError:  # another process was faster
        return
    with source:
        flock(source, LOCK_EX)
        if _still_named(source.fileno(), path):
            unfinished = path.with_name(path.name + ".gz.tmp")
            with unfinished.open("wb") as target:
                _adopt(target.fileno(), unfinished)
                with gzip.GzipFile(path.name, "wb", compresslevel=6, fileobj=target, mtime=0) as packed:
                    shutil.copyfileobj(source, packed, 1 << 20)
                target.flush()
                os.fsync(target.fileno())
            unfinished.replace(_zipped(path))
            sync(path.parent)
        path.unlink(missing_ok=True)


def _lines(file: _File, last: int | None = None) -> Iterator[bytes]:
    """The file's lines, or those in its last bytes, the first of them cut; what is compressed is read whole.

    A file that was compressed since it was listed is followed there; one that was deleted has no lines.
    """
    try:
        with gzip.open(file.path) if file.ending else file.path.open("rb") as lines:
            if last is not None and not file.ending:
                lines.seek(max(0, os.fstat(lines.fileno()).st_size - last))
            yield from lines
    except FileNotFoundError:
        if not file.ending:
            yield from _lines(_File(file.day, file.part, _zipped(file.path), ".gz"))
    except (EOFError, zlib.error, gzip.BadGzipFile) as fault:
        raise OSError(errno.EIO, f"damaged ({fault})", str(file.path)) from fault


def _record(line: bytes) -> Record | None:
    """None for a torn line."""
    try:
        return msgspec.json.decode(line, type=Record)
    except msgspec.DecodeError:
        return None


def _inside(ip: object, network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> bool:
    try:
        return ipaddress.ip_address(str(ip)) in network
    except ValueError:
        return False
