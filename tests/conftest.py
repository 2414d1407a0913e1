"""What holds for every test: no skip in CI, failures shown when they happen, missing components named at the end,
Hypothesis without deadlines."""

import faulthandler
import os
from collections import Counter
from collections.abc import Generator

import pytest
from _pytest.faulthandler import fault_handler_stderr_fd_key
from hypothesis import HealthCheck, settings

from tests.kit import components

pytest_plugins = ["tests.kit.engines"]

DEAF, TIDY = 700.0, 120.0  # seconds for a whole test, and for what tidies up behind it

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


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """A test that does not hear its timeout, or tidies up for ever, ends its whole process, and others go on."""
    _end_after(DEAF, item)
    try:
        return (yield)
    finally:
        faulthandler.cancel_dump_traceback_later()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> None:
    _end_after(TIDY, item)


def _end_after(seconds: float, item: pytest.Item) -> None:
    faulthandler.dump_traceback_later(seconds, exit=True, file=item.config.stash[fault_handler_stderr_fd_key])


@pytest.hookimpl(trylast=True)
def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """A run that is cut off has said what it knew."""
    if report.failed and components.in_ci() and "PYTEST_XDIST_WORKER" not in os.environ:
        print(f"\n{report.nodeid} failed in its {report.when} phase\n{report.longreprtext}\n", flush=True)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reasons = [_reason(report) for key in ("skipped", "failed") for report in terminalreporter.stats.get(key, [])]
    counts = Counter(name for reason in reasons for name in components.lacking([reason]))
    if counts:
        terminalreporter.section("components that are not installed")
        for name, tests in sorted(counts.items()):
            terminalreporter.write_line(f"{name}: {tests} tests")
        terminalreporter.write_line(f"To run them too, as root: {components.INSTALL}")
