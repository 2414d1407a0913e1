"""A due post becomes an edition and its deliveries: load, render, save, fan out in chunks.

Rendering is pure and happens outside of any transaction; each step before and after it is one, and a
crash between two of them is mended by the post's lease and its cursor.
"""

from dataclasses import dataclass, replace
from datetime import datetime

from listserv.access_log.events import Way
from listserv.flows import posting
from listserv.flows.site import Act, Site
from listserv.hooks import Addition, Feature
from listserv.mail import footer, header, message, trace
from listserv.mail.footer import Edited, Insert
from listserv.model.group import DeliveryStyle, Group
from listserv.store import deliveries, groups, journal, posts, queue, schema
from listserv.store.db import Tx
from listserv.store.deliveries import Edition
from listserv.store.posts import Post

CHUNK = 1000  # deliveries made in one transaction


@dataclass(frozen=True, slots=True)
class Draft:
    """A post with all that its edition is made of."""

    post: Post
    group: Group
    content: bytes
    additions: tuple[tuple[Feature, Addition], ...]


def size(tx: Tx, post: Post) -> int:
    """Octets of its message."""
    return posts.size(tx, post.digest) if post.digest else 0


def claim_post(tx: Tx, node: str, now: datetime) -> Post | None:
    """The post that has waited longest, ours for a while."""
    rows = queue.claim(tx, schema.posts, node, now, 1)
    return posts.post(rows[0]) if rows else None


def load(tx: Tx, site: Site, post: Post, now: datetime) -> Draft | None:
    """None when the message has gone: there is nothing to send."""
    content = posts.content(tx, post.digest) if post.digest else None
    if content is None:
        return None
    group = groups.get(tx, post.group_id)
    asked = ((feature, feature.amend(tx, group, now)) for feature in site.features if feature.amend)
    return Draft(post, group, content, tuple((feature, said) for feature, said in asked if said is not None))


def render(site: Site, draft: Draft, own_keys: frozenset[tuple[str, str]]) -> Edition:
    """The post as all its readers get it, but for their stamps.  Pure; the same again when it is done twice."""
    post, group = draft.post, draft.group
    parsed = message.parse(draft.content)
    guard = site.tags.loop_guard(group.list_id)
    id = post.message_id.strip("<>").partition("@")[0]
    came = posting.envelope_of(post)
    ours = (*header.results_field(came.evidence.results), *header.edition_fields(group, guard))
    forgeable = site.forgeable_ids(trusted=came.peer.trusted)
    theirs = header.amend(header.strip(parsed, forgeable, own_keys), group)
    if parsed.first("message-id") is None or parsed.first("date") is None:
        theirs = (*trace.missing(parsed, site.hostname, id, post.received_at), *theirs)
    edition = Edition(
        kind="post",
        style=group.policy.delivery.value,
        mail_from=group.door("bounces") if group.policy.delivery is DeliveryStyle.BULK else "",
        message_id=post.message_id,
        post_id=post.id,
        group_id=group.id,
        top=trace.received(came, site.hostname, f"{group.local}.{post.number}", group.address),
        fields=b"".join(field.raw for field in (*ours, *theirs)),
        digest=post.digest,
        start=parsed.body_at,
    )
    return _with_additions(edition, draft, ours, theirs, parsed.body)


def save(tx: Tx, post: Post, edition: Edition, now: datetime) -> int | None:
    """The edition's id; None when the post is no longer ours.  A second time it is the first edition."""
    current = posts.get(tx, post.id)
    if current.state != "taken" or current.tries != post.tries:
        return None
    if current.edition_id is not None:
        return current.edition_id
    id = deliveries.add_edition(tx, edition, now)
    posts.move(tx, post.id, edition_id=id)
    return id


def fan_out(tx: Tx, post: Post, edition_id: int, now: datetime) -> bool | None:
    """One chunk of deliveries more: True when there are others to make, None when the post is no longer ours."""
    current = posts.get(tx, post.id)
    if current.state != "taken" or current.tries != post.tries:
        return None
    cursor, more = deliveries.fan_out(tx, edition_id, post.group_id, current.cursor, CHUNK, now)
    posts.move(tx, post.id, cursor=cursor)
    queue.renew(tx, schema.posts, current.node or "", [post.id], now)
    return more


def finish(tx: Tx, site: Site, draft: Draft, edition_id: int, now: datetime) -> bool:
    """Everybody has a delivery; features learn how many.  False when the post was no longer ours."""
    if not queue.settle(tx, schema.posts, draft.post.id, draft.post.tries, state="done", done_at=now):
        return False
    copies = deliveries.copies(tx, edition_id)
    printed = deliveries.ad_of(tx, edition_id)
    for feature, addition in draft.additions:
        if feature.printed and addition.ad_id == printed:
            feature.printed(tx, addition, draft.group, copies, now)
    detail = f"post {draft.post.number} of {draft.group.address}, {copies} copies"
    journal.note(tx, draft.post.message_id, now, "distributed", detail)
    return True


def abandon(tx: Tx, site: Site, post: Post, now: datetime) -> None:
    """A post whose message has gone ends here; it is said in its trace."""
    act = Act(tx, site, now, site.who(Way.CLOCK))
    queue.settle(act.tx, schema.posts, post.id, post.tries, state="done", done_at=now)
    journal.note(tx, post.message_id, now, "lost", "its content is not in the database")


def _with_additions(
    edition: Edition, draft: Draft, ours: tuple[message.Field, ...], theirs: tuple[message.Field, ...], body: bytes
) -> Edition:
    """Footer and ad below the text; a post that takes none of them keeps its bytes."""
    additions = [(Insert(said.text, said.html or None), said.ad_id) for _, said in draft.additions]
    if draft.group.policy.footer:
        additions.insert(0, (Insert(draft.group.policy.footer), None))
    changed, shown = False, None
    for insert, ad_id in additions:
        edited = footer.append(theirs, body, insert)
        if isinstance(edited, Edited):
            theirs, body, changed, shown = edited.fields, edited.body, True, shown or ad_id
    if not changed:
        return edition
    fields = b"".join(field.raw for field in (*ours, *theirs))
    return replace(edition, fields=fields, before=body, digest=None, start=0, ad_id=shown)
