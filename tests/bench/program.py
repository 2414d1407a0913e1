"""What is measured: a program that takes posts for a group and delivers to the sink."""

import socket
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tests.bench.case import Case
from tests.bench.load import Door
from tests.bench.usage import Account


@dataclass(frozen=True, slots=True)
class Running:
    """A program that takes posts.  `database`: the database server, when it is one, on an account of its own."""

    door: Door
    account: Account
    hold: Callable[[], object]  # from now on what is accepted waits
    release: Callable[[], object]  # no longer, and what waited is delivered
    database: Account | None = None
    slow_start: bool = False  # its client waits for acknowledgements: see `quick` of the sink


class Program(Protocol):
    """How to run it, fresh, with the members of a case loaded."""

    def running(self, case: Case, folder: Path, sink: int) -> AbstractContextManager[Running]: ...


class Failed(Exception):
    """A run that cannot count: what was missed, came twice, or went wrong."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def call(command: Sequence[str], environment: Mapping[str, str] | None = None) -> str:
    """What it prints; Failed with its last words when it fails."""
    with tempfile.TemporaryFile() as said:  # not a pipe: what it leaves running would hold that open
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, check=False, env=environment)
        said.seek(0)
        words = said.read().decode("utf-8", "replace")
    if done.returncode:
        raise Failed(f"{' '.join(command)}: {words.strip()[-1000:]}")
    return words


def nothing() -> None:
    """For programs that cannot hold what they accept, or need not be told to."""
