"""What is to be told later: access-log lines on their way to the file, the trace, and counts."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

from sqlalchemy import Executable, delete, insert, select

from listserv.access_log.line import Line
from listserv.store.bells import ring
from listserv.store.db import Tx, known, later
from listserv.store.dialects import Upsert
from listserv.store.schema import counts, events, journal

_LINE = insert(journal)
_EVENT = insert(events)


def _add_up(insert: Any) -> Executable:
    made = insert(counts)
    raised: Executable = made.on_conflict_do_update(
        index_elements=[counts.c.day, counts.c.group_id, counts.c.what],
        set_={"number": counts.c.number + made.excluded.number},
    )
    return raised


_COUNT = Upsert(_add_up)


def write(tx: Tx, line: Line) -> None:
    """One line of the access log; it reaches the file after this transaction's commit, whatever happens then."""
    later(tx, _LINE, {"node": line.who.node, "line": line.json()})
    tx.info["lines"] = lines(tx) + 1
    ring(tx, "journal")


def lines(tx: Tx) -> int:
    """How many lines this connection has written so far: more than before means that somebody wrote one."""
    return int(tx.info.get("lines", 0))


def pending(tx: Tx, node: str, limit: int) -> list[tuple[int, str]]:
    """(id, line) of what this node has to write, oldest first."""
    chosen = select(journal.c.id, journal.c.line).where(journal.c.node == node).order_by(journal.c.id).limit(limit)
    return [(row.id, row.line) for row in tx.execute(chosen)]


def written(tx: Tx, ids: Sequence[int]) -> None:
    """These stand in the file now."""
    tx.execute(delete(journal).where(journal.c.id.in_(ids)))


def note(tx: Tx, message_id: str, now: datetime, what: str, detail: str = "") -> None:
    """One event in the life of a message, for `trace`."""
    if message_id:
        later(tx, _EVENT, {"message_id": message_id, "at": now, "what": what, "detail": detail[:500]})


def forget_events(tx: Tx, before: datetime) -> int:
    return tx.execute(delete(events).where(events.c.at < before)).rowcount


def count(tx: Tx, day: date, group_id: int | None, what: str, number: int = 1) -> None:
    """Add to an aggregate; group None is the site."""
    place = ("count", day, group_id or 0, what)
    if place not in known(tx):
        known(tx)[place] = {"day": day, "group_id": group_id or 0, "what": what, "number": 0}
        later(tx, _COUNT(tx), known(tx)[place])
    known(tx)[place]["number"] += number


def counted(tx: Tx, what: str) -> int:
    """The sum of an aggregate over all days and groups."""
    return sum(tx.execute(select(counts.c.number).where(counts.c.what == what)).scalars())
