"""A node's name is on the disk before anything is done in it: what waits in that name is found again."""

import re
import subprocess
import sys
from pathlib import Path

from listserv.node import node_name
from tests.kit.components import needs_strace
from tests.kit.process import ROOT

NAME = "from pathlib import Path; import sys; from listserv.node import node_name; node_name(Path(sys.argv[1]))"


def test_a_name_that_a_power_cut_has_emptied_is_given_anew_and_stays(tmp_path: Path) -> None:
    (tmp_path / "node").write_text("")
    given = node_name(tmp_path)
    assert given
    assert node_name(tmp_path) == given
    assert [path.name for path in tmp_path.iterdir()] == ["node"]


def test_the_name_is_synced_before_it_has_its_place_and_the_place_after(tmp_path: Path) -> None:
    seen = tmp_path / "calls"
    calls = [str(needs_strace()), "-f", "-y", "-o", str(seen), "-e", "trace=fsync,link,linkat"]
    folder = tmp_path / "data"
    folder.mkdir()
    subprocess.run([*calls, sys.executable, "-c", NAME, str(folder)], check=True, cwd=ROOT)
    assert re.findall(r"(fsync|link)(?:at)?\(", seen.read_text()) == ["fsync", "link", "fsync"]
