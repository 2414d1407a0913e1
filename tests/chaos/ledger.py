"""What was promised and what was kept: letters with their 250s on one side, the sink's copies on the other."""

import asyncio
import json
import re
from bisect import bisect_right
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from listserv.access_log.journal import Journal
from tests.chaos.nursery import Nurse, Quick
from tests.kit.house import mail
from tests.kit.process import process
from tests.kit.world import World

GROUP = "walkers@lists.example"
MEMBERS = 8
AUTHOR = "m1@d1.example"
LINES = 4  # [relay] connections
UNRECORDED = 16
BOUND = LINES + UNRECORDED  # copies that the end of a daemon of one process may repeat (INTERFACE §4)
PATIENT = 300.0  # seconds, also on a machine that does other things: how fast it goes is not what is tried
AT_ONCE = 0.25  # seconds between two tries of a sender who insists

_SUBJECT = re.compile(rb"\r\nSubject: (.*?)\r\n")

Copy = tuple[str, str]  # subject, recipient


@dataclass(frozen=True, slots=True)
class Life:
    """What the daemon had sent when it came to harm, and how many copies that may repeat."""

    sent: int
    deaths: int
    bound: int


@dataclass
class Tally:
    """What came of so many tries."""

    tried: int = 0
    reached: int = 0
    letters: int = 0
    lost: int = 0
    twice: int = 0
    most: int = 0  # copies that one life repeated, for each death in it
    broken: tuple[str, ...] = ()

    def include(self, other: "Tally") -> None:
        for name in ("tried", "reached", "letters", "lost", "twice"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.most = max(self.most, other.most)
        self.broken += other.broken

    @property
    def kept(self) -> bool:
        return not self.lost and not self.broken


@dataclass
class Account:
    """Everything that went in and came out so far."""

    there: Quick
    world: World
    data: Path  # `data_dir`
    members: int = MEMBERS
    taken: dict[str, str] = field(default_factory=dict)  # subject → Message-ID, of what got a 250
    waiting: list[str] = field(default_factory=list)  # subjects of letters that have no 250 yet
    lives: list[Life] = field(default_factory=list)
    sent: int = 0
    broken: list[str] = field(default_factory=list)
    unlogged: set[str] = field(default_factory=set)  # subjects whose lines somebody has removed
    refused: set[Copy] = field(default_factory=set)  # by a next hop, for good
    refusals: Counter[str] = field(default_factory=Counter)  # answers that were no 250, by code

    # Letters

    async def post(self, number: int) -> None:
        """So many letters, over as many connections at once, and those that wait."""
        subjects = self.waiting + [f"letter {self.sent + each}" for each in range(number)]
        self.sent += number
        answers = await asyncio.gather(*map(self.again, subjects))
        self.waiting = [subject for subject, good in zip(subjects, answers, strict=True) if not good]

    async def insist(self, seconds: float = PATIENT) -> None:
        """As their senders' queues do: until each has its 250."""
        try:
            async with asyncio.timeout(seconds):
                while self.waiting:
                    await self.post(0)
                    await asyncio.sleep(AT_ONCE if self.waiting else 0)
        except TimeoutError:
            self.broken.append(f"after {seconds:g} s {len(self.waiting)} letters have no 250: {dict(self.refusals)}")
            self.waiting = []

    async def again(self, subject: str) -> bool:
        """Whether this letter has its 250 now."""
        letter = mail(AUTHOR, GROUP, f"The text of {subject}", subject, **{"Message-ID": _id(subject)})
        try:
            async with asyncio.timeout(60):
                answer = await self.there.post(AUTHOR, GROUP, letter)
        except (OSError, AssertionError, TimeoutError, EOFError) as fault:
            self.refusals[type(fault).__name__] += 1
            return False
        if answer.startswith("5"):
            self.broken.append(f"{subject}: {answer}")
        if not answer.startswith("250"):
            self.refusals[answer[:9]] += 1
            return False
        self.taken[subject] = _id(subject)
        return True

    # Lives

    async def ended(self, deaths: int, bound: int) -> None:
        """The daemon has come to harm, so often; whatever it had sent is here."""
        await asyncio.wait_for(self.world.deserted(), PATIENT)
        self.harmed(deaths, bound)

    def harmed(self, deaths: int, bound: int) -> None:
        """The same while it lives on."""
        self.lives.append(Life(len(self.world.envelopes), deaths, bound))

    # Looks

    async def settle(self, seconds: float = PATIENT) -> None:
        """Wait until every letter has its 250, and nothing is under way."""
        await self.insist(seconds)
        try:
            await self.there.until_done(seconds)
        except TimeoutError:
            said = self.there.stderr.read_text().splitlines()[-3:]
            self.broken.append(f"after {seconds:g} s something is still under way: {self.there.states()} {said}")

    async def look(self) -> None:
        """At everything: the access log and the product's own accounts too.  The daemon runs."""
        await self.settle()
        try:
            async with asyncio.timeout(PATIENT):
                while self._without_a_line():
                    await asyncio.sleep(0.2)
        except TimeoutError:
            self.broken += [f"{subject}: its 250 has no line in the access log" for subject in self._without_a_line()]
        self.broken += [f"{id}: {n} lines in the access log" for id, n in self._logged().items() if n > 1]
        for name, account in (await self.status())["conservation"].items():
            if account["missing"]:
                self.broken.append(f"{name}: {account}")
        self.broken += [f"on the wire: {fault}" for fault in self.world.faults]

    def tally(self, tried: int, reached: int) -> Tally:
        """What came of it, when everything has settled."""
        copies = self._copies()
        to = [f"m{number}@d{number % 10}.example" for number in range(self.members)]
        there = copies.keys() | self.refused
        lost = {subject for subject in self.taken if any((subject, recipient) not in there for recipient in to)}
        twice = sum(number - 1 for number in copies.values())
        most, broken = self._repeated()
        broken += [f"{copy} is here, and was refused" for copy in sorted(copies.keys() & self.refused)]
        faults = [*self.broken, *broken, *(f"{subject}: it got a 250 and is lost" for subject in sorted(lost))]
        return Tally(tried, reached, len(self.taken), len(lost), twice, most, tuple(dict.fromkeys(faults)))

    async def status(self) -> Any:
        return json.loads(await self.there.shell("queue", "status", "--json"))

    def _repeated(self) -> tuple[int, list[str]]:
        """The most copies that a life repeated for each of its deaths, and what is above a bound.

        A copy that comes again is charged to the life in which it was sent before.
        """
        ends = [life.sent for life in self.lives]
        last: dict[Copy, int] = {}
        charged: Counter[int] = Counter()
        for place, received in enumerate(self.world.envelopes):
            for recipient in received.rcpt_to:
                copy = (_subject(received.content), recipient)
                if copy in last:
                    charged[bisect_right(ends, last[copy])] += 1
                last[copy] = place
        most, broken = 0, []
        for number, twice in sorted(charged.items()):
            if number == len(self.lives):
                broken.append(f"{twice} copies went twice in a life that nobody harmed")
                continue
            life = self.lives[number]
            most = max(most, -(-twice // life.deaths))
            if twice > life.bound:
                broken.append(f"life {number}: {twice} copies went twice, {life.bound} are promised")
        return most, broken

    def _without_a_line(self) -> list[str]:
        logged = self._logged()
        return [subject for subject, id in self.taken.items() if id not in logged and subject not in self.unlogged]

    def _logged(self) -> Counter[str]:
        log = Journal(self.data / "log/access.log", retention_days=90)
        return Counter(str(line["message_id"]) for line in log.search(action="post.accepted"))

    def _copies(self) -> Counter[Copy]:
        received = self.world.envelopes
        return Counter((_subject(each.content), recipient) for each in received for recipient in each.rcpt_to)


def _subject(content: bytes) -> str:
    found = _SUBJECT.search(content)
    assert found
    return found[1].decode()


def _id(subject: str) -> str:
    return f"<{subject.replace(' ', '-')}@d1.example>"


@asynccontextmanager
async def account(
    nurse: Nurse, url: str, folder: Path, data: Path | None = None, members: int = MEMBERS, **changes: Mapping[str, Any]
) -> AsyncIterator[Account]:
    """A site that is not running yet, with its group and the world around it; `data` is where its files are."""
    options: dict[str, Any] = {"relay": {"connections": LINES}, **changes}
    if data is not None:
        options["site"] = {"data_dir": str(data), **options.get("site", {})}
        url = url.replace("sqlite:///listserv.db", f"sqlite:///{data}/listserv.db")
    async with World() as world, process(url, folder, world, start=False, **options) as there:
        there.populate(GROUP, members)
        quick = Quick(there.folder, there.url, there.config, nurse=nurse)
        try:
            yield Account(quick, world, data or folder, members)
        finally:
            for client in quick.clients:
                client.close()
            if quick.child and quick.is_running:
                quick.child.kill()
                await quick.child.wait()


async def until(true: Callable[[], bool], seconds: float = 60.0) -> bool:
    """Whether it came true in time."""
    try:
        async with asyncio.timeout(seconds):
            while not true():
                await asyncio.sleep(0.02)
    except TimeoutError:
        return False
    return True
