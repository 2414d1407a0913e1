"""`listserv queue`: what waits, for how long, and why; and what an operator may do about it."""

import sys
from collections.abc import Callable
from datetime import timedelta
from itertools import islice
from typing import assert_never

import click

from listserv.cli import show
from listserv.cli.main import Commands, Place
from listserv.flows import operating, restoring
from listserv.flows.operating import Done, Id, Over, Result, UnderWay, Unknown
from listserv.flows.site import Act
from listserv.node import Node
from listserv.store import aside, ledger, restored, secrets, waiting
from listserv.store.db import Tx
from listserv.store.ledger import Balance
from listserv.store.restored import Waits
from listserv.store.waiting import Status, Waiting
from listserv.texts import plural

FAILED_FOR = timedelta(days=7)
Doing = Callable[[Act, int], Result]
ROWS = 100  # a list for people; JSON has everything
DESTINATIONS = 10
AT_ONCE = 500  # deliveries that are dropped in one transaction
BROUGHT = "copies that may have been sent before the database was restored"
NOT_RESTORED = "nothing is held here because the database was restored"


class _Id(click.ParamType[Id]):
    """The number of a delivery, or p and the number of a post that was set aside."""

    name = "id"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Id:
        text = str(value)
        if not text.removeprefix("p").isdecimal():
            self.fail(f"{text!r} is neither a delivery (4711) nor a post (p12)", param, ctx)
        return text if text.startswith("p") else int(text)


ID = _Id()


@click.group(cls=Commands)
def queue() -> None:
    """Posts on their way, and copies that wait for their next try.

    \b
    Examples:
      listserv queue status
      listserv queue list --destination example.net
      listserv queue retry --all
    """


@queue.command()
@show.json_option
@click.pass_obj
def status(place: Place, as_json: bool) -> None:
    """How much waits, and for which destinations.

    \b
    Example:
      listserv queue status --json

    The JSON also has the accounts of all posts and copies, for which it looks at every row.
    """
    with place.node() as node:
        found, paused, held = node.db.read_now(_look, node)
        accounts = node.db.read_now(ledger.balances) if as_json else ()
    if as_json:
        counts = {name: getattr(found, name) for name in ("due", "taken", "held", "failed", "aside")}
        both = {name: _account(each) for name, each in zip(("posts", "copies"), accounts, strict=True)}
        show.json({**counts, "paused": paused, "destinations": found.destinations, "conservation": both})
        return
    click.echo(f"due     {found.due}\ntaken   {found.taken}\nheld    {found.held}   `listserv hold list`")
    click.echo(f"failed  {found.failed}   in the last 7 days: `listserv queue list --state failed`")
    if found.aside:
        click.echo(f"ASIDE   {found.aside}   our own code failed on these: `listserv queue list --state aside`")
    if held:
        click.echo(f"PAUSED: {restoring.said(held)}: {restoring.MEND}")
    elif paused:
        click.echo("PAUSED: nothing is delivered until `listserv queue resume`")
    if found.destinations:
        click.echo("")
        first = found.destinations[:DESTINATIONS]
        rows = [(each.destination, each.due, each.tried, each.oldest, each.next) for each in first]
        show.table(("DESTINATION", "DUE", "DEFERRED", "OLDEST", "NEXT TRY"), rows)
        if len(found.destinations) > DESTINATIONS:
            click.echo(f"… and {len(found.destinations) - DESTINATIONS} destinations more (--json has all)")


def _look(tx: Tx, node: Node) -> tuple[Status, bool, Waits | None]:
    is_paused = secrets.get(tx, secrets.PAUSED) is not None
    return waiting.status(tx, node.clock() - FAILED_FOR), is_paused, restoring.held(tx)


def _account(balance: Balance) -> dict[str, int]:
    return {"entered": balance.entered, **balance.places, "missing": balance.missing}


@queue.command("list")
@click.option("--state", type=click.Choice(waiting.STATES), default=None, help="Default: due, taken, aside.")
@click.option("--destination", default="", metavar="DOMAIN", help="Only what goes there.")
@click.option("--restored", "only_restored", is_flag=True, help=f"Only {BROUGHT}.")
@click.option("--limit", type=click.IntRange(0), default=None, help=f"Rows; 0: all.  Default: {ROWS}, for JSON all.")
@show.json_option
@click.pass_obj
def list_(
    place: Place, state: str | None, destination: str, only_restored: bool, limit: int | None, as_json: bool
) -> None:
    """Deliveries, the next ones first.

    \b
    Example:
      listserv queue list --state failed
    """
    most = (limit or None) if limit is not None or as_json else ROWS
    with place.node() as node:
        node.db.read_now(_print, state or "", destination.lower(), only_restored, most, as_json)


def _print(tx: Tx, state: str, destination: str, only_restored: bool, most: int | None, as_json: bool) -> None:
    """While it is read, so that a long queue takes no memory."""
    only = None
    if only_restored:
        held = restored.held(tx)
        if held is None:
            raise click.ClickException(NOT_RESTORED)
        only = restored.is_from(held)
    found = waiting.listed(tx, state, destination, only)
    first = islice(found, most)
    if as_json:
        show.array(first)
    else:
        rows = ((each.id, each.state, each.recipient, each.group, each.tries, each.due, each.reply) for each in first)
        show.table(("ID", "STATE", "RECIPIENT", "GROUP", "TRIES", "DUE", "LAST REPLY"), rows)
    if next(found, None) is not None:
        show.note(f"there are more than these {most}; --limit 0 shows all")


@queue.command("show")
@click.argument("id", type=ID)
@show.json_option
@click.pass_obj
def show_(place: Place, id: Id, as_json: bool) -> None:
    """One delivery, or a post that was set aside; how our own code failed on it, if it did.

    \b
    Example:
      listserv queue show 4711
    """
    with place.node() as node:
        found, fault = node.db.read_now(_one, id)
    if found is None:
        raise click.ClickException(_said(Unknown(id), ""))
    if as_json:
        shown = {name: getattr(found, name) for name in Waiting.__slots__}
        show.json({**shown, "fault": fault} if fault else shown)
        return
    show.facts((name, getattr(found, name)) for name in Waiting.__slots__)
    if fault:
        click.echo("\n" + "\n".join(show.lines(fault)))
    click.echo(f"\nWhat happened to its message: listserv trace '{show.clean(found.message_id)}'")


def _one(tx: Tx, id: Id) -> tuple[Waiting | None, str]:
    """It, and how our own code failed on it last."""
    if isinstance(id, int):
        return waiting.get(tx, id), aside.fault_of(tx, id)
    found = aside.post(tx, int(id[1:]))
    return next((each for each in waiting.posts_aside(tx) if each.id == id), None), found.fault if found else ""


@queue.command()
@click.argument("ids", type=ID, nargs=-1, metavar="ID…")
@click.option("--all", "everything", is_flag=True, help="Everything that waits for a later try.")
@click.pass_obj
def retry(place: Place, ids: tuple[Id, ...], everything: bool) -> None:
    """Try these deliveries now instead of later; what was set aside goes on.

    \b
    Example:
      listserv queue retry --all
    """
    if bool(ids) == everything:
        raise click.UsageError("name deliveries by their ID, or --all")
    with place.node() as node:
        if everything:
            click.echo(f"{place.act(node, operating.retry_all)} deliveries are tried now instead of later")
        else:
            _each(place, node, ids, (operating.retry, operating.retry_post), "is tried now")


@queue.command()
@click.argument("ids", type=ID, nargs=-1, metavar="ID…")
@click.option("--restored", "only_restored", is_flag=True, help=f"All {BROUGHT}.")
@click.pass_obj
def drop(place: Place, ids: tuple[Id, ...], only_restored: bool) -> None:
    """Give these deliveries up; nobody is told.

    \b
    Examples:
      listserv queue drop 4711
      listserv queue drop --restored
    """
    if bool(ids) == only_restored:
        raise click.UsageError("name deliveries by their ID, or --restored")
    with place.node() as node:
        if only_restored:
            _drop_restored(place, node)
        else:
            _each(place, node, ids, (operating.drop, operating.drop_post), "is dropped")


def _drop_restored(place: Place, node: Node) -> None:
    """Some at a time, so that nobody waits long for the database."""
    held = node.db.read_now(restoring.held)
    dropped = 0
    with show.progress("drop", held.copies if held else 0) as advance:
        while number := place.act(node, operating.drop_restored, AT_ONCE):
            advance(number)
            dropped += number
    if number is None:
        raise click.ClickException(NOT_RESTORED)
    click.echo(f"{plural(dropped, 'delivery is', 'deliveries are')} dropped; `listserv queue resume` goes on")


@queue.command()
@click.pass_obj
def pause(place: Place) -> None:
    """Begin no more deliveries; mail is still taken in.

    \b
    Example:
      listserv queue pause
    """
    with place.node() as node:
        changed = place.act(node, operating.pause)
    click.echo("paused; `listserv queue resume` goes on" if changed else "was paused already")


@queue.command()
@click.pass_obj
def resume(place: Place) -> None:
    """Go on delivering.

    \b
    Example:
      listserv queue resume
    """
    with place.node() as node:
        changed = place.act(node, operating.resume)
    click.echo("deliveries go on" if changed else "was not paused")


def _each(place: Place, node: Node, ids: tuple[Id, ...], acts: tuple[Doing, Doing], done: str) -> None:
    """Do it for each delivery, or for each post; exit 1 at the end when one of them could not be done."""
    failed = False
    for id in ids:
        result = place.act(node, acts[0], id) if isinstance(id, int) else place.act(node, acts[1], int(id[1:]))
        failed = failed or not isinstance(result, Done)
        (click.echo if isinstance(result, Done) else show.error)(_said(result, done))
    if failed:
        sys.exit(1)


def _said(result: Result, done: str) -> str:
    match result:
        case Done(id):
            return f"{'delivery' if isinstance(id, int) else 'post'} {id} {done}"
        case Unknown(str(id)):
            return f"there is no post {id} that was set aside; `listserv queue list --state aside` shows them"
        case Unknown(id):
            return f"there is no delivery {id}; `listserv queue list` shows what waits"
        case Over(id, state):
            return f"delivery {id} is {state}; only what waits can be changed"
        case UnderWay(id):
            return f"delivery {id} is under way in this moment; try again"
        case _:
            assert_never(result)
