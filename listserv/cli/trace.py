"""`listserv trace`: everything that happened to one message, hop by hop, recipient by recipient."""

from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import click

from listserv.cli import show
from listserv.cli.main import Place
from listserv.flows.bouncing import REFUSED
from listserv.mail import blame, message, words
from listserv.mail.blame import Blame
from listserv.store import tracing
from listserv.store.db import Tx
from listserv.store.tracing import CopyOf, Decided, Event, Posted

NOTHING = "nothing is known of {id}; a message is traced for a week after its last delivery"


@dataclass(frozen=True, slots=True)
class Trace:
    """`events` are in order: the hops before us, oldest first, then what we did."""

    events: list[Event]
    posts: list[Posted]
    holds: list[Decided]
    copies: list[CopyOf]

    @property
    def charged(self) -> dict[str, int]:
        """How many copies did not arrive because of what: their mailbox, or the message itself."""
        reported = [event.what for event in self.events]
        on_the_wire = [charged_to(copy) for copy in self.copies]
        return {
            "mailbox": reported.count("bounced"),
            "message": on_the_wire.count(Blame.MESSAGE) + reported.count(REFUSED),
        }

    @property
    def is_empty(self) -> bool:
        return not (self.events or self.posts or self.copies)


def charged_to(copy: CopyOf) -> Blame | None:
    """What the last reply says of a copy that has failed; None for all others."""
    return blame.of_reply(copy.reply) if copy.state == "failed" else None


@click.command()
@click.argument("message_id", metavar="MESSAGE-ID")
@show.json_option
@click.pass_obj
def trace(place: Place, message_id: str, as_json: bool) -> None:
    """Everything that happened to one message: its hops, what was decided, and each copy.

    MESSAGE-ID is the header's value, with or without <>.

    \b
    Example:
      listserv trace CAFxyz123@mail.example.net
    """
    id = f"<{message_id.strip().removeprefix('<').removesuffix('>')}>"
    with place.node() as node:
        found = node.db.read_now(look, id)
        if found.is_empty:
            found = node.db.read_now(look, id[1:-1])  # a header's value may be without
    if found.is_empty:
        raise click.ClickException(NOTHING.format(id=show.clean(id)))
    if as_json:
        show.json(_object(id, found))
    else:
        _print(id, found)


def look(tx: Tx, id: str) -> Trace:
    posts, holds = tracing.posted(tx, id), tracing.decisions(tx, id)
    hops = next((hops_of(tracing.header(tx, post.digest)) for post in posts if post.digest), [])
    return Trace(hops + tracing.happened(tx, id), posts, holds, tracing.copies(tx, id))


def hops_of(header: bytes) -> list[Event]:
    """What the message's own Received fields say, the first hop first: the word of whoever wrote them."""
    fields = message.parse(header).all("received")
    return [_hop(words.text(field.value, 500)) for field in reversed(fields)]


def _hop(value: str) -> Event:
    what, _, date = value.rpartition(";")
    return Event(_time(date.strip()), "hop", (what or value).strip())


def _time(date: str) -> datetime | None:
    try:
        said = parsedate_to_datetime(date[:100])
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return said if said.tzinfo else said.replace(tzinfo=UTC)


def _object(id: str, found: Trace) -> dict[str, object]:
    """INTERFACE.md §4.  A recipient with several copies is shown by the last one that is not over, or the last."""
    copies: dict[str, CopyOf] = {}
    for copy in found.copies:
        before = copies.get(copy.recipient)
        if before is None or copy.state in ("due", "taken") or before.state not in ("due", "taken"):
            copies[copy.recipient] = copy
    return {
        "message_id": id,
        "events": found.events,
        "posts": [{name: getattr(post, name) for name in Posted.__slots__ if name != "digest"} for post in found.posts],
        "holds": found.holds,
        "charged": found.charged,
        "deliveries": {
            recipient: {
                **{name: getattr(copy, name) for name in CopyOf.__slots__ if name != "recipient"},
                "charged_to": charged_to(copy),
            }
            for recipient, copy in copies.items()
        },
    }


def _print(id: str, found: Trace) -> None:
    click.echo(f"{show.clean(id)}\n")
    if found.events:
        rows = [(show.moment(event.at), event.what, event.detail) for event in found.events]
        show.table(("TIME", "WHAT", "DETAIL"), rows)
    for post in found.posts:
        number = f"post {post.number} of" if post.number else "to"
        click.echo(f"\n{number} {post.group}, {post.state}, by {show.clean(post.author) or 'an unknown author'}")
    for hold in found.holds:
        by = f" by {hold.by}" if hold.by else ""
        when = f" on {show.moment(hold.decided_at)}" if hold.decided_at else ""
        click.echo(f"hold {hold.id} of {hold.group}: {'; '.join(hold.reasons)}: {hold.state}{by}{when}")
    if found.copies:
        click.echo("")
        copies = [
            (each.recipient, each.state, each.tries, each.done_at or each.due, each.reply) for each in found.copies
        ]
        show.table(("RECIPIENT", "STATE", "TRIES", "AT", "REPLY"), copies)
    if found.charged["message"]:
        click.echo(f"\nrefused as a message, by policy or content: {found.charged['message']}; no mailbox is charged")
    if found.charged["mailbox"]:
        click.echo(f"charged to mailboxes that are not there: {found.charged['mailbox']}")
