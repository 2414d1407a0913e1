"""The daemon as a process that kills itself with SIGKILL at one chosen point of its work.

    python -m tests.kit.doomed CONFIG [WORK:before|after:N[:all]]

WORK is the name of a function handed to `Database.write`; the N-th time it runs the process dies, inside its
transaction (before its commit; of a stroke: before it begins), or right after the commit and before anybody hears of
it.  Where several processes do the work, the first one that comes to its N-th time dies; with `all` its parent dies
before it.  It happens once: the file `died` beside CONFIG says that it has.
"""

import os
import signal
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

from listserv.cli.main import main as listserv
from listserv.flows import distributing
from listserv.store.db import Database, Stroke


def doom(work_name: str, when: str, number: int, died: Path, *, everybody: bool) -> None:
    """From now on the N-th call of that work ends this process."""
    left = number
    write, write_behind = Database.write, Database.write_behind

    def die() -> None:
        nonlocal left
        left -= 1
        if left == 0 and not died.exists():
            died.touch()
            if everybody:
                os.kill(os.getppid(), signal.SIGKILL)
            os.kill(os.getpid(), signal.SIGKILL)

    async def doomed(
        writing: Callable[..., Awaitable[Any]], work: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> Any:
        if _name(work) != work_name:
            return await writing(work, *args, **kwargs)

        def last(tx: Any, *inner: Any, **named: Any) -> Any:
            result = work(tx, *inner, **named)
            if when == "before":
                die()
            return result

        if isinstance(work, Stroke):  # it has no inside
            if when == "before":
                die()
            result = await writing(work)
        else:
            result = await writing(last, *args, **kwargs)
        if when == "after":
            die()
        return result

    async def at_once(self: Database, work: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return await doomed(partial(write, self), work, *args, **kwargs)

    async def behind(self: Database, name: str, wake: Awaitable[None], work: Any, *args: Any, **kwargs: Any) -> Any:
        return await doomed(partial(write_behind, self, name, wake), work, *args, **kwargs)

    Database.write = at_once  # type: ignore[method-assign]
    Database.write_behind = behind  # type: ignore[method-assign]


def _name(work: Callable[..., Any]) -> str:
    if isinstance(work, Stroke):  # there are no others
        return "record"
    named: str = getattr(getattr(work, "func", work), "__name__", "")
    return named.lstrip("_")


def main() -> None:
    config, *point = sys.argv[1:]
    distributing.CHUNK = 15  # so that small groups have a fan-out too
    if point:
        work_name, when, number, *everybody = point[0].split(":")
        doom(work_name, when, int(number), Path(config).parent / "died", everybody=bool(everybody))
    listserv(["--config", config, "run"])


if __name__ == "__main__":
    main()
