"""What the addresses of a group mean: every word, its aliases, either separator, either case."""

import time
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from listserv.mail import recipient, tag
from listserv.mail.recipient import Door, Recipient, name_fault, readings, site_role
from listserv.model.address import Address, parse

SAILING = "sailing@lists.example"
TAG = "a2b3c4d5e6f7a2b3c4d5e"

WORDS = [  # as INTERFACE.md lists them: word, aliases
    (Door.SUBSCRIBE, ("subscribe", "join")),
    (Door.UNSUBSCRIBE, ("unsubscribe", "leave", "signoff")),
    (Door.HELP, ("help",)),
    (Door.OWNER, ("owner", "admin")),
    (Door.BOUNCES, ("bounces",)),
    (Door.CONFIRM, ("confirm",)),
    (Door.REQUEST, ("request",)),
    (Door.DIGEST, ("digest",)),
    (Door.NOMAIL, ("nomail",)),
    (Door.MAIL, ("mail",)),
]
SPELLINGS = [(door, word) for door, words in WORDS for word in words]


def read(local: str, domain: str = "lists.example") -> tuple[Recipient, ...]:
    known = parse(f"{local}@{domain}")
    assert known is not None
    return readings(known)


@pytest.mark.parametrize(("door", "word"), SPELLINGS)
def test_a_word_is_read_after_either_separator_in_either_case(door: Door, word: str) -> None:
    for separator, change in product("-+", (str.lower, str.upper, str.title)):
        local = change(f"sailing{separator}{word}")
        whole = Recipient(f"{local.lower()}@lists.example", Door.POST)
        assert read(local) == (whole, Recipient(SAILING, door))
        assert read(local, "LISTS.example") == read(local)


def test_every_word_is_in_the_table() -> None:
    assert {word: door for door, word in SPELLINGS} == recipient.WORDS


@pytest.mark.parametrize("door", [Door.UNSUBSCRIBE, Door.BOUNCES, Door.CONFIRM])
def test_a_tag_is_read_in_lower_case(door: Door) -> None:
    for change in (str.lower, str.upper):
        assert read(change(f"sailing-{door}+{TAG}"))[1] == Recipient(SAILING, door, TAG)
        assert read(change(f"sailing+{door}+{TAG}"))[1] == Recipient(SAILING, door, TAG)


@pytest.mark.parametrize(
    "local",
    [
        "sailing", "sailing-", "-owner", "+help", "owner", "sailingowner", "sailing_owner", "sailing.owner",
        "sailing-owners", "sailing-owner-", f"sailing-owner+{TAG}", f"sailing-help+{TAG}", f"sailing+{TAG}",
        "sailing-bounces+", "sailing-bounces+a1", "sailing-bounces+a-b", f"sailing-bounces-{TAG}",
        "sailing-bounces+ä", '"sailing-owner"',
    ],
)  # fmt: skip
def test_anything_else_is_the_name_of_a_group_or_of_nothing(local: str) -> None:
    assert read(local) == (Recipient(f"{local}@lists.example", Door.POST),)


def test_the_longest_name_of_a_group_comes_first() -> None:
    assert [r.group for r in read("a-b-owner")] == ["a-b-owner@lists.example", "a-b@lists.example"]
    assert [r.group for r in read("sailing-owner-help")] == [
        "sailing-owner-help@lists.example",
        "sailing-owner@lists.example",
    ]
    assert [r.group for r in read(f"x-bounces-bounces+{TAG}")][1] == "x-bounces@lists.example"


@given(
    st.from_regex(r"[a-z0-9]([a-z0-9._-]{0,26}[a-z0-9])?", fullmatch=True),
    st.sampled_from(Door),
    st.integers(0, tag.MAX_ID),
)
def test_every_address_that_we_write_is_read_again_and_fits(name: str, door: Door, id: int) -> None:
    if name_fault(name) is not None or door is Door.POST:
        return
    tagger = tag.Tagger((b"s" * 32,))
    tags = {
        Door.BOUNCES: tagger.bounce(1, id),
        Door.UNSUBSCRIBE: tagger.leave(1, id),
        Door.CONFIRM: tag.token(bytes(17)),
    }
    text = tags.get(door, "")
    known = parse(f"{name}-{door}{'+' + text if text else ''}@lists.example")
    assert known is not None
    assert readings(known)[-1] == Recipient(f"{name}@lists.example", door, text)
    assert readings(Address(known.local.upper(), known.domain)) == readings(known)


@pytest.mark.parametrize(
    ("local", "role"),
    [
        ("postmaster", "postmaster"), ("PostMaster", "postmaster"), ("abuse", "abuse"), ("SECURITY", "security"),
        ("listserv", None), ("postmaster-owner", None), ("sailing", None), ("abuse+x", None),
    ],
)  # fmt: skip
def test_the_addresses_of_the_site_reach_the_operators(local: str, role: str | None) -> None:
    assert site_role(Address(local, "lists.example")) == role


@pytest.mark.parametrize(
    "name", ["s", "sailing", "a-b", "a.b_c", "2026", "x" * 28, "ownership", "my-owners", "owner", "help"]
)
def test_a_group_can_be_called_so(name: str) -> None:
    assert name_fault(name) is None


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("x" * 29, "at most 28"), ("", "letters"), ("Sailing", "letters"), ("-x", "letters"), ("x-", "letters"),
        ("a b", "letters"), ("a..b", "single dots"), ("a+b", "letters"), ("ä", "letters"), ("a@b", "letters"),
        ("a\n", "letters"),
        ("postmaster", "the site's own"), ("abuse", "the site's own"), ("listserv", "the site's own"),
        ("mailer-daemon", "the site's own"), ("a-owner", "-owner at the end"), ("a-request", "-request at the end"),
        ("a-b-help", "-help at the end"), ("a-mail", "-mail at the end"),
    ],
)  # fmt: skip
def test_a_group_cannot_be_called_so_and_the_reason_is_said(name: str, why: str) -> None:
    assert why in (name_fault(name) or "")


def test_no_address_takes_long() -> None:
    began = time.process_time()
    for piece in ("-", "-owner", "+bounces", "a-", "+a"):
        readings(Address(piece * 20_000, "lists.example"))
    assert time.process_time() - began < 2
