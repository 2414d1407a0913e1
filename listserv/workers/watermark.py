"""How far the database had come when this node claimed last: kept beside it, to know an old one by.

`progress` in `data_dir`: a line of 20 bytes for each delivery process, which writes nothing but its own.  So nobody
waits for anybody.  It is not synced: what a power cut takes from it is a moment of what it knows.
"""

import logging
import os
import re
from pathlib import Path

from listserv.files import give_to_owner_of

log = logging.getLogger("listserv.deliverer")

_LINE = re.compile(rb"(\d{19})\n")


class Watermark:
    """`reach` is called after each claim, before anything of it is sent."""

    def __init__(self, data_dir: Path, slot: int) -> None:
        self._path = data_dir / "progress"
        self._place = 20 * slot
        self._is_said = False

    def reach(self, number: int) -> None:
        """Where it cannot be written, deliveries go on, and it is said once."""
        try:
            self._write(b"%019d\n" % number)
        except OSError as fault:
            if not self._is_said:
                log.warning(
                    "%s cannot be written (%s): a restored database may not be noticed", self._path, fault.strerror
                )
            self._is_said = True
        else:
            self._is_said = False

    def highest(self) -> int:
        """What any process of this node has reached; 0 when nothing is known."""
        try:
            return max(map(int, _LINE.findall(self._path.read_bytes())), default=0)
        except FileNotFoundError:
            return 0

    def _write(self, line: bytes) -> None:
        file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o640)
        try:
            if os.fstat(file).st_size == 0:
                give_to_owner_of(self._path.parent, file)
            os.pwrite(file, line, self._place)
        finally:
            os.close(file)
