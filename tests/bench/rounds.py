"""All runs of a benchmark: round after round, so that whatever slows the machine for a while slows all of them."""

import os
import platform
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from listserv.mail import signature
from listserv.mail.signature import Signer
from tests.bench import crowd, mailman, measure, mlmmj, names, plan, postfix, truth, usage
from tests.bench.case import Case, Outcome, Result
from tests.bench.load import Message
from tests.bench.mailman import Mailman
from tests.bench.measure import Bench
from tests.bench.mlmmj import Mlmmj
from tests.bench.plan import Asked
from tests.bench.postfix import Postfix
from tests.bench.product import Product, accepts
from tests.bench.program import Failed, Program
from tests.bench.sink import Sink, Taken
from tests.kit.components import COMPONENTS

MISSING = {"postfix": postfix.missing, "mlmmj": mlmmj.missing, "mailman3": mailman.missing}
SELECTOR = "k1"  # of the authors' key


def run(asked: Asked, command: str, console: Console) -> Outcome:
    """Everything that was asked for, in rounds: each case once in each."""
    asked, left_out = _possible(asked)
    outcome = Outcome(command, _machine(), left_out=left_out)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="listserv-bench-")))
        folder.chmod(0o755)
        key = signature.load_key(signature.new_key())
        dns = stack.enter_context(names.serving(_records(signature.dns_record(key))))
        sink = Sink.start()
        stack.callback(sink.stop)
        bench = Bench(sink, Signer(key, crowd.AUTHORS, SELECTOR), folder)
        product = Product(folder, stack, dns)
        others = {"postfix": Postfix(), "mlmmj": Mlmmj(), "mailman3": Mailman(folder)}
        programs: dict[str, Program] = {"listserv": product, **others}
        outcome.ceiling = measure.ceiling(sink)
        progress = stack.enter_context(_progress(console))
        for scenario in asked.scenarios:
            results = [Result(case) for case in plan.cases(asked, scenario)]
            outcome.results += results
            task = progress.add_task(scenario, total=asked.runs * len(results), what="")
            for _ in range(asked.runs):
                for result in results:
                    progress.update(task, what=f"{result.case.size:,} {result.case.name}")
                    outcome.signatures.append(measure.signatures())
                    went_well = _once(bench, programs[result.case.program], product, result)
                    progress.advance(task)
                    _say(result, went_well, progress.console)
            progress.update(task, what="")
    outcome.machine["load_after"] = usage.load_average()
    return outcome


def _once(bench: Bench, program: Program, product: Product, result: Result) -> bool:
    """Whether it went well."""

    def promised(case: Case, posts: Sequence[Message], taken: Sequence[Taken]) -> list[str]:
        if not case.ours:
            return []
        return truth.as_promised(case, posts, taken, product.prepare(case.engine, case.members).record)

    try:
        result.runs.append(bench.run(result.case, program, promised))
    except (Failed, OSError) as fault:
        result.faults.append(str(fault))
        return False
    return True


def _say(result: Result, went_well: bool, console: Console) -> None:
    """A failure at once; without a terminal, which shows the progress, also what went well."""
    name = f"{result.case.scenario} {result.case.size:,} {result.case.name}"
    if not went_well:
        console.print(f"FAILED: {name}: {result.faults[-1]}", markup=False, soft_wrap=True)
    elif not console.is_terminal:
        console.print(f"{time.strftime('%H:%M:%S')} {name}", highlight=False, soft_wrap=True)


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
    for peer in asked.peers:
        if why := MISSING[peer]():
            asked = replace(asked, peers=tuple(each for each in asked.peers if each != peer))
            left_out.append(why)
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
        "load_before": usage.load_average(),
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
