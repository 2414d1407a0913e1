"""Who guesses tokens: counted in memory, by network, for a few minutes.

A token has 130 bits, so nobody ever guesses one; this keeps whoever tries from making us look each of them up.
"""

from collections import OrderedDict
from datetime import datetime, timedelta

from listserv.flows.budgeting import network

WRONG = 20  # in WITHIN; then every token from there waits
WITHIN = timedelta(minutes=10)
NETWORKS = 10_000  # remembered at most; the one that was wrong longest ago is forgotten first


class Guesses:
    """How often each network was wrong lately; one who is at one's own machine (no address) is never counted.

    Each of several `processes` has its part of the guesses: together they hear no more than one would.
    """

    def __init__(self, processes: int = 1) -> None:
        self._most = max(1, WRONG // processes)
        self._wrong: OrderedDict[str, tuple[datetime, int]] = OrderedDict()  # network → since when, how often

    def wrong(self, ip: str, now: datetime) -> None:
        """One more from there."""
        if not ip:
            return
        whose = network(ip)
        since, count = self._wrong.pop(whose, (now, 0))
        self._wrong[whose] = (since, count + 1) if abs(now - since) < WITHIN else (now, 1)
        if len(self._wrong) > NETWORKS:
            self._wrong.popitem(last=False)

    def too_many(self, ip: str, now: datetime) -> bool:
        """Whether this network has to wait."""
        since, count = self._wrong.get(network(ip), (now, 0)) if ip else (now, 0)
        return count >= self._most and abs(now - since) < WITHIN
