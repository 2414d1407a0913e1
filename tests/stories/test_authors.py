"""Who is this?  SPF, DKIM and DMARC of what comes in, by a real name server, from two addresses of this machine."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from listserv.model.envelope import DmarcPolicy, Evidence, Proof
from tests.kit.house import House, house, mail, read, signed
from tests.kit.nameserver import Nameserver, nameserver

ADA = "ada@a.example"
BOB = "bob@b.example"
WALKERS = "walkers@lists.example"
ELSEWHERE = "127.0.0.2"  # an address that a.example has not named
RECORDS = """
    a.example         TXT  "v=spf1 ip4:127.0.0.1 -all"
    _dmarc.a.example  TXT  "v=DMARC1; p=reject"
    plain.example     A    192.0.2.1
"""


@pytest.fixture
def dns() -> Iterator[Nameserver]:
    with nameserver() as here:
        here.zone(RECORDS)
        yield here


async def posted(here: House, content: bytes, *, ip: str = "127.0.0.1", mail_from: str = ADA) -> Evidence:
    """What is kept with the post that this message becomes."""
    assert (await here.send(mail_from, WALKERS, content, ip=ip)).startswith("250 ")
    return here.evidence()


def reported(copy: bytes) -> list[str]:
    """All Authentication-Results in a copy, from the top."""
    return [" ".join(str(value).split()) for value in read(copy).get_all("Authentication-Results", [])]


async def test_an_author_is_proven_by_the_address_that_he_writes_from(url: str, folder: Path, dns: Nameserver) -> None:
    # given a member whose domain names our client in its SPF record
    async with house(url, folder, dns=dns) as here:
        here.group(WALKERS, [ADA, BOB])
        # when he posts
        evidence = await posted(here, mail(ADA, WALKERS))
        # then he is proven, and every copy says how, below our Received and above what is his
        assert (evidence.proof, evidence.dmarc_policy) == (Proof.PROVEN, DmarcPolicy.REJECT)
        await here.quiet()
        said = "lists.example; spf=pass smtp.mailfrom=a.example; dkim=none; dmarc=pass header.from=a.example"
        assert reported(here.notice(BOB)) == [said]
        names = [name.lower() for name in read(here.notice(BOB))]
        assert names.index("received") < names.index("authentication-results") < names.index("from")


async def test_he_is_proven_by_a_signature_wherever_it_comes_from(url: str, folder: Path, dns: Nameserver) -> None:
    async with house(url, folder, dns=dns) as here:
        here.group(WALKERS, [ADA, BOB])
        evidence = await posted(here, signed(mail(ADA, WALKERS), "a.example", dns), ip=ELSEWHERE)
        assert evidence.proof is Proof.PROVEN
        assert evidence.results == (
            "lists.example; spf=fail smtp.mailfrom=a.example; dkim=pass header.d=a.example header.s=s1; "
            "dmarc=pass header.from=a.example"
        )
        # a letter changed on the way, and it proves nothing
        changed = signed(mail(ADA, WALKERS, "Shall we swim?"), "a.example", dns).replace(b"swim", b"skim")
        assert (await posted(here, changed, ip=ELSEWHERE)).proof is Proof.REFUTED


async def test_whoever_writes_in_his_name_from_elsewhere_is_refuted(url: str, folder: Path, dns: Nameserver) -> None:
    dns.zone('e.example TXT "v=spf1 ip4:127.0.0.2 -all"')
    async with house(url, folder, dns=dns) as here:
        here.group(WALKERS, [ADA, BOB])
        evidence = await posted(here, mail(ADA, WALKERS), ip=ELSEWHERE)
        assert (evidence.proof, evidence.dmarc_policy) == (Proof.REFUTED, DmarcPolicy.REJECT)
        assert "dmarc=fail header.from=a.example" in evidence.results
        assert (
            evidence.why[-1] == "refuted: a.example publishes DMARC at a.example, and nothing vouches for this message"
        )
        # his own domain, his own signature: neither is Ada's
        forged = signed(mail(ADA, WALKERS, "I am Ada"), "e.example", dns)
        evidence = await posted(here, forged, ip=ELSEWHERE, mail_from="eve@e.example")
        assert evidence.proof is Proof.REFUTED
        assert "spf=pass smtp.mailfrom=e.example; dkim=pass header.d=e.example" in evidence.results


async def test_a_domain_that_publishes_nothing_is_unknown(url: str, folder: Path, dns: Nameserver) -> None:
    async with house(url, folder, dns=dns) as here:
        here.group(WALKERS, ["cy@plain.example", BOB])
        evidence = await posted(here, mail("cy@plain.example", WALKERS), mail_from="cy@plain.example")
        assert (evidence.proof, evidence.dmarc_policy) == (Proof.UNKNOWN, DmarcPolicy.NONE)
        assert evidence.why[-1] == "unknown: plain.example publishes neither SPF nor DMARC"


async def test_a_dead_resolver_is_waited_for_once_and_then_by_nobody(url: str, folder: Path, dns: Nameserver) -> None:
    # given a name server that has died
    dns.silent = True
    async with house(url, folder, dns=dns) as here:
        here.group(WALKERS, [ADA, BOB, "cy@plain.example"])
        loop = asyncio.get_running_loop()
        # when two posts come, one after the other
        began = loop.time()
        evidence = await posted(here, mail(ADA, WALKERS))
        first = loop.time() - began
        assert (evidence.proof, evidence.dmarc_policy) == (Proof.UNKNOWN, DmarcPolicy.UNKNOWN)
        assert "spf=temperror" in evidence.results
        asked = len(dns.asked)
        evidence = await posted(here, mail("cy@plain.example", WALKERS), mail_from="cy@plain.example")
        # then the first one waited within its time ([dns] timeout_seconds is 2 here), and the other asked nothing
        assert evidence.proof is Proof.UNKNOWN
        assert first < 4.0
        assert len(dns.asked) == asked
        assert "no resolver answers" in evidence.why[0]


async def test_results_in_our_name_that_others_wrote_are_gone(url: str, folder: Path, dns: Nameserver) -> None:
    forged = "lists.example; dmarc=pass header.from=a.example"
    smtp = {"authserv_ids": ["mx.example"]}
    async with house(url, folder, dns=dns, smtp=smtp) as here:
        here.group(WALKERS, [ADA, BOB])
        fields = f'Authentication-Results: {forged}\r\nAUTHENTICATION-RESULTS: (x(y)) "mx.example"; dmarc=pass\r\n'
        fields += "Authentication-Results: other.example; spf=pass smtp.mailfrom=a.example\r\n"
        evidence = await posted(here, fields.encode() + mail(ADA, WALKERS), ip=ELSEWHERE)
        assert evidence.proof is Proof.REFUTED
        await here.quiet()
        for copy in here.inbox(BOB):
            assert reported(copy) == [evidence.results, "other.example; spf=pass smtp.mailfrom=a.example"]
        # what goes on to the owners says it too
        await here.send(ADA, "walkers-owner@lists.example", fields.encode() + mail(ADA, "walkers-owner@lists.example"))
        await here.quiet()
        assert reported(here.notice("owner@o.example"))[0].startswith("lists.example; spf=pass")
        assert len(reported(here.notice("owner@o.example"))) == 2


async def test_what_our_own_mail_server_found_is_believed(url: str, folder: Path, dns: Nameserver) -> None:
    # given a mail server of ours in front, which reports as mx.example
    smtp = {"authserv_ids": ["mx.example"], "trusted_networks": ["127.0.0.0/8"]}
    top = "Received: from out.example by mx.example; Sun, 22 Nov 2026 10:00:00 +0000\r\n"
    below = "Received: from x by out.example; Sun, 22 Nov 2026 10:00:00 +0000\r\n"
    passed = "Authentication-Results: mx.example; spf=pass smtp.mailfrom=ada@a.example\r\n"
    failed = "Authentication-Results: mx.example; dmarc=fail header.from=a.example\r\n"
    async with house(url, folder, dns=dns, smtp=smtp) as here:
        here.group(WALKERS, [ADA, BOB])

        async def proof(head: str, number: int) -> Proof:
            return (await posted(here, head.encode() + mail(ADA, WALKERS, f"Number {number}"))).proof

        # then its own field counts, above its Received or below; nobody else's does
        assert await proof(passed + top, 1) is Proof.PROVEN
        assert await proof(top + passed, 2) is Proof.PROVEN
        assert await proof(failed + top + passed, 3) is Proof.REFUTED
        assert await proof(top + below + passed, 4) is Proof.UNKNOWN
        assert await proof(top + passed.replace("ada@a", "ada@e"), 5) is Proof.UNKNOWN
        assert await proof(top, 6) is Proof.UNKNOWN
        # and a signature counts by itself
        content = top.encode() + signed(mail(ADA, WALKERS, "Signed"), "a.example", dns)
        assert (await posted(here, content)).proof is Proof.PROVEN


async def test_nothing_is_asked_when_authors_are_not_to_be_checked(url: str, folder: Path, dns: Nameserver) -> None:
    async with house(url, folder, dns=dns, smtp={"authenticate": False}) as here:
        here.group(WALKERS, [ADA, BOB])
        evidence = await posted(here, mail(ADA, WALKERS), ip=ELSEWHERE)
        assert evidence == Evidence()
        assert dns.asked == []
        await here.quiet()
        assert reported(here.notice(BOB)) == []
