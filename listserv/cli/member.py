"""`listserv member`: who is in a group, and how."""

import sys
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import click

from listserv.cli import naming, rolls, show
from listserv.cli.main import Commands, Place
from listserv.cli.naming import Pair
from listserv.cli.rolls import Said
from listserv.cli.show import Faults

if TYPE_CHECKING:
    from listserv.flows.site import Act
    from listserv.model.account import Member
    from listserv.model.address import Address
    from listserv.model.consent import Consent
    from listserv.model.group import Group
    from listserv.store.db import Tx


@click.group(cls=Commands)
def member() -> None:
    """Members: add, remove, list, show, record, change, ban, import, export.

    \b
    Example:
      listserv member add sailing bob@example.com
      listserv member import sailing people.csv --confirmed
    """


member.add_command(rolls.import_)
member.add_command(rolls.export)


@member.command()
@click.argument("name", metavar="G")
@click.argument("addresses", metavar="ADDR…", nargs=-1, required=True)
@click.option("--confirmed", is_flag=True, help="Consent is on record elsewhere: in at once, and nobody is written to.")
@click.option("--name", "full_name", default="", help="The person's name; with one ADDR only.")
@click.option("--mode", type=click.Choice(["each", "none"]), default="each", show_default=True)
@click.pass_obj
def add(place: Place, name: str, addresses: tuple[str, ...], confirmed: bool, full_name: str, mode: str) -> None:
    """Invite people, or with --confirmed make them members.

    \b
    Example:
      listserv member add sailing bob@example.com --name "Bob Roberts"
      listserv member add sailing bob@example.com cy@example.com --confirmed
    """
    from listserv.flows import governing
    from listserv.model.group import Mode

    if full_name and len(addresses) > 1:
        raise click.UsageError("--name is one person's name: name one ADDR")

    def work(act: "Act", group: "Group", address: "Address") -> Said:
        done = governing.add(
            act, group, address, confirmed=confirmed, name=full_name.strip(), mode=Mode(mode), word=rolls.word()
        )
        return rolls.added(group, done)

    _each(place, name, addresses, work)


@member.command()
@click.argument("name", metavar="G")
@click.argument("addresses", metavar="ADDR…", nargs=-1, required=True)
@click.pass_obj
def remove(place: Place, name: str, addresses: tuple[str, ...]) -> None:
    """Take people out of a group.  Nobody is written to.

    \b
    Example:
      listserv member remove sailing bob@example.com
    """
    from listserv.flows import governing
    from listserv.flows.governing import Refused

    def work(act: "Act", group: "Group", address: "Address") -> Said:
        done = governing.remove(act, group, address)
        return (False, done.why[0]) if isinstance(done, Refused) else (True, f"is out of {group.address}")

    _each(place, name, addresses, work)


@member.command("list")
@click.argument("name", metavar="G")
@show.json_option
@click.pass_obj
def list_(place: Place, name: str, as_json: bool) -> None:
    """Everybody who has a place in the group, by address.

    \b
    Example:
      listserv member list sailing --json
    """
    with place.node() as node:
        rows = map(_row, rolls.everybody(node, node.db.read_now(naming.group, name)))
        if as_json:
            show.array(rows)
        else:
            names = ("address", "name", "role", "mode", "moderated", "joined")
            show.table(names, ([row[each] for each in names] for row in rows))


@member.command("show")
@click.argument("name", metavar="G")
@click.argument("address", metavar="ADDR")
@show.json_option
@click.pass_obj
def show_(place: Place, name: str, address: str, as_json: bool) -> None:
    """One member: how the place came about, what bounced, and what is on record of his consent.

    \b
    Example:
      listserv member show sailing bob@example.com
    """
    with place.node() as node:
        about = node.db.read_now(_about, name, naming.mailbox(address))
    if as_json:
        show.json(about)
    else:
        record = "\n".join(map(_consent, about["consent"]))
        show.facts({**about, "consent": record}.items())


@member.command()
@click.argument("name", metavar="G")
@click.argument("address", metavar="ADDR")
@show.json_option
@click.pass_obj
def record(place: Place, name: str, address: str, as_json: bool) -> None:
    """What is on record of somebody's consent in a group, also of one who has left.

    \b
    Example:
      listserv member record sailing bob@example.com
    """
    from listserv.store import consents

    who = naming.mailbox(address)
    with place.node() as node:
        rows = node.db.read_now(lambda tx: consents.of(tx, [who.key], naming.group(tx, name).address))
    if as_json:
        show.array(rows)
    elif not rows:
        raise Faults(f"nothing is on record of {who} in {name}")
    for row in () if as_json else rows:
        click.echo(show.clean(_consent(row)))


@member.command("set")
@click.argument("name", metavar="G")
@click.argument("address", metavar="ADDR")
@click.argument("pairs", type=Pair(), nargs=-1, required=True, metavar="KEY=VALUE…")
@click.pass_obj
def set_(place: Place, name: str, address: str, pairs: Sequence[tuple[str, str]]) -> None:
    """Change somebody's place in the group, or what is the same in all groups: name, region, country, language.

    \b
    mode       each or none: which posts
    role       member, moderator or owner
    moderated  posts of this member wait for an admin
    own_posts  gets what he wrote himself
    copies     also of posts that name him in To or Cc
    visible    `who` may tell other members his name, region and country

    \b
    Example:
      listserv member set sailing bob@example.com role=moderator
      listserv member set sailing bob@example.com own_posts=no language=de
    """
    from listserv.flows import governing
    from listserv.flows.governing import Refused
    from listserv.model import setting

    who = naming.mailbox(address)
    with place.node() as node:
        done = place.act(node, lambda act: governing.alter(act, naming.group(act.tx, name), who, pairs))
    if isinstance(done, Refused):
        raise Faults(*done.why)
    for key in dict.fromkeys(key for key, _ in pairs):
        click.echo(f"{done.address}: {key} is {show.clean(setting.written(getattr(done, key)) or '(empty)')}")


@member.command()
@click.argument("name", metavar="G")
@click.argument("addresses", metavar="ADDR…", nargs=-1, required=True)
@click.pass_obj
def ban(place: Place, name: str, addresses: tuple[str, ...]) -> None:
    """From now on these addresses may neither join nor post; members among them are out.

    \b
    Example:
      listserv member ban sailing eve@example.com
    """
    from listserv.flows import governing
    from listserv.flows.governing import Refused

    def work(act: "Act", group: "Group", address: "Address") -> Said:
        done = governing.ban(act, group, address)
        if isinstance(done, Refused):
            return False, done.why[0]
        return True, f"is banned from {group.address}{', and out of it' if done else ''}"

    _each(place, name, addresses, work)


@member.command()
@click.argument("name", metavar="G")
@click.argument("addresses", metavar="ADDR…", nargs=-1, required=True)
@click.pass_obj
def unban(place: Place, name: str, addresses: tuple[str, ...]) -> None:
    """Let these addresses join and post again; it makes nobody a member.

    \b
    Example:
      listserv member unban sailing eve@example.com
    """
    from listserv.flows import governing

    def work(act: "Act", group: "Group", address: "Address") -> Said:
        done = governing.unban(act, group, address)
        if not done:
            return False, f"is not banned from {group.address}; nothing has changed"
        return True, f"may join and post in {group.address} again"

    _each(place, name, addresses, work)


def _each(place: Place, name: str, addresses: Iterable[str], work: "Callable[[Act, Group, Address], Said]") -> None:
    """A line for each address, each in a transaction of its own; exit 1 when one did not go as asked."""
    failed = False
    with place.node() as node:
        group = node.db.read_now(naming.group, name)
        for text in addresses:
            try:
                address = naming.mailbox(text)
            except Faults as fault:
                done, said = False, fault.lines[0]
            else:
                done, said = place.act(node, work, group, address)
                said = f"{address}: {said}"
            failed = failed or not done
            click.echo(show.clean(said)) if done else show.error(said)
    if failed:
        sys.exit(1)


def _row(found: "Member") -> dict[str, Any]:
    return {
        "address": found.address,
        "name": found.name,
        "role": found.role.value,
        "mode": found.mode.value,
        "moderated": found.moderated,
        "joined": found.joined_at,
    }


def _about(tx: "Tx", name: str, address: "Address") -> dict[str, Any]:
    from listserv.store import accounts, consents, groups

    group = naming.group(tx, name)
    found = accounts.member(tx, group.id, address.key)
    if found is None:
        banned = groups.is_banned(tx, group.id, address.key)
        raise Faults(f"{address} is {'banned from' if banned else 'not in'} {group.address}")
    wishes = {"own_posts": found.own_posts, "copies": found.copies, "visible": found.visible}
    person = {"region": found.region, "country": found.country, "language": found.language}
    more = {"group": group.address, "how": found.how, "bounces": found.bounces, "bounce_reply": found.bounce_reply}
    return {**_row(found), **wishes, **person, **more, "consent": consents.of(tx, [found.key], group.address)}


def _consent(consent: "Consent") -> str:
    """One row of the record as a line."""
    from listserv.flows import consenting

    return f"{consent.at:%Y-%m-%d %H:%M} UTC  {consent.step.value} by {consent.way}; {consenting.words(consent)}"
