"""Nobody can be somebody else: every way to forge that we know changes nothing on a server with real DNS records.

The victims' domains publish SPF, DKIM keys and p=reject; the forger sends from another address of this machine, and has
a domain with everything a domain can have.  The same mails from the right people, proven by SPF or by DKIM over
another path, all work: they are the second half of this module.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from listserv.model.group import Group
from listserv.net import resolver
from listserv.store import schema
from listserv.store.db import Tx
from tests.kit.house import House, house, mail, read, signed
from tests.kit.nameserver import Nameserver, nameserver

ADA, BOB, OWNER, EVE = "ada@ada.example", "bob@bob.example", "olga@olga.example", "eve@eve.example"
WALKERS, COUNCIL = "walkers@lists.example", "council@lists.example"
HOME, ELSEWHERE = "127.0.0.1", "127.0.0.2"  # where the victims' domains send from, and where the forger sits
RECORDS = "\n".join(
    f"""
    {domain}         TXT  "v=spf1 ip4:{ip} -all"
    mail.{domain}    TXT  "v=spf1 ip4:{ip} -all"
    _dmarc.{domain}  TXT  "v=DMARC1; p=reject"
    """
    for domain, ip in (("ada.example", HOME), ("bob.example", HOME), ("olga.example", HOME), ("eve.example", ELSEWHERE))
)


@dataclass
class Place:
    """A group of walkers, and a council in which a post of Bob's waits for Olga."""

    here: House
    dns: Nameserver
    walkers: Group
    council: Group
    notice: bytes  # what Olga got about Bob's post; the forger has read it
    copy: bytes  # what Ada got of a post; the forger has read it, too
    return_path: str  # of that copy

    @property
    def token(self) -> str:
        found = re.search(r"council-confirm\+([a-z2-7]+)@", str(read(self.notice)["Reply-To"]))
        assert found
        return found[1]

    async def forge(self, to: str, content: bytes, mail_from: str = EVE, helo: str = "") -> str:
        return await self.here.send(mail_from, to, content, ip=ELSEWHERE, helo=helo)


@asynccontextmanager
async def place(url: str, folder: Path, dns: Nameserver) -> AsyncIterator[Place]:
    async with house(url, folder, dns=dns) as here:
        walkers = here.group(WALKERS, [ADA, BOB], owner=OWNER)
        council = here.group(COUNCIL, [ADA, BOB], owner=OWNER, moderated=True)
        assert (await here.post(BOB, WALKERS, "Hello")).startswith("250 2.0.0 accepted")
        assert (await here.post(BOB, COUNCIL, "Vote!")).startswith("250 2.0.0 held")
        await here.quiet()
        path = next(e.mail_from for e in here.world.envelopes if e.rcpt_to == [ADA])
        yield Place(here, dns, walkers, council, here.notice(OWNER), here.notice(ADA), path)


def state(tx: Tx) -> list[Any]:
    """All that a forger could want to change."""
    s, m, a, p, h = (schema.metadata.tables[n].c for n in ("subscriptions", "mailboxes", "accounts", "posts", "holds"))
    subscriptions = select(s.group_id, s.mailbox_id, s.role, s.mode, s.moderated, s.own_posts, s.copies, s.visible)
    asked = (
        subscriptions.order_by(s.id),
        select(m.key, m.account_id, m.language, m.bounces, m.proven_at).order_by(m.id),
        select(a.id, a.name, a.region, a.country).order_by(a.id),
        select(p.id, p.number).where(p.number.is_not(None)).order_by(p.id),
        select(h.id, h.state, h.decided_by).where(h.state != "open").order_by(h.id),
        select(schema.groups.c.address, schema.groups.c.policy).order_by(schema.groups.c.id),
        select(schema.bans.c.key),
    )
    return [[tuple(row) for row in tx.execute(question)] for question in asked]


Attack = Callable[[Place], Awaitable[None]]
ATTACKS: dict[str, Attack] = {}


def attack(what: str) -> Callable[[Attack], Attack]:
    def listed(do: Attack) -> Attack:
        assert what not in ATTACKS
        ATTACKS[what] = do
        return do

    return listed


def posts(
    what: str, content: Callable[[Place], bytes], mail_from: str = EVE, helo: str = "", to: str = WALKERS
) -> None:
    """An attack that is one message to a group."""

    async def sent(at: Place) -> None:
        await at.forge(to, content(at), mail_from, helo)

    attack(what)(sent)


def by_eve(content: bytes, at: Place, **tags: Any) -> bytes:
    """With a valid signature of the forger's own domain."""
    return signed(content, "eve.example", at.dns, **tags)


def replaced(content: bytes, old: bytes, new: bytes) -> bytes:
    assert old in content
    return content.replace(old, new, 1)


# Posts in Ada's name


posts("her From from elsewhere, her envelope", lambda at: mail(ADA, WALKERS), ADA)
posts("her From, an envelope that passes SPF for somebody else", lambda at: mail(ADA, WALKERS))
posts("her From, a valid signature of somebody else", lambda at: by_eve(mail(ADA, WALKERS), at))
posts("her From, the null sender, and her host's name at HELO", lambda at: mail(ADA, WALKERS), "", "mail.ada.example")
posts(
    "two From fields, hers first",
    lambda at: by_eve(replaced(mail(ADA, WALKERS), b"\r\nTo:", b"\r\nFrom: eve@eve.example\r\nTo:"), at),
)
posts(
    "two From fields, hers second",
    lambda at: by_eve(replaced(mail(EVE, WALKERS), b"\r\nTo:", b"\r\nFrom: ada@ada.example\r\nTo:"), at),
)
posts("two mailboxes in From", lambda at: by_eve(mail(f"{ADA}, {EVE}", WALKERS), at))
posts("her address as the display name", lambda at: by_eve(mail(f'"{ADA}" <{EVE}>', WALKERS), at))
posts("her address in a comment of From", lambda at: by_eve(mail(f"{EVE} ({ADA})", WALKERS), at))
posts("her address in group syntax", lambda at: by_eve(mail(f"walkers: {ADA};", WALKERS), at))
posts("her address behind a source route", lambda at: by_eve(mail(f"<@eve.example:{ADA}>", WALKERS), at))
posts("her address in encoded words", lambda at: by_eve(mail("=?utf-8?q?ada=40ada=2Eexample?=", WALKERS), at))
posts(
    "an address that only some decode",
    lambda at: by_eve(mail("<ada@ada.example =?utf-8?q?@eve.example?=>", WALKERS), at),
)
posts("Sender names her", lambda at: by_eve(mail(EVE, WALKERS, Sender=ADA), at))
posts("Reply-To names her", lambda at: by_eve(mail(EVE, WALKERS, Reply_To=ADA), at))
posts("the envelope names her", lambda at: by_eve(mail(EVE, WALKERS), at), ADA)
posts(
    "X-Original-From and Resent-From name her",
    lambda at: by_eve(mail(EVE, WALKERS, X_Original_From=ADA, Resent_From=ADA), at),
)
posts(
    "Authentication-Results in our name",
    lambda at: mail(ADA, WALKERS, Authentication_Results="lists.example; dmarc=pass header.from=ada.example"),
)
posts(
    "Authentication-Results of a server that we believe, from somebody whom we do not",
    lambda at: mail(ADA, WALKERS, Authentication_Results="mx.example; dkim=pass header.d=ada.example"),
)
posts(
    "an ARC chain that says all was well",
    lambda at: mail(
        ADA,
        WALKERS,
        ARC_Seal="i=1; a=rsa-sha256; cv=none; d=eve.example; s=s1; b=AAAA",
        ARC_Message_Signature="i=1; a=rsa-sha256; d=eve.example; s=s1; h=from; bh=AAAA; b=AAAA",
        ARC_Authentication_Results="i=1; lists.example; dmarc=pass header.from=ada.example",
    ),
)
posts("a subdomain of hers that does not exist", lambda at: mail("ada@mail2.ada.example", WALKERS))
posts("her name with a letter that looks the same", lambda at: by_eve(mail("\u0430da@ada.example", WALKERS), at))
posts("no empty line between header and body", lambda at: replaced(mail(ADA, WALKERS), b"\r\n\r\n", b"\r\nx\r\n"))


def hers(at: Place, text: str = "Shall we walk?", **tags: Any) -> bytes:
    """A message that Ada really signed."""
    return signed(mail(ADA, "friends@f.example", text), "ada.example", at.dns, **tags)


posts("a message that she signed, with another text", lambda at: replaced(hers(at), b"walk", b"swim"))
posts("a signature of hers that covers only the beginning", lambda at: hers(at, length=True) + b"And pay me.\r\n")
posts(
    "a signature of hers, and her From put over the forger's",
    lambda at: replaced(by_eve(mail(EVE, WALKERS), at), b"From: eve@eve.example", b"From: ada@ada.example"),
)
posts(
    "a second From above the one that she signed",
    lambda at: b"From: eve@eve.example\r\n" + hers(at),
)


@attack("a signature by a key that the forger published below his own name for hers")
async def _(at: Place) -> None:
    forged = replaced(by_eve(mail(ADA, WALKERS), at), b"d=eve.example", b"d=ada.example")
    await at.forge(WALKERS, forged)


@attack("a public suffix that speaks for all below it")
async def _(at: Place) -> None:
    at.dns.zone('_dmarc.example TXT "v=DMARC1; p=none; psd=y"')
    await at.forge(WALKERS, signed(mail(ADA, WALKERS), "example", at.dns))


# What Ada really signed, sent again by somebody else


def overlaid(at: Place, **fields: str) -> bytes:
    """Her own message with other fields on top of hers."""
    return "".join(f"{name}: {value}\r\n" for name, value in fields.items()).encode() + hers(at)


posts("her message, with another To on top", lambda at: overlaid(at, To=WALKERS))
posts("her message as it is, to the door that ends all mail", hers, to="walkers-nomail@lists.example")
posts("her message as it is, to the door that leaves", hers, to="walkers-unsubscribe@lists.example")
posts(
    "her message, with a command for a subject on top",
    lambda at: overlaid(at, Subject="unsubscribe walkers", To="listserv@lists.example"),
    to="listserv@lists.example",
)
posts(
    "her message, with a new address for a subject on top",
    lambda at: overlaid(at, Subject=f"address change {EVE}"),
    to="listserv@lists.example",
)
posts(
    "a signature that leaves the subject open, and another subject",
    lambda at: replaced(
        signed(
            mail(ADA, "listserv@lists.example", ""), "ada.example", at.dns, include_headers=[b"from", b"to", b"date"]
        ),
        b"Subject: A walk",
        b"Subject: unsubscribe walkers",
    ),
    to="listserv@lists.example",
)


# Commands and settings in Ada's name


def commands(what: str, to: str, text: str, subject: str = "") -> None:
    posts(what, lambda at: by_eve(mail(ADA, to, text, subject), at), to=to)


commands("leave, at the door", "walkers-unsubscribe@lists.example", "")
commands("leave, as a command", "walkers-request@lists.example", "unsubscribe")
commands("leave all groups", "listserv@lists.example", "signoff *")
commands("no mail any more, at the door", "walkers-nomail@lists.example", "")
commands("no mail any more, as a command", "walkers-request@lists.example", "", "set nomail")
commands("another name for her", "listserv@lists.example", "set name=Mallory")
commands("another address for her", "listserv@lists.example", f"address change {EVE}")
commands("one more mailbox for her", "listserv@lists.example", f"address add {EVE}")
commands("her data, please", "listserv@lists.example", "mydata")
commands("an end to her sessions", "listserv@lists.example", "end sessions")
posts(
    "a command of his own that names her",
    lambda at: by_eve(
        mail(EVE, "walkers-request@lists.example", f"unsubscribe address={ADA}\nset mode=none for {ADA}"), at
    ),
    to="walkers-request@lists.example",
)
posts(
    "an owner's command of other list managers",
    lambda at: by_eve(
        mail(OWNER, "walkers-request@lists.example", f"approve secret subscribe walkers {EVE}\nADD walkers {EVE}"), at
    ),
    to="walkers-request@lists.example",
)


# Decisions in Olga's name


def answer(at: Place, author: str, word: str, to: str = "", **fields: str) -> bytes:
    said = read(at.notice)
    named = {"In-Reply-To": str(said["Message-ID"]), "References": str(said["Message-ID"])}
    return mail(author, to or f"council-confirm+{at.token}@lists.example", word, "Re: held", **{**named, **fields})


@attack("approve in her name, with the token out of her mail")
async def _(at: Place) -> None:
    await at.forge(f"council-confirm+{at.token}@lists.example", by_eve(answer(at, OWNER, "approve"), at), OWNER)


@attack("approve in his own name, with the token out of her mail")
async def _(at: Place) -> None:
    await at.forge(f"council-confirm+{at.token}@lists.example", by_eve(answer(at, EVE, "approve"), at))


@attack("approve as a member who is no admin, proven, with the token")
async def _(at: Place) -> None:
    to = f"council-confirm+{at.token}@lists.example"
    await at.here.send(BOB, to, answer(at, BOB, "approve"), ip=HOME)


@attack("approve in her name at the owners' door, by the Message-ID alone")
async def _(at: Place) -> None:
    to = "council-owner@lists.example"
    await at.forge(to, by_eve(answer(at, OWNER, "approve", to), at), OWNER)


@attack("approve with a password, as others do it")
async def _(at: Place) -> None:
    await at.forge(COUNCIL, by_eve(mail(OWNER, COUNCIL, "Approved: secret", Approved="secret"), at), OWNER)


@attack("approve with a token of which one letter is guessed")
async def _(at: Place) -> None:
    for letter in "abcdefgh234567":
        if not at.token.endswith(letter):
            await at.forge(
                f"council-confirm+{at.token[:-1]}{letter}@lists.example", answer(at, OWNER, "approve"), OWNER
            )


@attack("the token of one group at another's door")
async def _(at: Place) -> None:
    to = f"walkers-confirm+{at.token}@lists.example"
    await at.here.send(OWNER, to, answer(at, OWNER, "approve", to), ip=HOME)


@attack("an automatic reply of her own mailbox")
async def _(at: Place) -> None:
    to = f"council-confirm+{at.token}@lists.example"
    await at.here.send(OWNER, to, answer(at, OWNER, "approve", Auto_Submitted="auto-replied"), ip=HOME)
    await at.here.send("", to, answer(at, OWNER, "approve"), ip=HOME, helo="mail.olga.example")


# Joining and confirmations


@attack("join in somebody's name")
async def _(at: Place) -> None:
    to = "walkers-subscribe@lists.example"
    at.dns.zone('nina.example TXT "v=spf1 ip4:127.0.0.1 -all"')
    await at.forge(to, by_eve(mail("nina@nina.example", to), at), "nina@nina.example")


@attack("confirm a join that was never asked, with a token of another right")
async def _(at: Place) -> None:
    to = f"walkers-confirm+{at.token}@lists.example"
    await at.forge(to, by_eve(mail(EVE, to, "yes"), at))


@attack("leave by a link of which the tag is another group's")
async def _(at: Place) -> None:
    found = re.search(r"walkers-unsubscribe\+([a-z2-7]+)@", at.copy.decode().replace("%2B", "+"))
    assert found
    to = f"council-unsubscribe+{found[1]}@lists.example"
    assert (await at.forge(to, by_eve(mail(EVE, to), at))).startswith("550")


# Bounces in the name of Ada's provider


def bounce(to: str, status: str = "5.1.1") -> bytes:
    return (
        f"From: MAILER-DAEMON@ada.example\r\nTo: {to}\r\nSubject: failure notice\r\nAuto-Submitted: auto-replied\r\n"
        f'MIME-Version: 1.0\r\nContent-Type: multipart/report; report-type=delivery-status; boundary="b"\r\n\r\n'
        f"--b\r\nContent-Type: text/plain\r\n\r\nno such user\r\n--b\r\nContent-Type: message/delivery-status\r\n\r\n"
        f"Reporting-MTA: dns; mail.ada.example\r\n\r\nFinal-Recipient: rfc822; {ADA}\r\nAction: failed\r\n"
        f"Status: {status}\r\nDiagnostic-Code: smtp; 550 {status} no such user\r\n\r\n--b--\r\n"
    ).encode()


@attack("a bounce to a return path that nobody made")
async def _(at: Place) -> None:
    local, _, domain = at.return_path.partition("@")
    for forged in (f"{local[:-1]}{'b' if local[-1] != 'b' else 'c'}@{domain}", f"walkers-bounces+{'a' * 21}@{domain}"):
        assert (await at.forge(forged, bounce(forged), "")).startswith("550")


@attack("a bounce without a tag")
async def _(at: Place) -> None:
    await at.forge("walkers-bounces@lists.example", bounce("walkers-bounces@lists.example"), "")


@attack("a bounce of one group's copy at another's door")
async def _(at: Place) -> None:
    to = at.return_path.replace("walkers-", "council-")
    assert (await at.forge(to, bounce(to), "")).startswith("550")


@attack("a bounce that is about the message, not the mailbox")
async def _(at: Place) -> None:
    await at.forge(at.return_path, bounce(at.return_path, "5.7.1"), "")


@pytest.fixture
def dns() -> Iterator[Nameserver]:
    with nameserver() as here:
        here.zone(RECORDS)
        yield here


def test_there_are_enough() -> None:
    assert len(ATTACKS) >= 50


@pytest.mark.parametrize("what", ATTACKS)
async def test_it_changes_nothing(url: str, folder: Path, dns: Nameserver, what: str) -> None:
    async with place(url, folder, dns) as at:
        before = at.here.node.db.read_now(state)
        inboxes = {who: len(mails) for who, mails in at.here.world.messages.items()}
        await ATTACKS[what](at)
        await at.here.quiet()
        assert at.here.node.db.read_now(state) == before
        fresh = {who: len(mails) - inboxes.get(who, 0) for who, mails in at.here.world.messages.items()}
        # nobody reads it, the forger hears of his own commands at most, and who is asked is asked once
        assert fresh.get(BOB, 0) == 0
        assert fresh.get(EVE, 0) <= 1
        assert fresh.get(ADA, 0) <= 1
        assert sum(fresh.values()) <= 1


async def test_a_signed_command_is_obeyed_once(url: str, folder: Path, dns: Nameserver) -> None:
    async with place(url, folder, dns) as at:
        # given Ada's mail that leaves, proven by her signature, and her undo
        to = "walkers-unsubscribe@lists.example"
        content = signed(mail(ADA, to), "ada.example", at.dns)
        await at.here.send("forwarder@eve.example", to, content, ip=ELSEWHERE)
        await at.here.quiet()
        assert at.here.members(at.walkers) == [BOB]
        await at.here.answer(ADA, at.here.notice(ADA), "")
        await at.here.quiet()
        assert sorted(at.here.members(at.walkers)) == [ADA, BOB]
        # when whoever has seen it sends it again
        await at.forge(to, content)
        await at.here.quiet()
        # then she is asked, and stays
        assert sorted(at.here.members(at.walkers)) == [ADA, BOB]


# The same from the right people


BY_SPF, BY_DKIM = "SPF", "DKIM over another path"
Send = Callable[[str, str, bytes], Awaitable[str]]


@pytest.fixture(params=[BY_SPF, BY_DKIM])
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def rightly(at: Place, way: str, author: str, to: str, content: bytes) -> str:
    """As its author's own server sends it, or forwarded by somebody else's with the signature intact."""
    if way == BY_SPF:
        return await at.here.send(author, to, content, ip=HOME)
    domain = author.rpartition("@")[2]
    return await at.here.send("forwarder@eve.example", to, signed(content, domain, at.dns), ip=ELSEWHERE)


async def test_her_post_reaches_all(url: str, folder: Path, dns: Nameserver, way: str) -> None:
    async with place(url, folder, dns) as at:
        assert (await rightly(at, way, ADA, WALKERS, mail(ADA, WALKERS))).startswith("250 2.0.0 accepted")
        await at.here.quiet()
        assert read(at.here.notice(BOB))["From"] == ADA


async def test_the_admin_decides(url: str, folder: Path, dns: Nameserver, way: str) -> None:
    async with place(url, folder, dns) as at:
        to = f"council-confirm+{at.token}@lists.example"
        await rightly(at, way, OWNER, to, answer(at, OWNER, "approve"))
        await at.here.quiet()
        assert read(at.here.notice(ADA))["To"] == COUNCIL


@pytest.mark.parametrize(
    ("to", "text"),
    [
        ("walkers-unsubscribe@lists.example", ""),
        ("walkers-request@lists.example", "unsubscribe"),
        ("listserv@lists.example", "signoff *"),
    ],
)
async def test_she_leaves_at_once(url: str, folder: Path, dns: Nameserver, way: str, to: str, text: str) -> None:
    async with place(url, folder, dns) as at:
        assert (await rightly(at, way, ADA, to, mail(ADA, to, text, ""))).startswith("250")
        await at.here.quiet()
        assert at.here.members(at.walkers) == [BOB]


@pytest.mark.parametrize(
    ("to", "text"), [("walkers-nomail@lists.example", ""), ("walkers-request@lists.example", "set nomail")]
)
async def test_she_sets_her_own_delivery(url: str, folder: Path, dns: Nameserver, way: str, to: str, text: str) -> None:
    async with place(url, folder, dns) as at:
        assert (await rightly(at, way, ADA, to, mail(ADA, to, text, ""))).startswith("250")
        await at.here.quiet()
        assert at.here.members(at.walkers) == [BOB]
        assert at.here.member(at.walkers, ADA) is not None


async def test_she_reads_her_data(url: str, folder: Path, dns: Nameserver, way: str) -> None:
    async with place(url, folder, dns) as at:
        to = "listserv@lists.example"
        await rightly(at, way, ADA, to, mail(ADA, to, "mydata", ""))
        await at.here.quiet()
        assert WALKERS in at.here.notice(ADA).decode()


async def test_a_newcomer_joins_and_confirms(url: str, folder: Path, dns: Nameserver, way: str) -> None:
    async with place(url, folder, dns) as at:
        to = "walkers-subscribe@lists.example"
        await rightly(at, way, EVE, to, mail(EVE, to)) if way == BY_DKIM else await at.forge(to, mail(EVE, to))
        await at.here.quiet()
        question = at.here.notice(EVE)
        reply_to = re.search(r"[^\s<>]+@[^\s<>]+", str(read(question)["Reply-To"]))
        assert reply_to
        yes = mail(EVE, reply_to[0], "yes")
        await rightly(at, way, EVE, reply_to[0], yes) if way == BY_DKIM else await at.forge(reply_to[0], yes)
        await at.here.quiet()
        assert EVE in at.here.members(at.walkers)


async def test_a_bounce_of_our_own_copy_is_charged_once_a_day(url: str, folder: Path, dns: Nameserver) -> None:
    async with place(url, folder, dns) as at:
        for _ in range(5):
            await at.here.send("", at.return_path, bounce(at.return_path), ip=HOME)
        await at.here.quiet()
        member = at.here.member(at.walkers, ADA)
        assert member is not None
        assert member.bounces == 1


async def test_a_crowd_of_questions_to_the_dns_hides_no_forgery(
    url: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given a victim and a forger whose names stand below the same two labels, and only so many questions about those
    monkeypatch.setattr(resolver, "_AT_ONCE_BELOW", 4)
    with nameserver() as dns:
        dns.zone("""
            ada.co.example         TXT  "v=spf1 ip4:127.0.0.1 -all"
            _dmarc.ada.co.example  TXT  "v=DMARC1; p=reject"
        """)
        dns.mute |= {f"eve{n}.co.example" for n in range(12)}
        async with house(url, folder, dns=dns) as here:
            here.group(WALKERS, ["ada@ada.co.example"])
            # when all that can be asked is asked about names whose servers say nothing
            silent = (f"e@eve{n}.co.example" for n in range(12))
            crowd = [here.send(eve, WALKERS, mail(eve, WALKERS, "hush"), ip=ELSEWHERE) for eve in silent]
            forged = here.send(EVE, WALKERS, mail("ada@ada.co.example", WALKERS, "It was me"), ip=ELSEWHERE)
            *_, answer = await asyncio.gather(*crowd, forged)
            # then it is not taken for hers, though nobody could be asked
            assert answer.startswith("451 4.4.3") or "held until ada@ada.co.example has confirmed" in answer
            assert "accepted" in await here.send(
                "ada@ada.co.example", WALKERS, mail("ada@ada.co.example", WALKERS, "I")
            )
