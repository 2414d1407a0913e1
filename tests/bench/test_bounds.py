"""What is promised of intake is compared in the best number of processes."""

from dataclasses import replace

from tests.bench import bounds, plan
from tests.bench.case import Case, Result, Scenario
from tests.bench.plan import Asked

OURS = Case(Scenario.INTAKE, members=1, posts=10, sessions=10)
POSTFIX = replace(OURS, program="postfix", style="hold", engine="")


def results(**rates: float) -> list[Result]:
    cases = {"one": OURS, "two": replace(OURS, processes=2), "postfix": POSTFIX}
    return [Result(cases[name], [{"posts_per_s": rate}]) for name, rate in rates.items()]


def measured(found: list[Result]) -> dict[str, float | None]:
    return {each.what: each.measured for each in bounds.bounds(found, 1.0) if each.what.startswith("intake")}


def test_the_best_of_ours_counts() -> None:
    said = "intake, 10 sessions, without authentication: posts/s ÷ Postfix on hold"
    assert measured(results(one=900, two=1800, postfix=1000))[said] == 1.8
    assert measured(results(one=900, two=500, postfix=1000))[said] == 0.9
    assert measured(results(postfix=1000))[said] is None


def test_intake_has_no_more_processes_than_sessions() -> None:
    asked = Asked(sessions=(1, 10), processes=(1, 2), engines=("sqlite",), authenticate=(False,))
    found = [(case.sessions, case.processes) for case in plan.cases(asked, Scenario.INTAKE)]
    assert found == [(1, 1), (10, 1), (10, 2)]
