"""“Was that you?”: a post in the name of a member whose domain does not vouch for it waits for him, not for the admins.

His answer is read in `believing`.  Whoever can forge a From can make such posts by the thousand, so the question has
a budget, whatever the number of posts and groups: one open mail for an author, one a day, and none after one that
nobody answered but for a post that comes when its time is over.  What comes meanwhile waits silently and is named by
the next mail; an answer is about the posts that its own mail has named.  The mail holds nothing that the writer of
the post wrote, only when it came, for which group, and its size.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from listserv.flows import holding, notifying, objecting
from listserv.flows.holding import HOLD_FOR
from listserv.flows.notifying import Letter
from listserv.flows.reading import Reading
from listserv.flows.site import Act
from listserv.model.group import Group
from listserv.model.post import WaitsFor
from listserv.model.token import Action
from listserv.store import accounts, groups, holds, jobs, posts, tokens
from listserv.store.holds import Held

ASK = "vouches"  # the job that asks what had to wait
MAIL_EVERY = timedelta(days=1)
MOST_NAMED = 50  # posts in one mail
EACH_TURN = 100  # authors asked in one transaction


@dataclass(frozen=True, slots=True)
class Doubted:
    """A post as the question names it."""

    group: Group
    since: datetime
    size: int  # bytes


def hold(act: Act, group: Group, reading: Reading, post_id: int, digest: bytes, reasons: tuple[str, ...]) -> int:
    """The id of the hold.  The author is asked now if that may be."""
    id = holding.enter(act, group, reading, post_id, digest, reasons, WaitsFor.AUTHOR)
    accounts.lock(act.tx, reading.author_address)  # two posts at once are not two mails
    last = tokens.latest(act.tx, reading.author_address, Action.VOUCH)
    if last is None or last.made_at <= act.now - (MAIL_EVERY if _answered(last.state) else HOLD_FOR):
        _ask(act, reading.author_address)
    return id


def hurry(act: Act, asked_at: datetime) -> None:
    """The mail of that time was answered: the next may follow when its day is over."""
    jobs.hurry(act.tx, ASK, max(act.now, asked_at + MAIL_EVERY))


def ask_waiting(act: Act) -> int:
    """The job: the next mail to authors who have answered the one before.  How many were looked at."""
    authors = holds.unasked_authors(act.tx, EACH_TURN)
    for author in authors:
        last = tokens.latest(act.tx, author, Action.VOUCH)
        if last is None or (_answered(last.state) and last.made_at <= act.now - MAIL_EVERY):
            _ask(act, author)
    return len(authors)


def _answered(state: str) -> bool:
    return state == "used"


def _ask(act: Act, author: str) -> None:
    """One mail that names all that waits and was not named; its token is the right to say whose these are."""
    waiting = holds.unasked(act.tx, author)[:MOST_NAMED]
    if not waiting or not objecting.may_write(act, author, is_member=True):
        return
    named = [_doubted(act, held) for held in waiting]
    group = named[0].group
    to = notifying.to_actor(act, group, author)
    if to is None:
        return
    holds.mark_noticed(act.tx, [held.id for held in waiting])
    doc = {"holds": [held.id for held in waiting]}
    token = notifying.issue(act, Action.VOUCH, author, doc, lives=HOLD_FOR, group_id=group.id)
    letter = Letter("vouch", {"posts": named, "days": HOLD_FOR.days}, token)
    notifying.send(act, group, to, letter)


def _doubted(act: Act, held: Held) -> Doubted:
    assert held.group_id is not None
    assert held.digest is not None
    return Doubted(groups.get(act.tx, held.group_id), held.since, posts.size(act.tx, held.digest))
