"""What is known of a post before it is judged: in one question, and also what shares the commit."""

from pathlib import Path

from sqlalchemy import update

from listserv.model.address import parse
from listserv.store import accounts, facts, groups
from listserv.store.db import Tx
from listserv.store.facts import Known
from listserv.store.schema import mailboxes
from tests.kit.database import NOW, group, opened

KEYS = (b"p" * 32, b"d" * 32)
ADA, EVE = "ada@a.example", "eve@e.example"


def test_a_post_is_known_with_its_author_and_what_was_answered(url: str, tmp_path: Path) -> None:
    with opened(url, tmp_path) as db:
        walkers = db.write_now(group, "walkers@lists.example", [ADA])
        runners = db.write_now(group, "runners@lists.example", [])
        assert db.read_now(facts.look, walkers.id, KEYS, "") == Known({}, False, None)
        assert db.read_now(facts.look, walkers.id, KEYS, EVE) == Known({}, False, None)
        known = db.read_now(facts.look, walkers.id, KEYS, ADA)
        assert known.member == db.read_now(accounts.member, walkers.id, ADA)
        assert known.member is not None
        assert db.read_now(facts.look, runners.id, KEYS, ADA).member is None

        db.write_now(groups.ban, walkers.id, EVE, NOW)
        db.write_now(facts.remember, walkers.id, KEYS[1], "held", NOW)
        assert db.read_now(facts.look, walkers.id, KEYS, EVE) == Known({KEYS[1]: "held"}, True, None)
        assert db.read_now(facts.look, runners.id, KEYS, EVE) == Known({}, False, None)


def test_what_shares_a_commit_is_known_before_it_is_written(url: str, tmp_path: Path) -> None:
    def twice(tx: Tx, group_id: int) -> Known:
        facts.remember(tx, group_id, KEYS[0], "accepted as post 1", NOW)
        return facts.look(tx, group_id, KEYS, ADA)

    with opened(url, tmp_path) as db:
        walkers = db.write_now(group, "walkers@lists.example", [])
        assert db.write_now(twice, walkers.id).answered == {KEYS[0]: "accepted as post 1"}
        assert db.read_now(facts.look, walkers.id, KEYS, ADA).answered == {KEYS[0]: "accepted as post 1"}


def test_a_mailbox_without_a_place_in_the_group_is_no_member(url: str, tmp_path: Path) -> None:
    with opened(url, tmp_path) as db:
        walkers = db.write_now(group, "walkers@lists.example", [])
        known = parse(ADA)
        assert known is not None
        db.write_now(accounts.ensure, known, NOW, proven=True)
        assert db.read_now(facts.look, walkers.id, KEYS, ADA).member is None


def test_a_person_writes_from_any_proven_mailbox_and_is_banned_with_all(url: str, tmp_path: Path) -> None:
    def second(tx: Tx) -> None:
        known = parse(EVE)
        assert known is not None
        other, first = accounts.ensure(tx, known, NOW, proven=True), accounts.mailbox(tx, ADA)
        assert first is not None
        mine = update(mailboxes).where(mailboxes.c.id == other.id)
        tx.execute(mine.values(account_id=first.account_id))

    with opened(url, tmp_path) as db:
        walkers = db.write_now(group, "walkers@lists.example", [ADA])
        db.write_now(second)
        known = db.read_now(facts.look, walkers.id, KEYS, EVE)
        assert known.member is not None
        assert known.member.key == ADA
        db.write_now(groups.ban, walkers.id, ADA, NOW)
        assert db.read_now(facts.look, walkers.id, KEYS, EVE).is_banned
