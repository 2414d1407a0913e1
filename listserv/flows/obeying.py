"""One command of somebody who may give it: what becomes of it, as a value.

Who may is decided before (`commanding`).  A person acts for himself only: for his own places and his own account.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import assert_never

from listserv.access_log import events
from listserv.flows import addressing, governing, joining, telling
from listserv.flows.addressing import AddressAsked, AddressRefused, AddressRemoved, SessionsEnded
from listserv.flows.asking import Wish
from listserv.flows.budgeting import Party
from listserv.flows.site import Act
from listserv.flows.telling import DataSent, NotTold, People, Places
from listserv.model import request, setting
from listserv.model.account import Mailbox, Member
from listserv.model.address import Address, parse
from listserv.model.group import Group, Joining, Mode
from listserv.model.request import Command
from listserv.model.setting import Wrong
from listserv.model.token import Action
from listserv.store import accounts, groups, journal


@dataclass(frozen=True, slots=True)
class Writer:
    """Who commands.

    mailbox  None: nobody we know
    answers  Message-ID of the mail with the commands, or of the one that confirmed them
    """

    address: Address
    mailbox: Mailbox | None
    by: Party
    answers: str = ""


@dataclass(frozen=True, slots=True)
class Wanted:
    """To be asked in the next mail: he wants in."""

    wish: Wish


@dataclass(frozen=True, slots=True)
class Left:
    """A farewell mail says so, with an undo."""

    group: Group


@dataclass(frozen=True, slots=True)
class NotDone:
    """Nothing has changed; `why`: in, out, role, closed, banned, ours, other, unwanted, busy."""

    group: Group
    why: str


@dataclass(frozen=True, slots=True)
class NoGroup:
    """There is no group of this name; "" when none was named."""

    name: str


@dataclass(frozen=True, slots=True)
class Nobody:
    """He is nobody here: in no group, with no account."""


@dataclass(frozen=True, slots=True)
class Changed:
    """These settings are so now; without a group in all alike."""

    group: Group | None
    values: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class NoValue:
    """This setting cannot be so; `accepted` is what can be said, where that is a short list."""

    key: str
    accepted: tuple[str, ...] = ()
    is_later: bool = False  # it is not built yet


@dataclass(frozen=True, slots=True)
class Twice:
    """This setting was given two values at once; nothing has changed."""

    key: str


@dataclass(frozen=True, slots=True)
class About:
    """What there is to say about a group."""

    group: Group
    size: int


@dataclass(frozen=True, slots=True)
class Helped:
    """The list of commands is to stand in the answer."""


@dataclass(frozen=True, slots=True)
class NoLists:
    """Groups are not listed here yet."""


@dataclass(frozen=True, slots=True)
class NotOffered:
    verb: str


@dataclass(frozen=True, slots=True)
class NotUnderstood:
    line: str
    near: str


Outcome = (
    Wanted
    | Left
    | NotDone
    | NoGroup
    | Nobody
    | Changed
    | NoValue
    | Twice
    | Places
    | People
    | NotTold
    | About
    | Helped
    | NoLists
    | DataSent
    | AddressAsked
    | AddressRefused
    | AddressRemoved
    | SessionsEnded
    | NotOffered
    | NotUnderstood
)
HAS_OWN_MAIL = (Wanted, Left, DataSent)  # of these a mail of their own tells


def obey(act: Act, writer: Writer, command: Command, scope: Group | None) -> list[Outcome]:
    """What becomes of it: as a rule one thing, for `*` one for each place."""
    match command:
        case request.Subscribe():
            later = [NoValue("mode", (Mode.EACH, Mode.NONE), is_later=True)] if command.digest else []
            return [*later, _subscribe(act, writer, command, scope)]
        case request.Unsubscribe():
            return _unsubscribe(act, writer, command, scope)
        case request.Set(name, pairs):
            return _set(act, writer, name, pairs, scope)
        case request.Which(name):
            return [_which(act, writer, name, scope)]
        case request.Who(name):
            group = find(act, name, scope)
            return [telling.people(act, group, writer.mailbox) if group else NoGroup(name)]
        case request.Info(name):
            group = find(act, name, scope)
            return [About(group, accounts.count(act.tx, group.id)) if group else NoGroup(name)]
        case request.Help():
            return [Helped()]
        case request.Lists():
            return [NoLists()]
        case request.MyData():
            return [telling.my_data(act, writer.mailbox, writer.answers) if writer.mailbox else Nobody()]
        case request.AddAddress(text):
            return [_want(act, writer, text, Action.ADD_ADDRESS)]
        case request.ChangeAddress(text):
            return [_want(act, writer, text, Action.CHANGE_ADDRESS)]
        case request.RemoveAddress(text):
            address = parse(text)
            return [addressing.remove(act, writer.mailbox, address) if writer.mailbox and address else Nobody()]
        case request.EndSessions():
            return [addressing.end_sessions(act, writer.mailbox) if writer.mailbox else Nobody()]
        case request.NotHere(verb):
            return [NotOffered(verb)]
        case request.Unknown(line, near):
            return [NotUnderstood(line, near)]
        case request.Confirm():
            return []  # a token is redeemed by whoever has it
        case _:
            assert_never(command)


def find(act: Act, name: str, scope: Group | None) -> Group | None:
    """The group of this name, with or without its domain; the one whose door it is where none is named."""
    if not name:
        return scope
    if "@" in name:
        return groups.find(act.tx, name)
    found = filter(None, (groups.find(act.tx, f"{name}@{domain}") for domain in sorted(act.site.domains)))
    return next(found, None)


def _subscribe(act: Act, writer: Writer, command: request.Subscribe, scope: Group | None) -> Outcome:
    """A wish, if the group takes him: he is asked, as at its door."""
    group = find(act, command.group, scope)
    if group is None:
        return NoGroup(command.group)
    if command.address and not _is_own(act, writer, command.address):
        return NotDone(group, "other")
    if why := hindrance(act, group, writer.address):
        return NotDone(group, why)
    return Wanted(Wish(Action.JOIN, group, {"name": command.name[:200]} if command.name else {}))


def hindrance(act: Act, group: Group, address: Address) -> str:
    """Why this person cannot ask to join, "" when he can."""
    if why := _shut(act, group, address):
        return why
    member = accounts.member(act.tx, group.id, address.key)
    return "in" if member is not None and member.mode is not Mode.NONE else ""


def is_shut(act: Act, group: Group, address: Address) -> bool:
    """Whether nobody of this address could join by mail, be he a member or not."""
    return _shut(act, group, address) != ""


def _shut(act: Act, group: Group, address: Address) -> str:
    if group.policy.joining in (Joining.INVITE, Joining.CLOSED):
        return "closed"
    if groups.is_banned(act.tx, group.id, address.key):
        return "banned"
    return "ours" if act.site.is_ours(address) else ""


def _unsubscribe(act: Act, writer: Writer, command: request.Unsubscribe, scope: Group | None) -> list[Outcome]:
    if command.group == request.EVERY:
        return [_leave(act, group, member) for group, member in _places(act, writer)] or [Nobody()]
    group = find(act, command.group, scope)
    if group is None:
        return [NoGroup(command.group)]
    if command.address and not _is_own(act, writer, command.address):
        return [NotDone(group, "other")]
    member = accounts.member(act.tx, group.id, writer.address.key)
    return [_leave(act, group, member) if member else NotDone(group, "out")]


def _leave(act: Act, group: Group, member: Member) -> Outcome:
    if member.role.is_admin and member.mode is Mode.NONE:
        return NotDone(group, "role")
    joining.leave(act, group, member)
    return Left(group)


def _set(act: Act, writer: Writer, name: str, pairs: tuple[tuple[str, str], ...], scope: Group | None) -> list[Outcome]:
    """Settings of the person, and of his place in the group or groups."""
    if faults := list[Outcome](_faults(act, pairs)):
        return faults
    if writer.mailbox is None:
        return [Nobody()]
    of_person = tuple(pair for pair in pairs if pair[0] in setting.OF_PERSON)
    of_place = tuple(pair for pair in pairs if pair[0] not in setting.OF_PERSON)
    said: list[Outcome] = []
    if of_person:
        said.append(_describe(act, writer.mailbox, of_person))
    if of_place:
        said += _at_places(act, writer, name, of_place, scope)
    return said


def _faults(act: Act, pairs: Sequence[tuple[str, str]]) -> Iterable[NoValue | Twice]:
    languages = act.site.texts.languages
    keys = [key for key, _ in pairs]
    assert set(keys) <= set(setting.OWN), keys  # nobody makes himself an admin
    yield from (Twice(key) for key in dict.fromkeys(keys) if keys.count(key) > 1)
    for key, text in pairs:
        if not isinstance(setting.read_member(key, text, languages), Wrong):
            continue
        if key == "mode":
            yield NoValue(key, (Mode.EACH, Mode.NONE), is_later=True)
        else:
            yield NoValue(key, tuple(sorted(languages)) if key == "language" else ())


def _describe(act: Act, mine: Mailbox, pairs: tuple[tuple[str, str], ...]) -> Outcome:
    values = {key: setting.read_member(key, text, act.site.texts.languages) for key, text in pairs}
    governing.describe(act, mine.account_id, values)
    line = events.account_changed(act.now, act.who, changes=tuple(values))
    journal.write(act.tx, line)
    return Changed(None, tuple((key, str(value)) for key, value in values.items()))


def _at_places(
    act: Act, writer: Writer, name: str, pairs: tuple[tuple[str, str], ...], scope: Group | None
) -> list[Outcome]:
    everywhere = _places(act, writer)
    if name == request.EVERY:
        return [_alter(act, group, writer, pairs) for group, _ in everywhere] or [Nobody()]
    if not name and scope is None and len(everywhere) == 1:
        return [_alter(act, everywhere[0][0], writer, pairs)]
    group = find(act, name, scope)
    return [_alter(act, group, writer, pairs) if group else NoGroup(name)]


def _alter(act: Act, group: Group, writer: Writer, pairs: tuple[tuple[str, str], ...]) -> Outcome:
    """It is so now, if he is in the group; what else could be wrong was found out before (`_faults`)."""
    if accounts.member(act.tx, group.id, writer.address.key) is None:
        return NotDone(group, "out")
    done = governing.alter(act, group, writer.address, pairs)
    assert isinstance(done, Member), done
    return Changed(group, pairs)


def _which(act: Act, writer: Writer, name: str, scope: Group | None) -> Outcome:
    """All places at the site's door and at a group's alike: who asks which wants to know them all."""
    group = find(act, name, None) if name else None
    if name and group is None:
        return NoGroup(name)
    return telling.places(act, writer.mailbox, group) if writer.mailbox else Nobody()


def _want(act: Act, writer: Writer, text: str, action: Action) -> Outcome:
    address = parse(text)
    if writer.mailbox is None or address is None:
        return Nobody()
    return addressing.want(act, writer.mailbox, address, action, writer.by)


def _places(act: Act, writer: Writer) -> list[tuple[Group, Member]]:
    if writer.mailbox is None:
        return []
    return [(groups.get(act.tx, id), member) for id, member in accounts.places(act.tx, writer.mailbox.account_id)]


def _is_own(act: Act, writer: Writer, key: str) -> bool:
    """Another mailbox of the same person."""
    if key == writer.address.key:
        return True
    mine = accounts.mailboxes_of(act.tx, writer.mailbox.account_id) if writer.mailbox else []
    return any(box.key == key for box in mine)
