"""What becomes of a post once its author has said, from his own mailbox, whether it is his.

A yes is as good as a proof: the post is judged again, as it would have been, and goes on.  A no throws it away.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import assert_never

from listserv.access_log import events
from listserv.flows import holding, posting, reading, vouching
from listserv.flows.holding import HOLD_FOR
from listserv.flows.reading import Reading
from listserv.flows.site import Act
from listserv.model.envelope import Envelope, Proof
from listserv.model.group import Group
from listserv.model.post import Accept, Ask, Discard, Hold, HoldState, Reject, WaitsFor
from listserv.model.token import Token
from listserv.store import groups, holds, journal, posts
from listserv.store.holds import Held
from listserv.store.posts import Post


def answered(act: Act, token: Token, own: Collection[int]) -> None:
    """The author of these posts says that those with a number in `own`, counted from 1, are his, and no others."""
    for number, held in enumerate(holds.some(act.tx, token.doc["holds"]), 1):
        if held is None or held.state is not HoldState.OPEN or held.waits_for is not WaitsFor.AUTHOR:
            continue  # an operator was faster, or a proven copy
        if number in own:
            _owned(act, held)
        else:
            _disowned(act, held)
    vouching.hurry(act, token.made_at)


def _disowned(act: Act, held: Held) -> None:
    post = _post(act, held)
    if _close(act, held, post, HoldState.DISCARDED):
        line = events.post_disowned(
            act.now, act.who, group=held.group, message_id=post.message_id, hold=held.id, author=held.author
        )
        journal.write(act.tx, line)
        journal.note(act.tx, post.message_id, act.now, "disowned", f"{held.group}: {held.author} did not write it")


def _owned(act: Act, held: Held) -> None:
    post = _post(act, held)
    group = groups.get(act.tx, post.group_id)
    line = events.post_vouched(
        act.now, act.who, group=group.address, message_id=post.message_id, hold=held.id, author=held.author
    )
    journal.write(act.tx, line)
    journal.note(act.tx, post.message_id, act.now, "vouched", f"{group.address}: {held.author} wrote it")
    posts.move(act.tx, post.id, envelope={**post.envelope, "vouched": True})
    envelope, read = _read(act, post)
    judgement = posting.consider(act, group, envelope, read)
    match judgement.verdict:
        case Accept():
            if _close(act, held, post, HoldState.APPROVED):
                posting.distribute(act, group, envelope, read, post.id)
        case Hold(reasons):
            _to_the_admins(act, group, held, envelope, read, reasons, judgement.by)
        case Reject(status):
            if _close(act, held, post, HoldState.REJECTED):
                posting.log_rejection(act, group, envelope, read, judgement, status)
        case Discard(reason):
            if _close(act, held, post, HoldState.DISCARDED):
                posting.log_discard(act, group, envelope, read, reason, judgement.by)
        case Ask():
            raise AssertionError("a proven author is not asked")
        case _:
            assert_never(judgement.verdict)


def _to_the_admins(
    act: Act,
    group: Group,
    held: Held,
    envelope: Envelope,
    read: Reading,
    reasons: tuple[str, ...],
    by: Sequence[str],
) -> None:
    known = holding.to_be_told(act, group, read)
    if holds.pass_on(act.tx, held.id, reasons, act.now + HOLD_FOR):
        holding.announce(act, group, held.id)
        holding.tell_author(act, group, read, known, reasons)
        posting.log_hold(act, group, envelope, read, held.id, WaitsFor.ADMINS, reasons, by)


def _close(act: Act, held: Held, post: Post, state: HoldState) -> bool:
    """The hold is over by the author's word; an approval moves the post on by itself."""
    if not holds.decide(act.tx, held.id, HoldState.OPEN, state, held.author, act.now):
        return False
    if state is not HoldState.APPROVED:
        posts.move(act.tx, post.id, state=state.value, done_at=act.now)
    return True


def _read(act: Act, post: Post) -> tuple[Envelope, Reading]:
    """The post as it came, but proven; nobody hears a refusal now, so its peer is one that could not pass it on."""
    came = posting.envelope_of(post)
    envelope = replace(came, peer=replace(came.peer, trusted=True), evidence=replace(came.evidence, proof=Proof.PROVEN))
    content = posts.content(act.tx, post.digest)
    assert content is not None  # an open hold keeps it
    return envelope, reading.read(content, envelope, act.site.hostname)


def _post(act: Act, held: Held) -> Post:
    assert held.post_id is not None
    return posts.get(act.tx, held.post_id)
