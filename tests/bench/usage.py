"""Processor time and memory of a program with all its processes, as the kernel counts them.

    account = usage.open_account("postfix")
    subprocess.run(account.command(["postfix", "start"]))
    before = account.seconds()
    with Memory(account) as memory: ...
    account.seconds() - before, memory.most, memory.sum

A control group counts every process that was ever in it, dead ones too (cgroups(7)): that of version 2, or the
cpuacct controller of version 1, where we may make one.  Elsewhere /proc must do: the tree below the processes we
started, with the children that each of them has waited for (proc(5), cutime).
"""

import os
import re
import signal
import subprocess
import threading
import time
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

HZ = os.sysconf("SC_CLK_TCK")
EVERY = 0.25  # seconds between two looks at the memory
_numbers = count(1)


class Account(Protocol):
    """What one program uses.  `exact`: processes that left their parents are counted too."""

    kind: str
    exact: bool

    @abstractmethod
    def command(self, command: Sequence[str]) -> list[str]:
        """The same command; what it starts is on this account."""

    @abstractmethod
    def adopt(self, pid: int) -> None:
        """A process that runs already, and its children, are on this account from now on."""

    @abstractmethod
    def seconds(self) -> float: ...

    @abstractmethod
    def pids(self) -> list[int]: ...

    @abstractmethod
    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Group:
    """A control group."""

    folder: Path
    kind: str
    exact: bool = True

    def command(self, command: Sequence[str]) -> list[str]:
        return ["/bin/sh", "-c", 'echo $$ >"$0" && exec "$@"', str(self.folder / "cgroup.procs"), *command]

    def adopt(self, pid: int) -> None:
        for each in _tree([pid]):
            with suppress(ProcessLookupError):  # it ended meanwhile
                (self.folder / "cgroup.procs").write_text(str(each))

    def seconds(self) -> float:
        if self.kind == "cgroup v1":
            return int((self.folder / "cpuacct.usage").read_text()) / 1e9
        return int((self.folder / "cpu.stat").read_text().split()[1]) / 1e6  # usage_usec stands first

    def pids(self) -> list[int]:
        return [int(word) for word in (self.folder / "cgroup.procs").read_text().split()]

    def close(self) -> None:
        """End what still runs in it, and remove it."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            until = time.monotonic() + 10
            while (left := self.pids()) and time.monotonic() < until:
                _signal(left, number)
                time.sleep(0.1)
        self.folder.rmdir()


@dataclass(slots=True)
class Tree:
    """Processes that we started or adopted, and what descends from them."""

    roots: list[int] = field(default_factory=list)
    kind: str = "/proc"
    exact: bool = False

    def command(self, command: Sequence[str]) -> list[str]:
        return list(command)

    def adopt(self, pid: int) -> None:
        self.roots.append(pid)

    def seconds(self) -> float:
        return sum(_seconds(pid) for pid in self.pids())

    def pids(self) -> list[int]:
        return _tree(self.roots)

    def close(self) -> None:
        """Whoever started them ends them."""


def open_account(name: str) -> Account:
    """A control group if we may make one and put processes into it, else a tree."""
    folder = f"listserv-bench-{os.getpid()}-{next(_numbers)}-{name}"
    for place, kind in _places():
        try:
            (place / folder).mkdir()
        except OSError:
            continue
        group = Group(place / folder, kind)
        if subprocess.run(group.command(["true"]), capture_output=True, check=False).returncode == 0:
            return group
        group.close()
    return Tree()


def _places() -> Iterator[tuple[Path, str]]:
    """Where there may be control groups that count: cpuacct, all of version 2, and ours there."""
    root = Path("/sys/fs/cgroup")
    if (root / "cpuacct" / "cgroup.procs").exists():
        yield root / "cpuacct", "cgroup v1"
    if (root / "cgroup.controllers").exists():
        yield root, "cgroup v2"
        own = Path("/proc/self/cgroup").read_text().rpartition("::/")[2].strip()
        yield root / own, "cgroup v2"


def exact() -> bool:
    """Whether processes that leave their parents can be counted here."""
    account = open_account("look")
    account.close()
    return account.exact


def rest(account: Account, seconds: float = 30.0) -> None:
    """Back when the program does nothing any more: less than 3 % of a processor for 0.3 s."""
    until = time.monotonic() + seconds
    quiet = 0
    while quiet < 2 and time.monotonic() < until:
        before = account.seconds()
        time.sleep(0.15)
        quiet = quiet + 1 if account.seconds() - before <= (0.005 if account.exact else 1 / HZ) else 0


class Memory:
    """Looks at the resident memory while it is entered: megabytes."""

    def __init__(self, account: Account) -> None:
        self.most = 0.0  # of the largest process: its peak, also between two looks
        self.sum = 0.0  # of all processes at one time; shared pages count in each
        self._account = account
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        over = False
        while not over:
            over = self._over.wait(EVERY)
            looked = [_resident(pid) for pid in self._account.pids()]
            self.sum = max(self.sum, sum(now for now, _ in looked))
            self.most = max([self.most, *(peak for _, peak in looked)])


def load_average() -> float:
    return os.getloadavg()[0]


def _signal(pids: Iterable[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def _tree(roots: Sequence[int]) -> list[int]:
    """These and all their descendants that are alive."""
    children: dict[int, list[int]] = {}
    for pid, parent in _parents():
        children.setdefault(parent, []).append(pid)
    found = [pid for pid in roots if Path(f"/proc/{pid}").exists()]
    for pid in found:
        found += children.get(pid, [])
    return found


def _parents() -> Iterator[tuple[int, int]]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and (fields := _stat(int(entry.name))):
            yield int(entry.name), int(fields[1])


def _seconds(pid: int) -> float:
    fields = _stat(pid)
    return sum(map(int, fields[11:15])) / HZ if fields else 0.0


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat behind the program's name; none when it has gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _resident(pid: int) -> tuple[float, float]:
    """Now, and at its peak."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0, 0.0
    found = {name: int(kb) / 1000 for name, kb in re.findall(r"(VmRSS|VmHWM):\s+(\d+)", status)}
    return found.get("VmRSS", 0.0), found.get("VmHWM", 0.0)
