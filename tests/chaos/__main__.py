"""Harms daemons of its own on both engines and prints what came of it.

Exit code 1 when a promise is broken; 2 when none is, but a section could not be tried on this machine.
"""

import argparse
import asyncio
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from tests.chaos import database, disk, floods, kills, power, relays, stops
from tests.chaos.ledger import BOUND, Tally
from tests.chaos.nursery import Nurse, nursing, ward
from tests.chaos.volume import NoVolumes
from tests.kit import postgres
from tests.kit.postgres import Postgres

ENGINES = ("sqlite", "postgresql")
PART = 100  # kills on one database
CUTS_OF_A_DISK = 10
STOPS_AT_ONCE = 6
CUTS, STOPS, HARMS, FAULTS, FULL = 0.04, 0.024, 0.1, 0.1, 0.02  # for each kill: 20, 12, 50, 50 and 10 for 500
WRONG = 2 * len(relays.WRONG) / 500  # each with and without pipelining for 500


@dataclass
class Bench:
    """Where one engine is tried."""

    engine: str
    nurse: Nurse
    server: Postgres | None
    points: int
    seed: int
    progress: Callable[[int], None]

    def url(self) -> str:
        return self.server.database() if self.server else "sqlite:///listserv.db"

    @asynccontextmanager
    async def folder(self) -> AsyncIterator[Path]:
        with tempfile.TemporaryDirectory(prefix="listserv-chaos-") as made:
            yield Path(made)

    def share(self, of_a_point: float) -> int:
        return max(1, round(self.points * of_a_point))


FLOODS = "floods"  # a section that measures time: it runs when the others are over, one engine after the other

KEPT, BROKEN, UNTRIED = 0, 1, 2  # exit codes

Try = Callable[[Bench], Awaitable[Tally]]


async def killed(bench: Bench, processes: int) -> Tally:
    whole = Tally()
    for start in range(0, bench.points, PART):
        points = min(PART, bench.points - start)
        async with bench.folder() as folder:
            part = kills.matrix(bench.nurse, bench.url(), folder, points, processes, bench.seed + start, bench.progress)
            whole.include(await part)
    return whole


async def stopped(bench: Bench) -> Tally:
    """Those that wait for their leases wait together."""
    whole = Tally()
    number = bench.share(STOPS)

    async def one(place: int) -> None:
        async with bench.folder() as folder:
            whom = stops.WHOM[place % len(stops.WHOM)]
            whole.include(await stops.one(bench.nurse, bench.url(), folder, whom, bench.seed + place))
        bench.progress(1)

    for start in range(0, number, STOPS_AT_ONCE):
        await asyncio.gather(*map(one, range(start, min(start + STOPS_AT_ONCE, number))))
    return whole


async def without_power(bench: Bench) -> Tally:
    whole = Tally()
    number = bench.share(CUTS)
    for start in range(0, number, CUTS_OF_A_DISK):
        points, processes = min(CUTS_OF_A_DISK, number - start), 1 + start // CUTS_OF_A_DISK % 2
        async with bench.folder() as folder:
            seed = bench.seed + start
            part = power.matrix(bench.nurse, bench.engine, folder, points, processes, seed, bench.progress)
            whole.include(await part)
    return whole


async def without_database(bench: Bench) -> Tally:
    whole = Tally()
    for processes in (1, 2) if bench.server else ():
        async with bench.folder() as folder:
            points = bench.share(HARMS / 2)
            assert bench.server
            part = database.matrix(bench.nurse, bench.server, folder, points, processes, bench.seed, bench.progress)
            whole.include(await part)
    return whole


async def with_errors(bench: Bench) -> Tally:
    async with bench.folder() as folder:
        points = bench.share(FAULTS)
        return await disk.faults(bench.nurse, bench.url(), folder, points, bench.server, bench.seed, bench.progress)


async def behind_a_bad_relay(bench: Bench) -> Tally:
    async with bench.folder() as folder:
        points = bench.share(WRONG)
        return await relays.matrix(bench.nurse, bench.url(), folder, points, bench.seed, bench.progress)


def on_a_small_disk(harm: disk.Harm, share: float) -> Try:
    async def tried(bench: Bench) -> Tally:
        async with bench.folder() as folder:
            points = bench.share(share)
            return await disk.matrix(bench.nurse, bench.engine, folder, points, harm, bench.seed, bench.progress)

    return tried


SECTIONS: dict[str, Sequence[tuple[str, Try]]] = {
    "kills": (
        ("kill -9, one process", lambda bench: killed(bench, 1)),
        ("kill -9, several processes", lambda bench: killed(bench, 2)),
    ),
    "stops": (("SIGSTOP beyond the lease", stopped),),
    "database": (("PostgreSQL cut off or killed", without_database),),
    "power": (("power cut", without_power),),
    "relay": (("relay that does it wrong", behind_a_bad_relay),),
    "disk": (
        ("write or fsync with an error", with_errors),
        ("disk full", on_a_small_disk(disk.full, FULL)),
        ("disk read-only", on_a_small_disk(disk.read_only, FULL / 5)),
        ("log folder gone", on_a_small_disk(disk.without_log_folder, FULL / 5)),
    ),
}


@dataclass(frozen=True, slots=True)
class Attempt:
    """One kind of harm to one engine, with a database server of its own."""

    engine: str
    title: str
    section: Try

    async def made(self, nurse: Nurse, asked: argparse.Namespace, screen: "Screen") -> int:
        """The exit code that it deserves."""
        began = time.monotonic()
        try:
            # In this thread: Alembic, which makes the tables, works in one at a time
            with postgres.running() if self.engine == "postgresql" else nullcontext() as server:
                progress = screen.counter(f"{self.engine}, {self.title}")
                tally = await self.section(Bench(self.engine, nurse, server, asked.points, asked.seed, progress))
        except NoVolumes as fault:
            screen.say(f"{self.engine:<11} {self.title:<28} not tried: {fault}")
            return UNTRIED
        except Exception:
            screen.say(f"{self.engine:<11} {self.title:<28} not finished:\n{traceback.format_exc()}")
            return BROKEN
        if tally.tried:
            screen.say(line(self.engine, self.title, tally, time.monotonic() - began))
        return KEPT if tally.kept else BROKEN


def worst(codes: Iterable[int]) -> int:
    """A promise that is broken weighs more than one that was not tried."""
    return min(filter(None, codes), default=KEPT)


async def flooded(engine: str, seconds: float, screen: "Screen") -> int:
    """The exit code: whether nobody suffered from what others did."""
    codes = [KEPT]
    with (
        postgres.running() if engine == "postgresql" else nullcontext() as server,
        tempfile.TemporaryDirectory(prefix="listserv-chaos-") as folder,
    ):
        url = server.database() if server else "sqlite:///listserv.db"
        async for result in floods.run(url, Path(folder), seconds):
            screen.say(floods.line(engine, result))
            codes.append(BROKEN if result.broken else KEPT)
    return worst(codes)


def line(engine: str, title: str, tally: Tally, seconds: float) -> str:
    row = (
        f"{engine:<11} {title:<28} {tally.tried:>6} {tally.reached:>8} {tally.letters:>8} {tally.lost:>5}"
        f" {tally.twice:>6} {tally.most:>5} {seconds:>7.0f}  {'' if tally.kept else 'BROKEN'}"
    ).rstrip()
    return "\n".join([row, *(f"    {said}" for said in tally.broken[:20])])


class Screen:
    """Results on standard output, and on a terminal how far everything is, on one line that comes and goes."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._is_terminal = sys.stderr.isatty()

    def counter(self, what: str) -> Callable[[int], None]:
        def count(more: int) -> None:
            self._counts[what] += more
            self._show()

        return count

    def say(self, text: str) -> None:
        self._clear()
        print(text, flush=True)
        self._counts.clear()

    def _show(self) -> None:
        if self._is_terminal:
            self._clear()
            print("  ".join(f"{what}: {number}" for what, number in self._counts.items()), end="", file=sys.stderr)
            sys.stderr.flush()

    def _clear(self) -> None:
        if self._is_terminal:
            print("\r\033[K", end="", file=sys.stderr, flush=True)


async def harmed(asked: argparse.Namespace, screen: Screen) -> int:
    """All sections but the floods, so many kinds side by side."""
    titles = [title for name in asked.section or SECTIONS if name != FLOODS for title in SECTIONS[name]]
    attempts = [Attempt(engine, *title) for title in titles for engine in asked.engine or ENGINES]
    if not attempts:
        return KEPT
    print(f"{'':<40} {'points':>6} {'reached':>8} {'letters':>8} {'lost':>5} {'twice':>6} {'most':>5} {'seconds':>7}")
    places = asyncio.Semaphore(asked.jobs)
    with ward() as channel:
        async with nursing(channel) as nurse:

            async def in_turn(attempt: Attempt) -> int:
                async with places:
                    return await attempt.made(nurse, asked, screen)

            codes = await asyncio.gather(*map(in_turn, attempts))
    print(f"most: copies sent twice for each death of a process; promised: {BOUND} for each process that delivers")
    return worst(codes)


async def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/chaos")
    sections = [*SECTIONS, FLOODS]
    parser.add_argument("section", nargs="*", choices=[[], *sections], help=f"{', '.join(sections)}; default: all")
    parser.add_argument("--points", type=int, default=500, help="reached of each kind on each engine; the rest follows")
    parser.add_argument("--seconds", type=float, default=5.0, help="that each flood is kept up")
    parser.add_argument("--engine", choices=ENGINES, action="append", help="default: both")
    parser.add_argument("--jobs", type=int, default=3, help="so many kinds side by side")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    screen = Screen()
    codes = [await harmed(asked, screen)]
    if not asked.section or FLOODS in asked.section:
        print(floods.HEAD)
        codes += [await flooded(engine, asked.seconds, screen) for engine in asked.engine or ENGINES]
        print(floods.LEGEND)
    return worst(codes)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
