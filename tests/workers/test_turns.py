"""Whose turn it is: fair between destinations, polite to each, and never all lines for the slow."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from listserv.workers import turns as module
from listserv.workers.turns import CLOGGED, FIRST_WINDOW, SLOW_SECONDS, Turn, Turns

LINES = 20


class Hands:
    """Turns with a clock that is put forward by hand."""

    def __init__(self, lines: int = LINES) -> None:
        self.now = 0.0
        self.lines = lines
        self.turns: Turns[str] = Turns(lines, lambda: self.now)
        self.under_way: list[Turn[str]] = []

    def given(self, destination: str, number: int) -> None:
        for n in range(number):
            self.turns.put(destination, f"{destination}:{n}")

    def take(self) -> str | None:
        turn = self.turns.take() if len(self.under_way) < self.lines else None
        if turn is None:
            return None
        self.under_way.append(turn)
        return turn.work

    def take_all(self) -> Counter[str]:
        """As many as there are lines for, by destination."""
        taken: Counter[str] = Counter()
        while (work := self.take()) is not None:
            taken[work.partition(":")[0]] += 1
        return taken

    def end(self, destination: str = "", *, after: float = 0.01, well: bool = True) -> None:
        """All that are under way, or those to this destination."""
        self.now += after
        for turn in [turn for turn in self.under_way if destination in ("", turn.to.name)]:
            self.under_way.remove(turn)
            self.turns.ended(turn, well=well)


def test_few_for_one_do_not_wait_behind_many_for_another() -> None:
    here = Hands()
    here.given("big.example", 1000)
    here.given("small.example", 3)
    assert [here.take() for _ in range(4)] == [
        "big.example:0",
        "small.example:0",
        "big.example:1",
        "small.example:1",
    ]


def test_the_window_of_a_destination_grows_with_success_up_to_all_lines() -> None:
    here = Hands()
    here.given("a.example", 1000)
    sizes = []
    for _ in range(6):
        sizes.append(sum(here.take_all().values()))
        here.end()
    assert sizes[0] == int(FIRST_WINDOW)
    assert sizes == sorted(sizes)
    assert sizes[-1] == LINES


def test_it_shrinks_when_one_is_deferred_and_never_to_nothing() -> None:
    here = Hands()
    here.given("a.example", 1000)
    for _ in range(4):
        here.take_all()
        here.end()
    here.take()
    here.end(well=False)
    assert here.take_all()["a.example"] == LINES // 2
    here.end(well=False)
    assert here.take_all()["a.example"] == 1


def test_the_slow_leave_half_of_the_lines_to_others_and_a_quarter_to_the_prompt() -> None:
    # given forty destinations of whom we know nothing, and one that has answered
    here = Hands()
    here.given("prompt.example", 1)
    here.take_all()
    here.end()
    for n in range(40):
        here.given(f"d{n}.example", 50)

    # then the forty have three quarters of the lines, the rest is for those who answer
    here.take_all()
    assert len(here.under_way) == LINES * 3 // 4
    here.given("prompt.example", 100)
    assert here.take_all()["prompt.example"] == LINES // 4

    # and half, when it has turned out that they take their time
    here.end("prompt.example")
    here.end(after=5.0)
    assert here.turns.is_slow("d0.example")
    taken = here.take_all()
    slow = sum(here.turns.is_slow(name) * number for name, number in taken.items())
    assert slow <= LINES // 2
    assert taken["prompt.example"] >= LINES // 4


def test_who_was_prompt_and_hangs_now_counts_among_the_slow() -> None:
    here = Hands()
    for name in ("a.example", "b.example"):
        here.given(name, 1)
    here.take_all()
    here.end()
    here.given("a.example", 100)
    here.take_all()
    here.now += SLOW_SECONDS * 1.1
    here.given("b.example", 1)
    assert here.take() == "b.example:0"
    assert here.turns.is_slow("a.example")


def test_who_held_up_others_is_slow_until_it_has_answered() -> None:
    here = Hands()
    here.turns.beware("mute.example")
    assert here.turns.is_slow("mute.example")
    here.given("mute.example", 1)
    here.take_all()
    here.end()
    assert not here.turns.is_slow("mute.example")


def test_who_is_held_goes_on_when_who_held_him_turns_out_to_be_prompt() -> None:
    # given two lines, of which the unknown have one; it is at work for a destination for which more waits
    here = Hands(2)
    here.given("first.example", 3)
    assert here.take() == "first.example:0"
    here.given("second.example", 1)
    assert here.take() is None

    # when that one was prompt, its others go, and so does whoever waits behind it
    here.end()
    assert here.take_all() == {"first.example": 1, "second.example": 1}
    here.end()
    assert here.take_all() == {"first.example": 1}


def test_where_all_take_long_nobody_is_slow() -> None:
    here = Hands()
    for n in range(100):
        here.given(f"d{n}.example", 20)
    for _ in range(60):
        here.take_all()
        here.end(after=3.0)
    assert len(here.take_all()) == LINES


def test_what_cannot_begin_is_known_and_can_be_withdrawn() -> None:
    here = Hands()
    here.given("a.example", CLOGGED + 10)
    here.take_all()
    assert here.turns.able == 0
    assert here.turns.clogged() == ["a.example"]
    here.given("b.example", 2)
    assert here.turns.able == 2
    assert len(list(here.turns.withdraw(blocked_only=True))) == CLOGGED + 10 - int(FIRST_WINDOW)
    assert here.turns.waiting == here.turns.able == 2
    assert here.turns.clogged() == []
    assert sorted(here.turns.withdraw()) == ["b.example:0", "b.example:1"]
    assert here.take() is None
    here.end()
    here.given("a.example", 1)
    assert here.take() == "a.example:0"


def test_destinations_are_forgotten_when_there_are_too_many(monkeypatch: object) -> None:
    here = Hands()
    for n in range(3 * module.REMEMBERED):
        here.given(f"d{n}.example", 1)
        here.take_all()
        here.end()
    assert len(here.turns._known) <= 2 * module.REMEMBERED


STEPS = st.lists(st.tuples(st.sampled_from("PTEDXWB"), st.integers(0, 5), st.floats(0, 10)), max_size=80)


@given(STEPS, st.integers(1, 4))
def test_whatever_happens_nothing_is_lost_and_what_may_begin_begins(
    steps: list[tuple[str, int, float]], lines: int
) -> None:
    here = Hands(lines)
    given_, gone = 0, 0
    for step, number, seconds in steps:
        match step:
            case "P":
                here.given(f"d{number}.example", number)
                given_ += number
            case "T":
                here.take()
            case "E" | "D" if here.under_way:
                turn = here.under_way.pop(number % len(here.under_way))
                here.now += seconds
                here.turns.ended(turn, well=step == "E")
                gone += 1
            case "X" if here.under_way:
                here.turns.drop(here.under_way.pop(number % len(here.under_way)))
                gone += 1
            case "W" | "B":
                gone += len(list(here.turns.withdraw(blocked_only=step == "B")))
        assert here.turns.waiting + len(here.under_way) + gone == given_
        assert 0 <= here.turns.able <= here.turns.waiting
        assert set(here.turns.under_way) == set(here.under_way)
    here.end(after=0.0)
    left = here.turns.waiting
    for _ in range(left):
        assert here.take() is not None, "nobody is under way, so somebody's turn it is"
        here.end(after=0.0)
    assert here.turns.waiting == here.turns.able == 0
