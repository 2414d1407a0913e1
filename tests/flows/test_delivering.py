"""When a copy is tried again, when we give up, and which copies share a transaction."""

import re
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from listserv.flows import delivering
from listserv.flows.delivering import IN_DOUBT, LADDER, PATIENCE, RECIPIENTS, Printed
from listserv.flows.site import Site
from listserv.model.delivery import Deferred, Failed, Outcome, Sent
from listserv.model.group import Group, Kind
from listserv.store.deliveries import Delivery, Settled
from listserv.store.editions import Loaded
from tests.kit.database import NOW
from tests.kit.site import site

WALKERS = Group(7, "walkers@lists.example", Kind.DISCUSSION)
BODY = b"Shall we walk?\r\n"


def delivery(id: int = 1, *, tries: int = 1, edition_id: int = 1, made_at: datetime = NOW) -> Delivery:
    return Delivery(id, tries, edition_id, 100 + id, f"m{id}@a.example", "a.example", made_at)


def printed(style: str, kind: str = "post", id: int = 1, here: Site | None = None) -> Printed:
    mail_from = "walkers-bounces@lists.example" if style == "bulk" and kind == "post" else ""
    fields = b"Subject: A walk\r\n"
    loaded = Loaded(id, kind, WALKERS, style, mail_from, b"Received: x\r\n", fields, BODY, "lists.example", NOW)
    return delivering.prepare(here or site(), loaded, {})


def never(destination: str) -> bool:
    return False


def chance(octet: int) -> object:
    return lambda size: bytes([octet]) * size


def wait(tries: int, octet: int, *, in_doubt: bool = False) -> timedelta:
    due = delivering.again(delivery(tries=tries), NOW, in_doubt=in_doubt, chance=chance(octet))  # type: ignore[arg-type]
    assert due is not None
    return due - NOW


def test_the_ladder_grows_from_half_a_minute_to_some_hours() -> None:
    assert list(LADDER) == sorted(set(LADDER))
    assert timedelta(seconds=30) == LADDER[0]
    assert LADDER[-1] <= timedelta(hours=4)
    assert timedelta(days=5) == PATIENCE  # RFC 5321 §4.5.4.1: at least 4 to 5 days


@pytest.mark.parametrize(("tries", "step"), [*enumerate(LADDER, 1), (len(LADDER) + 1, LADDER[-1]), (500, LADDER[-1])])
def test_each_try_waits_a_step_longer_until_the_last(tries: int, step: timedelta) -> None:
    assert wait(tries, 0) == step * 0.8
    assert wait(tries, 255) == step * 1.2
    assert abs(wait(tries, 127) - step) < step * 0.001


@given(st.integers(1, 1000), st.integers(0, 255), st.booleans())
def test_jitter_is_a_fifth_at_most_and_doubt_waits_ten_minutes_at_least(tries: int, octet: int, in_doubt: bool) -> None:
    step = LADDER[min(tries, len(LADDER)) - 1]
    waited = wait(tries, octet, in_doubt=in_doubt)
    if in_doubt:
        assert waited >= IN_DOUBT >= timedelta(seconds=600)
        assert waited == max(IN_DOUBT, wait(tries, octet))
    else:
        assert step * 0.8 <= waited <= step * 1.2


def test_a_crowd_does_not_come_back_together() -> None:
    assert len({wait(1, octet) for octet in range(256)}) == 256


@pytest.mark.parametrize(
    ("age", "patient"),
    [(timedelta(), True), (PATIENCE - timedelta(microseconds=1), True), (PATIENCE, False), (2 * PATIENCE, False)],
)
@pytest.mark.parametrize("in_doubt", [False, True])
def test_patience_ends_after_five_days_however_many_tries_there_were(
    age: timedelta, patient: bool, in_doubt: bool
) -> None:
    for tries in (1, 100):
        old = delivery(tries=tries, made_at=NOW - age)
        due = delivering.again(old, NOW, in_doubt=in_doubt, chance=bytes)
        assert (due is not None) is patient


OUTCOMES: list[tuple[Outcome, timedelta, Settled]] = [
    # outcome, age of the delivery, what is written down
    (Sent("250 ok"), timedelta(), Settled([1], 1, "sent", NOW, "250 ok")),
    (Sent("250 ok"), 2 * PATIENCE, Settled([1], 1, "sent", NOW, "250 ok")),
    (Failed("550 no"), timedelta(), Settled([1], 1, "failed", NOW, "550 no")),
    (Deferred("451 later"), timedelta(), Settled([1], 1, "due", NOW + LADDER[0] * 0.8, "451 later")),
    (Deferred("silence", in_doubt=True), timedelta(), Settled([1], 1, "due", NOW + IN_DOUBT, "silence")),
    (Deferred("no route", unreachable=True), timedelta(), Settled([1], 1, "due", NOW + LADDER[0] * 0.8, "no route")),
    (Deferred("451 later"), PATIENCE, Settled([1], 1, "failed", NOW, "gave up after 5 days: 451 later")),
]


@pytest.mark.parametrize(("outcome", "age", "expected"), OUTCOMES)
def test_an_outcome_is_written_down_as_the_table_says(outcome: Outcome, age: timedelta, expected: Settled) -> None:
    assert delivering.settled([delivery(made_at=NOW - age)], [outcome], NOW, bytes) == [expected]


@pytest.mark.parametrize("style", ["personal", "verp"])
def test_copies_with_their_own_return_path_go_one_by_one(style: str) -> None:
    waiting = [delivery(n) for n in range(5)]
    assert delivering.batches(waiting, printed(style), never) == [("a.example", [each]) for each in waiting]


@pytest.mark.parametrize("size", [0, 1, RECIPIENTS - 1, RECIPIENTS, RECIPIENTS + 1, 2 * RECIPIENTS + 1])
def test_copies_that_are_all_the_same_share_a_transaction(size: int) -> None:
    waiting = [delivery(n) for n in range(size)]
    batches = [batch for _, batch in delivering.batches(waiting, printed("bulk"), never)]
    assert len(batches) == -(-size // RECIPIENTS)
    assert all(1 <= len(batch) <= RECIPIENTS for batch in batches)
    assert [each for batch in batches for each in batch] == waiting


def test_a_personal_copy_bears_the_readers_own_return_path_and_links() -> None:
    here = site()
    edition = printed("personal")
    one, other = (delivering.stamp(here, edition, [delivery(n)], NOW) for n in (1, 2))
    for n, copy in ((1, one), (2, other)):
        path = re.fullmatch(r"walkers-bounces\+([a-z2-7]+)@lists\.example", copy.mail_from)
        assert path is not None
        assert here.tags.read_bounce(7, path[1]) == n
        leave = re.search(
            rb"\r\nList-Unsubscribe:\s+<http[^>]+/([a-z2-7]+)>,\s+<mailto:walkers-unsubscribe\+\1@", copy.own
        )
        assert leave is not None
        assert here.tags.read_leave(7, leave[1].decode()) == 100 + n
        assert b"\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n" in copy.own
        assert copy.own.startswith(b"Received: x\r\n")
        assert copy.head == b"Subject: A walk\r\n\r\n"
        assert copy.rcpt_to == (f"m{n}@a.example",)
    assert one.head is other.head
    assert one.body is other.body


def test_a_verp_copy_differs_in_its_return_path_only() -> None:
    edition = printed("verp")
    one, other = (delivering.stamp(site(), edition, [delivery(n)], NOW) for n in (1, 2))
    assert one.mail_from != other.mail_from
    assert one.head is other.head
    assert b"List-Unsubscribe: <mailto:walkers-unsubscribe@lists.example>\r\n" in one.head
    assert b"One-Click" not in one.head


def test_bulk_copies_are_one_copy_for_many() -> None:
    copy = delivering.stamp(site(), printed("bulk"), [delivery(n) for n in range(3)], NOW)
    assert copy.mail_from == "walkers-bounces@lists.example"
    assert copy.rcpt_to == ("m0@a.example", "m1@a.example", "m2@a.example")


@pytest.mark.parametrize("style", ["bulk", "verp"])
def test_a_notice_has_the_null_sender_and_no_list_fields(style: str) -> None:
    notice = printed(style, "notice")
    copy = delivering.stamp(site(), replace(notice), [delivery()], NOW)
    assert copy.mail_from == ""
    assert b"List-" not in copy.head


def test_where_there_are_no_pages_no_link_is_promised() -> None:
    here = site(url="")
    copy = delivering.stamp(here, printed("personal", here=here), [delivery()], NOW)
    assert b"List-Unsubscribe: <mailto:walkers-unsubscribe+" in copy.own
    assert b"http" not in copy.own
    assert b"One-Click" not in copy.own
