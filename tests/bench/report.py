"""Results as tables, for a terminal and for docs/benchmarks.md, and as JSON."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table as RichTable

from tests.bench import plot
from tests.bench.bounds import Bound, bounds
from tests.bench.case import Case, Outcome, Result, Scenario

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
WORDS = ("program", "divided by", "scenario", "promise", "")  # columns of them
BEGIN, END = "<!-- figures -->", "<!-- end of figures -->"
SIZES = {Scenario.INTAKE: "sessions"}
# Style of ours → what of the others does the same work.
EQUALS = {
    "personal": (("postfix", "single"), ("mailman3", "individual")),
    "verp": (("mlmmj", "own verp"),),
    "bulk": (("postfix", "by fifty"),),
}


@dataclass(frozen=True, slots=True)
class Table:
    title: str
    head: tuple[str, ...]
    rows: list[tuple[str, ...]]

    def markdown(self) -> str:
        lines = [
            f"### {self.title}",
            "",
            _line(self.head),
            _line(["---" if head in WORDS else "---:" for head in self.head]),
        ]
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


def ratios(results: Sequence[Result]) -> Table | None:
    """Ours divided by theirs, where the same work was done; None when no other program was measured."""
    rows = []
    for ours in results:
        for theirs in results:
            if ours.case.ours and _same_work(ours, theirs):
                rate = next((name for name in ("deliveries_per_s", "posts_per_s") if name in ours.figures), "")
                figures = [_divided(ours, theirs, name) for name in (rate, "cpu_per_1000_s")]
                place = (ours.case.scenario.value, f"{ours.case.size:,}")
                rows.append((*place, ours.case.name, f"{theirs.case.name} {theirs.case.size:,}", *figures))
    head = ("scenario", "size", "program", "divided by", "rate", "CPU")
    return Table("Ours, divided by the other programs'", head, rows) if rows else None


def _same_work(ours: Result, theirs: Result) -> bool:
    if theirs.case.ours or ours.case.scenario is not theirs.case.scenario:
        return False
    if ours.case.scenario is Scenario.INTAKE:
        return ours.case.size == theirs.case.size
    is_near = ours.case.size == theirs.case.size or theirs.case.program == "mailman3"
    return is_near and (theirs.case.program, theirs.case.style) in EQUALS[ours.case.style]


def _divided(ours: Result, theirs: Result, figure: str) -> str:
    one, other = ours.median(figure), theirs.median(figure)
    return f"{one / other:.3g}" if one and other else "–"


def kept(all_: Iterable[Bound]) -> Table:
    head = ("promise", "measured", "bound", "")
    return Table("What is promised", head, [bound.cells for bound in all_])


def everything(outcome: Outcome) -> list[Table]:
    found = tables(outcome.results, outcome.signature)
    compared = ratios(outcome.results)
    return [*found, *([compared] if compared else []), kept(bounds(outcome.results, outcome.signature))]


def circumstances(outcome: Outcome) -> list[str]:
    """On what, and against what."""
    machine, ceiling = outcome.machine, outcome.ceiling
    place = f"{machine['processors']} processors ({machine['model']}), {machine['memory_gb']:g} GB, {machine['system']}"
    rate, cost = f"{ceiling['messages_per_s']:,.0f}", f"{ceiling['sink_cpu_per_1000_s']:.3f}"
    return [
        f"{place}, Python {machine['python']}, {machine['date']}. CPU time from {machine['cpu_time_from']}.",
        f"Load average at the beginning and at the end: {machine['load_before']:.1f}, {machine['load_after']:.1f}.",
        f"1,000 RSA-2048 signatures: {outcome.signature:.3f} s of CPU.",
        f"Load and sink with nothing between them: {rate} messages/s, with {cost} s of the sink's CPU for 1,000.",
        *(f"Left out: {what}." for what in outcome.left_out),
    ]


def show(outcome: Outcome, console: Console) -> None:
    for line in circumstances(outcome):
        console.print(line, highlight=False, soft_wrap=True)
    for table in everything(outcome):
        rich = RichTable(title=table.title, title_justify="left")
        for head in table.head:
            rich.add_column(head, justify="left" if head in WORDS else "right", no_wrap=True)
        for row in table.rows:
            rich.add_row(*row)
        console.print(rich)
    for fault in outcome.faults:
        console.print(f"FAILED: {fault}", markup=False, soft_wrap=True)


def write(outcome: Outcome, page: Path) -> None:
    """Between the marks of the page, and the plot beside it."""
    before, _, rest = page.read_text("utf-8").partition(BEGIN)
    _, mark, after = rest.partition(END)
    if not mark:
        raise ValueError(f"{page} has no lines {BEGIN} and {END}")
    picture = page.with_suffix(".svg")
    picture.write_text(plot.svg(outcome.results, outcome.signature), "utf-8")
    lines = [f"Measured by `{outcome.command}`:", "", *(f"- {each}" for each in circumstances(outcome)), ""]
    lines += [f"![Processor time by size]({picture.name})", "", *(table.markdown() for table in everything(outcome))]
    page.write_text("\n".join([before + BEGIN, "", *lines, END + after.rstrip("\n")]) + "\n", "utf-8")


def document(outcome: Outcome) -> dict[str, Any]:
    """For JSON: each case with its medians and all its runs."""
    cases = [
        {"name": each.case.name, "median": {name: each.median(name) for name in each.figures}, **asdict(each)}
        for each in outcome.results
    ]
    promises = [bound.cells for bound in bounds(outcome.results, outcome.signature)]
    return {**asdict(outcome), "results": cases, "promises": promises}


def read(document: Mapping[str, Any]) -> Outcome:
    """What `document` made."""
    results = []
    for each in document["results"]:
        case = Case(**{**each["case"], "scenario": Scenario(each["case"]["scenario"])})
        results.append(Result(case, each["runs"], each["faults"]))
    names = ("command", "machine", "signatures", "ceiling", "left_out")
    return Outcome(results=results, **{name: document[name] for name in names})


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"
