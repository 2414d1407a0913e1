"""The daemon as a process that kills itself with SIGKILL at one chosen point of its work.

    python -m tests.kit.doomed CONFIG [WORK:before|after:N]

WORK is the name of a function handed to `Database.write`; the N-th time it runs the process dies, inside its
transaction (before its commit), or right after the commit and before anybody hears of it.
"""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from listserv.daemon import Role, run, serve
from listserv.node import Node
from listserv.settings import Settings
from listserv.store.db import Database


def doom(work_name: str, when: str, number: int) -> None:
    """From now on the N-th call of that work ends this process."""
    left = number
    write = Database.write

    def die() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    async def doomed(self: Database, work: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if getattr(work, "__name__", "") != work_name:
            return await write(self, work, *args, **kwargs)

        def last(tx: Any, *inner: Any, **named: Any) -> Any:
            result = work(tx, *inner, **named)
            if when == "before":
                die()
            return result

        result = await write(self, last, *args, **kwargs)
        if when == "after":
            die()
        return result

    Database.write = doomed  # type: ignore[method-assign]


def main() -> None:
    config, *point = sys.argv[1:]
    if point:
        work_name, when, number = point[0].split(":")
        doom(work_name, when, int(number))
    node = Node.open(Settings.load(Path(config), {}))
    try:
        run(serve(node, Role.ALL, lambda: None, lambda daemon: print("ready", flush=True)))
    finally:
        node.close()


if __name__ == "__main__":
    main()
