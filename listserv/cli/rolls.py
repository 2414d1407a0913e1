"""`listserv member import` and `export`: everybody in a group as a file, by the thousand."""

import os
import pwd
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from listserv.cli import naming, show
from listserv.cli.main import Place
from listserv.cli.show import Faults

if TYPE_CHECKING:
    from listserv.flows.consenting import Word
    from listserv.flows.roster import Roster
    from listserv.flows.site import Act
    from listserv.model.account import Member
    from listserv.model.group import Group
    from listserv.node import Node
    from listserv.store.rolls import Person

PAGE = 1000  # members read, or enrolled, in one transaction
INVITATIONS = 50  # in one transaction
FAULTS_SHOWN = 100

Said = tuple[bool, str]  # whether it went as asked, and what to say


@click.command("import")
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
                said = _enrol(place, node, group, people, advance, word(file.name))
            else:
                said = _invite(place, node, group, people, advance)
    if read.repeated:
        said.append(f"{read.repeated} named more than once")
    click.echo(f"{group.address}: {', '.join(said)}")


@click.command()
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
        for line in roster.write(everybody(node, group)):
            click.echo(line.encode(), nl=False)


def added(group: "Group", done: Any) -> Said:
    """What became of somebody who was to be added."""
    from listserv.flows.governing import Invited, Refused
    from listserv.flows.joining import AlreadyIn, Banned, Joined

    match done:
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
    raise AssertionError(done)


def word(file: str = "") -> "Word":
    """Whose word it is that people have agreed: that of who sits at the shell."""
    from listserv.flows.consenting import Word

    user = os.environ.get("SUDO_USER", "")
    try:
        user = user or pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # no name for this number
        user = str(os.getuid())
    return Word(user, file)


def everybody(node: "Node", group: "Group") -> "Iterator[Member]":
    """By address, page by page: neither memory nor a transaction grows with the group or waits for the reader."""
    from listserv.store import accounts

    ids = node.db.read_now(accounts.order, group.id)
    for at in range(0, len(ids), PAGE):
        yield from node.db.read_now(accounts.some, group.id, ids[at : at + PAGE])


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
        for address, done in place.act(node, work, people[at : at + INVITATIONS]):
            invited += isinstance(done, Invited)
            left_out += not isinstance(done, Invited)
            if not isinstance(done, Invited):
                show.note(f"{address}: {added(group, done)[1]}")
        advance(len(people[at : at + INVITATIONS]))
    return [f"{invited} invited", *([f"{left_out} left out"] if left_out else [])]
