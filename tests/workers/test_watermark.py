"""How far the database had come, as it is kept beside it."""

from pathlib import Path

import pytest

from listserv.workers.watermark import Watermark


def test_the_highest_of_all_processes_counts_and_none_waits_for_another(tmp_path: Path) -> None:
    third, first = Watermark(tmp_path, 3), Watermark(tmp_path, 1)
    assert first.highest() == 0
    third.reach(10)
    first.reach(11)
    third.reach(9)
    assert first.highest() == third.highest() == 11
    assert (tmp_path / "progress").stat().st_mode & 0o777 == 0o640
    first.reach(2**40)
    assert Watermark(tmp_path, 0).highest() == 2**40


@pytest.mark.parametrize("content", [b"", b"\0" * 60, b"12\n", b"what?\n"])
def test_what_a_power_cut_has_left_of_it_says_nothing_and_is_written_anew(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "progress").write_bytes(content)
    mark = Watermark(tmp_path, 0)
    assert mark.highest() == 0
    mark.reach(7)
    assert mark.highest() == 7


def test_where_it_cannot_be_written_that_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    mark = Watermark(tmp_path / "gone", 0)
    for number in range(3):
        mark.reach(number)
    path = tmp_path / "gone" / "progress"
    said = f"{path} cannot be written (No such file or directory): a restored database may not be noticed"
    assert caplog.messages == [said]
