"""What the operator of the machine does with the queue.  Doing it twice is an answer, not an error."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from listserv.access_log import events
from listserv.access_log.line import Line
from listserv.flows.site import Act
from listserv.store import aside, deliveries, journal, restored, secrets, waiting
from listserv.store.db import Tx
from listserv.store.waiting import Waiting

Id = int | str  # of a delivery; or "p" and the number of a post that was set aside


@dataclass(frozen=True, slots=True)
class Unknown:
    """There is no delivery of this id, or none any more."""

    id: Id


@dataclass(frozen=True, slots=True)
class Over:
    """The delivery has ended so; nothing has changed."""

    id: int
    state: str


@dataclass(frozen=True, slots=True)
class UnderWay:
    """The delivery is being made in this moment; nothing has changed."""

    id: int


@dataclass(frozen=True, slots=True)
class Done:
    """It is so now."""

    id: Id


Result = Done | Unknown | Over | UnderWay


def retry(act: Act, id: int) -> Result:
    """The delivery is tried at once instead of later."""
    found = waiting.get(act.tx, id)
    if found is None:
        return Unknown(id)
    if aside.release(act.tx, id, act.now):
        journal.write(act.tx, events.delivery_retried(act.now, act.who, copies=1))
        return Done(id)
    if found.state == "taken":
        return UnderWay(id)
    if found.state != "due":
        return Over(id, found.state)
    _hurry(act, id)
    return Done(id)


def retry_post(act: Act, id: int) -> Result:
    """A post that was set aside is handed out after all, or what is left of it."""
    return _end_aside(act, id, aside.release_post, events.post_retried, "retried")


def drop_restored(act: Act, most: int) -> int | None:
    """So many copies that may have been sent before the database was restored are given up: how many, 0 at the end.

    None: deliveries are not held for that reason, or no longer.
    """
    found = restored.held(act.tx)
    if found is None:
        return None
    return sum(_drop(act, each) for each in restored.some(act.tx, found, most))


def drop_post(act: Act, id: int) -> Result:
    """A post that was set aside is given up."""
    return _end_aside(act, id, aside.drop_post, events.post_dropped, "dropped")


def retry_all(act: Act) -> int:
    """How many deliveries are tried at once instead of later."""
    return _hurry(act, None)


def drop(act: Act, id: int) -> Result:
    """The delivery is given up; its message's trace and the access log say by whom."""
    found = waiting.get(act.tx, id)
    if found is None:
        return Unknown(id)
    if not _drop(act, found):
        return UnderWay(id) if found.state == "taken" else Over(id, found.state)
    return Done(id)


def pause(act: Act) -> bool:
    """No delivery is begun from now on; False when it was so already.  Mail is still taken in."""
    if secrets.get(act.tx, secrets.PAUSED) is not None:
        return False
    secrets.ensure(act.tx, secrets.PAUSED, b"1", act.now)
    journal.write(act.tx, events.delivery_paused(act.now, act.who))
    return True


def resume(act: Act) -> bool:
    """Deliveries go on; False when they were not paused."""
    if secrets.get(act.tx, secrets.PAUSED) is None:
        return False
    secrets.remove(act.tx, secrets.PAUSED)
    journal.write(act.tx, events.delivery_resumed(act.now, act.who))
    return True


def _end_aside(
    act: Act, id: int, end: Callable[[Tx, int, datetime], bool], event: Callable[..., Line], word: str
) -> Result:
    """A post that was set aside is so no more; its message's trace and the access log say by whom."""
    found = aside.post(act.tx, id)
    if found is None or not end(act.tx, id, act.now):
        return Unknown(f"p{id}")
    journal.write(act.tx, event(act.now, act.who, group=found.group, message_id=found.message_id))
    journal.note(act.tx, found.message_id, act.now, word, f"the post to {found.group}, by the operator")
    return Done(f"p{id}")


def _drop(act: Act, found: Waiting) -> bool:
    """False, and nothing has changed, when it is not to be dropped in this moment."""
    if not deliveries.drop(act.tx, int(found.id), act.now):
        return False
    line = events.delivery_dropped(
        act.now, act.who, group=found.group, message_id=found.message_id, member=found.recipient
    )
    journal.write(act.tx, line)
    journal.note(act.tx, found.message_id, act.now, "dropped", f"the copy for {found.recipient}, by the operator")
    return True


def _hurry(act: Act, id: int | None) -> int:
    hurried = deliveries.hurry(act.tx, act.now, id)
    if hurried:
        journal.write(act.tx, events.delivery_retried(act.now, act.who, copies=hurried))
    return hurried
