"""`listserv hold`: what waits for a decision, and the decisions."""

import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import click

from listserv.cli import naming, show
from listserv.cli.main import Commands, Place
from listserv.cli.show import Faults
from listserv.model.post import HoldKind

if TYPE_CHECKING:
    from listserv.flows.moderating import Verb
    from listserv.flows.site import Act
    from listserv.mail.message import Message
    from listserv.store.db import Tx
    from listserv.store.holds import Held

OPERATORS = "-"  # the group of mail to postmaster, abuse and security
Said = tuple[bool, str]  # whether it went as asked, and what to say

ids_argument = click.argument("ids", metavar="ID…", nargs=-1, required=True, type=int)


@click.group(cls=Commands)
def hold() -> None:
    """The moderation queue: list, show, approve, reject, discard, undo.

    \b
    Example:
      listserv hold list sailing
      listserv hold reject 12 --reason "Please post this to the market group."
    """


@hold.command("list")
@click.argument("name", metavar="[G]", required=False)
@show.json_option
@click.pass_obj
def list_(place: Place, name: str | None, as_json: bool) -> None:
    """What waits: in all groups, in G, or with - the mail to the operators.

    \b
    Example:
      listserv hold list --json
    """
    with place.node() as node:
        rows = [_row(held) for held in node.db.read_now(_waiting, name)]
    if as_json:
        show.array(rows)
    else:
        names = ("id", "group", "author", "subject", "waits_for", "reasons", "since")
        show.table(names, ([row[each] for each in names] for row in rows))


@hold.command("show")
@click.argument("id", type=int)
@click.option("--raw", is_flag=True, help="The message as it came, byte for byte, to a file or a pipe.")
@show.json_option
@click.pass_obj
def show_(place: Place, id: int, raw: bool, as_json: bool) -> None:
    """What is held: who, why, the header, the parts and the text.

    \b
    Example:
      listserv hold show 12
      listserv hold show 12 --raw > held.eml
    """
    with place.node() as node:
        held, content = node.db.read_now(_content, id)
    if raw:
        _raw(id, content)
        return
    about = {**_row(held), **_fate(held), **_message(content)}
    if as_json:
        show.json(about)
        return
    text = about.pop("text", "")
    header, parts = about.pop("header", []), about.pop("parts", [])
    show.facts(about.items())
    click.echo()
    show.facts((each["name"], each["value"]) for each in header)
    for part in parts:
        click.echo(f"[{show.clean(part['type'] or 'unclear')} {show.clean(part['name'])} {part['size']} bytes]")
    click.echo()
    for line in show.lines(text):
        click.echo(line)


@hold.command()
@ids_argument
@click.pass_obj
def approve(place: Place, ids: tuple[int, ...]) -> None:
    """Let posts go to the members, or people in.

    \b
    Example:
      listserv hold approve 12 13
    """
    from listserv.mail.command import Approve

    _each(place, ids, lambda act, held: _decided(act, held, Approve()))


@hold.command()
@ids_argument
@click.option("--reason", default="", help="What the author is told.")
@click.pass_obj
def reject(place: Place, ids: tuple[int, ...], reason: str) -> None:
    """Refuse, and tell the author if the server knows him.

    \b
    Example:
      listserv hold reject 12 --reason "Too long, please shorten it."
    """
    from listserv.mail.command import Reject

    _each(place, ids, lambda act, held: _decided(act, held, Reject(reason)))


@hold.command()
@ids_argument
@click.pass_obj
def discard(place: Place, ids: tuple[int, ...]) -> None:
    """Throw away, and tell nobody.  Mail to the operators is done with.

    \b
    Example:
      listserv hold discard 12 13
    """
    from listserv.mail.command import Discard

    _each(place, ids, lambda act, held: _decided(act, held, Discard()))


@hold.command()
@ids_argument
@click.pass_obj
def undo(place: Place, ids: tuple[int, ...]) -> None:
    """Take back a rejection or a discard, for 14 days.

    \b
    Example:
      listserv hold undo 12
    """
    from listserv.mail.command import Undo

    _each(place, ids, lambda act, held: _decided(act, held, Undo()))


def _each(place: Place, ids: Iterable[int], work: "Callable[[Act, Held], Said]") -> None:
    """A line for each id, each in a transaction of its own; exit 1 when one did not go as asked."""
    from listserv.store import holds

    def decide(act: "Act", id: int) -> Said:
        held = holds.get(act.tx, id)
        return (False, "there is no such hold; see `listserv hold list`") if held is None else work(act, held)

    failed = False
    with place.node() as node:
        for id in dict.fromkeys(ids):
            done, said = place.act(node, decide, id)
            failed = failed or not done
            click.echo(f"hold {id}: {show.clean(said)}") if done else show.error(f"hold {id}: {said}")
    if failed:
        sys.exit(1)


def _decided(act: "Act", held: "Held", verb: "Verb") -> Said:
    from listserv.flows import governing, moderating
    from listserv.flows.moderating import Decided, DecidedBefore, NotDecided
    from listserv.mail.command import Discard
    from listserv.store import groups

    asked = "the request to join" if held.kind is HoldKind.JOIN else held.subject or "no subject"
    what = f"{asked} by {held.author or 'an unclear author'}"
    if held.group_id is None:
        if not isinstance(verb, Discard):
            return False, "mail to the operators; read it with `hold show`, then `hold discard` it"
        done = governing.put_away(act, held)
        return done, f"discarded: {what}" if done else f"was {held.state} before"
    group = groups.get(act.tx, held.group_id)
    match moderating.decide(act, group, held.id, verb, governing.OPERATOR):
        case Decided(now):
            return True, f"{'waits again' if now.state == 'open' else now.state}: {what}"
        case DecidedBefore(now):
            by = f" by {now.decided_by}" if now.decided_by else ""
            return False, f"was {now.state}{by} on {show.moment(now.decided_at)}; nothing has changed"
        case NotDecided(_, why):
            return False, f"cannot be taken back: {why}"


def _waiting(tx: "Tx", name: str | None) -> "list[Held]":
    from listserv.store import holds

    if name == OPERATORS:
        return holds.waiting(tx, operators=True)
    return holds.waiting(tx, naming.group(tx, name).id if name else None)


def _content(tx: "Tx", id: int) -> "tuple[Held, bytes | None]":
    from listserv.store import holds, posts

    held = holds.get(tx, id)
    if held is None:
        raise Faults(f"hold {id}: there is no such hold; see `listserv hold list`")
    return held, posts.content(tx, held.digest) if held.digest else None


def _raw(id: int, content: bytes | None) -> None:
    if content is None:
        raise Faults(f"hold {id}: there is no message, or not any more")
    if sys.stdout.isatty():
        raise click.UsageError("--raw is not for a terminal: write it to a file, as in `hold show 12 --raw > held.eml`")
    click.echo(content, nl=False)


def _row(held: "Held") -> dict[str, Any]:
    return {
        "id": held.id,
        "group": held.group,
        "kind": held.kind.value,
        "author": held.author,
        "author_name": held.author_name,
        "subject": held.subject,
        "reasons": held.reasons,
        "waits_for": held.waits_for.value,
        "since": held.since,
    }


def _fate(held: "Held") -> dict[str, Any]:
    return {
        "state": held.state.value,
        "expires": held.expires_at,
        "decided_by": held.decided_by,
        "decided_at": held.decided_at,
    }


def _message(content: bytes | None) -> dict[str, Any]:
    """Header, parts and text of the message as a person reads them; nothing when there is none."""
    from listserv.mail import message, mime

    if content is None:
        return {}
    parsed = message.parse(content)
    said = mime.text_parts(parsed)
    header = [{"name": field.name, "value": message.text(field.value)} for field in parsed.fields]
    return {"size": len(content), "header": header, "parts": _parts(parsed), "text": said.plain or _plain(said.html)}


def _parts(parsed: "Message") -> list[dict[str, Any]]:
    from listserv.mail import mime

    root = mime.walk(parsed.fields, parsed.body)
    if isinstance(root, mime.Opaque):
        return [{"type": "", "name": root.reason, "size": len(parsed.body)}]
    return [
        {"type": part.type, "name": part.parameters.get("name", ""), "size": part.end - part.body_at}
        for part in mime.parts(root)
        if not part.children
    ]


def _plain(html: str) -> str:
    from listserv.mail import markup

    return "\n".join(markup.lines(html)) if html else ""
