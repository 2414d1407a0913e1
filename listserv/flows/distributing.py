"""A due post becomes an edition and its deliveries: load, render, save, fan out in chunks.

`dress` is the look of a post: what the group wants changed, and whose From it bears.

Rendering is pure and happens outside of any transaction; each step before and after it is one, and a
crash between two of them is mended by the post's lease and its cursor.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import assert_never

from listserv.access_log.line import Way
from listserv.flows import posting
from listserv.flows.site import Act, Site
from listserv.hooks import Addition, Feature
from listserv.mail import alignment, footer, header, message, trace
from listserv.mail.alignment import Choice, Kept, Rewritten, Unchanged
from listserv.mail.footer import Edited, Insert
from listserv.mail.message import Field, Message
from listserv.model.envelope import Envelope
from listserv.model.group import DeliveryStyle, Group
from listserv.store import deliveries, editions, groups, journal, posts, queue, schema
from listserv.store.db import Tx
from listserv.store.editions import Edition
from listserv.store.posts import Post
from listserv.texts import plural

log = logging.getLogger("listserv.distributor")

CHUNK = 1000  # deliveries made in one transaction
NAMED = 200  # addresses in To and Cc whose wish to get no second copy is looked up


@dataclass(frozen=True, slots=True)
class Draft:
    """A post with all that its edition is made of."""

    post: Post
    group: Group
    content: bytes
    additions: tuple[tuple[Feature, Addition], ...]
    spared: tuple[int, ...] = ()  # subscriptions that want no copy of this one


@dataclass(frozen=True, slots=True)
class Dressed:
    """A post as its members see it, and why it bears this From.

    fields   ours, then the author's
    body     None: as it came
    changes  what the group wants changed of what the author signed, whether it was or not
    """

    fields: tuple[Field, ...]
    body: bytes | None
    ad_id: int | None
    choice: Choice
    changes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Claimed:
    """A post that is ours for a while, or None; the octets of its message; and when the next one is due, or was.

    draft  of a small post that nobody has tried before: what `load` would find
    """

    post: Post | None
    size: int
    next_due: datetime | None
    draft: Draft | None


def claim(tx: Tx, site: Site, now: datetime, small: int, *, only_small: bool = False, bare: bool = False) -> Claimed:
    """The post that has waited longest, and its draft at once where its message has no more octets than `small`.

    only_small  of those for which there is a draft at once
    bare        the post alone: its draft could not be loaded
    """
    post = posts.claim_small(tx, site.node, now, small) if only_small else claim_post(tx, site.node, now)
    size = posts.size(tx, post.digest) if post and post.digest else 0
    draft = None
    if post and post.tries == 1 and size <= small and not bare:
        draft = load(tx, site, post, now)
    return Claimed(post, size, queue.next_due(tx, schema.posts), draft)


def claim_post(tx: Tx, node: str, now: datetime) -> Post | None:
    rows = queue.claim(tx, schema.posts, node, now, 1)
    return posts.post(rows[0]) if rows else None


def load(tx: Tx, site: Site, post: Post, now: datetime) -> Draft | None:
    """None when the message has gone: there is nothing to send."""
    content = posts.content(tx, post.digest) if post.digest else None
    if content is None:
        return None
    group = groups.get(tx, post.group_id)
    named = {address.key for address in message.recipients(message.parse(content)).addresses[:NAMED]}
    spared = deliveries.spared(tx, group.id, post.author, named)
    return Draft(post, group, content, additions(tx, site, group, now), spared)


def additions(tx: Tx, site: Site, group: Group, now: datetime) -> tuple[tuple[Feature, Addition], ...]:
    """What features would add to a post of this group now."""
    asked = ((feature, feature.amend(tx, group, now)) for feature in site.features if feature.amend)
    return tuple((feature, said) for feature, said in asked if said is not None)


def render(site: Site, draft: Draft, own_keys: frozenset[tuple[str, str]]) -> Edition:
    """The post as all its readers get it, but for their stamps.  Pure; the same again when it is done twice."""
    post, group = draft.post, draft.group
    parsed = message.parse(draft.content)
    envelope = posting.envelope_of(post)
    id = post.message_id.strip("<>").partition("@")[0]
    own = trace.missing(parsed, site.hostname, id, post.received_at)
    said = [addition for _, addition in draft.additions]
    dressed = dress(site, group, parsed, envelope, said, own_keys, own)
    edition = Edition(
        kind="post",
        style=group.policy.delivery.value,
        mail_from=group.door("bounces") if group.policy.delivery is DeliveryStyle.BULK else "",
        message_id=post.message_id,
        post_id=post.id,
        group_id=group.id,
        top=trace.received(envelope, site.hostname, f"{group.local}.{post.number}", group.address),
        fields=b"".join(field.raw for field in dressed.fields),
        digest=post.digest,
        start=parsed.body_at,
    )
    if dressed.body is None:
        return edition
    return replace(edition, before=dressed.body, digest=None, start=0, ad_id=dressed.ad_id)


def dress(
    site: Site,
    group: Group,
    parsed: Message,
    came: Envelope,
    said: Sequence[Addition],
    own_keys: frozenset[tuple[str, str]],
    missing: tuple[Field, ...] = (),
) -> Dressed:
    """The post in the good state that fits it (`alignment`).  Pure.

    said     what features want to add
    missing  Date and Message-ID, where it has none
    """
    author = message.author(parsed)
    ours = (
        *header.results_field(came.evidence.results),
        *header.edition_fields(group, site.tags.loop_guard(group.list_id)),
    )
    stamp = header.stamp_fields(group.door("unsubscribe"), f"{site.url}/" if site.url else "")
    bare = (*missing, *header.strip(parsed, site.forgeable_ids(trusted=came.peer.trusted), own_keys))
    theirs, body, shown = _with_additions(header.amend(bare, group), parsed.body, group, said)
    changes = alignment.changes(parsed.fields, (*ours, *stamp, *theirs), author)
    if body is not None:
        changes = (*changes, "body")
    choice = alignment.choose(group.policy.from_, came.evidence, author, changes)
    match choice:
        case Rewritten():
            theirs = alignment.rewrite(theirs, author, group)
        case Unchanged():
            plain = replace(group, policy=replace(group.policy, subject_tag=""))
            theirs, body, shown = bare if "reply-to" in changes else header.amend(bare, plain), None, None
        case Kept():
            pass
        case _:
            assert_never(choice)
    return Dressed((*ours, *theirs), body, shown, choice, changes)


def save(tx: Tx, post: Post, edition: Edition, now: datetime) -> int | None:
    """The edition's id, which `fan_out` writes into the post's row; None when the post is no longer ours.

    A second time it is the first edition.
    """
    current = posts.get(tx, post.id)
    if current.state != "taken" or current.tries != post.tries:
        return None
    if current.edition_id is not None:
        return current.edition_id
    return editions.add(tx, edition, now)


def fan_out(tx: Tx, post: Post, edition_id: int, now: datetime, spared: Sequence[int] = ()) -> bool | None:
    """One chunk of deliveries more: True when there are others to make, None when the post is no longer ours."""
    current = posts.get(tx, post.id)
    if current.state != "taken" or current.tries != post.tries:
        return None
    cursor, more = deliveries.fan_out(tx, edition_id, post.group_id, current.cursor, CHUNK, now, spared)
    posts.go_on(tx, post.id, edition_id, cursor, now + queue.LEASE)
    return more


def finish(tx: Tx, draft: Draft, edition_id: int, now: datetime) -> bool:
    """Everybody has a delivery; features learn how many.  False when the post was no longer ours."""
    if not queue.settle(tx, schema.posts, draft.post.id, draft.post.tries, state="done", done_at=now):
        return False
    copies = deliveries.copies(tx, edition_id)
    printed = editions.ad_of(tx, edition_id)
    for feature, addition in draft.additions:
        if feature.printed and addition.ad_id == printed:
            feature.printed(tx, addition, draft.group, copies, now)
    detail = f"post {draft.post.number} of {draft.group.address}, {plural(copies, 'copy', 'copies')}"
    journal.note(tx, draft.post.message_id, now, "distributed", detail)
    return True


def hand_out(tx: Tx, site: Site, draft: Draft, edition: Edition, now: datetime) -> tuple[int, bool] | None:
    """The edition's id and whether there are more deliveries to make; None when the post is no longer ours.

    One transaction for most posts: edition, deliveries and the post's end.
    """
    edition_id = save(tx, draft.post, edition, now)
    if edition_id is None:
        return None
    more = go_on(tx, site, draft, edition_id, now)
    return None if more is None else (edition_id, more)


def go_on(tx: Tx, site: Site, draft: Draft, edition_id: int, now: datetime) -> bool | None:
    """One chunk more, and the post's end with the last one: True when there are others, None when it is not ours."""
    more = fan_out(tx, draft.post, edition_id, now, draft.spared)
    if more is False:
        finish(tx, draft, edition_id, now)
    return more


def abandon(tx: Tx, site: Site, post: Post, now: datetime) -> None:
    """A post whose message has gone ends here; it is said in its trace."""
    act = Act(tx, site, now, site.who(Way.CLOCK))
    queue.settle(act.tx, schema.posts, post.id, post.tries, state="done", done_at=now)
    journal.note(tx, post.message_id, now, "lost", "its content is not in the database")


def _with_additions(
    theirs: tuple[Field, ...], body: bytes, group: Group, said: Sequence[Addition]
) -> tuple[tuple[Field, ...], bytes | None, int | None]:
    """Footer and ad below the text, and which ad; None: the post takes none of them and keeps its bytes."""
    inserts = [(Insert(each.text, each.html or None), each.ad_id) for each in said]
    if group.policy.footer:
        inserts.insert(0, (Insert(group.policy.footer), None))
    changed, shown = False, None
    for insert, ad_id in inserts:
        edited = footer.append(theirs, body, insert)
        if isinstance(edited, Edited):
            theirs, body, changed, shown = edited.fields, edited.body, True, shown or ad_id
    return theirs, body if changed else None, shown
