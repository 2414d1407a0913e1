"""`listserv log`: the access log searched, compressed days included."""

import ipaddress
import json
import re
from datetime import UTC, datetime, timedelta

import click

from listserv.access_log.journal import Record
from listserv.cli import show
from listserv.cli.main import Commands, Place, plain_faults

_AGO = re.compile(r"([0-9]{1,6})([smhdw])\Z")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
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
@click.option("--group", default="", metavar="G", help="The group's address.")
@click.option("--action", default="", help="One action, or the beginning of several: post, hold.approved.")
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
        found = node.journal.search(since=since, until=until, ip=ip or "", account=account, group=group, action=action)
        if as_json:
            show.array(found)
            return
        for record in found:
            click.echo(line(record))


def line(record: Record) -> str:
    """A record for people: the common fields in columns, the others by name."""
    time, action, ip, account, group = (show.clean(record.get(name, "-")) for name in _COLUMNS)
    rest = [f"{name}={_value(value)}" for name, value in record.items() if name not in (*_COLUMNS, "node", "line")]
    return f"{time}  {action:<16} {ip:<15} {account}  {group}  {' '.join(rest)}".rstrip()


def _value(value: object) -> str:
    return show.clean(value) if isinstance(value, str) else json.dumps(value)
