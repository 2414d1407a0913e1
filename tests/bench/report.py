"""Results as tables, for a terminal and for docs/benchmarks.md, and as JSON."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tests.bench.case import Result, Scenario

# Figure → its column's head and how many decimals it has.
COLUMNS = {
    "deliveries_per_s": ("copies/s", 0),
    "posts_per_s": ("posts/s", 0),
    "wall_s": ("wall s", 2),
    "first_s": ("first copy s", 3),
    "p50_ms": ("p50 ms", 1),
    "p99_ms": ("p99 ms", 1),
    "first_p50_ms": ("first p50 ms", 1),
    "first_p99_ms": ("first p99 ms", 1),
    "last_p50_ms": ("10th p50 ms", 1),
    "last_p99_ms": ("10th p99 ms", 1),
    "cpu_per_1000_s": ("CPU s/1,000", 3),
    "database_cpu_per_1000_s": ("database", 3),
    "rss_mb": ("RSS MB", 0),
    "rss_sum_mb": ("of all", 0),
}
TITLES = {
    Scenario.FANOUT: "One post of 4 KB to all members",
    Scenario.BIG: "One post of 1 MB to 1,000 members",
    Scenario.SUSTAINED: "100 posts to 100 members, over 4 sessions",
    Scenario.INTAKE: "Posts accepted: a 250 means that they are on the disk",
    Scenario.LATENCY: "From the end of DATA to the first and the last of 10 copies, idle daemon",
    Scenario.FAR: "A relay that answers 5 ms late, 1,000 copies",
}
SIZES = {Scenario.INTAKE: "sessions"}


@dataclass(frozen=True, slots=True)
class Table:
    title: str
    head: tuple[str, ...]
    rows: list[tuple[str, ...]]

    def markdown(self) -> str:
        lines = [f"### {self.title}", "", _line(self.head), _line(["---", *["---:"] * (len(self.head) - 1)])]
        return "\n".join([*lines, *map(_line, self.rows)]) + "\n"


def tables(results: Sequence[Result], signature: float) -> list[Table]:
    """One for each scenario that was measured.  `signature`: seconds of processor time for 1,000 of them."""
    found = []
    for scenario in Scenario:
        mine = [each for each in results if each.case.scenario is scenario]
        if mine:
            found.append(_table(scenario, mine, signature))
    return found


def _table(scenario: Scenario, results: Sequence[Result], signature: float) -> Table:
    figures = [name for name in COLUMNS if any(name in each.figures for each in results)]
    signs = scenario in (Scenario.FANOUT, Scenario.SUSTAINED)
    head = [SIZES.get(scenario, "members"), "program", *(COLUMNS[name][0] for name in figures)]
    head += ["÷ signatures"] if signs else []
    rows = []
    for each in sorted(results, key=lambda each: each.case.size):
        row = [f"{each.case.size:,}", each.case.name, *(_number(each, name) for name in figures)]
        cost = each.median("cpu_per_1000_s")
        row += [f"{cost / signature:.2f}" if cost else "–"] if signs else []
        rows.append(tuple(row))
    return Table(TITLES[scenario], tuple(head), rows)


def _number(result: Result, figure: str) -> str:
    if not result.runs:
        return "FAILED"
    value = result.median(figure)
    return "–" if value is None else f"{value:,.{COLUMNS[figure][1]}f}"


def document(results: Iterable[Result]) -> list[dict[str, Any]]:
    """For JSON: each case with the medians and all runs."""
    found = []
    for each in results:
        medians = {name: each.median(name) for name in each.figures}
        found.append(
            {"name": each.case.name, **asdict(each.case), "median": medians, "runs": each.runs, "faults": each.faults}
        )
    return found


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"
