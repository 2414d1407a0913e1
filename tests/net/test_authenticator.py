"""Who is this?  Single messages on a real name server: what proves, what refutes, what stays open, and for how long."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from listserv.mail import message
from listserv.model.envelope import DmarcPolicy, Envelope, Evidence, Proof
from listserv.net import authenticator as module
from listserv.net import resolver
from tests.kit.house import key_record, signed
from tests.kit.nameserver import Nameserver, nameserver
from tests.kit.rounds import Rounds
from tests.net.checking import checks, letter, result
from tests.net.test_resolver import Clock

PROVEN, UNKNOWN, REFUTED = Proof.PROVEN, Proof.UNKNOWN, Proof.REFUTED
ELSEWHERE = "127.0.0.2"
RECORDS = """
    a.example         TXT  "v=spf1 ip4:127.0.0.1 -all"
    _dmarc.a.example  TXT  "v=DMARC1; p=reject; np=reject"
    s.example         TXT  "v=spf1 ip4:127.0.0.1 -all"
    _dmarc.s.example  TXT  "v=DMARC1; p=quarantine; aspf=s; adkim=s"
    spf.example       TXT  "v=spf1 ip4:127.0.0.1 ~all"
    evil.example      TXT  "v=spf1 +all"
    mail.a.example    TXT  "v=spf1 ip4:127.0.0.1 -all"
    mail.s.example    TXT  "v=spf1 ip4:127.0.0.1 -all"
    plain.example     A    192.0.2.1
    two.example       TXT  "v=spf1 ip4:127.0.0.1 -all"
    two.example       TXT  "v=spf1 -all"
"""


@pytest.fixture
def dns() -> Iterator[Nameserver]:
    with nameserver() as here:
        here.zone(RECORDS)
        for domain in ("a.example", "s.example", "mail.a.example", "mail.s.example", "evil.example", "plain.example"):
            here.records[(f"s1._domainkey.{domain}", "TXT")] = [key_record()]
        yield here


def by(author: str, signer: str = "") -> bytes:
    return signed(letter(author), signer) if signer else letter(author)


@pytest.mark.parametrize(
    ("content", "mail_from", "ip", "proof", "dmarc_policy"),
    [
        # SPF, also for loopback clients, is what the record says
        (by("ada@a.example"), "ada@a.example", "127.0.0.1", PROVEN, DmarcPolicy.REJECT),
        (by("ada@a.example"), "ada@a.example", ELSEWHERE, REFUTED, DmarcPolicy.REJECT),
        (by("ada@a.example"), "bounce@mail.a.example", "127.0.0.1", PROVEN, DmarcPolicy.REJECT),
        (by("ada@x.a.example"), "ada@a.example", "127.0.0.1", PROVEN, DmarcPolicy.REJECT),
        (by("ada@spf.example"), "ada@spf.example", "127.0.0.1", PROVEN, DmarcPolicy.NONE),
        (by("ada@spf.example"), "ada@spf.example", ELSEWHERE, REFUTED, DmarcPolicy.NONE),
        (by("ada@spf.example"), "ada@evil.example", ELSEWHERE, REFUTED, DmarcPolicy.NONE),
        # somebody else's domain vouches for itself only
        (by("ada@a.example"), "eve@evil.example", "127.0.0.1", REFUTED, DmarcPolicy.REJECT),
        (by("ada@a.example", "evil.example"), "eve@evil.example", "127.0.0.1", REFUTED, DmarcPolicy.REJECT),
        # DKIM, from anywhere
        (by("ada@a.example", "a.example"), "eve@evil.example", ELSEWHERE, PROVEN, DmarcPolicy.REJECT),
        (by("ada@a.example", "mail.a.example"), "", ELSEWHERE, PROVEN, DmarcPolicy.REJECT),
        # strict: the same domain
        (by("ada@s.example"), "ada@mail.s.example", "127.0.0.1", REFUTED, DmarcPolicy.QUARANTINE),
        (by("ada@s.example", "mail.s.example"), "", ELSEWHERE, REFUTED, DmarcPolicy.QUARANTINE),
        (by("ada@s.example", "s.example"), "", ELSEWHERE, PROVEN, DmarcPolicy.QUARANTINE),
        # a domain that publishes nothing
        (by("ada@plain.example"), "ada@plain.example", "127.0.0.1", UNKNOWN, DmarcPolicy.NONE),
        (by("ada@plain.example", "plain.example"), "", ELSEWHERE, PROVEN, DmarcPolicy.NONE),
        (by("ada@plain.example", "evil.example"), "eve@evil.example", ELSEWHERE, UNKNOWN, DmarcPolicy.NONE),
        # non-existent below a domain with np
        (by("ada@nowhere.a.example"), "ada@nowhere.a.example", "127.0.0.1", REFUTED, DmarcPolicy.REJECT),
        # two SPF records: a permerror, and no excuse
        (by("ada@two.example"), "ada@two.example", "127.0.0.1", REFUTED, DmarcPolicy.NONE),
        # From names nobody in particular, or no domain
        (by("ada@a.example, bob@a.example"), "ada@a.example", "127.0.0.1", UNKNOWN, DmarcPolicy.UNKNOWN),
        (by("ada@[127.0.0.1]"), "ada@a.example", "127.0.0.1", UNKNOWN, DmarcPolicy.NONE),
    ],
)
async def test_proof_and_wish(
    dns: Nameserver, content: bytes, mail_from: str, ip: str, proof: Proof, dmarc_policy: DmarcPolicy
) -> None:
    async with checks(dns) as here:
        evidence = await here.say(content, mail_from, ip=ip)
        assert (evidence.proof, evidence.dmarc_policy) == (proof, dmarc_policy), evidence
        assert evidence.results.startswith("lists.example; spf=")


async def test_the_null_sender_is_judged_by_its_helo(dns: Nameserver) -> None:
    async with checks(dns) as here:
        evidence = await here.say(letter(), "", helo="mail.a.example")
        assert evidence.proof is PROVEN
        assert "spf=pass smtp.helo=mail.a.example" in evidence.results
        evidence = await here.say(letter(), "", helo="mail.a.example", ip=ELSEWHERE)
        assert "spf=fail smtp.helo=mail.a.example" in evidence.results
        evidence = await here.say(letter(), "", helo="[127.0.0.1]")
        assert evidence.results.startswith("lists.example; spf=none; dkim=none")


async def test_ipv6_clients_and_their_zones(dns: Nameserver) -> None:
    dns.zone('six.example TXT "v=spf1 ip6:::1 ip6:fe80::/10 -all"')
    async with checks(dns) as here:
        for ip in ("::1", "fe80::1%eth0"):
            assert (await here.say(letter("ada@six.example"), ip=ip)).proof is PROVEN
        assert (await here.say(letter(), ip="::ffff:127.0.0.1")).proof is PROVEN


@pytest.mark.parametrize(
    ("silent", "content", "mail_from", "proof"),
    [
        # his own key, his own SPF record: nobody can say
        ("s1._domainkey.a.example", by("ada@a.example", "a.example"), "eve@evil.example", UNKNOWN),
        ("a.example", by("ada@a.example"), "ada@a.example", UNKNOWN),
        # but what is proven is proven, and what does not pass anyway is refuted
        ("s1._domainkey.a.example", by("ada@a.example", "a.example"), "ada@mail.a.example", PROVEN),
        ("_dmarc.a.example", by("ada@a.example"), "ada@a.example", PROVEN),
        ("_dmarc.a.example", by("ada@a.example"), "eve@evil.example", REFUTED),
        # whether the bounce domain belongs to the author's organization cannot be said
        ("_dmarc.a.example", by("ada@a.example"), "ada@mail.a.example", UNKNOWN),
        # a stranger's silence is his own affair
        ("evil.example", by("ada@a.example", "evil.example"), "eve@evil.example", REFUTED),
        # no policy is known
        ("_dmarc.plain.example", by("ada@plain.example"), "ada@plain.example", UNKNOWN),
    ],
)
async def test_what_the_dns_leaves_open_is_open(
    dns: Nameserver, silent: str, content: bytes, mail_from: str, proof: Proof
) -> None:
    dns.failing.add(silent)
    if silent == "a.example":  # the records below it are there
        dns.failing.clear()
        dns.failing_kinds["a.example"] = {"TXT"}
    async with checks(dns) as here:
        evidence = await here.say(content, mail_from)
        assert evidence.proof is proof, evidence


async def test_a_client_whose_names_cannot_be_looked_up_gains_nothing(dns: Nameserver) -> None:
    """RFC 7208 §5.5: an error at `ptr` is no match; else the owner of the address could make a refusal a doubt."""
    dns.zone('_dmarc.p.example TXT "v=DMARC1; p=reject"\np.example TXT "v=spf1 ptr -all"')
    dns.failing.add("127.in-addr.arpa")
    async with checks(dns) as here:
        evidence = await here.say(letter("ada@p.example"))
        assert (result(evidence, "spf"), evidence.proof) == ("fail", REFUTED)


async def test_nor_by_silence_that_eats_the_time_of_the_message(dns: Nameserver) -> None:
    dns.zone('_dmarc.p.example TXT "v=DMARC1; p=reject"\np.example TXT "v=spf1 ptr include:q.example -all"')
    dns.zone('q.example TXT "v=spf1 ip4:192.0.2.1 -all"')
    dns.mute.add("127.in-addr.arpa")
    loop = asyncio.get_running_loop()
    async with checks(dns, timeout=6.0) as here:
        began = loop.time()
        evidence = await here.say(letter("ada@p.example"))
        assert (result(evidence, "spf"), evidence.proof) == ("fail", REFUTED)
        assert loop.time() - began < 4.0  # a quarter of its time, where the resolver would take five sixths


async def test_a_policy_seen_lately_outlives_a_servfail(dns: Nameserver, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    dns.ttl = 20_000
    async with checks(dns) as here:
        monkeypatch.setattr(here.resolver, "_clock", clock)
        assert (await here.say(letter(), ip=ELSEWHERE)).dmarc_policy is DmarcPolicy.REJECT
        dns.broken = True
        clock.now += 10_000
        evidence = await here.say(letter(), ip=ELSEWHERE)
        assert (evidence.proof, evidence.dmarc_policy) == (REFUTED, DmarcPolicy.REJECT)
        clock.now += 20_000
        evidence = await here.say(letter(), ip=ELSEWHERE)
        assert (evidence.proof, evidence.dmarc_policy) == (UNKNOWN, DmarcPolicy.UNKNOWN)


async def test_with_the_answers_in_the_cache_nothing_is_waited_for(dns: Nameserver) -> None:
    async with checks(dns) as here:
        content = by("ada@a.example", "a.example")
        first = await here.say(content)
        dns.asked.clear()
        parsed = message.parse(content)
        author = message.author(parsed)
        assert isinstance(author, message.Author)
        envelope = Envelope("ada@a.example", (), here.peer, datetime.now(UTC))
        running = here.authenticator.check(parsed, author, envelope)
        with pytest.raises(StopIteration) as ended:  # at its first step, without an event loop
            running.send(None)
        assert ended.value.value == first
        assert dns.asked == []


async def test_obvious_questions_are_asked_together(dns: Nameserver) -> None:
    """Three round trips for a mail server in the SPF record, not one for each question."""
    dns.delay = 0.6
    dns.zone('mx.example TXT "v=spf1 mx -all"\nmx.example MX 10 m1.mx.example\nmx.example MX 20 m2.mx.example')
    dns.zone("m1.mx.example A 192.0.2.1\nm2.mx.example A 127.0.0.1")
    async with checks(dns, timeout=9.0) as here:
        began = asyncio.get_running_loop().time()
        evidence = await here.say(by("ada@mx.example", "a.example"))
        assert result(evidence, "spf") == "pass"
        assert asyncio.get_running_loop().time() - began < 0.6 * 6


async def test_a_message_has_so_much_time_and_no_more(dns: Nameserver) -> None:
    """Each answer comes in time, all together do not."""
    dns.delay = 0.6
    dns.zone("\n".join(f'c{n}.example TXT "v=spf1 include:c{n + 1}.example -all"' for n in range(9)))
    async with checks(dns, timeout=1.0) as here:
        began = asyncio.get_running_loop().time()
        evidence = await here.say(letter("ada@c0.example"))
        assert asyncio.get_running_loop().time() - began < 0.6 * 8
        assert (result(evidence, "spf"), evidence.proof) == ("temperror", UNKNOWN)


async def test_a_message_has_so_many_questions_and_no_more(dns: Nameserver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_QUESTIONS", 12)
    dns.zone('many.example TXT "v=spf1 mx mx:m1.many.example mx:m2.many.example -all"')
    for zone in ("many", "m1.many", "m2.many"):
        dns.zone("\n".join(f"{zone}.example MX {n} h{n}.{zone}.example" for n in range(10)))
    async with checks(dns) as here:
        evidence = await here.say(letter("ada@many.example"))
        assert result(evidence, "spf") in ("temperror", "permerror")
        assert len(dns.asked) <= 12


TRUSTED: dict[str, Any] = {"trusted": True, "ip": "127.0.0.1"}
PASS = "Authentication-Results: mx.example; spf=pass smtp.mailfrom=ada@a.example"


@pytest.mark.parametrize(
    ("fields", "proof", "dmarc"),
    [
        ([], UNKNOWN, ""),
        ([PASS], PROVEN, "pass"),
        ([PASS.replace("ada@a", "ada@mail.a")], PROVEN, "pass"),
        ([PASS.replace("ada@a", "eve@evil")], UNKNOWN, ""),
        ([PASS.replace("mx.example", "other.example")], UNKNOWN, ""),
        ([PASS.replace("spf=pass", "spf=fail")], UNKNOWN, ""),
        (["Authentication-Results: mx.example; dkim=pass header.d=a.example"], PROVEN, "pass"),
        (["Authentication-Results: mx.example; dkim=pass header.i=@a.example"], UNKNOWN, ""),
        (["Authentication-Results: mx.example; dmarc=pass header.from=a.example"], PROVEN, "pass"),
        (["Authentication-Results: mx.example; dmarc=fail header.from=a.example"], REFUTED, "fail"),
        (["Authentication-Results: mx.example; dmarc=pass header.from=b.example"], UNKNOWN, ""),
        (["Authentication-Results: mx.example; dmarc=pass header.from=mail.a.example"], UNKNOWN, ""),
        (["Authentication-Results: mx.example; dmarc=none header.from=a.example"], UNKNOWN, ""),
        (["Authentication-Results: mx.example; dmarc=fail header.from=a.example; spf=pass smtp.mailfrom=a.example"],
         PROVEN, "pass"),
    ],
)  # fmt: skip
async def test_a_trusted_peer_speaks_for_our_own_servers(
    dns: Nameserver, fields: list[str], proof: Proof, dmarc: str
) -> None:
    async with checks(dns, ids=("mx.example",)) as here:
        evidence = await here.say(letter("ada@a.example", *fields), **TRUSTED)
        assert (evidence.proof, result(evidence, "dmarc"), evidence.dmarc_policy) == (
            proof,
            dmarc,
            DmarcPolicy.REJECT,
        ), evidence
        # from anybody else none of it counts, and SPF does
        evidence = await here.say(letter("ada@a.example", *fields), ip=ELSEWHERE)
        assert evidence.proof is REFUTED


async def test_a_message_from_nowhere_is_never_refuted(dns: Nameserver) -> None:
    """A unix socket or a file: there is no address to ask about."""
    async with checks(dns) as here:
        assert (await here.say(letter(), ip="")).proof is UNKNOWN
        assert (await here.say(by("ada@a.example", "a.example"), ip="")).proof is PROVEN


async def test_arc_is_mentioned_and_proves_nothing(dns: Nameserver) -> None:
    fields = [
        "ARC-Seal: i=1; a=rsa-sha256; d=evil.example; s=s1; t=1; cv=none; b=x",
        "ARC-Authentication-Results: i=1; evil.example; dmarc=pass header.from=a.example",
    ]
    async with checks(dns) as here:
        evidence = await here.say(letter("ada@a.example", *fields), ip=ELSEWHERE)
        assert evidence.proof is REFUTED
        assert any(said.startswith("an ARC chain of 1, sealed last by evil.example") for said in evidence.why)


async def test_a_large_message_is_hashed_beside_the_event_loop(dns: Nameserver) -> None:
    content = signed(letter(text=b"word  " * 100 + b"\r\n") + (b"word  " * 100 + b"\r\n") * 3_000, "a.example")
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0.002)

    async with checks(dns) as here:
        await here.say(letter())
        ticking = asyncio.create_task(tick())
        evidence = await here.say(content, "eve@evil.example", ip=ELSEWHERE)
        ticking.cancel()
        assert evidence.proof is PROVEN
        assert ticks > 2


async def test_no_resolver_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolver, "system", list)
    async with checks() as here:
        evidence = await here.say(letter())
        assert (evidence.proof, evidence.dmarc_policy) == (UNKNOWN, DmarcPolicy.UNKNOWN)
        assert evidence != Evidence()


async def test_a_crowd_of_questions_makes_nobody_believed(dns: Nameserver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many names are under one that is nobody's, as co.uk is: whoever has one may not hide what another publishes."""
    monkeypatch.setattr(resolver, "_AT_ONCE_BELOW", 8)
    dns.zone("""
        victim.co.example         TXT  "v=spf1 ip4:192.0.2.1 -all"
        _dmarc.victim.co.example  TXT  "v=DMARC1; p=reject"
    """)
    dns.mute |= {f"evil{n}.co.example" for n in range(40)}
    async with checks(dns, timeout=1.0) as here:
        crowd = [here.hear(by(f"e@evil{n}.co.example"), ip="203.0.113.9") for n in range(40)]
        silent = asyncio.gather(*crowd)
        await asyncio.sleep(0)
        forged = by("ada@victim.co.example")
        own, other = await asyncio.gather(here.hear(forged, ip="203.0.113.9"), here.hear(forged, ip="203.0.113.8"))
        assert other is not None
        assert other.proof is REFUTED
        assert own is None or own.proof is REFUTED
        assert {each.proof if each else None for each in await silent} <= {UNKNOWN, None}


async def test_who_waited_for_the_same_moment_goes_on_one_in_each_round(dns: Nameserver) -> None:
    dns.mute |= {"mute.example"}
    over: list[int] = []
    async with checks(dns, timeout=0.5) as here, Rounds() as rounds:

        async def hear(number: int) -> None:
            await here.hear(by(f"ada@n{number}.mute.example"))
            over.append(rounds.number)

        await asyncio.gather(*map(hear, range(20)))
    assert len(set(over)) == 20
