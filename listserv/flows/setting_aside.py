"""Poison: what our own code failed on is tried again a little later, and set aside after the third time.

The queue goes on around it.  It is shown by `queue list`, with its traceback by `queue show`, and goes on its way
again by `queue retry`, after the code was mended.
"""

from collections.abc import Collection
from datetime import datetime, timedelta

from listserv.store import aside, journal
from listserv.store.db import Tx
from listserv.store.posts import Post

TRIES = 3
AGAIN = timedelta(seconds=5)  # time for what has nothing to do with the message to get better


def post_failed(tx: Tx, post: Post, fault: str, now: datetime) -> bool:
    """Whether the post is aside now."""
    if aside.post_failed(tx, post.id, post.tries, fault, TRIES, now + AGAIN) != "aside":
        return False
    journal.note(tx, post.message_id, now, "aside", f"our own code failed on it {TRIES} times: {_last_line(fault)}")
    return True


def edition_failed(
    tx: Tx, id: int, deliveries: Collection[int], fault: str, now: datetime, *, whole: bool = False
) -> bool:
    """Whether these deliveries of the edition, with `whole` also those that wait, are aside now."""
    message_id = aside.edition_failed(tx, id, fault, TRIES)
    if message_id is None:
        return False
    number = aside.put_aside(tx, id, deliveries, f"our own code failed on it: {_last_line(fault)}", whole=whole)
    journal.note(tx, message_id, now, "aside", f"{number} copies: our own code failed {TRIES} times")
    return True


def _last_line(fault: str) -> str:
    lines = [line for line in aside.storable(fault).strip().splitlines() if line.strip()]
    return lines[-1].strip()[:300] if lines else ""
