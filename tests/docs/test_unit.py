"""The systemd unit in config/examples: well-formed, closed to what the daemon does not need, open to what it needs."""

import asyncio
import os
import re
import signal
import subprocess
import sys
from functools import cache
from pathlib import Path

from tests.endurance import loads
from tests.endurance.loads import WALKERS
from tests.kit.components import needs_strace, needs_systemd
from tests.kit.process import ROOT, process
from tests.kit.world import World

UNIT = ROOT / "config/examples/systemd/listserv.service"
OF_ROOT = {"chown", "fchown"}  # gives away what it makes when it runs as root, as here; the unit has a user
EXPOSURE = 14  # tenths of systemd's scale: above 1.4 something has been opened again

_CALL = re.compile(r"^\d+ +(\w+)\(", re.MULTILINE)
_FAMILY = re.compile(r"socket\((AF_\w+)")
_WRITES_CODE = re.compile(
    r"^.*(?:mmap\(.*PROT_WRITE\|PROT_EXEC|mprotect\(.*PROT_EXEC|shmat\(.*SHM_EXEC).*$", re.MULTILINE
)


def analyze(*arguments: str) -> str:
    done = subprocess.run([str(needs_systemd()), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def values(key: str) -> list[str]:
    return [line.partition("=")[2] for line in UNIT.read_text().splitlines() if line.startswith(f"{key}=")]


@cache
def calls(group: str) -> frozenset[str]:
    """System calls of a group, and of those that it names."""
    lines = [line.strip() for line in analyze("syscall-filter", group).splitlines()[1:]]
    names = {line for line in lines if line and line[0] not in "#@"}
    return frozenset(names.union(*(calls(line) for line in lines if line.startswith("@"))))


def allowed() -> set[str]:
    """As systemd reads SystemCallFilter=, line by line."""
    found: set[str] = set()
    for value in values("SystemCallFilter"):
        named = set().union(*(calls(group) for group in value.removeprefix("~").split()))
        found = found - named if value.startswith("~") else found | named
    return found


def test_systemd_understands_it(tmp_path: Path) -> None:
    program = Path(sys.executable).with_name("listserv")
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text().replace("/opt/listserv/.venv/bin/listserv", str(program)))
    assert analyze("verify", "--man=no", str(copy)) == ""


def test_what_the_daemon_does_not_need_is_closed() -> None:
    analyze("security", "--offline=yes", f"--threshold={EXPOSURE}", str(UNIT))


async def test_what_the_daemon_does_is_open(folder: Path) -> None:
    record = folder / "calls"
    strace = (str(needs_strace()), "-f", "-o", str(record), "--signal=none", "-s", "0")
    filtered = allowed()
    async with World() as world, process("sqlite:///listserv.db", folder, world, arguments=strace) as there:
        # given all that a daemon does: begins, takes letters, renders one in a cell, delivers, reads anew, ends
        there.populate(WALKERS, 3, footer="Bye.")
        for text in ("Shall we walk?", "Shall we walk?\n" * 3000):
            assert (await loads.post(there, "m0@d0.example", WALKERS, text)).startswith("250")
        await world.wait_for(6)
        [daemon] = Path(f"/proc/{there.pid}/task/{there.pid}/children").read_text().split()
        os.kill(int(daemon), signal.SIGHUP)
        os.kill(int(daemon), signal.SIGTERM)
        assert there.child is not None
        assert await asyncio.wait_for(there.child.wait(), 40) == 0
    said = record.read_text()
    assert set(_CALL.findall(said)) - filtered <= OF_ROOT
    assert set(_FAMILY.findall(said)) <= set(values("RestrictAddressFamilies")[0].split())
    assert _WRITES_CODE.findall(said) == []
    assert there.tracebacks() == []
