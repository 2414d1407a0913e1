"""A skip is seen: named at the end with the line that installs what is missing, and a failure on a build machine."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kit.components import COMPONENTS, Component, lacking

ROOT = Path(__file__).parents[2]
SUITE = """
from tests.kit import components

components.COMPONENTS["gramophone"] = components.Component("gramophone", "gramophone", "no-such-program")

def test_music():
    components.require("gramophone")

def test_silence():
    pass
"""


def run(folder: Path, ci: str) -> subprocess.CompletedProcess[str]:
    (folder / "test_suite.py").write_text(SUITE)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "tests.conftest", "test_suite.py"]
    environ = {**os.environ, "CI": ci, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize(("ci", "code", "outcome"), [("", 0, "1 passed, 1 skipped"), ("true", 1, "1 failed, 1 passed")])
def test_what_is_missing_is_named_with_the_line_that_installs_it(tmp_path, ci, code, outcome):
    done = run(tmp_path, ci)
    assert (done.returncode, outcome in done.stdout) == (code, True), done.stdout
    assert "gramophone: 1 tests" in done.stdout
    assert "scripts/test --install" in done.stdout


def test_the_newest_of_several_versions_is_taken(tmp_path):
    for version in ("9", "15", "13"):
        program = tmp_path / version / "bin/initdb"
        program.parent.mkdir(parents=True)
        program.touch()
    found = Component("postgresql", "postgresql", "initdb", (f"{tmp_path}/*/bin",)).find()
    assert found == tmp_path / "15/bin/initdb"


def test_only_our_own_reasons_name_a_component():
    assert lacking(["Skipped: needs swaks, which is not installed", "Skipped: needs time"]) == ["swaks"]
    assert all(lacking([f"needs {name}, which is not installed"]) == [name] for name in COMPONENTS)
