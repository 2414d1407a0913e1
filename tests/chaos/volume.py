"""A small disk of our own: ext4 in a file, mounted by way of a loop device (root only).

with volume(folder, megabytes=64) as disk:
    disk.path                       where it is mounted
    copied = disk.copy(...)         as the disk would be if power failed now: what only memory holds is not in it
    disk.replace(copied)            … and mounted in the place of the first one
"""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.kit.patience import PATIENCE

TRIES = 50  # copies, until nobody has written to the disk while it was copied


class NoVolumes(Exception):
    """This machine mounts no loop devices for us."""


@dataclass
class Volume:
    image: Path
    path: Path
    options: str = "loop"
    copies: int = 0

    def mount(self) -> None:
        _run("mount", "-o", self.options, str(self.image), str(self.path))

    def unmount(self) -> None:
        """Who has just been killed, or has lost its parent, may hold it for a moment longer."""
        until = time.monotonic() + PATIENCE
        while True:
            try:
                _run("umount", str(self.path))
                return
            except NoVolumes as fault:
                if "busy" not in str(fault) or time.monotonic() > until:
                    raise
                time.sleep(0.1)

    def sync(self) -> None:
        """This disk and no other, on which somebody else may wait for a cut."""
        _run("sync", "-f", str(self.path))

    def cut_power(self) -> Path:
        """The image as it is, without what waits in memory to be written.  Nobody may write: see `_writes`."""
        self.copies += 1
        copy = self.image.with_name(f"{self.path.name}-{self.copies}.img")
        for _ in range(TRIES):
            before = self._writes()
            _run("cp", "--sparse=always", str(self.image), str(copy))
            if self._writes() == before:
                return copy
        raise RuntimeError(f"the disk is written to without end: {before}")

    def replace(self, image: Path) -> None:
        """Another disk in the place of this one, checked as after a power cut."""
        self.unmount()
        self.image.unlink()
        self.image = image
        self.mount()

    def fail(self) -> None:
        """The file system has found an error in itself and lets nobody write any more (errors=remount-ro)."""
        Path(f"/sys/fs/ext4/{self._device()}/trigger_fs_error").write_text("1")

    def remount(self) -> None:
        """As an operator does: checked and mounted again."""
        self.unmount()
        subprocess.run(["e2fsck", "-fp", str(self.image)], check=False, capture_output=True)
        self.mount()

    def free(self) -> int:
        found = os.statvfs(self.path)
        return found.f_bavail * found.f_frsize

    def fill(self, leave: int = 0) -> None:
        """Until so many octets are left."""
        with (self.path / "filler").open("ab", buffering=0) as file:
            try:
                while self.free() > leave:
                    file.write(b"\0" * min(1 << 20, max(4096, self.free() - leave)))
            except OSError:
                return

    def empty(self) -> None:
        (self.path / "filler").unlink()

    def _device(self) -> str:
        for line in Path("/proc/mounts").read_text().splitlines():
            device, place, *_ = line.split()
            if place == str(self.path):
                return Path(device).name
        raise RuntimeError(f"{self.path} is not mounted")

    def _writes(self) -> list[str]:
        """Writes that were completed, and those that are under way."""
        fields = Path(f"/sys/block/{self._device()}/stat").read_text().split()
        return [fields[4], fields[6], fields[8]]


@contextmanager
def volume(folder: Path, megabytes: int, options: str = "loop") -> Iterator[Volume]:
    """A new disk, mounted; gone at the end."""
    image, path = folder / "disk.img", folder / "disk"
    path.mkdir()
    with image.open("wb") as file:
        file.truncate(megabytes << 20)
    _run("mkfs.ext4", "-q", "-m", "0", "-E", "lazy_itable_init=0,lazy_journal_init=0", str(image))
    disk = Volume(image, path, options)
    disk.mount()
    try:
        path.chmod(0o755)
        yield disk
    finally:
        subprocess.run(["umount", "-l", str(path)], check=False, capture_output=True)


def possible() -> bool:
    """Whether loop devices can be mounted here."""
    return os.geteuid() == 0 and shutil.which("mkfs.ext4") is not None and Path("/dev/loop-control").exists()


def _run(*command: str) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise NoVolumes(f"{' '.join(command)}: {done.stderr.strip()}")
