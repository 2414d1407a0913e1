"""What a deliverer has in hand: how much it wants there, and how long that is surely its own."""

import time
from collections.abc import Iterable
from datetime import datetime, timedelta

from listserv.store import queue

FEWEST, MOST = 200, 2_000  # deliveries in hand: as many as go out in
IN_HAND_SECONDS = 0.4
SURELY_OURS = queue.LEASE - timedelta(seconds=2)  # after a claim or a renewal; others' clocks may be ahead


class Hand:
    """Deliveries by their ids, from the claim until their outcome is recorded or they have gone back."""

    def __init__(self, now: datetime) -> None:
        self.ids: set[int] = set()
        self.ended = 0  # deliveries since the last claim
        self.may_be_more = False  # due than what was claimed last
        self._ours_until = now  # all of them
        self._few = FEWEST // 2  # time to claim
        self._claimed_at = 0.0  # on the monotonic clock

    def wanted(self, *, able: bool) -> int:
        """How many to claim: none while more than half of what goes out soon is here, unless all of it is blocked.

        able  a line would find something to send
        """
        rate = self.ended / max(time.monotonic() - self._claimed_at, 0.001)
        soon = min(max(FEWEST, int(rate * IN_HAND_SECONDS)), MOST)
        self._few = soon // 2
        if able and len(self.ids) > self._few:
            return 0
        return max(soon - len(self.ids), FEWEST) if len(self.ids) <= MOST else 0

    def claims(self) -> None:
        """Now: from here on it is counted how much goes out."""
        self.ended, self._claimed_at = 0, time.monotonic()

    def holds(self, now: datetime) -> None:
        """All that is in hand, and what comes into it now, has a lease that began at this time."""
        self._ours_until = now + SURELY_OURS

    def let_go(self, ids: Iterable[int]) -> bool:
        """Whether it is time to claim, because few are left and there may be more."""
        self.ids.difference_update(ids)
        return self.may_be_more and len(self.ids) <= self._few

    def has_lapsed(self, now: datetime) -> bool:
        """We stood still, or the database did, for so long that others may have taken what is in hand.

        It stays so until the hand is empty, or holds anew: what others have not taken is due again then.
        """
        return now >= self._ours_until and bool(self.ids)
