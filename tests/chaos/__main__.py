"""Runs the kill matrix on both engines and prints what came of it; exit code 1 when a promise is broken."""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.chaos import kills
from tests.chaos.kills import Tally
from tests.chaos.ledger import BOUND
from tests.kit import postgres

PART = 50  # points on one database


async def matrix(engine: str, points: int, seed: int) -> Tally:
    """So many points on this engine, a new database every PART."""
    whole = Tally()
    with _server(engine) as new_url:
        for start in range(0, points, PART):
            with tempfile.TemporaryDirectory(prefix="listserv-chaos-") as folder:
                part = await kills.matrix(new_url(), Path(folder), min(PART, points - start), seed + start)
            whole.include(part)
            print(f"  {engine}: {whole.tried} points, {whole.lost} lost, {whole.twice} twice", flush=True)
    return whole


@contextmanager
def _server(engine: str) -> Iterator[Callable[[], str]]:
    """A function that makes a new database, and says where."""
    if engine == "sqlite":
        yield lambda: "sqlite:///listserv.db"
        return
    with postgres.running() as server:
        yield server.database


async def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/chaos")
    parser.add_argument("--points", type=int, default=300, help="kills on each engine")
    parser.add_argument("--engine", choices=("sqlite", "postgresql"), action="append", help="default: both")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    kept = True
    for engine in asked.engine or ("sqlite", "postgresql"):
        tally = await matrix(engine, asked.points, asked.seed)
        print(
            f"{engine:<12} {tally.tried} points, {tally.reached} reached, {tally.letters} letters; lost {tally.lost}; "
            f"twice {tally.twice}, at most {tally.most:g} for a crash (promised: {BOUND})"
        )
        print("\n".join(tally.broken[:50]))
        kept = kept and tally.kept
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
