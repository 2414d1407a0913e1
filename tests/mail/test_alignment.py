"""Whose From a copy bears: the choice, what the author's signature covers, and the rewritten header.

A golden case is a folder of tests/messages/from: in.eml, group.txt (KEY=VALUE, and `dmarc_policy`), out.eml.
"""

from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from listserv.flows import distributing
from listserv.flows.distributing import Dressed
from listserv.mail import alignment, header, mailbox, message, words
from listserv.mail.alignment import Kept, Rewritten, Unchanged
from listserv.mail.mailbox import Author, NoAuthor
from listserv.model import setting
from listserv.model.address import Address
from listserv.model.envelope import DmarcPolicy, Envelope, Evidence, Peer, Proof
from listserv.model.group import From, Group, Kind, Policy, ReplyTo
from tests.kit.database import NOW
from tests.kit.site import site

GOLDEN = Path(__file__).parents[1] / "messages" / "from"
SAILING = Group(1, "sailing@lists.example", Kind.DISCUSSION, Policy(title="Sailing"))
ANA = Author(Address("ana", "a.example"), "Ana")
SITE = site()

SIGNED = (
    b"DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/simple; d=a.example; s=s1;\r\n"
    b"\th=From:To:Subject:Date:Message-ID:Reply-To; bh=AAAA; b=BBBB\r\n"
)
POST = (
    b"From: Ana <ana@a.example>\r\nTo: sailing@lists.example\r\nSubject: Regatta\r\n"
    b"Date: Sun, 22 Nov 2026 10:00:00 +0000\r\nMessage-ID: <1@a.example>\r\n\r\nShall we sail?\r\n"
)


def group(**policy: Any) -> Group:
    return replace(SAILING, policy=replace(SAILING.policy, **policy))


def evidence(
    dmarc_policy: DmarcPolicy, proof: Proof = Proof.PROVEN, results: str = "lists.example; dmarc=pass"
) -> Evidence:
    return Evidence(proof, dmarc_policy, results)


def dressed(content: bytes, where: Group, said: Evidence) -> Dressed:
    came = Envelope("ana@a.example", (where.address,), Peer("192.0.2.1", "mx.a.example"), NOW, evidence=said)
    return distributing.dress(SITE, where, message.parse(content), came, (), frozenset())


def copy(content: bytes, where: Group, said: Evidence) -> bytes:
    """What members get, but for their stamps."""
    made, parsed = dressed(content, where, said), message.parse(content)
    return b"".join(field.raw for field in made.fields) + b"\r\n" + (parsed.body if made.body is None else made.body)


def value(content: bytes, name: str) -> str:
    found = message.parse(content).all(name)
    assert len(found) <= 1
    return words.text(found[0].value) if found else ""


CHANGES: dict[str, dict[str, Any]] = {
    "nothing": {},
    "tag": {"subject_tag": "[sail]"},
    "footer": {"footer": "Fair winds"},
}


@pytest.mark.parametrize("reply_to", ReplyTo)
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("mode", From)
@pytest.mark.parametrize("dmarc_policy", DmarcPolicy)
def test_no_changed_post_bears_the_address_of_a_domain_that_would_have_it_lost(
    dmarc_policy: DmarcPolicy, mode: From, change: str, reply_to: ReplyTo
) -> None:
    where = group(from_=mode, reply_to=reply_to, **CHANGES[change])
    made = copy(POST, where, evidence(dmarc_policy))
    head = message.parse(made)
    is_ours = mode is From.GROUP or (mode is From.AUTO and dmarc_policy is not DmarcPolicy.NONE and change != "nothing")
    is_left = mode is From.AUTHOR and dmarc_policy is not DmarcPolicy.NONE
    assert value(made, "from") == ("Ana via Sailing <sailing@lists.example>" if is_ours else "Ana <ana@a.example>")
    assert (b"Fair winds" in made) is (change == "footer" and not is_left)
    assert ("[sail]" in value(made, "subject")) is (change == "tag" and not is_left)
    assert value(made, "x-original-from") == ("Ana <ana@a.example>" if is_ours else "")
    replies = {ReplyTo.GROUP: "sailing@lists.example", ReplyTo.AUTHOR: "Ana <ana@a.example>" if is_ours else ""}
    assert value(made, "reply-to") == replies[reply_to]
    # the author is plain to see where programs look (no anonymous remailer)
    shown = mailbox.several(each.value for each in head.fields if each.name in ("from", "reply-to", "cc"))
    assert any(each.key == "ana@a.example" for each in shown.addresses)
    # the rest of what he wrote is there byte for byte
    for line in POST.partition(b"\r\n\r\n")[0].split(b"\r\n"):
        name = line.partition(b":")[0].lower()
        assert line in made or name == (b"from" if is_ours else b"") or (name == b"subject" and change == "tag")
    assert b"Shall we sail?" in made


def test_a_post_that_nothing_is_changed_of_keeps_every_octet() -> None:
    for dmarc_policy, mode in product(DmarcPolicy, (From.AUTO, From.AUTHOR)):
        made = dressed(POST, group(from_=mode), evidence(dmarc_policy))
        assert isinstance(made.choice, Kept)
        assert made.body is None
        assert b"".join(field.raw for field in made.fields).endswith(POST.partition(b"\r\n\r\n")[0] + b"\r\n")


@pytest.mark.parametrize(
    ("said", "changes", "mode", "choice"),
    [
        (Evidence(), ("body",), From.AUTO, Kept),  # authenticate = false: nobody asked
        (evidence(DmarcPolicy.UNKNOWN), ("body",), From.AUTO, Rewritten),  # a silent DNS may hide a policy
        (evidence(DmarcPolicy.UNKNOWN), ("body",), From.AUTHOR, Unchanged),
        (evidence(DmarcPolicy.REJECT, Proof.REFUTED), (), From.AUTO, Rewritten),  # vouched for, but not by his domain
        (evidence(DmarcPolicy.NONE, Proof.REFUTED), ("body",), From.AUTO, Kept),
        (evidence(DmarcPolicy.REJECT, Proof.REFUTED), (), From.AUTHOR, Kept),
        (evidence(DmarcPolicy.REJECT, Proof.REFUTED), ("body",), From.AUTHOR, Unchanged),
        (evidence(DmarcPolicy.REJECT), (), From.AUTO, Kept),
        (evidence(DmarcPolicy.NONE), (), From.GROUP, Rewritten),
    ],
)
def test_what_is_known_of_his_domain_decides(said: Evidence, changes: Any, mode: From, choice: type) -> None:
    made = alignment.choose(mode, said, ANA, changes)
    assert isinstance(made, choice)
    assert len(made.why) > 20
    assert not made.why.endswith(".")


def test_without_an_author_only_the_group_can_want_its_own_address() -> None:
    nobody = NoAuthor("there are 2 From fields")
    assert isinstance(alignment.choose(From.AUTO, evidence(DmarcPolicy.REJECT), nobody, ("body",)), Kept)
    content = b"From: eve@e.example\r\n" + POST
    made = copy(content, group(from_=From.GROUP), evidence(DmarcPolicy.NONE))
    assert value(made, "from") == "Sailing <sailing@lists.example>"
    assert value(made, "x-original-from") == "eve@e.example"


@pytest.mark.parametrize(
    ("policy", "changes"),
    [
        ({}, ()),
        ({"subject_tag": "[s]"}, ("subject",)),
        ({"reply_to": ReplyTo.GROUP}, ("reply-to",)),  # a field that is signed as missing may not be added
        ({"footer": "x"}, ("body",)),
        ({"footer": "x", "subject_tag": "[s]", "reply_to": ReplyTo.GROUP}, ("subject", "reply-to", "body")),
    ],
)
def test_what_his_signature_covers_counts_as_changed(policy: dict[str, Any], changes: tuple[str, ...]) -> None:
    assert dressed(SIGNED + POST, group(**policy), evidence(DmarcPolicy.REJECT)).changes == changes


@pytest.mark.parametrize(
    ("signatures", "changes"),
    [
        (SIGNED, ("reply-to",)),
        (SIGNED.replace(b"a.example", b"other.example"), ()),  # cannot be aligned with him: it does not matter
        (SIGNED.replace(b"a.example", b"mail.a.example"), ("reply-to",)),
        (SIGNED.replace(b":Reply-To", b"") + SIGNED, ()),  # one that holds is enough
        (SIGNED.replace(b"Reply-To", b"List-Unsubscribe"), ("list-unsubscribe",)),  # which every copy gets
        (SIGNED.replace(b"Reply-To", b"List-Id"), ("list-id",)),
        (SIGNED.replace(b"h=", b"x="), ()),
        (b"DKIM-Signature: nonsense\r\n", ()),
    ],
)
def test_only_signatures_that_can_be_his_matter_and_one_that_holds_is_enough(
    signatures: bytes, changes: tuple[str, ...]
) -> None:
    made = dressed(signatures + POST, group(reply_to=ReplyTo.GROUP), evidence(DmarcPolicy.REJECT))
    assert made.changes == changes
    assert isinstance(made.choice, Rewritten if changes else Kept)


def test_where_he_wants_replies_is_kept_and_he_stays_in_sight() -> None:
    where = group(from_=From.GROUP)
    for wanted, then in (
        ("Ana at home <home@h.example>", "home@h.example, Ana <ana@a.example>"),
        ("home@h.example, ana@a.example", "home@h.example, ana@a.example"),
        ("broken <", "Ana <ana@a.example>"),
        ("broken <, ana@a.example", "Ana <ana@a.example>"),
    ):
        made = copy(b"Reply-To: " + wanted.encode() + b"\r\n" + POST, where, evidence(DmarcPolicy.NONE))
        assert value(made, "reply-to") == then


@pytest.mark.parametrize(
    ("cc", "then"),
    [
        (b"", "Ana <ana@a.example>"),
        (b"Cc: Bob <bob@b.example>\r\n", "Ana <ana@a.example>, Bob <bob@b.example>"),
        (b"Cc:\r\n bob@b.example\r\n", "Ana <ana@a.example>, bob@b.example"),
        (b"Cc: \r\n", "Ana <ana@a.example>"),
        (b"Cc: ana@A.example, bob@b.example\r\n", "ana@A.example, bob@b.example"),
        (b'Cc: "never closed\r\n', 'Ana <ana@a.example>, "never closed'),
        (b"Cc: friends:;\r\n", "Ana <ana@a.example>, friends:;"),
    ],
)
def test_where_replies_go_to_the_group_he_stands_in_cc(cc: bytes, then: str) -> None:
    made = copy(cc + POST, group(from_=From.GROUP, reply_to=ReplyTo.GROUP), evidence(DmarcPolicy.NONE))
    assert value(made, "cc") == then


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("Ana", "Ana via Sailing"),
        ("", "ana via Sailing"),
        ("ana@a.example", "ana via Sailing"),
        ("Ana (ana@a.example)", "Ana (ana via Sailing"),
        ("@", "ana via Sailing"),
        ("ceo\uff20bank.example", "ceo via Sailing"),
        ("Zoë", "Zoë via Sailing"),
        ("A" * 3000, f"{'A' * 100} via Sailing"),
    ],
)
def test_the_name_that_is_shown_never_looks_like_an_address(name: str, shown: str) -> None:
    fields = message.parse(POST).fields
    made = alignment.rewrite(fields, replace(ANA, name=name), SAILING)
    (sender,) = (each for each in made if each.name == "from")
    found = mailbox.single(sender.value)
    assert isinstance(found, Author)
    assert (found.name, str(found.address)) == (shown, "sailing@lists.example")


@given(st.text(max_size=200), st.text(max_size=80))
def test_no_name_and_no_title_makes_another_field(name: str, title: str) -> None:
    fields = message.parse(POST).fields
    clean = words.clean(name)  # as `message.author` reads it
    made = alignment.rewrite(fields, replace(ANA, name=clean), group(title=title))
    again = message.parse(b"".join(each.raw for each in made) + b"\r\n")
    assert again.complete
    assert [each.name for each in again.fields] == [each.name for each in made]
    found = mailbox.single(next(each for each in again.fields if each.name == "from").value)
    assert isinstance(found, Author)
    assert "@" not in found.name
    assert str(found.address) == "sailing@lists.example"


def test_what_would_speak_in_his_place_goes_and_what_somebody_wrote_into_our_field_too() -> None:
    content = b"Sender: ana@a.example\r\nX-Original-From: eve@e.example\r\n" + POST
    made = copy(content, group(from_=From.GROUP), evidence(DmarcPolicy.NONE))
    assert value(made, "sender") == ""
    assert value(made, "x-original-from") == "Ana <ana@a.example>"
    assert [each.name for each in message.parse(made).fields][-7:-5] == ["from", "to"]
    # where From is his, they are his own business
    kept = copy(content, group(), evidence(DmarcPolicy.NONE))
    assert value(kept, "sender") == "ana@a.example"


@pytest.mark.parametrize("case", sorted(each.name for each in GOLDEN.iterdir()))
def test_a_post_bears_the_from_that_its_golden_message_says(case: str) -> None:
    folder = GOLDEN / case
    pairs = dict(line.split("=", 1) for line in (folder / "group.txt").read_text().splitlines())
    dmarc_policy = DmarcPolicy(pairs.pop("dmarc_policy"))
    policy = setting.changed(SAILING.policy, pairs.items())
    assert isinstance(policy, Policy)
    made = copy((folder / "in.eml").read_bytes(), replace(SAILING, policy=policy), evidence(dmarc_policy))
    assert made == (folder / "out.eml").read_bytes()


def test_the_group_is_signed_for_by_its_own_domain_with_every_field_that_names_the_author() -> None:
    from listserv.mail import signature

    assert {"from", "reply-to", "cc", header.LOOP_FIELD.lower(), alignment.ORIGINAL.lower()} - signature.SIGNED == {
        header.LOOP_FIELD.lower()
    }
