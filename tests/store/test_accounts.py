"""A person with several mailboxes: which of them may act, and for whose place."""

from sqlalchemy import insert, update

from listserv.model.address import parse
from listserv.model.group import Mode, Role
from listserv.store import accounts, deliveries, groups, rolls, schema
from listserv.store.db import Database, Tx
from listserv.store.rolls import Person
from tests.kit.database import NOW, group

ADA = "ada@a.example"
WORK = "ada@work.example"
BOB = "bob@b.example"


def add_mailbox(tx: Tx, key: str, other: str, *, proven: bool = True) -> None:
    """The person with the mailbox `key` has this one too."""
    known, address = accounts.mailbox(tx, key), parse(other)
    assert known is not None
    assert address is not None
    values = {"address": str(address), "key": address.key, "domain": address.domain}
    at = NOW if proven else None
    tx.execute(insert(schema.mailboxes).values(account_id=known.account_id, proven_at=at, **values))


def test_any_proven_mailbox_of_a_person_finds_his_place(db: Database) -> None:
    walkers = db.write_now(group, members=[ADA, BOB])
    db.write_now(add_mailbox, ADA, WORK)
    found = db.read_now(accounts.member, walkers.id, WORK)
    assert found is not None
    assert found.address == ADA
    own = db.read_now(accounts.member, walkers.id, BOB)
    assert own is not None
    assert own.address == BOB


def test_a_mailbox_that_is_not_proven_finds_nobodys(db: Database) -> None:
    walkers = db.write_now(group, members=[ADA])
    db.write_now(add_mailbox, ADA, WORK, proven=False)
    assert db.read_now(accounts.member, walkers.id, WORK) is None


def test_nor_does_a_proven_one_act_for_one_that_is_not(db: Database) -> None:
    walkers = db.write_now(group, members=[ADA])
    db.write_now(add_mailbox, ADA, WORK)
    db.write_now(lambda tx: tx.execute(update(schema.mailboxes).values(proven_at=None).filter_by(key=ADA)))
    assert db.read_now(accounts.member, walkers.id, WORK) is None
    assert db.read_now(accounts.member, walkers.id, ADA) is not None


def test_ones_own_place_comes_before_that_of_another_mailbox_and_the_admins_before_all(db: Database) -> None:
    walkers = db.write_now(group, members=[ADA, WORK])

    def one_person(tx: Tx) -> None:
        ada, work = accounts.member(tx, walkers.id, ADA), accounts.mailbox(tx, WORK)
        assert ada is not None
        assert work is not None
        accounts.change(tx, ada.subscription_id, role=Role.MODERATOR.value)
        tx.execute(update(schema.mailboxes).values(account_id=ada.account_id).filter_by(key=WORK))

    db.write_now(one_person)
    found, admin = (db.read_now(find, walkers.id, WORK) for find in (accounts.member, accounts.admin))
    assert found is not None
    assert admin is not None
    assert (found.address, admin.address) == (WORK, ADA)


def test_a_ban_is_on_the_person(db: Database) -> None:
    walkers = db.write_now(group, members=[ADA])
    db.write_now(add_mailbox, ADA, WORK)
    assert db.write_now(groups.ban, walkers.id, WORK, NOW)
    assert not db.write_now(groups.ban, walkers.id, ADA, NOW)
    assert db.read_now(groups.is_banned, walkers.id, ADA)
    address = parse(ADA)
    assert address is not None
    assert db.write_now(rolls.enrol, walkers.id, [Person(address)], NOW, "test").banned == (ADA,)
    assert not db.read_now(groups.is_banned, walkers.id, BOB)
    assert db.write_now(groups.unban, walkers.id, ADA)
    assert not db.read_now(groups.is_banned, walkers.id, WORK)


def test_a_ban_follows_a_mailbox_out_of_its_account(db: Database) -> None:
    walkers = db.write_now(group, members=[ADA, BOB])
    db.write_now(groups.ban, walkers.id, ADA, NOW)
    db.write_now(groups.spread_bans, ADA, BOB, NOW)
    db.write_now(groups.spread_bans, ADA, BOB, NOW)
    assert db.read_now(groups.is_banned, walkers.id, BOB)


def test_who_wants_no_copy_of_a_post_is_known_by_any_mailbox(db: Database) -> None:
    walkers = db.write_now(group, members=[ADA, BOB, "cy@c.example"])
    db.write_now(add_mailbox, ADA, WORK)
    ada, bob = (db.read_now(accounts.member, walkers.id, key) for key in (ADA, BOB))
    assert ada is not None
    assert bob is not None
    assert db.read_now(deliveries.spared, walkers.id, WORK, {BOB}) == ()
    db.write_now(accounts.change, ada.subscription_id, own_posts=False)
    db.write_now(accounts.change, bob.subscription_id, copies=False, mode=Mode.EACH.value)
    assert db.read_now(deliveries.spared, walkers.id, WORK, {"x@x.example"}) == (ada.subscription_id,)
    assert set(db.read_now(deliveries.spared, walkers.id, WORK, {BOB})) == {ada.subscription_id, bob.subscription_id}
    assert db.read_now(deliveries.spared, walkers.id, BOB, {WORK}) == ()
    assert db.read_now(deliveries.spared, walkers.id, "x@x.example", {"y@y.example"}) == ()
