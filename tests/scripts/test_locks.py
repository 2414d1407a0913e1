"""What an installation takes is pinned, by hash, and comes from wherever the machine's pip looks."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
WANTED = {
    "requirements.lock": [*PROJECT["project"]["dependencies"], *PROJECT["project"]["optional-dependencies"]["fast"]],
    "requirements-build.lock": [*PROJECT["dependency-groups"]["build"], *PROJECT["build-system"]["requires"]],
    "requirements-dev.lock": PROJECT["dependency-groups"]["dev"],
    "requirements-fuzz.lock": PROJECT["dependency-groups"]["fuzz"],
}
PIN = re.compile(
    r"^(?P<name>[a-z0-9-]+)==\S+(?: ; [^\\\n]+)? \\\n(?: +--hash=sha256:[0-9a-f]{64}(?: \\)?\n)+", re.MULTILINE
)


def pins(lock: str) -> dict[str, str]:
    return {match["name"]: match[0] for match in PIN.finditer((ROOT / lock).read_text())}


@pytest.mark.parametrize("lock", WANTED)
def test_a_lock_is_comments_and_pins_and_nothing_else(lock):
    rest = PIN.sub("", (ROOT / lock).read_text())
    assert [line for line in rest.splitlines() if not line.startswith("#")] == []


@pytest.mark.parametrize("lock", WANTED)
def test_whatever_pyproject_names_is_pinned(lock):
    named = {re.split(r"[\[<>=]", each)[0].lower() for each in WANTED[lock]}
    assert named <= pins(lock).keys()


def test_the_locks_agree():
    together: dict[str, str] = {}
    for lock in WANTED:
        for name, pin in pins(lock).items():
            assert together.setdefault(name, pin) == pin
