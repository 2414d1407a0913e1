"""What a member receives: the author's message, ours on top, one signature, and a stamp that is his alone."""

import re
from pathlib import Path

import dkim
import pytest

from listserv.mail import signature
from listserv.model.envelope import DmarcPolicy, Evidence, Proof
from tests.kit.house import House, house, mail, read

ADA = "ada@a.example"
BOB = "bob@b.example"
WALKERS = "walkers@lists.example"
QUIET = "quiet@lists.example"
OWN = "own@lists.example"
STAMP = (b"dkim-signature", b"list-unsubscribe", b"list-unsubscribe-post")


def published(here: House, extra: dict[bytes, bytes] | None = None):  # type: ignore[no-untyped-def]
    """A DNS that knows our keys, as dkimpy asks it."""
    records = {
        signature.dns_name(signer.domain, signer.selector).encode() + b".": signature.dns_record(signer.key).encode()
        for signer in here.node.keys.signers.values()
    } | (extra or {})
    return lambda name, timeout=5: records.get(name)


def without_stamp(copy: bytes) -> bytes:
    """The copy without the fields that may differ from member to member."""
    fields = re.findall(rb"(?s)([!-9;-~]+):(.*?\r\n)(?![ \t])", copy.partition(b"\r\n\r\n")[0] + b"\r\n")
    return b"".join(name + b":" + value for name, value in fields if name.lower() not in STAMP)


async def test_each_copy_has_its_own_stamp_and_a_signature_that_holds(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        here.group(WALKERS, [ADA, BOB], title="Walkers' Club")
        content = mail(ADA, WALKERS, "Grüße\n", "Wohin?", References="<1@x.example>")
        await here.send(ADA, WALKERS, content)
        await here.quiet()
        ada, bob = here.notice(ADA), here.notice(BOB)
        assert ada != bob
        assert without_stamp(ada) == without_stamp(bob)
        assert ada.partition(b"\r\n\r\n")[2] == bob.partition(b"\r\n\r\n")[2]
        for copy in (ada, bob):
            assert dkim.verify(copy, dnsfunc=published(here))
            said = read(copy)
            assert copy.startswith(b"Received: from out.example ([127.0.0.1])")
            assert str(said["List-Id"]).endswith("<walkers.lists.example>")
            assert said["List-Post"] == "<mailto:walkers@lists.example>"
            assert said["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
            assert said["Precedence"] == "list"
            assert said["List-Archive"] is None
        paths = {received.mail_from for received in here.world.envelopes}
        assert len(paths) == 2
        assert all(path.startswith("walkers-bounces+") for path in paths)
        # the author's own fields are there byte for byte and in order
        head = content.partition(b"\r\n\r\n")[0]
        assert head in ada


async def test_a_group_that_changes_nothing_keeps_the_authors_signature(url: str, folder: Path) -> None:
    key = signature.new_key()
    record = signature.dns_record(signature.load_key(key)).encode()
    for canonical in ((b"simple", b"simple"), (b"relaxed", b"relaxed")):
        async with house(url, folder) as here:
            if canonical[0] == b"simple":
                here.group(WALKERS, [ADA, BOB])
            content = mail(ADA, WALKERS, "Signed by my own server.\n\n")
            sealed = dkim.sign(content, b"s1", b"a.example", key, canonicalize=canonical) + content
            await here.send(ADA, WALKERS, sealed)
            await here.quiet()
            copy = here.notice(BOB)
            dns = published(here, {b"s1._domainkey.a.example.": record})
            signatures = copy.lower().count(b"\r\ndkim-signature:")
            assert signatures == 2
            assert all(dkim.DKIM(copy).verify(index, dnsfunc=dns) for index in range(signatures))


@pytest.mark.parametrize("style", ["verp", "bulk"])
async def test_verp_and_bulk_send_the_same_bytes_to_all(url: str, folder: Path, style: str) -> None:
    async with house(url, folder) as here:
        here.group(WALKERS, [f"m{n}@m.example" for n in range(60)], delivery=style, posting="anyone")
        await here.post(ADA, WALKERS)
        await here.quiet()
        assert here.world.count == 60
        assert len({content for received in here.world.envelopes for content in [received.content]}) == 1
        said = read(here.notice("m1@m.example"))
        assert said["List-Unsubscribe"] == "<mailto:walkers-unsubscribe@lists.example>"
        assert said["List-Unsubscribe-Post"] is None
        assert dkim.verify(here.notice("m1@m.example"), dnsfunc=published(here))
        paths = {received.mail_from for received in here.world.envelopes}
        if style == "bulk":
            assert paths == {"walkers-bounces@lists.example"}
            assert max(len(received.rcpt_to) for received in here.world.envelopes) == 50
        else:
            assert len(paths) == 60


async def test_bulk_refusals_are_each_members_own(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        here.group(WALKERS, [ADA, BOB, "cy@c.example"], delivery="bulk")
        here.world.answers[BOB] = "550 5.1.1 gone"
        here.world.answers["cy@c.example"] = "450 4.2.1 later"
        await here.post(ADA, WALKERS)
        await here.quiet()
        assert here.states() == {ADA: "sent", BOB: "failed", "cy@c.example": "due"}


async def test_footer_tag_and_reply_to_are_added_and_signed(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        here.group(WALKERS, [ADA], footer="Walkers, since 1920", subject_tag="[walk]", reply_to="group")
        await here.post(ADA, WALKERS)
        await here.quiet()
        copy = here.notice(ADA)
        said = read(copy)
        assert said["Subject"] == "[walk] A walk"
        assert said["Reply-To"] == WALKERS
        assert said["From"] == ADA
        assert said.get_content().rstrip().endswith("Walkers, since 1920")
        assert dkim.verify(copy, dnsfunc=published(here))


async def test_what_others_say_in_our_name_is_left_behind(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        here.group(WALKERS, [ADA], posting="anyone")
        forged = {
            "Return-Path": "<eve@e.example>",
            "Authentication-Results": "lists.example; dkim=pass header.d=a.example",
            "List-Unsubscribe": "<https://evil.example/>",
        }
        content = mail(ADA, WALKERS, **forged) + b"tail\r\n"
        content = b"Authentication-Results: other.example; spf=pass\r\n" + content
        assert (await here.send(ADA, WALKERS, content)).startswith("250")
        await here.quiet()
        said = read(here.notice(ADA))
        assert said["Return-Path"] is None
        assert said.get_all("Authentication-Results") == ["other.example; spf=pass"]
        assert "evil" not in str(said["List-Unsubscribe"])


async def test_our_own_post_that_comes_back_goes_nowhere(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        here.group(WALKERS, [ADA])
        await here.post(ADA, WALKERS)
        await here.quiet()
        copy = re.sub(rb"Message-ID: [^\r]+", b"Message-ID: <other@x.example>", here.notice(ADA))
        assert (await here.send(ADA, WALKERS, copy)).startswith("250")
        await here.quiet()
        assert len(here.inbox(ADA)) == 1
        assert here.log()[-1]["action"] == "post.discarded"


async def test_fifty_hops_are_a_loop(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        here.group(WALKERS, [ADA])
        hops = b"".join(b"Received: by hop%d.example; Sun, 22 Nov 2026 10:00:00 +0000\r\n" % n for n in range(51))
        assert (await here.send(ADA, WALKERS, hops + mail(ADA, WALKERS))).startswith("554 5.4.6")


async def test_a_changed_post_of_a_domain_that_enforces_leaves_in_the_groups_name(url: str, folder: Path) -> None:
    key = signature.new_key()
    record = signature.dns_record(signature.load_key(key)).encode()
    reject = Evidence(Proof.PROVEN, DmarcPolicy.REJECT, "dmarc=pass")
    async with house(url, folder) as here:
        here.group(WALKERS, [ADA, BOB], title="Walkers", footer="Since 1920")
        here.group(QUIET, [ADA, BOB])
        here.group(OWN, [ADA, BOB], footer="Since 1920", from_="author")
        dns = published(here, {b"s1._domainkey.a.example.": record})
        copies: dict[str, bytes] = {}
        for group in (WALKERS, QUIET, OWN):
            content = mail(f"Ada <{ADA}>", group, f"To {group}")
            sealed = dkim.sign(content, b"s1", b"a.example", key) + content
            assert "accepted" in await here.hand_in(group, sealed, reject)
            await here.quiet()
            copies[group] = here.notice(BOB)

        # the group's domain vouches for what is changed, with the author in sight, and answers go to her
        said = read(copies[WALKERS])
        assert said["From"] == f"Ada via Walkers <{WALKERS}>"
        assert (said["Reply-To"], said["X-Original-From"]) == (f"Ada <{ADA}>", f"Ada <{ADA}>")
        assert "Since 1920" in said.get_content()
        assert dkim.DKIM(copies[WALKERS]).verify(0, dnsfunc=dns)
        tags = re.sub(rb"\s", b"", copies[WALKERS].partition(b"DKIM-Signature:")[2].partition(b"bh=")[0])
        assert b"d=lists.example;" in tags
        assert {b"from", b"reply-to", b"cc", b"x-original-from"} <= set(
            tags.partition(b"h=")[2].rstrip(b";").split(b":")
        )
        # where nothing is changed, or may be, it is hers, and her own signature holds
        for group in (QUIET, OWN):
            assert read(copies[group])["From"] == f"Ada <{ADA}>"
            assert b"Since 1920" not in copies[group]
            assert all(dkim.DKIM(copies[group]).verify(index, dnsfunc=dns) for index in (0, 1))
