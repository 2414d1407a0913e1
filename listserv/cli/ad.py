"""`listserv ad`: what is shown below posts, where, and how often it was."""

import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from listserv.cli import naming, show
from listserv.cli.main import Commands, Place
from listserv.features import ads as feature
from listserv.features.ads import Added
from listserv.flows.site import Act
from listserv.store import ads
from listserv.store.ads import Ad, NewAd
from listserv.store.db import Tx


class Day(click.DateTime):
    """A day, as 2026-11-22."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter:
            self.fail(f"“{value}” is no day; write it as 2026-11-22", param, ctx)


DATE = Day(["%Y-%m-%d"])


@click.group(cls=Commands)
def ad() -> None:
    """Ads: at most one in each post of the groups that take them.

    An ad runs in the groups it names and in groups that are about one of its topics; with neither, in every group
    with ads=yes.  The one that a group has seen least comes next.  Nobody is tracked: counted are editions and copies.

    \b
    Examples:
      listserv ad add --title "Boats for hire" --text "A day at sea: https://boats.example.org" --topic sailing
      listserv ad report
    """


@ad.command()
@click.option("--title", required=True, help="One line; it stands behind the word “Advertisement”.")
@click.option("--text", required=True, help="Plain text; several lines are fine.")
@click.option("--html", type=click.Path(path_type=Path, dir_okay=False), help="The same for HTML mail; see below.")
@click.option("--advertiser", default="", help="Who pays; shown to the readers.")
@click.option("--group", "groups", multiple=True, metavar="G", help="A group it runs in; may be repeated.")
@click.option("--topic", "topics", multiple=True, metavar="T", help="A topic of groups; may be repeated.")
@click.option("--from", "starts", type=DATE, metavar="DATE", help="First day (UTC), as 2026-11-22.")
@click.option("--until", "ends", type=DATE, metavar="DATE", help="Last day (UTC).")
@show.json_option
@click.pass_obj
def add(
    place: Place, /, html: Path | None, starts: datetime | None, ends: datetime | None, as_json: bool, **said: Any
) -> None:
    """Add an ad; it runs at once unless --from says later.

    --html is made of a, b, br, em, i, p, span and strong, without attributes but for <a href="https://…">; anything
    else is refused.  Without it the text is shown in HTML mail too.

    \b
    Example:
      listserv ad add --title "Boats for hire" --text "From 20 € a day" \\
        --group sailing@lists.example.org --until 2027-03-31
    """
    with place.node() as node:
        groups = node.db.read_now(_addresses, said["groups"])
        new = NewAd(
            title=said["title"].strip(),
            text=_plain(said["text"]),
            html=_read(html) if html else "",
            advertiser=said["advertiser"].strip(),
            groups=tuple(dict.fromkeys(groups)),
            topics=tuple(dict.fromkeys(topic.strip() for topic in said["topics"])),
            starts=starts.date() if starts else None,
            ends=ends.date() if ends else None,
        )
        result = place.act(node, feature.add, new)
        if not isinstance(result, Added):
            raise click.ClickException(result.why)
        made = node.db.read_now(ads.get, result.id)
    if as_json and made:
        show.json(_object(made))
    else:
        click.echo(f"ad {result.id} runs {_where(new)}{_when(new)}")


@ad.command("list")
@show.json_option
@click.pass_obj
def list_(place: Place, as_json: bool) -> None:
    """All ads.

    \b
    Example:
      listserv ad list
    """
    with place.node() as node:
        known = node.db.read_now(ads.everything)
    if as_json:
        show.array(_object(each) for each in known)
    else:
        rows = [(each.id, each.state, each.said.title, _where(each.said) + _when(each.said)) for each in known]
        show.table(("ID", "STATE", "TITLE", "RUNS"), rows)


@ad.command("show")
@click.argument("id", type=int)
@show.json_option
@click.pass_obj
def show_(place: Place, id: int, as_json: bool) -> None:
    """One ad as its readers see it.

    \b
    Example:
      listserv ad show 3
    """
    with place.node() as node:
        known = node.db.read_now(ads.get, id)
    if known is None:
        raise click.ClickException(_no_ad(id))
    if as_json:
        show.json(_object(known))
        return
    click.echo(f"ad {id}, {known.state}, runs {_where(known.said)}{_when(known.said)}\n")
    click.echo("\n".join(show.lines(feature.as_text(known))))
    if known.said.html:
        click.echo(f"\nIn HTML mail:\n\n{known.said.html.strip()}")


@ad.command()
@click.argument("ids", type=int, nargs=-1, required=True, metavar="ID…")
@click.pass_obj
def pause(place: Place, ids: tuple[int, ...]) -> None:
    """Show these ads no more until they are resumed.

    \b
    Example:
      listserv ad pause 3
    """
    _each(place, ids, feature.pause, "paused", "was paused already")


@ad.command()
@click.argument("ids", type=int, nargs=-1, required=True, metavar="ID…")
@click.pass_obj
def resume(place: Place, ids: tuple[int, ...]) -> None:
    """Show these ads again.

    \b
    Example:
      listserv ad resume 3
    """
    _each(place, ids, feature.resume, "runs again", "was running already")


@ad.command()
@click.argument("ids", type=int, nargs=-1, required=True, metavar="ID…")
@click.pass_obj
def remove(place: Place, ids: tuple[int, ...]) -> None:
    """Remove these ads and their counts; `pause` keeps them.

    \b
    Example:
      listserv ad remove 3
    """
    _each(place, ids, feature.remove, "removed", "")


@ad.command()
@click.argument("ids", type=int, nargs=-1, metavar="[ID…]")
@show.json_option
@click.pass_obj
def report(place: Place, ids: tuple[int, ...], as_json: bool) -> None:
    """How often ads were shown, by day (UTC) and group.

    \b
    Example:
      listserv ad report 3
    """
    with place.node() as node:
        for id in ids:
            if node.db.read_now(ads.get, id) is None:
                raise click.ClickException(_no_ad(id))
        counted = node.db.read_now(ads.counts, ids)
    if as_json:
        show.array(counted)
        return
    rows = [(each.ad_id, each.title, each.day, each.group or "(gone)", each.editions, each.copies) for each in counted]
    show.table(("ID", "TITLE", "DAY", "GROUP", "EDITIONS", "COPIES"), rows)
    if rows:
        click.echo(f"{sum(each.editions for each in counted)} editions, {sum(each.copies for each in counted)} copies")


def _each(place: Place, ids: tuple[int, ...], act: Callable[[Act, int], bool | None], done: str, before: str) -> None:
    """Do it for each; exit 1 at the end when one of them was not there."""
    with place.node() as node:
        results = {id: place.act(node, act, id) for id in ids}
    for id, result in results.items():
        if result is None:
            show.error(_no_ad(id))
        else:
            click.echo(f"ad {id} {done if result else before}")
    if None in results.values():
        sys.exit(1)


def _addresses(tx: Tx, names: tuple[str, ...]) -> list[str]:
    return [naming.group(tx, name).address for name in names]


def _no_ad(id: int) -> str:
    return f"there is no ad {id}; `listserv ad list` shows all"


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig").replace("\r\n", "\n").strip()
    except OSError as fault:
        raise click.ClickException(f"{path}: {fault.strerror}") from None
    except UnicodeDecodeError:
        raise click.ClickException(f"{path} is not UTF-8") from None


def _plain(text: str) -> str:
    return text.replace("\r\n", "\n").expandtabs().strip()


def _where(said: NewAd) -> str:
    topics = [f"topic {topic}" for topic in said.topics]
    return f"in {', '.join([*said.groups, *topics])}" if said.groups or topics else "in every group with ads=yes"


def _when(said: NewAd) -> str:
    return (f" from {said.starts}" if said.starts else "") + (f" until {said.ends}" if said.ends else "")


def _object(known: Ad) -> dict[str, object]:
    said = known.said
    return {
        "id": known.id,
        "state": known.state,
        "title": said.title,
        "text": said.text,
        "html": said.html,
        "advertiser": said.advertiser,
        "groups": said.groups,
        "topics": said.topics,
        "from": said.starts,
        "until": said.ends,
        "added": known.made_at,
    }
