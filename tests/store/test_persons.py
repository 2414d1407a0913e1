"""Accounts united, divided and restored: one place in each group, and nothing lost that somebody may take back."""

from datetime import timedelta

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from listserv.model.group import Mode, Role
from listserv.store import accounts, groups, persons, schema
from listserv.store.db import Database, Tx
from tests.kit.database import NOW, group

ADA, BOB, CY, DEE = (f"{name}@x.example" for name in ("ada", "bob", "cy", "dee"))
PEOPLE = (ADA, BOB, CY, DEE)
LATER = NOW + timedelta(days=1)


def box(tx: Tx, key: str) -> accounts.Mailbox:
    found = accounts.mailbox(tx, key)
    assert found is not None
    return found


def join(tx: Tx, group_id: int, key: str, role: Role = Role.MEMBER, mode: Mode = Mode.EACH, late: int = 0) -> None:
    at = NOW + timedelta(hours=late)
    accounts.subscribe(tx, group_id, box(tx, key).id, at, "test", role=role, mode=mode)


def unite(tx: Tx, one: str, other: str) -> None:
    if box(tx, one).account_id != box(tx, other).account_id:
        persons.unite(tx, box(tx, one).account_id, box(tx, other).account_id)


def everything(tx: Tx) -> dict[tuple[int, str], tuple[str, str, bool]]:
    """(group, mailbox) → role, mode, moderated."""
    s, m = schema.subscriptions.c, schema.mailboxes.c
    rows = tx.execute(
        select(s.group_id, m.key, s.role, s.mode, s.moderated).join(schema.mailboxes, m.id == s.mailbox_id)
    )
    return {(row.group_id, row.key): (row.role, row.mode, row.moderated) for row in rows}


def given_two_groups(db: Database) -> tuple[int, int]:
    """Everybody is known by the first group, and nobody is in it or in the second."""

    def made(tx: Tx) -> tuple[int, int]:
        first = group(tx, "first@lists.example", PEOPLE)
        tx.execute(schema.subscriptions.delete())
        return first.id, group(tx, "second@lists.example").id

    return db.write_now(made)


def test_of_two_places_the_earlier_stays_with_the_higher_role(db: Database) -> None:
    first, second = given_two_groups(db)

    def story(tx: Tx) -> None:
        join(tx, first, BOB, Role.OWNER, Mode.NONE, late=1)
        join(tx, first, ADA, late=2)
        join(tx, second, ADA, mode=Mode.NONE)
        join(tx, second, BOB, Role.MODERATOR, late=1)
        unite(tx, ADA, BOB)

    db.write_now(story)
    assert db.read_now(everything) == {
        (first, BOB): ("owner", "each", False),  # a role alone gets the posts that the other place had
        (second, ADA): ("moderator", "none", False),  # but who wanted none gets none
    }


def test_a_place_moves_with_all_that_belongs_to_it(db: Database) -> None:
    first, second = given_two_groups(db)

    def story(tx: Tx) -> list[int]:
        join(tx, first, ADA, Role.OWNER)
        join(tx, second, BOB)
        unite(tx, ADA, BOB)
        return persons.transfer(tx, box(tx, ADA).id, box(tx, BOB).id)

    assert db.write_now(story) == [first]
    assert db.read_now(everything) == {(first, BOB): ("owner", "each", False), (second, BOB): ("member", "each", False)}


def test_a_mailbox_that_is_put_off_takes_its_places_along(db: Database) -> None:
    first, _ = given_two_groups(db)

    def story(tx: Tx) -> None:
        unite(tx, ADA, BOB)
        join(tx, first, BOB)
        persons.separate(tx, [box(tx, BOB).id], NOW)

    db.write_now(story)
    assert db.read_now(accounts.member, first, ADA) is None
    assert db.read_now(accounts.member, first, BOB) is not None


PLACES = st.sets(st.tuples(st.sampled_from(PEOPLE), st.booleans()), max_size=8)
DEEDS = st.lists(st.tuples(st.sampled_from(["transfer", "leave", "set", "role"]), st.sampled_from(PEOPLE)), max_size=6)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(places=PLACES, roles=st.lists(st.sampled_from(list(Role)), min_size=8, max_size=8), deeds=DEEDS)
def test_what_is_restored_is_as_it_was_whatever_was_done(
    db: Database, places: set[tuple[str, bool]], roles: list[Role], deeds: list[tuple[str, str]]
) -> None:
    """Ada's places, and those of Bob and Cy in her groups, when Bob's account, with Cy, has become hers."""

    def story(tx: Tx) -> tuple[object, object]:
        for table in reversed(schema.metadata.sorted_tables):
            tx.execute(table.delete())
        first = group(tx, "first@lists.example", PEOPLE)
        tx.execute(schema.subscriptions.delete())
        ids = {False: first.id, True: group(tx, "second@lists.example").id}
        for place, (key, which) in enumerate(sorted(places)):
            join(tx, ids[which], key, roles[place], late=place)
        unite(tx, BOB, CY)
        before, mine = everything(tx), {ids[which] for key, which in places if key == ADA}
        ada, bob = box(tx, ADA), box(tx, BOB)
        boxes = [each.id for key in (ADA, BOB, CY) for each in [box(tx, key)]]
        kept = persons.snapshot(tx, {ada.account_id, bob.account_id})
        unite(tx, ADA, BOB)
        persons.transfer(tx, ada.id, bob.id)
        persons.separate(tx, [ada.id], NOW)
        for deed, key in deeds:
            mess(tx, deed, box(tx, key), boxes)
        persons.restore(tx, [ada.id], boxes, kept, NOW)
        hers = {place: at for place, at in before.items() if place[0] in mine and place[1] != DEE}
        now = {place: at for place, at in everything(tx).items() if place[0] in mine and place[1] != DEE}
        assert box(tx, ADA).account_id != box(tx, BOB).account_id
        left_over = select(func.count()).where(schema.accounts.c.id.not_in(select(schema.mailboxes.c.account_id)))
        assert tx.execute(left_over).scalar_one() == 0
        return hers, now

    hers, now = db.write_now(story)
    assert hers == now


def mess(tx: Tx, deed: str, mailbox: accounts.Mailbox, boxes: list[int]) -> None:
    """What somebody may do meanwhile."""
    for group_id, member in accounts.places(tx, mailbox.account_id):
        match deed:
            case "transfer" if mailbox.id in boxes:
                others = [other for other in accounts.mailboxes_of(tx, mailbox.account_id) if other.id != mailbox.id]
                if others:
                    persons.transfer(tx, mailbox.id, others[0].id)
            case "leave" if mailbox.id in boxes:
                accounts.unsubscribe(tx, member.subscription_id)
            case "set":
                accounts.change(tx, member.subscription_id, mode=Mode.NONE.value) if mailbox.id in boxes else None
            case "role":
                assert groups.get(tx, group_id)
