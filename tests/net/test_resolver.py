"""The cached resolver, on real name servers: what it keeps, shares, gives up and comes back to."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from listserv.mail.lookups import Answer, Question, Silence
from listserv.net import resolver as module
from listserv.net.resolver import Resolver
from tests.kit.nameserver import Nameserver, nameserver
from tests.kit.patience import PATIENCE

A_TXT = Question("a.example", "TXT")
RECORDS = """
    a.example       TXT    "one " "string"
    a.example       TXT    "another"
    a.example       MX     20 mx2.a.example.
    a.example       MX     10 MX1.a.example.
    mx1.a.example   A      192.0.2.1
    mx1.a.example   AAAA   2001:db8::1
    alias.example   CNAME  a.example
    loop.example    CNAME  loop.example
    2.2.0.192.in-addr.arpa  PTR  Host.a.example.
"""


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def dns() -> Iterator[Nameserver]:
    with nameserver() as here:
        here.zone(RECORDS)
        yield here


@asynccontextmanager
async def resolving(*servers: Nameserver, timeout: float = 1.0, clock: Clock | None = None) -> AsyncIterator[Resolver]:
    made = Resolver([("127.0.0.1", each.port) for each in servers], timeout, *([clock] if clock else []))
    try:
        yield made
    finally:
        await made.close()


def asked(dns: Nameserver) -> list[str]:
    """The questions, without the probes that find out whether it lives."""
    return [question for question in dns.asked if question != " NS"]


async def ask(resolver: Resolver, name: str, kind: str = "TXT") -> Answer | Silence:
    await resolver.find([Question(name, kind)], 5.0)
    known = resolver.known(Question(name, kind))
    assert known is not None
    return known


async def test_what_the_records_say(dns: Nameserver) -> None:
    async with resolving(dns) as here:
        assert await ask(here, "a.example") == Answer((b"another", b"one string"))
        assert await ask(here, "a.example", "MX") == Answer(hosts=((10, "mx1.a.example"), (20, "mx2.a.example")))
        assert await ask(here, "mx1.a.example", "A") == Answer((b"192.0.2.1",))
        assert await ask(here, "mx1.a.example", "AAAA") == Answer((b"2001:db8::1",))
        assert await ask(here, "2.2.0.192.in-addr.arpa", "PTR") == Answer((b"host.a.example",))
        assert await ask(here, "alias.example") == Answer((b"another", b"one string"))
        assert await ask(here, "mx1.a.example") == Answer()
        assert await ask(here, "nowhere.example") == Answer(exists=False)
        assert isinstance(await ask(here, "loop.example"), Silence)
        assert await ask(here, ".".join(["x" * 60] * 5)) == Answer(exists=False)  # no name
        assert await ask(here, "a..example") == Answer(exists=False)


async def test_a_long_answer_comes_by_tcp(dns: Nameserver) -> None:
    dns.truncated = True
    async with resolving(dns) as here:
        assert await ask(here, "a.example") == Answer((b"another", b"one string"))
    assert dns.by_tcp == 1


async def test_what_is_no_answer_to_the_question_is_ignored(dns: Nameserver) -> None:
    dns.noisy = True
    async with resolving(dns) as here:
        assert await ask(here, "a.example") == Answer((b"another", b"one string"))
        dns.truncated = True
        assert await ask(here, "mx1.a.example", "A") == Answer((b"192.0.2.1",))
    assert dns.by_tcp == 1


async def test_a_question_is_asked_once_however_many_ask(dns: Nameserver) -> None:
    dns.delay = 0.1
    async with resolving(dns) as here:
        await asyncio.gather(*(here.find([A_TXT, Question("a.example", "MX")], 1.0) for _ in range(20)))
        await here.find([A_TXT], 1.0)
    assert sorted(asked(dns)) == ["a.example MX", "a.example TXT"]


async def test_answers_are_kept_for_their_ttl_within_bounds(dns: Nameserver) -> None:
    clock = Clock()
    async with resolving(dns, clock=clock) as here:
        for ttl, fresh in ((0, 5.0), (600, 600.0), (10**6, 3600.0)):
            dns.ttl = ttl
            await here.find([A_TXT], 1.0)
            clock.now += fresh - 1
            assert here.known(A_TXT)
            clock.now += 2
            assert here.known(A_TXT) is None
        # what is not there, no longer than a quarter of an hour
        await ask(here, "nowhere.example")
        clock.now += 901
        assert here.known(Question("nowhere.example", "TXT")) is None


async def test_what_was_known_outlives_a_failing_dns_for_its_ttl(dns: Nameserver) -> None:
    clock = Clock()
    dns.ttl = 20_000
    async with resolving(dns, clock=clock) as here:
        known = await ask(here, "a.example")
        dns.broken = True
        clock.now += 7_200  # long not fresh any more, and still valid
        assert await ask(here, "a.example") == known
        assert isinstance(await ask(here, "b.example"), Silence)
        clock.now += 20_000
        assert isinstance(await ask(here, "a.example"), Silence)


async def test_servfail_is_silence_and_is_asked_again_soon(dns: Nameserver) -> None:
    clock = Clock()
    dns.failing.add("a.example")
    async with resolving(dns, clock=clock) as here:
        assert await ask(here, "a.example") == Silence("the DNS says SERVFAIL")
        dns.failing.clear()
        clock.now += 31
        assert await ask(here, "a.example") == Answer((b"another", b"one string"))


async def test_the_next_server_is_asked_when_one_fails_or_is_silent(dns: Nameserver) -> None:
    with nameserver() as first:
        async with resolving(first, dns) as here:
            first.broken = True
            assert await ask(here, "a.example") == Answer((b"another", b"one string"))
            first.broken, first.silent = False, True
            assert await ask(here, "mx1.a.example", "A") == Answer((b"192.0.2.1",))
            # the one that was silent is asked last from now on
            first.asked.clear()
            assert await ask(here, "a.example", "MX") != Answer()
            assert asked(first) == []


async def test_a_dead_server_is_left_alone_for_a_minute(dns: Nameserver) -> None:
    clock = Clock()
    dns.silent = True
    async with resolving(dns, timeout=1.5, clock=clock) as here:
        real = asyncio.get_running_loop().time

        def tick() -> float:
            return clock.now + real()

        here._clock = tick
        began = real()
        assert isinstance(await ask(here, "a.example"), Silence)
        assert real() - began < PATIENCE
        # nobody waits for it now
        dns.asked.clear()
        for number in range(50):
            assert await ask(here, f"{number}.example") == Silence("no resolver answers")
        assert asked(dns) == []
        # after a minute it is tried again, and lives
        dns.silent = False
        clock.now += module.DEAD_FOR
        assert await ask(here, "mx1.a.example", "A") == Answer((b"192.0.2.1",))


async def test_of_several_dead_servers_nobody_is_waited_for_twice(dns: Nameserver) -> None:
    with nameserver() as other:
        dns.silent = other.silent = True
        async with resolving(dns, other, timeout=1.5) as here:
            assert isinstance(await ask(here, "a.example"), Silence)
            dns.asked.clear()
            assert await ask(here, "b.example") == Silence("no resolver answers")
            assert dns.asked == []


async def test_a_silent_domain_does_not_make_the_resolver_dead(dns: Nameserver) -> None:
    """Whoever owns a domain could else take the DNS away from all others for a minute."""
    dns.mute.add("evil.example")
    async with resolving(dns, timeout=1.5) as here:
        for number in range(4):
            assert isinstance(await ask(here, f"{number}.evil.example"), Silence)
        assert " NS" in dns.asked
        assert await ask(here, "a.example") == Answer((b"another", b"one string"))
        # nor is the same silence waited for again
        dns.asked.clear()
        assert isinstance(await ask(here, "0.evil.example"), Silence)
        assert asked(dns) == []


async def test_questions_about_a_silent_domain_do_not_take_all_places(
    dns: Nameserver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_AT_ONCE", 10)
    monkeypatch.setattr(module, "_AT_ONCE_BELOW", 5)
    dns.mute.add("evil.example")
    async with resolving(dns, timeout=2.0) as here:
        flood = asyncio.create_task(here.find([Question(f"{n}.evil.example", "TXT") for n in range(30)], 5.0))
        await asyncio.sleep(0)
        assert await ask(here, "a.example") == Answer((b"another", b"one string"))
        assert not flood.done()
        flood.cancel()
    assert here._crowds == {}


@pytest.mark.parametrize(("below", "silent"), [(8, "evil.example"), (100, "evil#.example")], ids=["of a domain", "all"])
async def test_places_that_a_crowd_waits_for_are_not_for_the_crowd_alone(
    dns: Nameserver, monkeypatch: pytest.MonkeyPatch, below: int, silent: str
) -> None:
    monkeypatch.setattr(module, "_AT_ONCE", 8)
    monkeypatch.setattr(module, "_AT_ONCE_BELOW", below)
    dns.mute |= {silent.replace("#", str(n)) for n in range(40)}
    dns.records["good.evil.example", "TXT"] = ['"here"']
    dns.mute -= {"evil.example"} if below == 8 else set()
    dns.mute |= {f"{n}.evil.example" for n in range(40)} if below == 8 else set()
    questions = [Question(f"{n}.{silent.replace('#', str(n))}", "TXT") for n in range(40)]
    async with resolving(dns, timeout=9.0) as here:
        flood = asyncio.create_task(here.find(questions, 0.5, "crowd"))
        await asyncio.sleep(0)
        began = asyncio.get_running_loop().time()
        assert await here.find([Question("good.evil.example", "TXT")], 9.0, "other")
        assert here.known(Question("good.evil.example", "TXT")) == Answer((b"here",))
        assert asyncio.get_running_loop().time() - began < 0.5
        assert await flood is False  # most of its questions have no place yet


async def test_what_nobody_was_asked_is_not_remembered_as_silence(
    dns: Nameserver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_AT_ONCE", 1)
    dns.mute.add("evil.example")
    async with resolving(dns, timeout=0.3) as here:
        silent = [Question(f"{n}.evil.example", "TXT") for n in range(5)]
        answered = await asyncio.gather(*(here.find([each], 5.0, "crowd") for each in [*silent, A_TXT]))
        assert (answered[0], answered[-1]) == (True, False)
        assert isinstance(here.known(silent[0]), Silence)
        assert here.known(A_TXT) is None
        assert here._placed == here._asking == {}


async def test_nobody_waits_longer_than_he_said(dns: Nameserver) -> None:
    dns.delay = 1.0
    loop = asyncio.get_running_loop()
    async with resolving(dns, timeout=9.0) as here:
        began = loop.time()
        await here.find([A_TXT], 0.1)
        assert loop.time() - began < 0.8
        assert here.known(A_TXT) is None
        await here.find([A_TXT], 9.0)  # what was under way went on
        assert here.known(A_TXT)
        assert asked(dns) == ["a.example TXT"]


async def test_the_cache_is_bounded(dns: Nameserver, monkeypatch: pytest.MonkeyPatch) -> None:
    async with resolving(dns) as here:
        monkeypatch.setattr(module, "MAX_ENTRIES", 3)
        for name in ("a.example", "b.example", "c.example", "d.example"):
            await ask(here, name)
        assert here.known(A_TXT) is None
        assert len(here._cache) == 3
        monkeypatch.setattr(module, "MAX_OCTETS", 700)
        await ask(here, "a.example")
        assert len(here._cache) < 3
        assert here._octets == sum(entry.octets for entry in here._cache.values()) <= 700


async def test_without_any_resolver_the_dns_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "system", list)
    here = Resolver([], 2.0)
    assert await ask(here, "a.example") == Silence("there is no resolver")
    await here.close()
