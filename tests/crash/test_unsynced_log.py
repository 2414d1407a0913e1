"""An fsync fails, the process ends, another one begins: what it commits is on the disk, whatever the kernel remembers.

A real disk: ext4 by way of a loop device, on a file system in memory that has no room left where the log's blocks are.
So their writing fails, and Linux keeps them as if it had not.
"""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.chaos import volume
from tests.chaos.volume import Volume

FRAME, BLOCK = 4120, 4096
MEGABYTES = 48


def run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own size."""
    if not volume.possible() or shutil.which("filefrag") is None:
        pytest.skip("only root may mount a disk")
    path = tmp_path / "memory"
    path.mkdir()
    run("mount", "-t", "tmpfs", "-o", f"size={MEGABYTES + 8}m", "tmpfs", str(path))
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", str(path)], check=False, capture_output=True)


@pytest.fixture
def disk(memory: Path) -> Iterator[Volume]:
    """Blocks of it are pages of memory."""
    made = Volume(memory / "image", memory / "disk", "loop,nodiscard")
    made.path.mkdir()
    with made.image.open("wb") as file:
        file.truncate(MEGABYTES << 20)
    run("mkfs.ext4", "-q", "-b", str(BLOCK), "-E", "lazy_itable_init=0,lazy_journal_init=0", str(made.image))
    run("fallocate", "-l", f"{MEGABYTES}M", str(made.image))
    try:
        made.mount()
    except volume.NoVolumes as fault:
        pytest.skip(str(fault))
    try:
        yield made
    finally:
        subprocess.run(["umount", "-l", str(made.path)], check=False, capture_output=True)


def life(file: Path, what: str) -> list[str]:
    """What a process says that does this and is killed."""
    return run(sys.executable, "-m", "tests.crash.unsynced", str(file), what).splitlines()


def take_blocks(disk: Volume, wal: Path, used: int) -> None:
    """The room of the blocks of the log that come after `used` octets, and all else that there is."""
    first = used // BLOCK + 1
    for low, high, block in re.findall(
        r"^\s*\d+:\s+(\d+)\.\.\s*(\d+):\s+(\d+)\.\.", run("filefrag", "-v", str(wal)), re.MULTILINE
    ):
        begin = max(int(low), first)
        if begin <= int(high):
            at, octets = (int(block) + begin - int(low)) * BLOCK, (int(high) - begin + 1) * BLOCK
            run("fallocate", "-p", "-o", str(at), "-l", str(octets), str(disk.image))
    with (disk.image.parent / "balloon").open("wb", buffering=0) as balloon, suppress(OSError):
        while True:
            balloon.write(bytes(BLOCK))


def test_what_is_committed_after_a_failed_fsync_and_a_kill_outlives_a_power_cut(disk: Volume, tmp_path: Path) -> None:
    # given a commit whose fsync fails, and a process that is killed after it
    limit = Path(f"/sys/block/{disk._device()}/queue/max_sectors_kb")
    limit.write_text(str(BLOCK // 1024))  # each block by itself: a loop device takes half a write for a whole one
    file = disk.path / "listserv.db"
    (frames,) = life(file, "prepare")
    disk.sync()
    take_blocks(disk, Path(f"{file}-wal"), 32 + int(frames) * FRAME)
    assert life(file, "fail") == ["disk I/O error"]

    # when the disk is well again, and another process goes on and has committed
    (disk.image.parent / "balloon").unlink()
    assert life(file, "go-on") == ["[]", "['kept']"]

    # then it is there after a power cut
    copy = disk.cut_power()
    disk.unmount()
    shutil.copy(copy, disk.image)
    disk.mount()
    assert life(file, "go-on")[0] == "['kept']"
