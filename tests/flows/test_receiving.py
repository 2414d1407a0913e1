"""Which door an address opens here and now, and which refusal belongs to it."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from listserv.flows import receiving
from listserv.flows.receiving import ELSEWHERE, UNKNOWN, Target
from listserv.mail import tag
from listserv.mail.recipient import Door
from listserv.model.envelope import Reply
from listserv.model.group import Joining
from listserv.model.token import Action
from listserv.store import groups, tokens
from listserv.store.db import Database
from tests.kit.database import NOW, group, opened
from tests.kit.site import site

SITE = site(hostname="mx.example", domains=frozenset({"lists.example", "other.example"}))
TOKEN = tag.token(bytes(range(17)))
WORDS = {
    "subscribe": Door.SUBSCRIBE, "join": Door.SUBSCRIBE, "unsubscribe": Door.UNSUBSCRIBE, "leave": Door.UNSUBSCRIBE,
    "signoff": Door.UNSUBSCRIBE, "help": Door.HELP, "owner": Door.OWNER, "admin": Door.OWNER,
}  # fmt: skip


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """Two groups on SQLite: nothing here is written by the tests, and no engine reads addresses differently."""
    folder: Path = tmp_path_factory.mktemp("receiving")
    with opened("sqlite:", folder) as database:
        database.write_now(group, "sailing@lists.example")
        database.write_now(group, "sailing-team@lists.example")
        database.write_now(group, "sailing-team-help@lists.example")  # no command makes one; an import might
        database.write_now(group, "invited@lists.example", joining=Joining.INVITE)
        database.write_now(group, "closed@lists.example", joining=Joining.CLOSED)
        database.write_now(group, "asked@lists.example", joining=Joining.MODERATED)
        late = NOW - timedelta(days=1)
        database.write_now(tokens.add, tag.digest(TOKEN), Action.JOIN, "a@a.example", {}, NOW, expires_at=late)
        yield database


def find(db: Database, address: str) -> Target | Reply:
    return db.read_now(receiving.find, SITE, address)


def group_id(db: Database, address: str) -> int:
    found = db.read_now(groups.find, address)
    assert found is not None
    return found.id


def opens(db: Database, address: str) -> tuple[str, Door, str]:
    """(group, door, tag)"""
    found = find(db, address)
    assert isinstance(found, Target), found
    assert found.group is not None
    assert found.address == address
    return found.group.address, found.door, found.tag


@pytest.mark.parametrize("separator", ["-", "+"])
@pytest.mark.parametrize("word", WORDS)
def test_every_word_opens_its_door_in_any_spelling(db: Database, word: str, separator: str) -> None:
    for address in (f"sailing{separator}{word}@lists.example", f"Sailing{separator}{word.title()}@Lists.Example"):
        for spelt in (address, address.upper()):
            assert opens(db, spelt) == ("sailing@lists.example", WORDS[word], "")


@pytest.mark.parametrize("address", ["sailing@lists.example", "SAILING@LISTS.EXAMPLE", "Sailing@lists.example"])
def test_the_name_alone_is_for_posts(db: Database, address: str) -> None:
    assert opens(db, address) == ("sailing@lists.example", Door.POST, "")


@pytest.mark.parametrize(
    ("address", "name", "door"),
    [
        ("sailing-team@lists.example", "sailing-team", Door.POST),
        ("sailing-team-owner@lists.example", "sailing-team", Door.OWNER),
        ("sailing-team+owner@lists.example", "sailing-team", Door.OWNER),
        ("sailing-team-help@lists.example", "sailing-team-help", Door.POST),
        ("sailing-team+help@lists.example", "sailing-team", Door.HELP),
        ("sailing-team-help-help@lists.example", "sailing-team-help", Door.HELP),
    ],
)
def test_the_longest_name_of_a_group_that_is_there_wins(db: Database, address: str, name: str, door: Door) -> None:
    assert opens(db, address) == (f"{name}@lists.example", door, "")


@pytest.mark.parametrize(
    "address",
    [
        "nobody@lists.example", "nobody-owner@lists.example", "nobody-request@lists.example",
        "sailing+anything@lists.example", "sailing-crew-owner@lists.example",
        "sailing@other.example", "listserv-x@lists.example", "sailing..x@lists.example", "@lists.example", "",
        '"sailing"@lists.example', "sailing-owner+abc@lists.example", "sailing\0@lists.example",
    ],
)  # fmt: skip
def test_what_is_not_here_is_refused_at_once(db: Database, address: str) -> None:
    assert find(db, address) == UNKNOWN
    assert db.read_now(receiving.welcome, SITE, address) == UNKNOWN
    assert (UNKNOWN.code, UNKNOWN.status) == (550, "5.1.1")


def test_the_doors_of_commands_are_open_but_for_that_to_digests(db: Database) -> None:
    for address in ("listserv@lists.example", "LISTSERV@mx.example"):
        found = find(db, address)
        assert isinstance(found, Target)
        assert (found.door, found.group) == (Door.REQUEST, None)
    refused = find(db, "sailing-digest@lists.example")
    assert isinstance(refused, Reply)
    assert (refused.code, refused.status) == (550, "5.3.3")


@pytest.mark.parametrize(
    "address", ["a@a.example", "sailing@mx.example", "sailing@sub.lists.example", "sailing@[127.0.0.1]"]
)
def test_we_relay_for_nobody(db: Database, address: str) -> None:
    assert find(db, address) == ELSEWHERE
    assert (ELSEWHERE.code, ELSEWHERE.status) == (550, "5.7.1")


@pytest.mark.parametrize("role", ["postmaster", "abuse", "security"])
def test_the_operators_are_reached_at_every_domain_of_ours_and_at_the_host(db: Database, role: str) -> None:
    for address in (f"{role}@lists.example", f"{role.upper()}@OTHER.example", f"{role}@mx.example", role):
        found = find(db, address)
        assert isinstance(found, Target)
        assert (found.group, found.role, found.door) == (None, role, Door.OWNER)
    assert find(db, f"{role}@elsewhere.example") == ELSEWHERE


@pytest.mark.parametrize("name", ["invited", "closed"])
def test_a_door_that_is_shut_says_so_where_smtp_can(db: Database, name: str) -> None:
    for word in ("subscribe", "join"):
        refusal = find(db, f"{name}-{word}@lists.example")
        assert isinstance(refusal, Reply)
        assert (refusal.code, refusal.status) == (550, "5.7.1")
        assert f"{name}-owner@lists.example" in refusal.text
    assert opens(db, f"{name}-leave@lists.example")[1] is Door.UNSUBSCRIBE
    assert opens(db, "asked-join@lists.example")[1] is Door.SUBSCRIBE


def tagged(db: Database, door: str, group: str = "sailing") -> str:
    id = group_id(db, f"{group}@lists.example")
    return {"bounces": SITE.tags.bounce(id, 77), "unsubscribe": SITE.tags.leave(id, 77), "confirm": TOKEN}[door]


@pytest.mark.parametrize("door", ["bounces", "unsubscribe", "confirm"])
def test_a_tag_of_ours_opens_its_door_in_either_case(db: Database, door: str) -> None:
    good = tagged(db, door)
    for address in (f"sailing-{door}+{good}@lists.example", f"sailing+{door}+{good}@lists.example".upper()):
        assert opens(db, address) == ("sailing@lists.example", Door(door), good)


@pytest.mark.parametrize("door", ["bounces", "unsubscribe", "confirm"])
def test_a_tag_that_we_never_made_is_refused(db: Database, door: str) -> None:
    good = tagged(db, door)
    wrong = {
        "another letter": good[:-2] + ("aa" if good[-2:] != "aa" else "bb"),
        "shorter": good[:-1],
        "longer": good + "a",
        "another purpose": tagged(db, "unsubscribe" if door == "bounces" else "bounces"),
    }
    if door != "confirm":  # a token is looked up by itself; which group it is for is judged when it is used
        wrong["another group"] = tagged(db, door, "sailing-team")
    for why, text in wrong.items():
        refusal = find(db, f"sailing-{door}+{text}@lists.example")
        assert isinstance(refusal, Reply), why
        assert (refusal.code, refusal.status) == (550, "5.1.1")


@pytest.mark.parametrize(
    ("address", "forged"),
    [
        ("sailing-bounces+{other}@lists.example", True),
        ("sailing-bounces+aaaa@lists.example", True),
        ("sailing-bounces+{good}@lists.example", False),
        ("sailing-bounces@lists.example", False),
        ("sailing-leave+aaaa@lists.example", False),
        ("nobody-bounces+aaaa@lists.example", False),
        ("sailing@lists.example", False),
        ("no address", False),
    ],
)
def test_a_forged_return_path_is_known_as_such(db: Database, address: str, forged: bool) -> None:
    filled = address.format(good=tagged(db, "bounces"), other=tagged(db, "bounces", "sailing-team"))
    found: Any = db.read_now(receiving.forged_return_path, SITE, filled)
    assert (found is not None and found.address == "sailing@lists.example") is forged
