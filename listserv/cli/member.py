"""`listserv member`: who is in a group, and how."""

import os
import pwd
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from listserv.cli import naming, show
from listserv.cli.main import Place
from listserv.cli.naming import Pair
from listserv.cli.show import Faults

if TYPE_CHECKING:
    from listserv.flows.consenting import Word
    from listserv.flows.roster import Roster
    from listserv.flows.site import Act
    from listserv.model.account import Member
    from listserv.model.address import Address
    from listserv.model.consent import Consent
    from listserv.model.group import Group
    from listserv.node import Node
    from listserv.store.db import Tx
    from listserv.store.rolls import Person

PAGE = 1000  # members read, or enrolled, in one transaction
INVITATIONS = 50  # in one transaction
FAULTS_SHOWN = 100

Said = tuple[bool, str]  # whether it went as asked, and what to say


@click.group()
def member() -> None:
    """Members: add, remove, list, show, record, change, ban, import, export.

    \b
    Example:
      listserv member add sailing bob@example.com
      listserv member import sailing people.csv --confirmed
    """


@member.command()
@click.argument("name", metavar="G")
@click.argument("addresses", metavar="ADDR...", nargs=-1, required=True)
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
        added = governing.add(
            act, group, address, confirmed=confirmed, name=full_name.strip(), mode=Mode(mode), word=_word()
        )
        return _added(group, added)

    _each(place, name, addresses, work)


@member.command()
@click.argument("name", metavar="G")
@click.argument("addresses", metavar="ADDR...", nargs=-1, required=True)
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
        rows = map(_row, _members(node, node.db.read_now(naming.group, name)))
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
@click.argument("pairs", type=Pair(), nargs=-1, required=True)
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
@click.argument("addresses", metavar="ADDR...", nargs=-1, required=True)
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
@click.argument("addresses", metavar="ADDR...", nargs=-1, required=True)
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
        return done, f"{'may' if done else 'was not banned, and may'} join and post in {group.address} again"

    _each(place, name, addresses, work)


@member.command("import")
@click.argument("name", metavar="G")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path))
@click.option("--confirmed", is_flag=True, help="Consent is on record elsewhere: in at once, and nobody is written to.")
@click.option("--skip-broken", is_flag=True, help="Go on without the lines that cannot be understood.")
@click.pass_obj
def import_(place: Place, name: str, file: Path, confirmed: bool, skip_broken: bool) -> None:
    """Add everybody in FILE (- is standard input): one address a line, or CSV with a header.

    CSV needs a column email and may have name, mode, role and moderated.  Blank lines and lines that begin
    with # are left out.  One broken line and nobody is added, unless --skip-broken says otherwise.

    \b
    Example:
      listserv member import sailing people.csv --confirmed
    """
    from listserv.flows import governing, roster

    with place.node() as node:
        group = node.db.read_now(naming.group, name)
        content = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
        read = roster.read(content, lambda person: governing.refusal(node.site, person, confirmed=confirmed))
        people = _judge("standard input" if str(file) == "-" else str(file), read, skip_broken=skip_broken)
        with show.progress("import", len(people)) as advance:
            if confirmed:
                said = _enrol(place, node, group, people, advance, _word(file.name))
            else:
                said = _invite(place, node, group, people, advance)
    if read.repeated:
        said.append(f"{read.repeated} named more than once")
    click.echo(f"{group.address}: {', '.join(said)}")


@member.command()
@click.argument("name", metavar="G")
@click.pass_obj
def export(place: Place, name: str) -> None:
    """Everybody's place as CSV on standard output, as `member import` reads it.

    \b
    Example:
      listserv member export sailing > sailing.csv
    """
    from listserv.flows import governing, roster
    from listserv.store import accounts

    with place.node() as node:
        group = node.db.read_now(naming.group, name)
        ids = node.db.read_now(accounts.order, group.id)
        place.act(node, governing.exported, group, len(ids))
        for line in roster.write(_members(node, group)):
            click.echo(line.encode(), nl=False)


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


def _added(group: "Group", added: Any) -> Said:
    from listserv.flows.governing import Invited, Refused
    from listserv.flows.joining import AlreadyIn, Banned, Joined

    match added:
        case Joined():
            return True, f"is in {group.address}"
        case AlreadyIn():
            return True, f"is in {group.address} already; nothing has changed"
        case Invited():
            return True, f"is invited to {group.address} and will be in after answering"
        case Banned():
            return False, f"is banned from {group.address}; to let it in, `listserv member unban` first"
        case Refused(why):
            return False, why[0]
    raise AssertionError(added)


def _word(file: str = "") -> "Word":
    """Whose word it is that people have agreed: that of who sits at the shell."""
    from listserv.flows.consenting import Word

    user = os.environ.get("SUDO_USER", "")
    try:
        user = user or pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # no name for this number
        user = str(os.getuid())
    return Word(user, file)


def _members(node: "Node", group: "Group") -> "Iterator[Member]":
    """By address, page by page: neither memory nor a transaction grows with the group or waits for the reader."""
    from listserv.store import accounts

    ids = node.db.read_now(accounts.order, group.id)
    for at in range(0, len(ids), PAGE):
        yield from node.db.read_now(accounts.some, group.id, ids[at : at + PAGE])


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


def _judge(file: str, read: "Roster", *, skip_broken: bool) -> "Sequence[Person]":
    """Whom to add; every fault with its line on standard error, and an end here unless they are to be skipped."""
    for fault in read.faults[:FAULTS_SHOWN]:
        show.error(f"{file}, line {fault.line}: {fault.what}")
    if len(read.faults) > FAULTS_SHOWN:
        show.error(f"{file}: {len(read.faults) - FAULTS_SHOWN} lines more that are broken")
    if read.faults and not skip_broken:
        raise Faults(f"{file}: nobody was added; mend these lines, or leave them out with --skip-broken")
    if read.unused:
        show.note(f"{file}: columns that are not read: {', '.join(read.unused)}")
    return read.people


def _enrol(
    place: Place,
    node: "Node",
    group: "Group",
    people: "Sequence[Person]",
    advance: Callable[[int], None],
    word: "Word",
) -> list[str]:
    """What was done, in words."""
    from listserv.flows import governing

    joined, already, unwanted, banned = 0, 0, 0, list[str]()
    for at in range(0, len(people), PAGE):
        done = place.act(node, governing.enrol, group, people[at : at + PAGE], word)
        joined, already, banned = joined + done.joined, already + done.already, [*banned, *done.banned]
        unwanted += len(done.unwanted)
        advance(len(people[at : at + PAGE]))
    for key in banned:
        show.note(f"{key}: is banned from {group.address}, left out")
    return [
        f"{joined} added",
        *([f"{already} in already"] if already else []),
        *([f"{len(banned)} banned"] if banned else []),
        *([f"{unwanted} left out who never want to be written to again"] if unwanted else []),
    ]


def _invite(
    place: Place, node: "Node", group: "Group", people: "Sequence[Person]", advance: Callable[[int], None]
) -> list[str]:
    """What was done, in words; who could not be invited is named on standard error."""
    from listserv.flows import governing
    from listserv.flows.governing import Invited

    def work(act: "Act", some: "Sequence[Person]") -> list[tuple[str, Any]]:
        return [
            (str(p.address), governing.add(act, group, p.address, confirmed=False, name=p.name, mode=p.mode))
            for p in some
        ]

    invited = left_out = 0
    for at in range(0, len(people), INVITATIONS):
        for address, added in place.act(node, work, people[at : at + INVITATIONS]):
            invited += isinstance(added, Invited)
            left_out += not isinstance(added, Invited)
            if not isinstance(added, Invited):
                show.note(f"{address}: {_added(group, added)[1]}")
        advance(len(people[at : at + INVITATIONS]))
    return [f"{invited} invited", *([f"{left_out} left out"] if left_out else [])]
