"""What is not Python but takes part in the stories: found, or the test is skipped for one uniform reason.

A test (or a fixture) asks `needs_postfix()` and gets the path of the program.  What is missing is named once, at the
end of the run, with the line that installs it; with CI=true a skip is a failure (see `tests/conftest.py`).
Run as a program, this prints the Debian packages that are missing: `scripts/test --install` installs them.
"""

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

INSTALL = "scripts/test --install"


@dataclass(frozen=True, slots=True)
class Component:
    """A program, the Debian package that brings it, and where Debian puts it when that is not on PATH."""

    name: str
    package: str
    program: str
    places: tuple[str, ...] = ()

    def find(self) -> Path | None:
        """The program; the newest version, where several live side by side."""
        for place in self.places:
            if found := sorted(Path("/").glob(f"{place}/{self.program}".lstrip("/")), key=_version):
                return found[-1]
        on_path = shutil.which(self.program)
        return Path(on_path) if on_path else None


def _version(path: Path) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", str(path))]


COMPONENTS = {
    component.name: component
    for component in (
        Component("postgresql", "postgresql", "initdb", ("/usr/lib/postgresql/*/bin",)),
        Component("postfix", "postfix", "postfix", ("/usr/sbin",)),
        Component("swaks", "swaks", "swaks"),
        Component("strace", "strace", "strace"),
        Component("systemd", "systemd", "systemd-analyze"),
        Component("chromium", "chromium", "chromium", ("/usr/bin",)),
    )
}

_REASON = re.compile(r"needs (\w+), which is not installed")


def require(name: str) -> Path:
    """The program of a component; the running test is skipped where there is none."""
    found = COMPONENTS[name].find()
    if found is None:
        pytest.skip(f"needs {name}, which is not installed")
    return found


def needs_postgresql() -> Path:
    """PostgreSQL's initdb; pg_ctl and psql are beside it."""
    return require("postgresql")


def needs_postfix() -> Path:
    return require("postfix")


def needs_swaks() -> Path:
    return require("swaks")


def needs_strace() -> Path:
    return require("strace")


def needs_systemd() -> Path:
    """systemd-analyze; no systemd has to run."""
    return require("systemd")


def needs_chromium() -> Path:
    return require("chromium")


def lacking(reasons: list[str]) -> list[str]:
    """The components that these reasons for a skip name."""
    return sorted({match[1] for reason in reasons if (match := _REASON.search(reason))})


def in_ci() -> bool:
    return os.environ.get("CI") == "true"


if __name__ == "__main__":
    print(*(component.package for component in COMPONENTS.values() if component.find() is None))
