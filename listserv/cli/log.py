"""`listserv log`: the access log searched, compressed days included."""

import difflib
import ipaddress
import json
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import click

from listserv.access_log import events
from listserv.access_log.journal import Record
from listserv.cli import naming, show
from listserv.cli.main import Commands, Place, plain_faults
from listserv.model import address

if TYPE_CHECKING:
    from listserv.store.db import Tx

_AGO = re.compile(r"([0-9]{1,6})([smhdw])\Z")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_KINDS = frozenset(action.partition(".")[0] for action in events.actions())
_SEE = f"actions are of {', '.join(sorted(_KINDS))}; docs/access-log.md lists all"
_COLUMNS = ("time", "action", "ip", "account", "group")  # what stands in columns of its own; the rest is the detail


class Moment(click.ParamType[datetime]):
    """A time: an ISO date or date and time (UTC unless it says otherwise), or how long ago: 2h, 3d."""

    name = "TIME"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        if isinstance(value, datetime):
            return value
        found = moment(str(value), datetime.now(UTC))
        if found is None:
            self.fail(f"“{value}” is no time; write 2026-11-22, 2026-11-22T10:00, 30m, 2h, 3d or 1w", param, ctx)
        return found


def moment(text: str, now: datetime) -> datetime | None:
    """The aware time that the text means, or None."""
    if ago := _AGO.match(text.strip().lower()):
        try:
            return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        except OverflowError:
            return None
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError:
        return None
    return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)


class Network(click.ParamType[str]):
    """An IP address or a network."""

    name = "IP"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            ipaddress.ip_network(str(value), strict=False)
        except ValueError:
            self.fail(f"“{value}” is no IP address and no network such as 192.0.2.0/24", param, ctx)
        return str(value)


class Action(click.ParamType[str]):
    """An action, or what stands before the dot of several."""

    name = "ACTION"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        known = [action for action in events.actions() if f"{action}.".startswith(f"{value}.")]
        if value and not known:
            near = difflib.get_close_matches(str(value), [*events.actions(), *_KINDS], 1)
            self.fail(f"no action is called “{value}”; {f'did you mean {near[0]}?' if near else _SEE}", param, ctx)
        return str(value)


@click.group(cls=Commands)
def log() -> None:
    """What people did here: `[access_log] path` and the days before.

    \b
    Examples:
      listserv log search --group sailing@lists.example.org --since 2h
      listserv log search --action post.rejected --since 2026-11-20 --json
    """


@log.command()
@click.option("--since", type=Moment(), help="From then on: 2026-11-22, 2026-11-22T10:00, 2h, 3d (UTC).")
@click.option("--until", type=Moment(), help="Before then.")
@click.option("--ip", type=Network(), help="An address or a network.")
@click.option("--account", default="", metavar="ADDR", help="Who acted, or was acted upon.")
@click.option("--group", default="", metavar="G", help="A group; of a deleted one the whole address.")
@click.option(
    "--action", default="", type=Action(), help="One action, or the beginning of several: post, hold.approved."
)
@show.json_option
@click.pass_obj
def search(
    place: Place,
    /,
    since: datetime | None,
    until: datetime | None,
    as_json: bool,
    ip: str | None,
    account: str,
    group: str,
    action: str,
) -> None:
    """Lines that meet all conditions, oldest first.

    \b
    Example:
      listserv log search --account ada@example.net --since 3d
    """
    with place.node() as node, plain_faults():
        if group:
            group = node.db.read_now(_address, group)
        found = node.journal.search(since=since, until=until, ip=ip or "", account=account, group=group, action=action)
        if as_json:
            show.array(found)
            return
        record = None
        for record in found:
            click.echo(line(record))
        if record is None:
            click.echo("none")


def _address(tx: "Tx", name: str) -> str:
    """The group's; whole addresses are believed, because groups come and go."""
    known = address.parse(name)
    return known.key if known else naming.group(tx, name).address


def line(record: Record) -> str:
    """A record for people: the common fields in columns, the others by name where they say something."""
    time, action, ip, account, group = (show.clean(record.get(name) or "-") for name in _COLUMNS)
    said = [(name, value) for name, value in record.items() if name not in (*_COLUMNS, "node", "line")]
    rest = [f"{name}={_value(value)}" for name, value in said if value not in ("", None)]
    return f"{time}  {action:<16} {ip:<15} {account}  {group}  {' '.join(rest)}".rstrip()


def _value(value: object) -> str:
    return show.clean(value) if isinstance(value, str) else json.dumps(value)
