"""What was promised and what was kept: letters with their 250s on one side, the sink's copies on the other."""

import asyncio
import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from listserv.access_log.journal import Journal
from tests.kit.house import mail
from tests.kit.process import ROOT, Process, process
from tests.kit.world import World

GROUP = "walkers@lists.example"
MEMBERS = 8
AUTHOR = "m1@d1.example"
LINES = 4  # [relay] connections
UNRECORDED = 16
BOUND = LINES + UNRECORDED  # copies that one crash may repeat (INTERFACE §4)


@dataclass
class Account:
    """Everything that went in and came out so far."""

    there: Process
    world: World
    taken: dict[str, str] = field(default_factory=dict)  # subject → Message-ID, of what got a 250
    sent: int = 0
    lost: set[str] = field(default_factory=set)
    twice: int = 0  # copies beyond the first
    most: int = 0  # of them, between two looks, for each crash
    broken: list[str] = field(default_factory=list)

    async def post(self, number: int) -> list[str]:
        """So many letters, over as many connections at once; those that got no 250, by subject."""
        subjects = [f"letter {self.sent + each}" for each in range(number)]
        self.sent += number
        answers = await asyncio.gather(*map(self.again, subjects))
        return [subject for subject, good in zip(subjects, answers, strict=True) if not good]

    async def insist(self, subjects: list[str], seconds: float = 60.0) -> None:
        """As their senders' queues do: until each has its 250."""
        async with asyncio.timeout(seconds):
            while subjects:
                subjects = [each for each in subjects if not await self.again(each)]
                if subjects:
                    await asyncio.sleep(0.1)

    async def again(self, subject: str) -> bool:
        """Whether this letter has its 250 now."""
        letter = mail(
            AUTHOR, GROUP, f"The text of {subject}", subject, **{"Message-ID": f"<{_id(subject)}@d1.example>"}
        )
        try:
            answer = await self.there.post(AUTHOR, GROUP, letter)
        except (OSError, AssertionError, TimeoutError):
            return False
        if answer.startswith("5"):
            self.broken.append(f"{subject}: {answer}")
        if not answer.startswith("250"):
            return False
        self.taken[subject] = f"<{_id(subject)}@d1.example>"
        return True

    async def settle(self, crashes: int, seconds: float = 60.0) -> None:
        """Wait until nothing is under way, then compare."""
        try:
            await self.there.until_done(seconds)
        except TimeoutError:
            self.broken.append(f"after {seconds:g} s something is still under way: {self.there.states()}")
        copies = self._copies()
        before, self.twice = self.twice, sum(number - 1 for number in copies.values())
        if crashes:
            self.most = max(self.most, -(-(self.twice - before) // crashes))
        for subject in self.taken:
            if any((subject, f"m{n}@d{n % 10}.example") not in copies for n in range(MEMBERS)):
                self.lost.add(subject)

    async def close(self, crashes: int) -> None:
        """The last look: also at the access log, and at the product's own accounts."""
        await self.settle(crashes)
        async with asyncio.timeout(20):
            while self._without_a_line():
                await asyncio.sleep(0.2)
                if not self.there.is_running:
                    break
        self.broken += [f"{subject}: its 250 has no line in the access log" for subject in self._without_a_line()]
        for name, account in self.status()["conservation"].items():
            if account["missing"]:
                self.broken.append(f"{name}: {account}")
        self.broken += [f"on the wire: {fault}" for fault in self.world.faults]

    def status(self) -> Any:
        return json.loads(self.shell("queue", "status", "--json"))

    def shell(self, *arguments: str) -> str:
        command = [sys.executable, "-m", "listserv", "--config", str(self.there.config), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout

    def _without_a_line(self) -> list[str]:
        log = Journal(self.there.folder / "log/access.log", retention_days=90)
        logged = {line["message_id"] for line in log.search(action="post.accepted")}
        return [subject for subject, id in self.taken.items() if id not in logged]

    def _copies(self) -> Counter[tuple[str, str]]:
        return Counter(
            (re.search(rb"\r\nSubject: (.*?)\r\n", content)[1].decode(), recipient)  # type: ignore[index]
            for recipient, contents in self.world.messages.items()
            for content in contents
        )


def _id(subject: str) -> str:
    return subject.replace(" ", "-")


@asynccontextmanager
async def account(url: str, folder: Path, **changes: Mapping[str, Any]) -> AsyncIterator[Account]:
    """A site that is not running yet, with its group and the world around it."""
    async with World() as world:
        relay = {"connections": LINES}
        options: dict[str, Any] = {"start": False, "relay": relay, **changes}
        async with process(url, folder, world, **options) as there:
            there.populate(GROUP, MEMBERS)
            yield Account(there, world)
