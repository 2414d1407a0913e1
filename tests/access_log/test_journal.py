"""The access log's files: side by side, rotation and retention by a clock, crashes, full disks, reading back."""

import gzip
import json
import multiprocessing
import os
import resource
import signal
import stat
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import pytest

from listserv.access_log import events
from listserv.access_log.journal import Journal, Row
from listserv.access_log.line import Way, Who

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
DAY = timedelta(days=1)
SPAWN = multiprocessing.get_context("spawn")


def row(id: int, at: datetime = NOON, **who: str) -> Row:
    made = events.help_asked(
        at, Who(Way.MAIL, "n1", **who), group="sailing@lists.example", message_id=f"<{id}@a.example>"
    )
    return id, made.json()


def journal(tmp_path: Path, **settings: int) -> Journal:
    return Journal(tmp_path / "log" / "access.log", **{"retention_days": 90, **settings})


def names(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "log").iterdir())


def ids(tmp_path: Path) -> list[object]:
    return [record["line"] for record in journal(tmp_path).search()]


def test_a_line_stands_in_the_file_of_its_day_and_the_path_is_a_link_to_the_newest(tmp_path: Path) -> None:
    log = journal(tmp_path)
    log.append([row(1), row(2, NOON + DAY)])
    assert names(tmp_path) == ["access-2026-11-22.log", "access-2026-11-23.log", "access.log"]
    assert json.loads((tmp_path / "log/access-2026-11-22.log").read_text()) == {**json.loads(row(1)[1]), "line": 1}
    assert (tmp_path / "log/access.log").readlink() == Path("access-2026-11-23.log")

    log.append([row(3)])  # came late: yesterday's file, but the link stays
    assert (tmp_path / "log/access.log").readlink() == Path("access-2026-11-23.log")
    assert ids(tmp_path) == [1, 3, 2]


def test_a_file_is_searched_only_when_somebody_else_has_written_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = journal(tmp_path), journal(tmp_path)
    searched: list[str] = []
    there = Journal._there

    def noted(self: Journal, day: str, lines: list[bytes]) -> frozenset[bytes]:
        searched.append(day)
        return there(self, day, lines)

    monkeypatch.setattr(Journal, "_there", noted)
    ours.append([row(1)])
    ours.append([row(1), row(2)])  # whose rows did not go
    ours.append([row(1), row(2), row(3)])
    assert len(searched) == 1
    theirs.append([row(3), row(4)])
    ours.append([row(4), row(5)])
    assert len(searched) == 3
    assert ids(tmp_path) == [1, 2, 3, 4, 5]


def test_the_day_changes_at_midnight_utc_wherever_the_server_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "Pacific/Kiritimati")
    last = datetime(2026, 11, 22, 23, 59, 59, 999_999, UTC)
    journal(tmp_path).append([row(1, last), row(2, last + timedelta(microseconds=1))])
    assert names(tmp_path)[:2] == ["access-2026-11-22.log", "access-2026-11-23.log"]


def test_an_ordinary_file_at_the_path_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    (tmp_path / "log/access.log").write_text("the operator's own\n")
    journal(tmp_path).append([row(1)])
    assert (tmp_path / "log/access.log").read_text() == "the operator's own\n"
    assert ids(tmp_path) == [1]


def test_files_are_readable_by_the_group_only_and_belong_to_the_owner_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    if os.geteuid() == 0:
        os.chown(tmp_path / "log", 65534, 65534)
    before = os.umask(0o077)
    try:
        journal(tmp_path).append([row(1), row(2, NOON - DAY)])
        journal(tmp_path).tidy(NOON)
    finally:
        os.umask(before)
    assert names(tmp_path)[:2] == ["access-2026-11-21.log.gz", "access-2026-11-22.log"]
    for name in names(tmp_path)[:2]:
        status = (tmp_path / "log" / name).stat()
        assert stat.S_IMODE(status.st_mode) == 0o640
        assert status.st_uid == (tmp_path / "log").stat().st_uid


def test_a_second_file_begins_at_the_size_limit_and_a_third_after_it(tmp_path: Path) -> None:
    log = journal(tmp_path, max_bytes=1)
    for id in (1, 2, 3):
        log.append([row(id)])
    assert names(tmp_path)[:3] == ["access-2026-11-22.2.log", "access-2026-11-22.3.log", "access-2026-11-22.log"]
    assert (tmp_path / "log/access.log").readlink() == Path("access-2026-11-22.3.log")
    assert ids(tmp_path) == [1, 2, 3]


def test_ten_files_of_a_day_are_read_in_their_order(tmp_path: Path) -> None:
    log = journal(tmp_path, max_bytes=1)
    for id in range(1, 12):
        log.append([row(id)])
    assert ids(tmp_path) == list(range(1, 12))


def test_days_are_compressed_when_they_are_over_for_an_hour_and_go_when_they_reach_their_age(tmp_path: Path) -> None:
    log = journal(tmp_path, retention_days=3)
    midnight = datetime(2026, 11, 23, tzinfo=UTC)
    log.append([row(1)])
    log.tidy(midnight + timedelta(minutes=59))
    assert names(tmp_path)[0] == "access-2026-11-22.log"
    log.tidy(midnight + timedelta(minutes=61))
    assert names(tmp_path)[0] == "access-2026-11-22.log.gz"
    assert ids(tmp_path) == [1]

    log.tidy(midnight + 2 * DAY - timedelta(seconds=1))  # the day's first line is not three days old yet
    assert ids(tmp_path) == [1]
    log.tidy(midnight + 2 * DAY)
    assert ids(tmp_path) == []


def test_ninety_days_by_the_clock_keep_ninety_files_and_no_line_beyond_its_age(tmp_path: Path) -> None:
    log = journal(tmp_path)
    for day in range(120):
        log.append([row(day, NOON + day * DAY)])
        log.tidy(NOON + day * DAY)
    assert ids(tmp_path) == list(range(30, 120))
    assert [name for name in names(tmp_path) if not name.endswith(".gz")] == ["access-2027-03-21.log", "access.log"]


def test_a_line_that_comes_after_its_day_was_compressed_gets_a_file_of_its_own(tmp_path: Path) -> None:
    log = journal(tmp_path)
    log.append([row(1)])
    log.tidy(NOON + 2 * DAY)
    log.append([row(2)])
    assert names(tmp_path)[:2] == ["access-2026-11-22.2.log", "access-2026-11-22.log.gz"]
    assert ids(tmp_path) == [1, 2]


def test_foreign_files_in_the_folder_are_neither_read_nor_removed(tmp_path: Path) -> None:
    log = journal(tmp_path)
    log.append([row(1)])
    foreign = ["access-2020-01-01.log.bak", "access-2020-01-01.0.log", "other-2020-01-01.log", "access-20200101.log"]
    for name in foreign:
        (tmp_path / "log" / name).write_text('{"time":"2020-01-01T00:00:00.000Z"}\n')
    log.tidy(NOON)
    assert set(foreign) < set(names(tmp_path))
    assert ids(tmp_path) == [1]


def test_an_age_below_a_day_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="retention_days"):
        journal(tmp_path, retention_days=0)


# Exactly once


def test_rows_that_were_appended_before_a_kill_are_not_appended_again(tmp_path: Path) -> None:
    journal(tmp_path).append([row(1), row(2)])
    journal(tmp_path).append([row(1), row(2), row(3)])  # the rows were still there at the next start
    assert ids(tmp_path) == [1, 2, 3]


def test_neither_does_a_file_that_has_just_begun_hide_them_nor_a_compressed_one(tmp_path: Path) -> None:
    log = journal(tmp_path, max_bytes=1)
    log.append([row(1), row(2)])
    log.append([row(2), row(3)])
    log.tidy(NOON + 2 * DAY)
    log.append([row(3), row(4)])
    assert ids(tmp_path) == [1, 2, 3, 4]


def test_a_row_number_that_is_used_anew_hides_no_line(tmp_path: Path) -> None:
    journal(tmp_path).append([row(1)])
    journal(tmp_path).append([row(1, NOON + timedelta(seconds=1))])
    assert ids(tmp_path) == [1, 1]


def test_two_events_that_say_the_same_are_two_lines(tmp_path: Path) -> None:
    _, same = row(1)
    journal(tmp_path).append([(1, same), (2, same)])
    assert ids(tmp_path) == [1, 2]


def test_a_torn_line_is_left_alone_and_written_again_whole(tmp_path: Path) -> None:
    journal(tmp_path).append([row(1), row(2)])
    file = tmp_path / "log/access-2026-11-22.log"
    file.write_bytes(file.read_bytes()[:-20])  # the power went
    journal(tmp_path).append([row(2), row(3)])
    assert ids(tmp_path) == [1, 2, 3]


@pytest.mark.parametrize("text", ["", "{}", '{"time":"yesterday"}', row(1)[1] + "\n", row(1)[1][:-1]])
def test_what_no_event_made_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ValueError, match="not a line"):
        journal(tmp_path).append([(1, text)])


# Faults of the disk


@contextmanager
def files_limited_to(octets: int) -> Iterator[None]:
    """What a full disk does: a write falls short, the next one fails."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (octets, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_raises_leaves_no_half_line_and_heals_by_itself(tmp_path: Path) -> None:
    journal(tmp_path).append([row(1)])
    before = (tmp_path / "log/access-2026-11-22.log").read_bytes()
    with files_limited_to(len(before) + 250), pytest.raises(OSError, match="File too large"):
        journal(tmp_path).append([row(2), row(3)])
    assert (tmp_path / "log/access-2026-11-22.log").read_bytes() == before
    journal(tmp_path).append([row(2), row(3)])
    assert ids(tmp_path) == [1, 2, 3]


def test_a_full_disk_while_compressing_loses_nothing(tmp_path: Path) -> None:
    log = journal(tmp_path)
    log.append([row(id) for id in range(1, 200)])
    with files_limited_to(100), pytest.raises(OSError, match="File too large"):
        log.tidy(NOON + 2 * DAY)
    assert ids(tmp_path) == list(range(1, 200))
    log.tidy(NOON + 2 * DAY)
    assert names(tmp_path) == ["access-2026-11-22.log.gz", "access.log"]
    assert ids(tmp_path) == list(range(1, 200))


def test_a_folder_that_is_gone_is_made_again(tmp_path: Path) -> None:
    log = journal(tmp_path)
    log.append([row(1)])
    (tmp_path / "log").rename(tmp_path / "elsewhere")
    log.append([row(2)])
    assert ids(tmp_path) == [2]


def test_a_folder_that_cannot_be_made_raises(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("a file where the folder should be")
    with pytest.raises(OSError):
        journal(tmp_path).append([row(1)])


def test_a_link_in_the_place_of_a_file_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    (tmp_path / "log/access-2026-11-22.log").symlink_to(tmp_path / "victim")
    with pytest.raises(OSError, match="symbolic links"):
        journal(tmp_path).append([row(1)])
    assert not (tmp_path / "victim").exists()


def test_a_kill_while_compressing_is_made_good(tmp_path: Path) -> None:
    log = journal(tmp_path)
    log.append([row(1)])
    plain, packed = (tmp_path / "log" / f"access-2026-11-22.log{ending}" for ending in ("", ".gz"))
    # before the .gz had its name
    packed.with_name(packed.name + ".tmp").write_bytes(b"half of it")
    assert ids(tmp_path) == [1]
    log.tidy(NOON + 2 * DAY)
    assert names(tmp_path) == ["access-2026-11-22.log.gz", "access.log"]
    # after it had, but the plain file was still there
    plain.write_bytes(gzip.decompress(packed.read_bytes()))
    assert ids(tmp_path) == [1]
    log.append([row(2)])
    log.tidy(NOON + 2 * DAY)
    assert names(tmp_path) == ["access-2026-11-22.2.log.gz", "access-2026-11-22.log.gz", "access.log"]
    assert ids(tmp_path) == [1, 2]


def test_leftovers_of_a_kill_do_not_outlive_their_day(tmp_path: Path) -> None:
    log = journal(tmp_path, retention_days=1)
    log.append([row(1, NOON + 2 * DAY)])
    (tmp_path / "log/access-2026-11-22.log.gz.tmp").write_bytes(b"half of it")
    log.tidy(NOON + 2 * DAY)
    assert names(tmp_path) == ["access-2026-11-24.log", "access.log"]


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    log = journal(tmp_path)
    log.append([row(id) for id in range(100)])
    log.tidy(NOON + 2 * DAY)
    packed = tmp_path / "log/access-2026-11-22.log.gz"
    packed.write_bytes(packed.read_bytes()[:-50])
    with pytest.raises(OSError, match=r"damaged.*access-2026-11-22\.log\.gz"):
        ids(tmp_path)


# Several processes


def writer(path: Path, first: int, lines: int, batch: int) -> None:
    log = Journal(path, retention_days=90, max_bytes=400_000)
    for id in range(first, first + lines, batch):
        log.append([row(number, account=f"member{number}@a.example") for number in range(id, id + batch)])


def test_four_processes_append_6000_lines_each_while_files_are_rotated_and_compressed(tmp_path: Path) -> None:
    path = tmp_path / "log" / "access.log"
    processes = [SPAWN.Process(target=writer, args=(path, number * 10_000, 6_000, 60)) for number in range(4)]
    for process in processes:
        process.start()
    log = Journal(path, retention_days=90)
    while any(process.is_alive() for process in processes):
        log.tidy(NOON + 2 * DAY)  # the clock is ahead, so that files are compressed under the writers' hands
        wait([process.sentinel for process in processes if process.is_alive()], timeout=0.05)
    assert [process.exitcode for process in processes] == [0, 0, 0, 0]
    log.tidy(NOON + 2 * DAY)

    assert len([name for name in names(tmp_path) if name.endswith(".gz")]) == len(names(tmp_path)) - 1 > 5
    expected = {number * 10_000 + line: 1 for number in range(4) for line in range(6_000)}
    raw = [
        json.loads(line)
        for file in (tmp_path / "log").glob("*.gz")
        for line in gzip.decompress(file.read_bytes()).splitlines()
    ]
    assert Counter(record["line"] for record in raw) == expected
    assert all(record["account"] == f"member{record['line']}@a.example" for record in raw)


def endless_writer(path: Path, started: Any) -> None:
    log = Journal(path, retention_days=90, max_bytes=50_000)
    for id in range(0, 1_000_000, 10):
        log.append([row(number) for number in range(id, id + 10)])
        started.send(id)


@pytest.mark.parametrize("after", [1, 57, 200])
def test_kill_9_in_the_middle_of_appending_leaves_every_line_once(tmp_path: Path, after: int) -> None:
    ours, theirs = SPAWN.Pipe()
    process = SPAWN.Process(target=endless_writer, args=(tmp_path / "log" / "access.log", theirs))
    process.start()
    committed = [ours.recv() for _ in range(after)][-1]
    os.kill(process.pid or 0, signal.SIGKILL)
    process.join()
    written = len(ids(tmp_path))
    rest = max(0, committed - 50)  # these rows were still in the database
    journal(tmp_path, max_bytes=50_000).append([row(id) for id in range(rest, written + 10)])
    assert ids(tmp_path) == list(range(written + 10))


# Reading back


@pytest.fixture
def full(tmp_path: Path) -> Journal:
    log = journal(tmp_path)
    who = Who(Way.MAIL, "n1", account="Ada@a.example", ip="192.0.2.1")
    six = Who(Way.WEB, "n1", ip="2001:db8::1")
    group = {"group": "sailing@lists.example"}
    lines = [
        events.member_joined(NOON, who, **group, member="ada@a.example", how="confirmed"),
        events.member_banned(NOON + timedelta(hours=1), who, **group, member="eve@e.example"),
        events.web_request(NOON + DAY, six, group="", method="POST", page="leave", status=200),
        events.group_created(NOON + 2 * DAY, Who(Way.SHELL, "n1"), group="chess@lists.example", owner="bob@b.example"),
    ]
    log.append([(id, line.json()) for id, line in enumerate(lines)])
    log.tidy(NOON + 2 * DAY)
    return log


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({}, [0, 1, 2, 3]),
        ({"since": NOON + timedelta(hours=1)}, [1, 2, 3]),
        ({"until": NOON + timedelta(hours=1)}, [0]),
        ({"since": NOON + DAY, "until": NOON + DAY + timedelta(seconds=1)}, [2]),
        ({"since": NOON + 3 * DAY}, []),
        ({"account": "ada@A.example"}, [0, 1]),
        ({"account": "eve@e.example"}, [1]),
        ({"account": "bob@b.example"}, [3]),
        ({"account": "mallory@e.example"}, []),
        ({"ip": "192.0.2.1"}, [0, 1]),
        ({"ip": "192.0.2.0/24"}, [0, 1]),
        ({"ip": "2001:0db8:0:0::1"}, [2]),
        ({"group": "Chess@lists.example"}, [3]),
        ({"action": "member"}, [0, 1]),
        ({"action": "member.banned"}, [1]),
        ({"action": "member.ban"}, []),
        ({"action": "member", "account": "eve@e.example", "ip": "192.0.2.1"}, [1]),
    ],
)
def test_search_finds_by_every_condition_through_compressed_days(
    full: Journal, asked: dict[str, Any], found: list[int]
) -> None:
    assert [record["line"] for record in full.search(**asked)] == found


def test_search_for_no_address_says_so(full: Journal) -> None:
    with pytest.raises(ValueError, match="sailing"):
        list(full.search(ip="sailing"))


def test_a_file_that_is_compressed_or_deleted_while_it_is_being_searched_is_followed(tmp_path: Path) -> None:
    log = journal(tmp_path)
    log.append([row(1), row(2, NOON + DAY), row(3, NOON + 2 * DAY)])
    found = log.search()
    assert next(found)["line"] == 1
    log.tidy(NOON + 2 * DAY)  # compresses the second day
    (tmp_path / "log/access-2026-11-24.log").unlink()
    assert [record["line"] for record in found] == [2]


def test_nothing_is_found_before_anything_was_written(tmp_path: Path) -> None:
    assert ids(tmp_path) == []
    journal(tmp_path).tidy(NOON)
