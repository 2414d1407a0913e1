"""Floods and bombs from every side, while an honest client measures what he notices of them.

Each flood is kept up for some seconds, by clients that come again whenever they are thrown out.  It is kept within
limits when nothing but the right answers came, the daemon's memory grew by less than `GROWTH`, nobody else's NOOP took
longer than `SLOWEST`, every honest post was taken within `SLOWEST_POST`, and our own code failed nowhere.
"""

import asyncio
import re
import socket
import ssl
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import trustme

from listserv.model.group import Role
from tests.chaos.attackers import (
    HOST,
    TARGETS,
    Attack,
    Caps,
    Target,
    bombing,
    broken_off,
    come_and_go,
    crowding,
    dripping,
    few_descriptors,
    handshakes,
    junk,
    lines,
    many_addresses,
    never_reading,
    one_address,
    post,
    pouring,
    silent,
    slow_but_steady,
    until_data,
)
from tests.chaos.witness import AUTHOR, GROUP, Seen, Witness, witness
from tests.endurance import loads
from tests.kit.nameserver import nameserver
from tests.kit.patience import PATIENCE
from tests.kit.process import Process, process
from tests.kit.world import World

GROWTH = 32.0  # MB
BY_TLS = 90.0  # MB for a thousand TLS sessions: OpenSSL takes 50 to 60 kB for each
SLOWEST, SLOWEST_POST = 0.1, 2.0  # seconds
LATE = 1.0  # seconds after its limit in which a connection has to be gone
DEFAULTS = Caps()
CLIENTS = 8  # of one flood, at the same time
MUTE = "mute.example"  # a domain whose DNS says nothing


@dataclass(frozen=True, slots=True)
class Flood:
    """`answers` are the codes that it may get, with blanks between; `cut`: the connection ended without a last word.

    clients   so many do it at the same time, again and again
    growth    MB by which memory may grow meanwhile
    """

    name: str
    attack: Attack
    answers: str
    clients: int = CLIENTS
    growth: float = GROWTH


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one flood; memory in MB."""

    flood: Flood
    answered: Counter[str]
    growth: float
    apart: float  # memory of the processes that read and render large messages
    seen: Seen
    faults: tuple[str, ...]  # what else is wrong
    late: str = ""  # whom it left alone for too long

    @property
    def broken(self) -> tuple[str, ...]:
        return self.wrong + self.slow

    @property
    def wrong(self) -> tuple[str, ...]:
        """What is wrong on a slow machine too."""
        found = list(self.faults)
        wrong = self.answered.keys() - set(self.flood.answers.split())
        found += [f"answered {self.answered[code]} times with {code or 'nothing'}" for code in sorted(wrong)]
        if self.growth >= self.flood.growth:
            found.append(f"memory grew by {self.growth:.0f} MB")
        if self.seen.answers:
            found.append(f"the honest client heard {dict(self.seen.answers)}")
        return tuple(found)

    @property
    def slow(self) -> tuple[str, ...]:
        found = [self.late] if self.late else []
        if self.seen.slowest >= SLOWEST:
            found.append(f"a NOOP took {1000 * self.seen.slowest:.0f} ms")
        if self.seen.posts and self.seen.posts[-1] >= SLOWEST_POST:
            found.append(f"an honest post took {self.seen.posts[-1]:.1f} s")
        return tuple(found)


# All of them.  Answers: 220, 250, 354 and 221 are the ordinary course of things.

_MAIL = f"EHLO x\r\nMAIL FROM:<{AUTHOR}>\r\n".encode()
_DATA = until_data(TARGETS)
_END = b".\r\nQUIT\r\n"
_ERRORS = "220 250 421 500 501 502 503 550 553 555"
_POSTED = "220 221 250 354"


def rcpt(address: str, times: int = 1) -> Callable[[int], bytes]:
    """Blocks of so many RCPT; `#` in the address becomes a number, each time another one."""

    def block(number: int) -> bytes:
        numbers = range(times * number, times * number + times)
        return "".join(f"RCPT TO:<{address.replace('#', f'{each:026}')}>\r\n" for each in numbers).encode()

    return block


def _posting(author: str, lines: int = 3) -> Attack:
    return pouring(b"EHLO x\r\n", lambda _: post(author, lines), 50, b"QUIT\r\n")


SLOW = (  # T5, T6
    Flood("silent after connecting", silent(b""), "220 cut", 50),
    Flood("silent in DATA", silent(_DATA), "220 250 354 cut", 50),
    Flood("a command, octet by octet", dripping(b"NOOP "), "220 cut", 50),
    Flood("DATA, octet by octet", dripping(_DATA), "220 250 354 cut", 50),
    Flood("TLS, and silence", silent(b"EHLO x\r\nSTARTTLS\r\n"), "220 250 cut", 50),
    Flood("who never reads", never_reading, "cut", 20),
    Flood("a crowd that never reads", crowding(b"EHLO x\r\n" * 99, b"NOOP\r\n" * 5000), "cut left-alone", 1),
    Flood("a crowd with junk", crowding(b"EHLO x\r\n", b"BLAH\r\n" * 5000), "cut left-alone", 1),
    Flood("a crowd that uploads", crowding(_DATA, loads.LINE * 840), "cut left-alone", 1),
    Flood(
        "a crowd behind TLS", crowding(b"EHLO x\r\n", b"NOOP\r\n" * 5000, secretly=True), "cut left-alone", 1, BY_TLS
    ),
    Flood("a crowd that uploads by TLS", crowding(_DATA, loads.LINE * 840, secretly=True), "cut left-alone", 1, BY_TLS),
    Flood("slow but steady uploads", slow_but_steady, _POSTED, 20),
)
CROWDS = (  # T7
    Flood("connections from one address", one_address, "220 421", 1),
    Flood("connections from many addresses", many_addresses, "220 421", 4),
    Flood("connections that come and go", come_and_go, ""),
    Flood("connections, few descriptors", few_descriptors, "220 421", 1),
)
SIZES = (  # T8
    Flood("a command without an end", pouring(b"", lines(b"x" * 65_536)), "220 cut"),
    Flood("lines of one octet", pouring(b"", lines(b"x\r\n" * 20_000)), _ERRORS),
    Flood("empty lines", pouring(b"", lines(b"\r\n" * 30_000)), _ERRORS),
    Flood("DATA, a line without an end", pouring(_DATA, lines(b"x" * 65_536), 400, b"\r\n" + _END), _POSTED + " 552"),
    Flood("DATA, lines of one octet", pouring(_DATA, lines(b"x\r\n" * 20_000), 250, _END), _POSTED + " 552"),
    Flood("DATA, header fields", pouring(_DATA, lines(b"X: y\r\n" * 10_000), 10, b"\r\n" + _END), _POSTED + " 552"),
    Flood("uploads that are broken off", broken_off, ""),
)
COMMANDS = (  # T8, T9, T10
    Flood("RCPT, the same", pouring(_MAIL, rcpt(GROUP, 500)), "220 250 421 452"),
    Flood("RCPT, others", pouring(_MAIL, rcpt("bounces#@lists.example", 500)), _ERRORS, 50),
    Flood("RCPT, forged return paths", pouring(_MAIL, rcpt("walkers-bounces+#@lists.example")), _ERRORS, 20),
    Flood("RCPT, guessed confirmations", pouring(_MAIL, rcpt("walkers-confirm+#@lists.example")), _ERRORS + " 450", 20),
    Flood("RCPT, long addresses", pouring(_MAIL, rcpt('"' + "\\\\" * 900 + '"@lists.example', 50)), _ERRORS),
    Flood("NOOP", pouring(b"", lines(b"NOOP\r\n" * 5000)), "220 250 421"),
    Flood("EHLO", pouring(b"", lines(b"EHLO x\r\n" * 5000)), "220 250 421"),
    Flood("MAIL and RSET", pouring(b"EHLO x\r\n", lines(b"MAIL FROM:<>\r\nRSET\r\n" * 5000)), "220 250 421"),
    Flood("unknown commands", pouring(b"", lines(b"BLAH x\r\n" * 5000)), _ERRORS),
    Flood("AUTH", pouring(b"EHLO x\r\n", lines(b"AUTH PLAIN AGEAYg==\r\n" * 2000)), _ERRORS),
    Flood("a browser", pouring(b"", lines(b"POST / HTTP/1.1\r\nHost: x\r\n\r\nEHLO x\r\n")), "220 500"),
    Flood("junk", pouring(b"", junk), _ERRORS, 20),
    Flood("TLS handshakes", handshakes, "TLS"),
    Flood("TLS, and junk", pouring(b"EHLO x\r\nSTARTTLS\r\n", junk), _ERRORS),
)
MESSAGES = (  # T24, T25
    Flood("posts", _posting(AUTHOR), _POSTED),
    Flood("posts of strangers", _posting("eve@e.example"), _POSTED + " 550"),
    Flood("posts whose DNS is silent", _posting(f"eve@{MUTE}"), _POSTED + " 550", 100),
    Flood("large ones whose DNS is silent", _posting(f"eve@{MUTE}", 2500), _POSTED + " 550", 100),
    Flood("bombs", bombing(loads.bombs), "250 550 552"),
    Flood("bombs as large as may be", bombing(loads.giants), "250"),
)
FLOODS = SLOW + CROWDS + SIZES + COMMANDS + MESSAGES


def together(*floods: Flood, clients: int) -> Flood:
    """All of them at the same time, each by so many clients."""

    async def attack(target: Target) -> None:
        await asyncio.gather(*(_again(each.attack, target) for each in floods for _ in range(clients)))

    name = ", ".join(each.name for each in floods)
    return Flood(name, attack, " ".join(each.answers for each in floods), 1)


# The ground


@dataclass
class Ground:
    """A daemon under fire, with its witness."""

    there: Process
    world: World
    port: int
    tls: ssl.SSLContext
    witness: Witness
    caps: Caps

    async def under(self, flood: Flood, seconds: float) -> Result:
        there = self.there
        there.forget_peak()
        before, since, tracebacks = there.resident(), time.monotonic(), len(there.tracebacks())
        target = Target(there, self.port, self.tls, self.caps, asyncio.get_running_loop().time() + seconds)
        await asyncio.gather(*(_again(flood.attack, target) for _ in range(flood.clients)))
        apart = sum(map(_peak, _children(there.pid)))
        faults = await self._settled(flood)
        faults += [f"{line[:200]}" for line in there.tracebacks()[tracebacks:]]
        last = max(target.late, default=0.0)
        late = f"a silent connection was there for {last:.1f} s" if last > self.caps.idle + LATE else ""
        growth = there.resident() - before
        self.world.messages.clear()
        self.world.envelopes.clear()
        return Result(flood, target.answered, growth, apart, await self.witness.saw(since), tuple(faults), late)

    async def _settled(self, flood: Flood) -> list[str]:
        """When what it left behind is done: what is wrong then."""
        try:
            await self.there.until_done(PATIENCE)
        except TimeoutError:
            return ["what it left behind is still not done"]
        return [] if self.there.is_running else ["the daemon has ended"]


async def _again(attack: Attack, target: Target) -> None:
    """Until the time is over, each time anew."""
    while target.on:
        try:
            await attack(target)
        except (OSError, asyncio.IncompleteReadError) as fault:
            target.answered[type(fault).__name__] += 1
            await asyncio.sleep(0.1)


def _children(pid: int) -> list[int]:
    """Whichever thread has made them."""
    return [int(child) for file in Path(f"/proc/{pid}/task").glob("*/children") for child in file.read_text().split()]


def _peak(pid: int) -> float:
    """MB; 0 when it has just ended."""
    with suppress(OSError):
        found = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
        return int(found[1]) / 1024 if found else 0.0
    return 0.0


@asynccontextmanager
async def ground(url: str, folder: Path, caps: Caps) -> AsyncIterator[Ground]:
    """A daemon with two groups, and a witness."""
    port = _free_port()
    authority = trustme.CA()
    certificate = authority.issue_cert("lists.example")
    (folder / "cert.pem").write_bytes(b"".join(each.bytes() for each in certificate.cert_chain_pems))
    (folder / "key.pem").write_bytes(certificate.private_key_pem.bytes())
    (folder / "key.pem").chmod(0o600)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    with nameserver() as dns:
        dns.mute.add(MUTE)
        smtp = {
            "listen": [f"{HOST}:{port}", f"unix:{folder}/smtp"], "authenticate": True,
            "idle_timeout_seconds": caps.idle, "max_connections": caps.connections,
            "max_connections_per_address": caps.per_address,
            "tls_cert": str(folder / "cert.pem"), "tls_key": str(folder / "key.pem"),
        }  # fmt: skip
        async with World() as world, process(url, folder, world, smtp=smtp, dns={"servers": [dns.setting]}) as there:
            for group in (GROUP, TARGETS):
                there.populate(group, names={AUTHOR: Role.MEMBER, "bob@b.example": Role.MEMBER}, footer="Since 1920")
            async with witness(HOST, port, there.pid, folder) as beside:
                yield Ground(there, world, port, trusting, beside, caps)


def _large() -> Iterator[loads.Bomb]:
    """What wakes the processes that read and render large messages."""
    yield loads.Bomb("a large one", (loads.HEAD, b"\r\n", loads.LINE * 5_000), ("250",))


def _free_port() -> int:
    with socket.create_server((HOST, 0)) as here:
        port: int = here.getsockname()[1]
        return port


async def run(
    url: str, folder: Path, seconds: float, floods: Sequence[Flood] = FLOODS, caps: Caps = DEFAULTS
) -> AsyncIterator[Result]:
    """Each flood for so many seconds, all on one daemon."""
    async with ground(url, folder, caps) as here:
        for _ in range(3):  # what it needs for its work, it has before anything is measured
            await loads.wrong_answers(here.there, _large())
        await here.there.until_done()
        for flood in floods:
            yield await here.under(flood, seconds)


HEAD = (
    f"{'':<11} {'flood':<34} {'growth':>7} {'apart':>7} {'NOOP p99':>9} {'slowest':>8} {'on clock':>8} {'loop':>6}"
    f" {'post':>6}  answered"
)
LEGEND = f"""\
growth     MB of memory of the daemon; promised: {GROWTH:g}.  apart: of the processes that read and render what is large
NOOP       ms that it took another client, without its waits for a processor; promised: {1000 * SLOWEST:g} at most
on clock   the slowest with that waiting; loop: the most of a processor that the daemon used before it answered one
post       ms that the slowest post of that other client took; promised: {1000 * SLOWEST_POST:g} at most"""


def line(engine: str, result: Result) -> str:
    """One row of the table; times in milliseconds."""
    seen = result.seen
    answered = " ".join(f"{code}:{number}" for code, number in sorted(result.answered.items()))
    row = (
        f"{engine:<11} {result.flood.name:<34} {result.growth:>7.1f} {result.apart:>7.1f} {1000 * seen.p99:>9.1f}"
        f" {1000 * seen.slowest:>8.1f} {1000 * seen.on_the_clock:>8.1f} {1000 * max(seen.used, default=0):>6.1f}"
        f" {1000 * max(seen.posts, default=0):>6.0f}  {answered}"
    )
    return "\n".join([row, *(f"{'':<12}BROKEN: {fault}" for fault in result.broken)])
