"""One run of one case: a fresh program, its warm-up, the work, the figures, and whether the work was done right."""

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key

from listserv.mail.signature import Signer
from tests.bench import crowd, load, truth, usage
from tests.bench.case import Case, Figures, Scenario
from tests.bench.crowd import GROUP, WARM, Crowd
from tests.bench.load import Message, Sent
from tests.bench.program import Failed, Program, Running
from tests.bench.sink import Sink, Taken

SAMPLES = 25  # copies that are looked at in each run
STALLED = 60.0  # seconds without a copy
FAR = 0.005  # seconds that a far relay takes for each reply
PAUSE = 0.05  # seconds between two posts to an idle daemon

Promised = Callable[[Case, Sequence[Message], Sequence[Taken]], list[str]]


@dataclass(frozen=True, slots=True)
class Bench:
    """What all runs share.  `promised` says what is wrong with copies, beyond their number."""

    sink: Sink
    signer: Signer  # of the authors' domain
    folder: Path

    def run(self, case: Case, program: Program, promised: Promised) -> Figures:
        """Raises Failed."""
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="run-", dir=self.folder)))
            folder.chmod(0o755)
            running = stack.enter_context(program.running(case, folder, self.sink.port))
            self._warm(running)
            match case.scenario:
                case Scenario.INTAKE:
                    figures, posts, taken = self._intake(case, running)
                case Scenario.LATENCY:
                    figures, posts, taken = self._latency(case, running)
                case _:
                    figures, posts, taken = self._delivery(case, running)
            faults = truth.exactly_once(posts, Crowd(case.members).members, taken) or promised(case, posts, taken)
            if faults:
                raise Failed("; ".join(faults))
            return figures

    def _warm(self, running: Running) -> None:
        self.sink.reset(quick=running.slow_start)
        _all_taken(load.send(running.door, crowd.posts(Crowd(1), WARM, 1)))
        self._wait(1)
        usage.rest(running.account)

    def _delivery(self, case: Case, running: Running) -> tuple[Figures, list[Message], list[Taken]]:
        people = Crowd(case.members)
        size = crowd.BIG if case.scenario is Scenario.BIG else crowd.SMALL
        posts = crowd.posts(people, GROUP, case.posts, size)
        copies = case.posts * case.members
        self._reset(case, running, copies)
        before = _Spent.now(running)
        with usage.Memory(running.account) as memory:
            sent = _all_taken(load.send(running.door, posts, case.sessions))
            self._wait(copies)
            usage.rest(running.account)
        spent = _Spent.now(running).since(before)
        taken = self.sink.harvest()
        began = min(each.began for each in sent)
        wall = (taken[-1].at - began) / 1e9
        figures = {
            "wall_s": wall,
            "first_s": (taken[0].at - began) / 1e9,
            "deliveries_per_s": copies / wall,
            "cpu_per_1000_s": spent.program * 1000 / copies,
            "transactions": float(len(taken)),
            "rss_mb": memory.most,
            "rss_sum_mb": memory.sum,
        }
        return figures | spent.of_the_database(copies), posts, taken

    def _intake(self, case: Case, running: Running) -> tuple[Figures, list[Message], list[Taken]]:
        """What is accepted is held, and let go afterwards to be counted."""
        posts = crowd.posts(Crowd(1), GROUP, case.posts, signer=self.signer)
        running.hold()
        self._reset(case, running, case.posts)
        usage.rest(running.account)
        before = _Spent.now(running)
        with usage.Memory(running.account) as memory:
            sent = _all_taken(load.send(running.door, posts, case.sessions))
            spent = _Spent.now(running).since(before)
        running.release()
        self._wait(case.posts)
        wall = (max(each.answered for each in sent) - min(each.began for each in sent)) / 1e9
        waited = [each.seconds * 1000 for each in sent]
        figures = {
            "posts_per_s": case.posts / wall,
            "p50_ms": statistics.median(waited),
            "p99_ms": _percentile(waited, 99),
            "cpu_per_1000_s": spent.program * 1000 / case.posts,
            "rss_mb": memory.most,
            "rss_sum_mb": memory.sum,
        }
        return figures | spent.of_the_database(case.posts), posts, self.sink.harvest()

    def _latency(self, case: Case, running: Running) -> tuple[Figures, list[Message], list[Taken]]:
        posts = crowd.posts(Crowd(case.members), GROUP, case.posts)
        self._reset(case, running, case.posts * case.members)
        sent: list[Sent] = []
        for number, post in enumerate(posts, 1):
            sent += _all_taken(load.send(running.door, [post]))
            self._wait(number * case.members)
            time.sleep(PAUSE)
        taken = self.sink.harvest()
        arrived: dict[str, list[int]] = {}
        for each in taken:
            arrived.setdefault(each.message_id, []).append(each.at)
        first = [(arrived[each.message.id][0] - each.ended) / 1e6 for each in sent]
        last = [(arrived[each.message.id][-1] - each.ended) / 1e6 for each in sent]
        figures = {
            "first_p50_ms": statistics.median(first),
            "first_p99_ms": _percentile(first, 99),
            "last_p50_ms": statistics.median(last),
            "last_p99_ms": _percentile(last, 99),
        }
        return figures, posts, taken

    def _reset(self, case: Case, running: Running, copies: int) -> None:
        delay = FAR if case.scenario is Scenario.FAR else 0.0
        self.sink.reset(sample=max(1, copies // SAMPLES), delay=delay, quick=running.slow_start)

    def _wait(self, copies: int) -> None:
        """Until so many copies are there, or until no more of them come."""
        seen, since = 0, time.monotonic()
        while (count := self.sink.count()) < copies:
            if count > seen:
                seen, since = count, time.monotonic()
            if time.monotonic() - since > STALLED:
                raise Failed(f"{copies - count} of {copies} copies missing after {STALLED:g} s without any")
            time.sleep(0.01)


@dataclass(frozen=True, slots=True)
class _Spent:
    """Seconds of processor time."""

    program: float
    database: float | None

    @classmethod
    def now(cls, running: Running) -> "_Spent":
        return cls(running.account.seconds(), running.database.seconds() if running.database else None)

    def since(self, before: "_Spent") -> "_Spent":
        database = None if self.database is None or before.database is None else self.database - before.database
        return _Spent(self.program - before.program, database)

    def of_the_database(self, copies: int) -> Figures:
        return {} if self.database is None else {"database_cpu_per_1000_s": self.database * 1000 / copies}


def signatures() -> float:
    """Seconds of processor time for 1,000 RSA-2048 signatures by `cryptography`, in this process, now."""
    key = generate_private_key(public_exponent=65537, key_size=2048)
    began = time.process_time()
    for number in range(1000):
        key.sign(b"%d" % number, PKCS1v15(), hashes.SHA256())
    return time.process_time() - began


def ceiling(sink: Sink) -> Figures:
    """What our own load and sink can do, with nothing between them: messages a second over 10 connections."""
    posts = crowd.posts(Crowd(1), GROUP, 5000)
    sink.reset()
    before, began = sink.cpu_seconds(), time.monotonic()
    load.send(load.Door(sink.port), posts, 10)
    return {
        "messages_per_s": len(posts) / (time.monotonic() - began),
        "sink_cpu_per_1000_s": (sink.cpu_seconds() - before) * 1000 / len(posts),
    }


def _all_taken(sent: Sequence[Sent]) -> Sequence[Sent]:
    refused = [each.reply for each in sent if not each.taken]
    if refused:
        raise Failed(f"{len(refused)} of {len(sent)} posts were not taken, as: {refused[0]}")
    return sent


def _percentile(values: Sequence[float], percent: int) -> float:
    return sorted(values)[min(len(values) - 1, len(values) * percent // 100)]
