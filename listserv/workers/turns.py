"""Whose turn it is: what waits for a line, by destination.

Destinations take turns, so that many copies for one of them do not stand before few for another.  How many may be
under way to one destination grows with each that goes well, and halves when one is deferred.  A destination that took
far longer than the others do, or has not yet answered, is *doubtful*: the slow get at most half of the lines, and
together with the unknown three quarters, so that they never stop the prompt.

Nothing here waits.  Each call costs the same, however much there is.
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Generic, TypeVar

T = TypeVar("T")

FIRST_WINDOW = 5.0  # under way to a destination that we know nothing of
SLOW_SECONDS = 1.0  # nobody is slow who takes no longer
SLOW_TIMES = 4.0  # as long as it takes typically
STEP = 0.05  # by which each that has ended moves what is typical
REMEMBERED = 5_000  # destinations for whom nothing waits
CLOGGED = 32  # waiting for one destination that may not have more under way


class _Place(Enum):
    NOWHERE = "nothing waits for it"
    IN_TURN = "in the row"
    FULL = "as much is under way as may be"
    HELD = "doubtful, and the doubtful have their share"


@dataclass(slots=True, eq=False)
class _Destination(Generic[T]):
    name: str
    waiting: deque[T] = field(default_factory=deque)
    under_way: int = 0
    window: float = FIRST_WINDOW
    is_prompt: bool = False
    is_slow: bool = False
    place: _Place = _Place.NOWHERE


@dataclass(slots=True, eq=False)
class Turn(Generic[T]):
    """Work that is under way."""

    work: T
    to: _Destination[T]
    began: float
    doubtful: bool


class Turns(Generic[T]):
    """`lines` is how much may be under way at all; `clock` counts seconds."""

    def __init__(self, lines: int, clock: Callable[[], float]) -> None:
        self.waiting = 0
        self.under_way: dict[Turn[T], None] = {}  # the longest first
        self._lines = lines
        self._clock = clock
        self._known: dict[str, _Destination[T]] = {}
        self._row: deque[_Destination[T]] = deque()
        self._held: deque[_Destination[T]] = deque()
        self._blocked = 0  # of `waiting`, for destinations that are FULL or HELD
        self._doubtful = 0  # under way to doubtful destinations
        self._typical = SLOW_SECONDS / SLOW_TIMES  # seconds: about as many took longer as took less
        self._overdue = SLOW_SECONDS  # seconds: who takes longer is slow

    @property
    def able(self) -> int:
        """How much waits and may begin at once, if there is a line."""
        return self.waiting - self._blocked

    def is_slow(self, name: str) -> bool:
        known = self._known.get(name)
        return known is not None and known.is_slow

    def beware(self, name: str) -> None:
        """It held up others: it is slow, until something for it has ended."""
        to = self._known.get(name) or self._make(name)
        to.is_prompt, to.is_slow = False, True

    def put(self, name: str, work: T) -> None:
        to = self._known.get(name) or self._make(name)
        to.waiting.append(work)
        self.waiting += 1
        if to.place is _Place.NOWHERE:
            to.place = _Place.IN_TURN
            self._row.append(to)
        elif to.place is not _Place.IN_TURN:
            self._blocked += 1

    def take(self) -> Turn[T] | None:
        """What is to be done next, if anything may."""
        now = self._clock()
        self._doubt_the_overdue(now)
        while self._row:
            to = self._row.popleft()
            if to.under_way >= int(to.window):
                self._block(to, _Place.FULL)
            elif not to.is_prompt and self._doubtful >= self._most_doubtful(to):
                self._block(to, _Place.HELD)
                self._held.append(to)
            else:
                return self._begin(to, now)
        return None

    def ended(self, turn: Turn[T], *, well: bool) -> None:
        """`well` unless the destination deferred it."""
        seconds = self._clock() - turn.began
        del self.under_way[turn]
        to = turn.to
        to.under_way -= 1
        self._doubtful -= turn.doubtful
        self._typical = max(0.001, self._typical * (1 + STEP if seconds > self._typical else 1 - STEP))
        self._overdue = max(SLOW_SECONDS, SLOW_TIMES * self._typical)
        to.is_slow = seconds > self._overdue
        to.is_prompt = not to.is_slow
        to.window = min(float(self._lines), to.window + 1) if well else max(1.0, to.window / 2)
        if to.place is _Place.FULL or (to.place is _Place.HELD and to.is_prompt):
            self._unblock(to)
        self._let_in()

    def drop(self, turn: Turn[T]) -> None:
        """It ended without a word about its destination; or `ended` has been told."""
        if turn in self.under_way:
            del self.under_way[turn]
            turn.to.under_way -= 1
            self._doubtful -= turn.doubtful
            if turn.to.place is _Place.FULL:
                self._unblock(turn.to)
            self._let_in()

    def clogged(self) -> list[str]:
        """Destinations for which more waits than they take."""
        if self._blocked < CLOGGED:
            return []
        return [to.name for to in self._known.values() if len(to.waiting) >= CLOGGED and to.place is not _Place.IN_TURN]

    def withdraw(self, *, blocked_only: bool = False) -> Iterator[T]:
        """What waits, or of that what may not begin now, waits no more."""
        for to in self._known.values():
            is_blocked = to.place in (_Place.FULL, _Place.HELD)
            if blocked_only and not is_blocked:
                continue
            self.waiting -= len(to.waiting)
            self._blocked -= len(to.waiting) * is_blocked
            yield from to.waiting
            to.waiting.clear()
            to.place = _Place.NOWHERE
        self._row = deque(to for to in self._row if to.place is _Place.IN_TURN)
        self._held = deque(to for to in self._held if to.place is _Place.HELD)

    def _most_doubtful(self, to: _Destination[T]) -> int:
        return max(1, self._lines // 2) if to.is_slow else max(1, self._lines * 3 // 4)

    def _begin(self, to: _Destination[T], now: float) -> Turn[T]:
        turn = Turn(to.waiting.popleft(), to, now, not to.is_prompt)
        self.waiting -= 1
        to.under_way += 1
        self._doubtful += turn.doubtful
        self.under_way[turn] = None
        if to.waiting:
            self._row.append(to)
        else:
            to.place = _Place.NOWHERE
        return turn

    def _doubt_the_overdue(self, now: float) -> None:
        for turn in self.under_way:
            if now - turn.began <= self._overdue:
                return
            if not turn.doubtful:
                turn.doubtful = True
                self._doubtful += 1
            turn.to.is_prompt = False
            turn.to.is_slow = True

    def _block(self, to: _Destination[T], place: _Place) -> None:
        to.place = place
        self._blocked += len(to.waiting)

    def _unblock(self, to: _Destination[T]) -> None:
        self._blocked -= len(to.waiting)
        to.place = _Place.IN_TURN
        self._row.append(to)

    def _let_in(self) -> None:
        """One of the held, if there is room among the doubtful: whatever ends, so that nobody is held by nobody."""
        while self._held and self._doubtful < self._most_doubtful(self._held[0]):
            to = self._held.popleft()
            if to.place is _Place.HELD:
                self._unblock(to)
                return

    def _make(self, name: str) -> _Destination[T]:
        self._forget_some()
        made = self._known[name] = _Destination(name)
        return made

    def _forget_some(self) -> None:
        if len(self._known) >= 2 * REMEMBERED:
            idle = [name for name, to in self._known.items() if not to.waiting and not to.under_way]
            for name in idle[: len(self._known) - REMEMBERED]:
                del self._known[name]
