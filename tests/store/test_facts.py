"""What is known of a post before it is judged: in one question, and also what shares the commit."""

import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import text, update

from listserv.model.address import parse
from listserv.store import accounts, facts, groups, posts, rows
from listserv.store.db import Tx
from listserv.store.facts import Known, Recent
from listserv.store.schema import mailboxes
from tests.kit.database import CAME, NOW, group, opened, post

KEYS = (b"p" * 32, b"d" * 32)
ADA, EVE = "ada@a.example", "eve@e.example"
WALK, RACE = b"a walk..", b"the race"
MINUTE = timedelta(minutes=1)
RECENT = Recent(NOW - 10 * MINUTE, NOW, WALK, 24)


def test_a_post_is_known_with_its_author_and_what_was_answered(url: str, tmp_path: Path) -> None:
    with opened(url, tmp_path) as db:
        walkers = db.write_now(group, "walkers@lists.example", [ADA])
        runners = db.write_now(group, "runners@lists.example", [])
        assert db.read_now(facts.look, walkers.id, KEYS, "", RECENT) == Known({}, False, None)
        assert db.read_now(facts.look, walkers.id, KEYS, EVE, RECENT) == Known({}, False, None)
        known = db.read_now(facts.look, walkers.id, KEYS, ADA, RECENT)
        assert known.member == db.read_now(accounts.member, walkers.id, ADA)
        assert known.member is not None
        assert db.read_now(facts.look, runners.id, KEYS, ADA, RECENT).member is None

        db.write_now(groups.ban, walkers.id, EVE, NOW)
        db.write_now(facts.remember, walkers.id, KEYS[1], "held", NOW)
        assert db.read_now(facts.look, walkers.id, KEYS, EVE, RECENT) == Known({KEYS[1]: "held"}, True, None)
        assert db.read_now(facts.look, runners.id, KEYS, EVE, RECENT) == Known({}, False, None)


def test_what_shares_a_commit_is_known_before_it_is_written(url: str, tmp_path: Path) -> None:
    def twice(tx: Tx, group_id: int) -> Known:
        facts.remember(tx, group_id, KEYS[0], "accepted as post 1", NOW)
        return facts.look(tx, group_id, KEYS, ADA, RECENT)

    with opened(url, tmp_path) as db:
        walkers = db.write_now(group, "walkers@lists.example", [])
        assert db.write_now(twice, walkers.id).answered == {KEYS[0]: "accepted as post 1"}
        assert db.read_now(facts.look, walkers.id, KEYS, ADA, RECENT).answered == {KEYS[0]: "accepted as post 1"}


def test_a_mailbox_without_a_place_in_the_group_is_no_member(url: str, tmp_path: Path) -> None:
    with opened(url, tmp_path) as db:
        walkers = db.write_now(group, "walkers@lists.example", [])
        known = parse(ADA)
        assert known is not None
        db.write_now(accounts.ensure, known, NOW, proven=True)
        assert db.read_now(facts.look, walkers.id, KEYS, ADA, RECENT).member is None


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
        known = db.read_now(facts.look, walkers.id, KEYS, EVE, RECENT)
        assert known.member is not None
        assert known.member.key == ADA
        db.write_now(groups.ban, walkers.id, ADA, NOW)
        assert db.read_now(facts.look, walkers.id, KEYS, EVE, RECENT).is_banned


def test_the_posts_of_an_author_to_a_group_are_counted_and_those_with_one_subject_among_them(
    url: str, tmp_path: Path
) -> None:
    with opened(url, tmp_path) as db:
        walkers = db.write_now(group, "walkers@lists.example", [])
        runners = db.write_now(group, "runners@lists.example", [])

        def lately(recent: Recent = RECENT, author: str = ADA) -> tuple[int, int]:
            known = db.read_now(facts.look, walkers.id, KEYS, author, recent)
            return known.lately, known.alike

        def add(group_id: int, author: str, subject_key: bytes | None, minutes: int, state: str = "done") -> None:
            now = NOW - minutes * MINUTE
            db.write_now(post, group_id, author=author, subject_key=subject_key, now=now, state=state)

        assert lately() == (0, 0)
        # theirs: of somebody else, to another group, not believed, too old, and of a clock that was ahead
        add(walkers.id, EVE, WALK, 1)
        add(runners.id, ADA, WALK, 1)
        add(walkers.id, ADA, None, 1)
        add(walkers.id, ADA, WALK, 11)
        add(walkers.id, ADA, WALK, -1)
        assert lately() == (0, 0)
        # whatever became of it
        add(walkers.id, ADA, WALK, 10)
        add(walkers.id, ADA, RACE, 5, state="held")
        add(walkers.id, ADA, WALK, 0, state="due")
        assert lately() == (3, 2)
        assert lately(replace(RECENT, subject_key=RACE)) == (3, 1)
        assert lately(replace(RECENT, most=2))[0] == 2
        assert lately(replace(RECENT, most=0)) == (0, 0)
        assert lately(author="") == (0, 0)


def test_posts_that_share_a_commit_are_counted_once(url: str, tmp_path: Path) -> None:
    def accept(tx: Tx, group_id: int, number: int, subject_key: bytes | None) -> None:
        digest = posts.keep(tx, b"Hi", NOW)
        came = {"message_id": "<1@a.example>", "author": ADA, "envelope": CAME, "subject_key": subject_key}
        posts.accept(tx, NOW, group_id=group_id, number=number, digest=digest, **came)

    def thrice(tx: Tx, group_id: int) -> Known:
        accept(tx, group_id, 1, WALK)
        accept(tx, group_id, 2, RACE)
        accept(tx, group_id, 3, None)
        return facts.look(tx, group_id, KEYS, ADA, RECENT)

    with opened(url, tmp_path) as db:
        walkers = db.write_now(group, "walkers@lists.example", [])
        for known in (db.write_now(thrice, walkers.id), db.read_now(facts.look, walkers.id, KEYS, ADA, RECENT)):
            assert (known.lately, known.alike) == (2, 1)
        assert db.write_now(lambda tx: facts.look(tx, walkers.id, KEYS, EVE, RECENT)).lately == 0


@pytest.mark.parametrize("analysed", [False, True])
def test_fifty_thousand_posts_are_not_read_to_find_those_of_one_author(
    url: str, tmp_path: Path, analysed: bool
) -> None:
    with opened(url, tmp_path) as db:
        walkers = db.write_now(group, "walkers@lists.example", [ADA])
        db.write_now(post, walkers.id, author=ADA, subject_key=WALK)
        db.write_now(_fifty_thousand)
        if analysed:
            db.write_now(lambda tx: tx.execute(text("ANALYZE")))
        plan = db.write_now(_plan, walkers.id)
    assert re.search(r"USING INDEX ix_posts_pace|Index (Only )?Scan using ix_posts_pace", plan), plan
    assert not re.search(r"(SCAN|Scan on) posts", plan), plan


def _fifty_thousand(tx: Tx) -> None:
    """By a hundred authors, of whom one is a storm by himself."""
    many = text(
        "INSERT INTO posts (group_id, digest, message_id, author, subject_key, envelope, state, due, received_at)"
        " WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 50000)"
        " SELECT p.group_id, p.digest, p.message_id, CASE WHEN i % 2 = 0 THEN p.author ELSE 'm' || (i % 99) END,"
        " p.subject_key, p.envelope, 'done', p.due, p.received_at FROM n, posts AS p"
    )
    tx.execute(many)


def _plan(tx: Tx, group_id: int) -> str:
    """How the database means to look; PostgreSQL's generic plan: what a question gets that is asked again and again."""
    said = rows._said(facts._COUNT, tx.dialect)
    values = {"group": group_id, "author": ADA}
    span = {"since": RECENT.since, "until": RECENT.until, "subject_key": WALK, "most": 24}
    given = said.values({**values, **span})
    if tx.dialect.name == "sqlite":
        return "\n".join(map(str, tx.exec_driver_sql("EXPLAIN QUERY PLAN " + said.sql, given)))
    names = re.findall(r"%\((\w+)\)s(?:::\w+)?", said.sql)
    places = {name: f"${number}" for number, name in enumerate(dict.fromkeys(names), 1)}
    sql = re.sub(r"%\((\w+)\)s", lambda found: places[found[1]], said.sql)
    with psycopg.ClientCursor(tx.connection.driver_connection) as cursor:
        cursor.execute("SET LOCAL plan_cache_mode = force_generic_plan")
        cursor.execute(b"PREPARE tried AS " + sql.encode())
        execute = f"EXPLAIN EXECUTE tried({', '.join(['%s'] * len(places))})"
        plan = cursor.execute(execute.encode(), [given[name] for name in places]).fetchall()
        cursor.execute("DEALLOCATE tried")
    return "\n".join(str(line[0]) for line in plan)
