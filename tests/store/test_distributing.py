"""A post is claimed, and the draft of a small one in the same transaction."""

from datetime import datetime

import pytest

from listserv.flows import distributing
from listserv.hooks import Addition, Feature
from listserv.model.group import Group
from listserv.store import queue, schema
from listserv.store.db import Database, Tx
from tests.kit.database import NOW, group, post
from tests.kit.site import site

SMALL = 1_000


def fails(tx: Tx, of: Group, now: datetime) -> Addition | None:
    raise ValueError("a fault of this feature")


def test_a_small_post_comes_with_its_draft(db: Database) -> None:
    walkers = db.write_now(group, members=["ada@a.example"])
    db.write_now(post, walkers.id)
    claimed = db.write_now(distributing.claim, site(), NOW, SMALL)
    assert claimed.post is not None
    assert claimed.draft == db.read_now(distributing.load, site(), claimed.post, NOW)


def test_a_large_post_comes_without(db: Database) -> None:
    walkers = db.write_now(group)
    db.write_now(post, walkers.id, b"From: a@a.example\r\n\r\n" + b"x" * SMALL)
    assert db.write_now(distributing.claim, site(), NOW, SMALL).draft is None


def test_a_post_that_was_tried_before_comes_without(db: Database) -> None:
    walkers = db.write_now(group)
    db.write_now(post, walkers.id)
    db.write_now(distributing.claim, site(), NOW, SMALL)
    db.write_now(queue.give_back, schema.posts, site().node, NOW)
    again = db.write_now(distributing.claim, site(), NOW, SMALL)
    assert again.post is not None
    assert (again.post.tries, again.draft) == (2, None)


def test_a_post_that_cannot_be_loaded_is_claimed_without_its_draft(db: Database) -> None:
    # given a feature that fails on it
    walkers = db.write_now(group)
    db.write_now(post, walkers.id)
    faulty = site(features=(Feature("faulty", amend=fails),))
    with pytest.raises(ValueError, match="a fault of this feature"):
        db.write_now(distributing.claim, faulty, NOW, SMALL)

    # then it can be claimed bare: so the fault is counted where it is loaded by itself, and not run into for ever
    claimed = db.write_now(distributing.claim, faulty, NOW, SMALL, bare=True)
    assert claimed.post is not None
    assert claimed.draft is None
    assert db.write_now(distributing.claim_post, "other", NOW) is None
