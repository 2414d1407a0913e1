"""The benchmark itself works: tiny sizes, one run, every scenario; and a run that went wrong is not a fast run."""

import json
from pathlib import Path

import pytest

from tests.bench import bench, crowd, report, truth
from tests.bench.case import Case, Scenario
from tests.bench.sink import Taken


@pytest.mark.timeout(300)
def test_it_measures_what_it_should(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, page = tmp_path / "figures.json", tmp_path / "page.md"
    page.write_text(f"before\n{report.BEGIN}\nof yesterday\n{report.END}\nbehind\n")
    scenarios = (Scenario.FANOUT, Scenario.INTAKE, Scenario.LATENCY)
    few = ["--members", "10", "--posts", "3", "--sessions", "2", "--runs", "1", "--styles", "personal"]
    usual = ["--signed", "yes", "--authenticate", "no", "--engines", "sqlite", "--processes", "1"]
    assert bench.main(["--scenarios", ",".join(scenarios), *few, *usual, "--json", str(file)]) == 0
    assert bench.main(["--read", str(file), "--write", str(page)]) == 0
    said = capsys.readouterr().out
    assert "FAILED" not in said
    measured = json.loads(file.read_text())
    assert {case["case"]["scenario"] for case in measured["results"]} == set(scenarios)
    written = page.read_text()
    assert [written.splitlines()[at] for at in (0, -1)] == ["before", "behind"]
    assert "of yesterday" not in written
    assert "| listserv personal sqlite |" in written
    assert "listserv personal sqlite</text>" in page.with_suffix(".svg").read_text()
    assert all(case["runs"] and not case["faults"] for case in measured["results"])


def test_a_copy_that_is_missing_or_comes_twice_is_a_fault() -> None:
    posts = crowd.posts(crowd.Crowd(2), crowd.GROUP, 1)
    ada, bob = crowd.Crowd(2).members
    one = Taken(1, "b@x", (ada,), posts[0].id, None)
    assert truth.exactly_once(posts, [ada, bob], [one, Taken(2, "c@x", (bob,), posts[0].id, None)]) == []
    faults = truth.exactly_once(posts, [ada, bob], [one, one, Taken(3, "d@x", ("eve@x",), posts[0].id, None)])
    assert [fault.partition(":")[0] for fault in faults] == ["missed", "twice or more", "not wanted"]


def test_a_signature_that_does_not_verify_is_a_fault() -> None:
    posts = crowd.posts(crowd.Crowd(1), crowd.GROUP, 1)
    unsigned = Taken(1, "b@x", ("ada@x",), posts[0].id, posts[0].content)
    assert "does not verify" in truth.as_promised(Case(Scenario.FANOUT), posts, [unsigned], "v=DKIM1; p=")[0]


def test_a_page_that_is_not_there_is_said_before_anything_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        bench.main(["--quick", "--write", "nowhere.md"])
    assert "there is no page nowhere.md" in capsys.readouterr().err
