"""The command line of the benchmark."""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from rich.console import Console

from tests.bench import plan, report, rounds
from tests.bench.case import Scenario
from tests.bench.plan import Asked

T = TypeVar("T")


def main(arguments: Sequence[str]) -> int:
    """0 when every run did what it should, 1 when not, 2 for what cannot be asked for."""
    options = _parser().parse_args(arguments)
    if options.read:
        outcome = report.read(json.loads(options.read.read_text("utf-8")))
    else:
        outcome = rounds.run(_asked(options), _command(arguments), Console(stderr=True))
    report.show(outcome, Console(width=None if sys.stdout.isatty() else 160))
    if options.json:
        options.json.write_text(json.dumps(report.document(outcome), indent=1) + "\n", "utf-8")
    if options.write:
        report.write(outcome, options.write)
    return 1 if outcome.faults else 0


def _command(arguments: Sequence[str]) -> str:
    """As it was typed, without where its figures go."""
    words = [word for at, word in enumerate(arguments) if not {word, arguments[max(at - 1, 0)]} & {"--json", "--write"}]
    return " ".join(["scripts/bench", *words])


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


def _page(text: str) -> Path:
    """One that has a place for figures: who measures for an hour does not want to hear then that there is none."""
    if not Path(text).is_file():
        raise argparse.ArgumentTypeError(
            f"there is no page {text}: copy docs/benchmarks.md, whose figures are replaced"
        )
    return Path(text)


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
    parser.add_argument("--processes", type=_several(int), help="delivery processes, in intake receiving ones")
    parser.add_argument("--sessions", type=_several(int), help="sessions in intake")
    parser.add_argument("--authenticate", type=_several(_flag), help="yes, no: in intake")
    parser.add_argument("--peers", type=_several(str, tuple(plan.PEERS)), help=", ".join(plan.PEERS))
    parser.add_argument("--posts", type=int, help="of sustained, intake and latency, instead of their own number")
    parser.add_argument("--runs", type=int, help="of each case; the median counts (3)")
    parser.add_argument("--every", action="store_true", help="all combinations in fanout")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures of all runs")
    parser.add_argument(
        "--write", type=_page, metavar="FILE", help="put tables and plot into a page: docs/benchmarks.md"
    )
    parser.add_argument("--read", type=Path, metavar="FILE", help="measure nothing: what --json has written")
    return parser
