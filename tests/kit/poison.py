"""Work that goes wrong in every way there is, for cells and for the daemon.

`infected` gives a folder for PYTHONPATH: in every Python process that has it, reading or printing a message goes wrong
if a header field of it says so: `X-Poison-Read: loops`, `X-Poison-Print: crashes`.
"""

import ctypes
import re
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).parents[2]


def raises(_octets: bytes) -> NoReturn:
    raise ValueError("poison")


def recurses(octets: bytes) -> object:
    return recurses(octets)


def exits(_octets: bytes) -> NoReturn:
    sys.exit(3)


def eats(octets: bytes) -> object:
    kept = [octets]
    while True:
        kept.append(bytes(10_000_000))


def crashes(_octets: bytes) -> object:
    return ctypes.string_at(0)


def loops(_octets: bytes) -> NoReturn:
    while True:
        pass


def loops_in_a_pattern(_octets: bytes) -> object:
    return re.match(r"(a+)+\Z", "a" * 60 + "b")


def loops_and_catches(octets: bytes) -> NoReturn:
    while True:
        try:
            raises(octets)
        except Exception:
            octets = b""


def takes_a_while(octets: bytes) -> int:
    return sum(n for n in range(100_000) if octets)


KINDS = {each.__name__: each for each in (raises, recurses, eats, crashes, loops)}


def infect() -> None:
    """This process from now on; what it waits for is shortened, for the sake of the tests."""
    from listserv.flows import setting_aside
    from listserv.mail import footer, mime
    from listserv.workers import cell

    setting_aside.AGAIN, cell.CPU = timedelta(seconds=0.2), 1.0
    read, append = mime.text_parts, footer.append

    def text_parts(post: Any) -> Any:
        for field in post.all("x-poison-read"):
            KINDS[field.value.decode()](b"")
        return read(post)

    def poisoned(fields: Any, body: bytes, insert: Any) -> Any:
        for field in fields:
            if field.name == "x-poison-print":
                KINDS[field.value.decode()](b"")
        return append(fields, body, insert)

    mime.text_parts, footer.append = text_parts, poisoned


def infected(folder: Path) -> str:
    """What to put into PYTHONPATH; the folder is made for it."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text("from tests.kit.poison import infect\n\ninfect()\n")
    return f"{folder}:{ROOT}"
