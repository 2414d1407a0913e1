"""The benchmark from the command line to the report: rounds of runs, interleaved, the median of each case."""

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table as RichTable

from listserv.mail import signature
from listserv.mail.signature import Signer
from tests.bench import crowd, measure, names, plan, report, truth, usage
from tests.bench.case import Case, Figures, Result, Scenario
from tests.bench.load import Message
from tests.bench.measure import Bench
from tests.bench.plan import Asked
from tests.bench.product import Product, accepts
from tests.bench.program import Failed, Program
from tests.bench.sink import Sink, Taken
from tests.kit.components import COMPONENTS

T = TypeVar("T")

SELECTOR = "k1"  # of the authors' key


@dataclass(slots=True)
class Outcome:
    """What came out of a whole benchmark."""

    results: list[Result]
    machine: dict[str, Any]
    signatures: list[float] = field(default_factory=list)  # one for each round
    ceiling: Figures = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)

    @property
    def signature(self) -> float:
        """Seconds of processor time for 1,000 signatures."""
        return sorted(self.signatures)[len(self.signatures) // 2]


def run(asked: Asked, console: Console) -> Outcome:
    """Everything that was asked for, in rounds: each case once in each."""
    asked, left_out = _possible(asked)
    outcome = Outcome([], _machine(), left_out=left_out)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="listserv-bench-")))
        folder.chmod(0o755)
        key = signature.load_key(signature.new_key())
        dns = stack.enter_context(names.serving(_records(signature.dns_record(key))))
        sink = Sink.start()
        stack.callback(sink.stop)
        bench = Bench(sink, Signer(key, crowd.AUTHORS, SELECTOR), folder)
        product = Product(folder, stack, dns)
        programs: dict[str, Program] = {"listserv": product}
        outcome.ceiling = measure.ceiling(sink)
        progress = stack.enter_context(_progress(console))
        for scenario in asked.scenarios:
            results = [Result(case) for case in plan.cases(asked, scenario)]
            outcome.results += results
            task = progress.add_task(scenario, total=asked.runs * len(results), what="")
            for _ in range(asked.runs):
                outcome.signatures.append(measure.signatures())
                for result in results:
                    progress.update(task, what=f"{result.case.size:,} {result.case.name}")
                    _once(bench, programs[result.case.program], product, result, progress.console)
                    progress.advance(task)
            progress.update(task, what="")
    outcome.machine["load_at_the_end"] = usage.load_average()
    return outcome


def _once(bench: Bench, program: Program, product: Product, result: Result, console: Console) -> None:
    def promised(case: Case, posts: Sequence[Message], taken: Sequence[Taken]) -> list[str]:
        if not case.ours:
            return []
        return truth.as_promised(case, posts, taken, product.prepare(case.engine, case.members).record)

    try:
        result.runs.append(bench.run(result.case, program, promised))
    except (Failed, OSError) as fault:
        result.faults.append(str(fault))
        console.print(f"[red]FAILED[/] {result.case.scenario} {result.case.size:,} {result.case.name}: ", end="")
        console.print(str(fault), markup=False)


def _possible(asked: Asked) -> tuple[Asked, list[str]]:
    """Without what is not there, and what that is."""
    left_out = []
    if "postgresql" in asked.engines and COMPONENTS["postgresql"].find() is None:
        asked = replace(asked, engines=tuple(each for each in asked.engines if each != "postgresql"))
        left_out.append("PostgreSQL is not installed")
    for processes in asked.processes:
        if not accepts(processes):
            asked = replace(asked, processes=tuple(each for each in asked.processes if each != processes))
            left_out.append(f"this version runs no {processes} delivery processes")
    return asked, left_out


def _records(key: str) -> dict[str, str]:
    """What the authors' domain publishes."""
    return {
        crowd.AUTHORS: "v=spf1 ip4:127.0.0.0/8 -all",
        f"_dmarc.{crowd.AUTHORS}": "v=DMARC1; p=reject",
        f"{SELECTOR}._domainkey.{crowd.AUTHORS}": key,
    }


def _machine() -> dict[str, Any]:
    account = usage.open_account("look")
    kind = account.kind
    account.close()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processors": os.cpu_count(),
        "model": _model(),
        "memory_gb": round(memory / 1e9, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "cpu_time_from": kind,
        "load_at_the_beginning": usage.load_average(),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
    }


def _model() -> str:
    lines = Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _progress(console: Console) -> Progress:
    columns = (
        TextColumn("{task.description:<10}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[what]}"),
    )
    return Progress(*columns, console=console, disable=not console.is_terminal)


def show(outcome: Outcome, console: Console) -> None:
    machine, ceiling = outcome.machine, outcome.ceiling
    console.print(
        f"{machine['processors']} processors ({machine['model']}), {machine['memory_gb']} GB, {machine['system']}, "
        f"Python {machine['python']}; CPU time from {machine['cpu_time_from']}; "
        f"load {machine['load_at_the_beginning']:.1f} → {machine['load_at_the_end']:.1f}",
    )
    console.print(
        f"1,000 RSA-2048 signatures: {outcome.signature:.3f} s of CPU.  Load and sink with nothing between them: "
        f"{ceiling['messages_per_s']:,.0f} messages/s; sink {ceiling['sink_cpu_per_1000_s']:.3f} s for 1,000."
    )
    for table in report.tables(outcome.results, outcome.signature):
        rich = RichTable(title=table.title, title_justify="left")
        for number, head in enumerate(table.head):
            rich.add_column(head, justify="left" if number == 1 else "right", no_wrap=True)
        for row in table.rows:
            rich.add_row(*row)
        console.print(rich)
    for what in outcome.left_out:
        console.print(f"Left out: {what}.")
    for result in outcome.results:
        for fault in result.faults:
            console.print(
                f"FAILED: {result.case.scenario} {result.case.size:,} {result.case.name}: {fault}", markup=False
            )


def document(outcome: Outcome, arguments: Sequence[str]) -> dict[str, Any]:
    return {
        "command": " ".join(["scripts/bench", *arguments]),
        "machine": outcome.machine,
        "signatures_per_1000_s": outcome.signature,
        "ceiling": outcome.ceiling,
        "left_out": outcome.left_out,
        "cases": report.document(outcome.results),
    }


def main(arguments: Sequence[str]) -> int:
    """0 when every run did what it should, 1 when not, 2 for what cannot be asked for."""
    options = _parser().parse_args(arguments)
    asked = _asked(options)
    outcome = run(asked, Console(stderr=True))
    width = None if sys.stdout.isatty() else 160
    show(outcome, Console(width=width))
    if options.json:
        options.json.write_text(json.dumps(document(outcome, arguments), indent=1) + "\n", "utf-8")
    return 1 if any(result.faults for result in outcome.results) else 0


def _asked(options: argparse.Namespace) -> Asked:
    base = plan.QUICK if options.quick else Asked()
    said = {name: value for name, value in vars(options).items() if value and name in Asked.__dataclass_fields__}
    return replace(base, **said)


def _several(kind: Callable[[str], T], known: Sequence[T] = ()) -> Callable[[str], tuple[T, ...]]:
    """Words with commas between them."""

    def read(text: str) -> tuple[T, ...]:
        found = tuple(kind(word) for word in text.split(","))
        if unknown := [each for each in found if known and each not in known]:
            raise argparse.ArgumentTypeError(f"{unknown[0]} is none of {', '.join(map(str, known))}")
        return found

    return read


def _flag(word: str) -> bool:
    return {"yes": True, "no": False}[word]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/bench", description="Measures listserv on this machine, on loopback."
    )
    parser.add_argument("--quick", action="store_true", help="a useful part, in about two minutes")
    parser.add_argument("--scenarios", type=_several(Scenario), help=", ".join(Scenario))
    parser.add_argument("--members", type=_several(int), help="sizes of the group in fanout")
    parser.add_argument("--styles", type=_several(str, plan.STYLES), help=", ".join(plan.STYLES))
    parser.add_argument("--signed", type=_several(_flag), help="yes, no")
    parser.add_argument("--engines", type=_several(str, plan.ENGINES), help=", ".join(plan.ENGINES))
    parser.add_argument("--processes", type=_several(int), help="delivery processes")
    parser.add_argument("--sessions", type=_several(int), help="sessions in intake")
    parser.add_argument("--authenticate", type=_several(_flag), help="yes, no: in intake")
    parser.add_argument("--peers", type=_several(str, tuple(plan.PEERS)), help=", ".join(plan.PEERS))
    parser.add_argument("--posts", type=int, help="of sustained, intake and latency, instead of their own number")
    parser.add_argument("--runs", type=int, help="of each case; the median counts (3)")
    parser.add_argument("--every", action="store_true", help="all combinations in fanout")
    parser.add_argument("--json", type=Path, metavar="FILE", help="all figures")
    return parser
