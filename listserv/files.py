"""What our files have in common: who owns them, whoever made them, and when they are on the disk."""

import os
from pathlib import Path


def give_to_owner_of(folder: Path, *made: Path | int) -> None:
    """What root makes belongs to the owner of the folder, or the daemon could not use it; `made`: paths, or open."""
    if os.geteuid() == 0:
        owner = folder.stat()
        for each in made:
            os.chown(each, owner.st_uid, owner.st_gid)


def sync(path: Path) -> None:
    """Back when the file, or the names in the folder, will be there after a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
