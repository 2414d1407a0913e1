"""Midnight comes while mail comes in: each line of the access log stands once, in a file of its day (T40)."""

import asyncio
import gzip
import json
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.kit.house import Clock, house
from tests.kit.patience import PATIENCE

ADA = "ada@a.example"
WALKERS = "walkers@lists.example"
SENDERS, LETTERS, DAYS = 4, 5, 3  # letters of each sender on each day


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not true():
            await asyncio.sleep(0.01)


def near_midnight() -> Clock:
    """A second before the day is over."""
    now = datetime.now(UTC)
    return Clock(now.replace(hour=23, minute=59, second=59, microsecond=0) + timedelta(days=1) - now)


def lines(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(the day in the file's name, a post's line), compressed files too."""
    for path in (folder / "log").glob("access-*.log*"):
        text = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        for line in map(json.loads, text.splitlines()):
            if line["action"] == "post.accepted":
                yield path.name[len("access-") :][:10], line


async def test_days_change_while_posts_come_in_and_no_line_is_lost(url: str, folder: Path) -> None:
    async with house(url, folder, clock=near_midnight()) as here:
        # given senders who go on, one letter after the other
        here.group(WALKERS, [ADA])
        taken: list[str] = []

        async def send(sender: int) -> None:
            for number in range(LETTERS * DAYS):
                id = f"<{sender}.{number}@a.example>"
                assert (await here.post(ADA, WALKERS, f"text {id}", **{"Message-ID": id})).startswith("250")
                taken.append(id)

        sending = asyncio.gather(*map(send, range(SENDERS)))

        # when the day changes again and again, and the files of those before are compressed meanwhile
        for day in range(1, DAYS):
            await until(lambda day=day: len(taken) >= day * SENDERS * LETTERS)  # type: ignore[misc]
            here.clock.ahead += timedelta(days=1)
        await sending
        await here.later(hours=25)

        # then each 250 has its line once, in a file of its day
        found = list(lines(folder))
        assert Counter(line["message_id"] for _, line in found) == Counter(taken)
        assert all(day == line["time"][:10] for day, line in found)
        assert len({day for day, _ in found}) >= DAYS
        assert len(list((folder / "log").glob("*.log.gz"))) >= DAYS
        assert sorted(taken) == sorted(
            str(line["message_id"]) for line in here.log() if line["action"] == "post.accepted"
        )
