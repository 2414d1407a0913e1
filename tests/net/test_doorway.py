"""Guests are counted over all processes that share the doors."""

import os

from listserv.net.doorway import Doorway
from listserv.net.gate import Gate, Limits

LIMITS = Limits(max_connections=6, max_connections_per_address=2)


def gates() -> tuple[Doorway, Gate, Gate]:
    """Of two processes; both doorways are the same memory, as after a fork."""
    doorway = Doorway((), 2)
    other = Doorway((), 2)
    other._numbers, other._key = doorway._numbers, doorway._key
    doorway.take_place(0)
    other.take_place(1)
    return other, Gate(doorway), Gate(other)


def test_a_network_has_no_more_by_coming_in_at_two_processes() -> None:
    _, one, other = gates()
    assert one.enter("192.0.2.1", LIMITS, exempt=False) is None
    assert other.enter("192.0.2.1", LIMITS, exempt=False) is None
    for gate in (one, other):
        assert gate.enter("192.0.2.1", LIMITS, exempt=False) is not None
    assert other.enter("192.0.2.2", LIMITS, exempt=False) is None
    one.leave("192.0.2.1", exempt=False)
    assert other.enter("192.0.2.1", LIMITS, exempt=False) is None


def test_all_together_are_no_more_than_the_house_takes_whoever_they_are() -> None:
    _, one, other = gates()
    for number in range(3):
        assert one.enter(f"192.0.2.{number}", LIMITS, exempt=False) is None
        assert other.enter("", LIMITS, exempt=True) is None
    for gate in (one, other):
        assert gate.enter("192.0.2.9", LIMITS, exempt=True) is not None
    other.leave("", exempt=True)
    assert one.enter("192.0.2.9", LIMITS, exempt=False) is None


def test_the_guests_of_who_died_are_forgotten() -> None:
    doorway, one, other = gates()
    for _ in range(2):
        assert other.enter("192.0.2.1", LIMITS, exempt=False) is None
    assert one.enter("192.0.2.1", LIMITS, exempt=False) is not None
    doorway.take_place(1)
    assert one.enter("192.0.2.1", LIMITS, exempt=False) is None


def test_processes_see_each_other_through_a_fork() -> None:
    doorway = Doorway((), 2)
    doorway.take_place(0)
    if (child := os.fork()) == 0:
        doorway.take_place(1)
        Gate(doorway).enter("192.0.2.1", LIMITS, exempt=False)
        os._exit(0)
    os.waitpid(child, 0)
    assert (doorway.elsewhere, doorway.elsewhere_from("192.0.2.1"), doorway.elsewhere_from("192.0.2.2")) == (1, 1, 0)
