"""What holds for every test: no skip in CI, missing components named at the end, Hypothesis without deadlines."""

from collections import Counter
from collections.abc import Generator

import pytest
from hypothesis import HealthCheck, settings

from tests.kit import components

pytest_plugins = ["tests.kit.engines"]

# A shared machine is no stopwatch; what must be fast has a test of its own.
settings.register_profile("listserv", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("listserv"), derandomize=True)
settings.load_profile("ci" if components.in_ci() else "listserv")


def _no_skip_in_ci(report: pytest.TestReport | pytest.CollectReport) -> None:
    """A build machine must not be green because it tested nothing; expected failures stay what they are."""
    if report.skipped and components.in_ci() and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped in CI: {_reason(report)}"


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    """What a skipped test said: pytest keeps (file, line, “Skipped: …”)."""
    return str(report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    _no_skip_in_ci(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _no_skip_in_ci(report)
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reasons = [_reason(report) for key in ("skipped", "failed") for report in terminalreporter.stats.get(key, [])]
    counts = Counter(name for reason in reasons for name in components.lacking([reason]))
    if counts:
        terminalreporter.section("components that are not installed")
        for name, tests in sorted(counts.items()):
            terminalreporter.write_line(f"{name}: {tests} tests")
        terminalreporter.write_line(f"To run them too, as root: {components.INSTALL}")
