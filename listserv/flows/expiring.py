"""What time does: holds and tokens expire, and what nobody needs any more goes.

Each job is a function of one transaction, does a bounded amount, and may be done twice.  JOBS says how
often; the rows say when.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from listserv.access_log.line import Way
from listserv.flows import asking, holding, moderating, vouching
from listserv.flows.site import Act, Site
from listserv.store import bounces, buckets, deliveries, holds, journal, posts, tokens
from listserv.store.db import Tx

TRACE_FOR = timedelta(days=7)  # sent deliveries and events stay so long for `trace`
SEEN_FOR = timedelta(days=8)
TOKENS_FOR = timedelta(days=60)  # tokens and holds that are over, so that a repeat is answered kindly
BUCKETS_FOR = timedelta(days=15)  # by then all have drained
BOUNCES_FOR = timedelta(days=90)
YOUNG = timedelta(hours=1)  # a message this young may belong to a transaction that is not committed yet


SOON = timedelta(seconds=1)
MUCH = 10_000  # rows


@dataclass(frozen=True, slots=True)
class Job:
    every: timedelta
    work: Callable[[Act], int]  # how much it did


def expire_holds(act: Act) -> int:
    return moderating.expire(act)


def expire_tokens(act: Act) -> int:
    over = tokens.expire(act.tx, act.now) + asking.lapse(act)
    return over + tokens.sweep(act.tx, act.now - TOKENS_FOR) + buckets.sweep(act.tx, act.now - BUCKETS_FOR)


def forget(act: Act) -> int:
    """Bytes and rows that no hold, queue or trace needs any more."""
    before = act.now - TRACE_FOR
    return (
        deliveries.sweep(act.tx, before, act.now)
        + posts.forget_content(act.tx, before)
        + holds.forget_content(act.tx, act.now - holding.UNDO_FOR)
        + holds.forget(act.tx, act.now - TOKENS_FOR)
        + posts.forget(act.tx, before, act.now)
        + posts.sweep(act.tx, act.now - YOUNG)
        + posts.forget_seen(act.tx, act.now, SEEN_FOR)
        + journal.forget_events(act.tx, before)
        + bounces.sweep(act.tx, act.now - BOUNCES_FOR)
    )


JOBS: Mapping[str, Job] = {
    holding.SUMMARY: Job(timedelta(minutes=5), holding.summarise),
    vouching.ASK: Job(timedelta(hours=1), vouching.ask_waiting),
    "expire-holds": Job(timedelta(minutes=10), expire_holds),
    "expire-tokens": Job(timedelta(hours=1), expire_tokens),
    "questions": Job(timedelta(minutes=10), asking.send_waiting),
    "forget": Job(timedelta(hours=1), forget),
}


def run(tx: Tx, site: Site, name: str, now: datetime) -> timedelta:
    """Do one job; when to do it again.  One that has done much at once has more to do."""
    job = JOBS.get(name)
    if job is None:  # only another version knows it
        return timedelta(days=1)
    done = job.work(Act(tx, site, now, site.who(Way.CLOCK)))
    return SOON if done >= MUCH else job.every
