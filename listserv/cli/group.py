"""`listserv group`: groups are made, listed, changed and deleted."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from listserv.cli import naming, show
from listserv.cli.main import Commands, Place
from listserv.cli.naming import Pair
from listserv.cli.show import Faults
from listserv.texts import plural

if TYPE_CHECKING:
    from listserv.flows.site import Act
    from listserv.model.group import Group
    from listserv.store.db import Tx

Pairs = Sequence[tuple[str, str]]


@click.group(cls=Commands)
def group() -> None:
    """Groups: make, list, show, change, delete.

    \b
    Example:
      listserv group create sailing@lists.example.org --owner ada@example.com --title "Sailing"
      listserv group set sailing moderated=yes subject_tag=[sailing]
    """


@group.command()
@click.argument("address")
@click.option("--owner", "owners", multiple=True, required=True, metavar="ADDR", help="An owner; may be repeated.")
@click.option("--title", help="The group's name in notices and in List-Id.")
@click.option("--moderated", is_flag=True, help="Every post waits for an admin.")
@click.option("--kind", type=click.Choice(["discussion", "announce", "blog"]), default="discussion", show_default=True)
@click.option("--set", "pairs", type=Pair(), multiple=True, help="Any setting of `group show`; may be repeated.")
@click.pass_obj
def create(
    place: Place, address: str, owners: tuple[str, ...], title: str | None, moderated: bool, kind: str, pairs: Pairs
) -> None:
    """Make a group.  Nobody is written to; an owner gets posts only after `member add`.

    In a group of kind announce the admins may post, in a blog its owners.

    \b
    Example:
      listserv group create news@lists.example.org --owner ada@example.com --kind announce --set delivery=bulk
    """
    from listserv.flows import governing
    from listserv.flows.governing import Refused
    from listserv.model.group import Kind

    said = [*([("title", title)] if title is not None else []), *([("moderated", "yes")] if moderated else []), *pairs]
    with place.node() as node:
        made = place.act(node, governing.create, address, Kind(kind), said, owners, node.site.texts.languages)
    if isinstance(made, Refused):
        raise Faults(*made.why)
    click.echo(f"{made.address} is there")


@group.command("list")
@show.json_option
@click.pass_obj
def list_(place: Place, as_json: bool) -> None:
    """All groups with the numbers of their members and of posts that wait for an admin.

    \b
    Example:
      listserv group list --json
    """
    with place.node() as node:
        rows = node.db.read_now(_overview)
    if as_json:
        show.array(rows)
    else:
        names = ("address", "title", "kind", "members", "held")
        show.table(names, ([row[name] for name in names] for row in rows))


@group.command("show")
@click.argument("name", metavar="G")
@show.json_option
@click.pass_obj
def show_(place: Place, name: str, as_json: bool) -> None:
    """A group and its settings: value, default, meaning.

    \b
    Example:
      listserv group show sailing
    """
    with place.node() as node:
        found, about = node.db.read_now(_about, name)
    settings = _settings(found)
    if as_json:
        show.json({**about, **{name: each["value"] for name, each in settings.items()}, "settings": settings})
        return
    show.facts(about.items())
    click.echo()
    show.table(
        ("setting", "value", "default", "meaning"),
        (
            [setting, _shown(each["value"]), _shown(each["default"]), each["meaning"]]
            for setting, each in settings.items()
        ),
    )


@group.command("set")
@click.argument("name", metavar="G")
@click.argument("pairs", type=Pair(), nargs=-1, required=True, metavar="KEY=VALUE…")
@click.pass_obj
def set_(place: Place, name: str, pairs: Pairs) -> None:
    """Change settings, at once in force.

    \b
    Example:
      listserv group set sailing posting=anyone strangers=hold max_message_bytes=2M
    """
    from listserv.flows import governing
    from listserv.flows.governing import Refused

    with place.node() as node:

        def work(act: "Act") -> Any:
            return governing.change(act, naming.group(act.tx, name), pairs, node.site.texts.languages)

        done = place.act(node, work)
    if isinstance(done, Refused):
        raise Faults(*done.why)
    from listserv.model import setting

    for key in dict.fromkeys(key for key, _ in pairs):
        click.echo(f"{done.address}: {key} is {show.clean(_shown(setting.value(done.policy, key)))}")


@group.command()
@click.argument("name", metavar="G")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--drop", is_flag=True, help="Give up copies that are not delivered yet.")
@click.pass_obj
def delete(place: Place, name: str, yes: bool, drop: bool) -> None:
    """Delete a group with its members' places, its posts and all that is held.  Nobody is written to.

    \b
    Example:
      listserv group delete sailing --yes
    """
    from listserv.flows import governing
    from listserv.flows.governing import Refused

    with place.node() as node:
        found, about = node.db.read_now(_about, name)
        if not yes:
            what = (
                f"{found.address} with {plural(about['members'], 'member', 'members')}, "
                f"{plural(len(about['admins']), 'admin', 'admins')}, {about['held']} held"
            )
            if not _confirms(f"Delete {what}? This cannot be undone."):
                raise click.ClickException(f"{found.address} is not deleted; --yes does it without asking")
        done = place.act(node, lambda act: governing.delete(act, naming.group(act.tx, found.address), drop=drop))
    if isinstance(done, Refused):
        raise Faults(*done.why)
    places, copies = plural(done.members, "place", "places"), plural(done.copies, "copy", "copies")
    click.echo(f"{found.address} is deleted: {places}, {done.held} held, {copies} given up")


def _confirms(question: str) -> bool:
    """Whether somebody is there and says yes."""
    try:
        return click.confirm(question, err=True)
    except click.Abort:
        click.echo(err=True)
        return False


def _overview(tx: "Tx") -> list[dict[str, Any]]:
    from listserv.store import groups, holds, rolls

    members, held = rolls.sizes(tx), holds.numbers(tx)
    return [
        {
            "address": each.address,
            "title": each.title,
            "kind": each.kind.value,
            "members": members.get(each.id, 0),
            "held": held.get(each.id, 0),
        }
        for each in groups.everyone(tx)
    ]


def _about(tx: "Tx", name: str) -> "tuple[Group, dict[str, Any]]":
    from listserv.store import accounts, groups, holds

    found = naming.group(tx, name)
    about = {
        "address": found.address,
        "kind": found.kind.value,
        "list_id": found.list_id,
        "members": accounts.count(tx, found.id),
        "admins": [f"{admin.address} ({admin.role})" for admin in accounts.admins(tx, found.id)],
        "held": len(holds.waiting(tx, found.id)),
        "banned": groups.banned(tx, found.id),
    }
    return found, about


def _settings(found: "Group") -> dict[str, dict[str, Any]]:
    from listserv.model import setting
    from listserv.model.group import DEFAULTS

    return {
        name: {
            "value": setting.value(found.policy, name),
            "default": setting.value(DEFAULTS, name),
            "meaning": f"{meaning}{_not_yet(name)}",
            "accepted": setting.accepted(name),
        }
        for name, meaning in setting.HELP.items()
    }


def _shown(value: object) -> str:
    from listserv.model import setting

    return setting.written(value) or "(empty)"


def _not_yet(name: str) -> str:
    from listserv.model import setting

    missing = setting.NOT_YET.get(name)
    return f" (not yet: {', '.join(missing)})" if missing else ""
