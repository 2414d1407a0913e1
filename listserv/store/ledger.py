"""Nothing that was taken is ever lost: two accounts that have to balance at every moment (RELIABILITY R3).

posts    a message taken for a group with a 250, once for each group it was for; a repeat of it is not counted
         accepted = under way + distributed + held + rejected + discarded + expired + dropped + aside
copies   one for each mailbox that a post, a notice or a forwarded message goes to
         made = under way + delivered + failed + dropped + aside

The left sides are counted where a post is taken and a copy is made; the right sides are the rows there are, and what
was counted when rows went: by a sweep, with their group, or because there never was a row.  What SMTP refused was
never ours.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

from sqlalchemy import Table, func, select

from listserv.store import journal
from listserv.store.db import Tx
from listserv.store.schema import counts, deliveries, editions, posts

PLACES = {  # where something is, by its state
    "due": "under_way",
    "taken": "under_way",
    "done": "distributed",
    "sent": "delivered",
}
OPEN = ("due", "taken", "held", "aside")  # what is given up when its group goes


@dataclass(frozen=True, slots=True)
class Balance:
    """One account: what came in, and how much of it is where."""

    entered: int
    places: Mapping[str, int]

    @property
    def missing(self) -> int:
        """How many are nowhere; less than nothing: how many are there that never came in."""
        return self.entered - sum(self.places.values())


def balances(tx: Tx) -> tuple[Balance, Balance]:
    """Of posts and of copies, from one snapshot.  It looks at every row there is."""
    c = counts.c
    totals = tx.execute(select(c.what, func.sum(c.number)).group_by(c.what))
    counted = Counter({row[0]: int(row[1]) for row in totals})
    return (
        Balance(counted["posts.opening"] + counted["posts.made"], _places(tx, posts, counted)),
        Balance(counted["copies.opening"] + counted["copies.made"], _places(tx, deliveries, counted)),
    )


def taken(tx: Tx, day: date, group_id: int) -> None:
    """A post is ours now; it has a row."""
    journal.count(tx, day, group_id, "posts.made")


def discarded(tx: Tx, day: date, group_id: int) -> None:
    """A post got its 250 and goes to nobody; it never has a row."""
    taken(tx, day, group_id)
    journal.count(tx, day, group_id, "posts.discarded")


def made(tx: Tx, day: date, group_id: int | None, number: int) -> None:
    """So many copies are new, of what goes out for this group; None: for the site."""
    if number:
        journal.count(tx, day, group_id, "copies.made", number)


def gone(tx: Tx, day: date, table: Table, states: Mapping[str, int]) -> None:
    """Rows of posts or deliveries that are no longer there, by the state they had."""
    for state, number in sorted(states.items()):
        journal.count(tx, day, None, f"{_name(table)}.{state}", number)


def close(tx: Tx, day: date, group_id: int) -> None:
    """Before a group goes with all it has: what was not over is dropped."""
    theirs = select(deliveries.c.state, func.count()).join(editions, editions.c.id == deliveries.c.edition_id)
    for table, chosen in (
        (posts, select(posts.c.state, func.count()).where(posts.c.group_id == group_id).group_by(posts.c.state)),
        (deliveries, theirs.where(editions.c.group_id == group_id).group_by(deliveries.c.state)),
    ):
        ended: Counter[str] = Counter()
        for state, number in tx.execute(chosen):
            ended["dropped" if state in OPEN else state] += int(number)
        gone(tx, day, table, ended)


def _places(tx: Tx, table: Table, counted: Mapping[str, int]) -> dict[str, int]:
    """Rows by state, and what went of each state before."""
    found: Counter[str] = Counter()
    for state, number in tx.execute(select(table.c.state, func.count()).group_by(table.c.state)):
        found[PLACES.get(state, state)] += int(number)
    before = f"{_name(table)}."
    for what, number in counted.items():
        state = what.removeprefix(before)
        if what.startswith(before) and state not in ("opening", "made"):
            found[PLACES.get(state, state)] += number
    return dict(sorted(found.items()))


def _name(table: Table) -> str:
    return "posts" if table is posts else "copies"
