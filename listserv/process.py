"""What a process that serves for months wants of its kernel, its allocator, its event loop and its supervisor."""

import asyncio
import ctypes
import gc
import importlib
import logging
import os
import resource
import socket
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

log = logging.getLogger("listserv")

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # malloc.h


def run(serving: Coroutine[Any, Any, None]) -> None:
    """`serving` to its end, in a new event loop: uvloop's where that is installed."""
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(serving)


def raise_descriptors() -> None:
    """As many open files as the system lets us have: the listener's cap follows the limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):  # a sandbox may forbid it
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def return_memory() -> None:
    """glibc: big blocks go back to the system when they are freed, and threads share few arenas (mallopt(3)).

    By default its threshold grows with the first big message to 32 MB, and what was freed stays with us.
    """
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        for parameter, value in ((_M_MMAP_THRESHOLD, 262_144), (_M_TRIM_THRESHOLD, 1_048_576), (_M_ARENA_MAX, 2)):
            libc.mallopt(parameter, value)


def end_within(seconds: float) -> None:
    """After so many seconds this process is over, whatever it waits for: as by kill -9, which loses nothing.

    A thread that waits for a database that says nothing can be told nothing, and Python waits for its threads.
    """

    def give_up() -> None:
        log.error("something did not end within %g s and is given up", seconds)
        os._exit(1)

    timer = threading.Timer(seconds, give_up)
    timer.daemon = True
    timer.start()


def keep_what_is_there() -> None:
    """What a process has when it is ready, it has until it ends: no collection looks at it again, for 0.1 s each."""
    gc.collect()
    gc.freeze()


def notify_systemd(state: str) -> None:
    """One datagram to the supervisor, if there is one (sd_notify(3))."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if path:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.connect("\0" + path[1:] if path.startswith("@") else path)
            channel.send(state.encode())


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        uvloop = importlib.import_module("uvloop")
    except ImportError:
        return None
    made: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return made
