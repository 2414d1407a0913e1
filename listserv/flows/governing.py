"""Groups made, changed and deleted, and members' places seen to, by who runs the place.

None of these acts writes to anybody but for the invitation of `add`.  What cannot be done is an outcome,
`Refused`, with every reason at once; nothing has changed then.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from listserv.access_log import events
from listserv.flows import consenting, joining, objecting
from listserv.flows.consenting import Word
from listserv.flows.joining import AlreadyIn, Banned, Joined
from listserv.flows.site import Act, Site
from listserv.mail import message, recipient
from listserv.model import setting
from listserv.model.account import Member
from listserv.model.address import Address, parse
from listserv.model.consent import Step
from listserv.model.group import DEFAULTS, Group, Kind, Mode, Policy, Posting, Role
from listserv.model.post import HoldState
from listserv.model.setting import Pairs, Wrong
from listserv.model.token import Action
from listserv.store import accounts, groups, holds, journal, ledger, posts, rolls, tokens
from listserv.store.holds import Held
from listserv.store.rolls import Person
from listserv.texts import plural

NOBODY_IN_PARTICULAR = Word()
OPERATOR = "the operator"  # who decides from the shell, in notices and in the trace
RECORDED = "added by the operator, consent on record elsewhere"
BY_ROLE = "named an owner when the group was made"
CIRCLES = "is at one of our own domains, so it cannot be a member or an owner: mail would go in circles"


@dataclass(frozen=True, slots=True)
class Refused:
    """Why not, one line each; nothing has changed."""

    why: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Invited:
    """A question is on its way; the answer makes a member."""

    address: str


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of a number of people; `banned` and `unwanted` (who never want to be written to) are keys."""

    joined: int
    already: int
    banned: tuple[str, ...]
    unwanted: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Deleted:
    """What went: people's places, what was held, and copies that nobody gets now."""

    members: int
    held: int
    copies: int


Added = Joined | AlreadyIn | Banned | Invited | Refused


def create(
    act: Act, address: str, kind: Kind, pairs: Pairs, owners: Sequence[str], languages: Collection[str]
) -> Group | Refused:
    """A new group whose owners have their role and get no posts yet."""
    known, named = parse(address), [(text, parse(text)) for text in owners]
    policy = _changed(act, _beginning(kind), pairs, languages)
    faults = [*_address_faults(act, address, known), *_owner_faults(act, named)]
    faults += policy.why if isinstance(policy, Refused) else ()
    if faults or known is None or isinstance(policy, Refused):
        return Refused(tuple(faults))
    group = groups.add(act.tx, known.key, kind, policy, act.now)
    people = {owner.key: owner for _, owner in named if owner}
    for number, owner in enumerate(people.values()):
        mailbox = accounts.ensure(act.tx, owner, act.now, proven=False)
        accounts.subscribe(act.tx, group.id, mailbox.id, act.now, BY_ROLE, role=Role.OWNER, mode=Mode.NONE)
        line = events.group_created(act.now, act.who, group=group.address, owner=owner.key)
        if number:
            line = events.member_changed(
                act.now, act.who, group=group.address, member=owner.key, changes=("role=owner",)
            )
        journal.write(act.tx, line)
        consenting.record(act, Step.ROLE, group, owner.key, role=Role.OWNER.value)
    return group


def change(act: Act, group: Group, pairs: Pairs, languages: Collection[str]) -> Group | Refused:
    """Other settings, in force for the next message."""
    policy = _changed(act, group.policy, pairs, languages)
    if isinstance(policy, Refused):
        return policy
    other = [key for key in setting.NAMES if setting.value(policy, key) != setting.value(group.policy, key)]
    if other:
        groups.change(act.tx, group.id, policy)
        said = tuple(key if key in setting.FREE_TEXT else _pair(key, setting.value(policy, key)) for key in other)
        journal.write(act.tx, events.group_changed(act.now, act.who, group=group.address, changes=said))
    return replace(group, policy=policy)


def delete(act: Act, group: Group, *, drop: bool) -> Deleted | Refused:
    """The group with all it has; while posts of it are under way only with `drop`, which gives their copies up."""
    waiting, copies = rolls.under_way(act.tx, group.id)
    if (waiting or copies) and not drop:
        what = f"{plural(waiting, 'post', 'posts')} and {plural(copies, 'copy', 'copies')} of {group.address}"
        return Refused((f"{what} under way: wait until all are delivered, or give them up with --drop",))
    for message_id in rolls.messages_under_way(act.tx, group.id):
        journal.note(act.tx, message_id, act.now, "dropped", f"{group.address} was deleted")
    ledger.close(act.tx, act.now.date(), group.id)
    places = len(accounts.order(act.tx, group.id))
    held = holds.numbers(act.tx).get(group.id, 0)
    journal.write(act.tx, events.group_deleted(act.now, act.who, group=group.address, members=places))
    consenting.record(act, Step.ENDED, group, "")
    groups.remove(act.tx, group.id)
    return Deleted(places, held, copies)


def add(
    act: Act,
    group: Group,
    address: Address,
    *,
    confirmed: bool,
    name: str = "",
    mode: Mode = Mode.EACH,
    word: Word = NOBODY_IN_PARTICULAR,
) -> Added:
    """With `confirmed` a member at once and told nothing, on this word; else asked, unless asked already."""
    called = setting.read_member("name", name, ())
    if act.site.is_ours(address) or isinstance(called, Wrong):
        return Refused((f"name: {called.why}" if isinstance(called, Wrong) else CIRCLES,))
    if objecting.objects(act, address.key):
        return Refused((joining.UNWANTED,))
    if confirmed:
        return joining.join(act, group, address, RECORDED, name, mode, evidence=word.facts)
    if groups.is_banned(act.tx, group.id, address.key):
        return Banned(str(address))
    member = accounts.member(act.tx, group.id, address.key)
    if member is not None and not (member.role.is_admin and member.mode is Mode.NONE):
        return AlreadyIn(member)
    why = joining.invite(act, group, address, name, mode)
    return Refused((why,)) if why else Invited(str(address))


def refusal(site: Site, person: Person, *, confirmed: bool) -> str | None:
    """Why somebody on a list cannot be added, before the database is asked."""
    if site.is_ours(person.address):
        return f"{person.address} {CIRCLES}"
    if not confirmed and (person.role is not Role.MEMBER or person.moderated):
        return f"{person.address}: an invitation carries no role and no moderated=yes; that needs --confirmed"
    return None


def enrol(act: Act, group: Group, people: Sequence[Person], word: Word = NOBODY_IN_PARTICULAR) -> Imported:
    """Many at once, members from now on and told nothing, on this word."""
    unwanted = objecting.among(act, [person.address.key for person in people])
    wanted = [person for person in people if person.address.key not in unwanted]
    done = rolls.enrol(act.tx, group.id, wanted, act.now, RECORDED)
    if done.joined:
        line = events.group_imported(act.now, act.who, group=group.address, members=len(done.joined), how=RECORDED)
        journal.write(act.tx, line)
        journal.count(act.tx, act.now.date(), group.id, "joined", len(done.joined))
        consenting.record_all(act, Step.JOINED, group, done.joined, **word.facts)
    return Imported(len(done.joined), done.already, done.banned, tuple(sorted(unwanted)))


def exported(act: Act, group: Group, members: int) -> None:
    journal.write(act.tx, events.group_exported(act.now, act.who, group=group.address, members=members))


def remove(act: Act, group: Group, address: Address) -> Member | Refused:
    """Out with role and all; copies that are under way still arrive."""
    member = accounts.member(act.tx, group.id, address.key)
    if member is None:
        return Refused((f"is not in {group.address}",))
    if _is_last_owner(act, group, member):
        return Refused((f"is the last owner of {group.address}: make another one first",))
    accounts.unsubscribe(act.tx, member.subscription_id)
    journal.write(act.tx, events.member_removed(act.now, act.who, group=group.address, member=member.key))
    journal.count(act.tx, act.now.date(), group.id, "left")
    tokens.end(act.tx, member.key, group.id, tuple(Action))
    consenting.record(act, Step.REMOVED, group, member.key)
    return member


def alter(act: Act, group: Group, address: Address, pairs: Pairs) -> Member | Refused:
    """What `model.setting.MEMBER` names, of a member."""
    member = accounts.member(act.tx, group.id, address.key)
    if member is None:
        return Refused((f"{address} is not in {group.address}",))
    values, faults = _member_values(pairs, act.site.texts.languages)
    if values.get("role", Role.OWNER) is not Role.OWNER and _is_last_owner(act, group, member):
        faults.append(f"role: {member.address} is the last owner of {group.address}: make another one first")
    if faults:
        return Refused(tuple(faults))
    other = {key: value for key, value in values.items() if getattr(member, key) != value}
    if other:
        _save(act, member, other)
        said = tuple(key if key in setting.PERSONAL else _pair(key, value) for key, value in other.items())
        line = events.member_changed(act.now, act.who, group=group.address, member=member.key, changes=said)
        journal.write(act.tx, line)
        if "role" in other:
            consenting.record(act, Step.ROLE, group, member.key, role=other["role"].value)
    return replace(member, **other)


def ban(act: Act, group: Group, address: Address) -> Member | Refused | None:
    """From now on this address may neither join nor post.  A member is out, too, and is given back."""
    member = accounts.member(act.tx, group.id, address.key)
    if member is not None and member.role.is_admin:
        return Refused((f"is {member.role} of {group.address}: take the role first (member set … role=member)",))
    if not groups.ban(act.tx, group.id, address.key, act.now):
        return Refused((f"is banned from {group.address} already",))
    journal.write(act.tx, events.member_banned(act.now, act.who, group=group.address, member=address.key))
    tokens.end(act.tx, address.key, group.id, tuple(Action))
    consenting.record(act, Step.BANNED, group, address.key)
    if member is not None:
        remove(act, group, address)
    return member


def unban(act: Act, group: Group, address: Address) -> bool:
    """The address may join and post again; False when it was not banned."""
    if not groups.unban(act.tx, group.id, address.key):
        return False
    journal.write(act.tx, events.member_unbanned(act.now, act.who, group=group.address, member=address.key))
    consenting.record(act, Step.UNBANNED, group, address.key)
    return True


def put_away(act: Act, held: Held) -> bool:
    """Mail to the operators has been dealt with; False when it was so before."""
    if not holds.decide(act.tx, held.id, HoldState.OPEN, HoldState.DISCARDED, OPERATOR, act.now):
        return False
    content = posts.content(act.tx, held.digest) if held.digest else None
    message_id = message.message_id(message.parse(content)) if content else ""
    line = events.hold_discarded(act.now, act.who, group="", message_id=message_id, hold=held.id, author=held.author)
    journal.write(act.tx, line)
    return True


def _beginning(kind: Kind) -> Policy:
    """Where a new group of this kind begins: few write to an announcement list, and one to a blog."""
    posting = {Kind.ANNOUNCE: Posting.MODERATORS, Kind.BLOG: Posting.OWNERS}
    return replace(DEFAULTS, posting=posting.get(kind, DEFAULTS.posting))


def _changed(act: Act, policy: Policy, pairs: Pairs, languages: Collection[str]) -> Policy | Refused:
    changed = setting.changed(policy, pairs)
    if isinstance(changed, tuple):
        return Refused(changed)
    faults = []
    if changed.language != policy.language and changed.language not in languages:
        faults.append(f"language: “{changed.language}” has no templates here; there are {', '.join(sorted(languages))}")
    if changed.max_message_bytes > act.site.max_message_bytes:
        limit = f"[smtp] max_message_bytes, {act.site.max_message_bytes}"
        faults.append(f"max_message_bytes: {changed.max_message_bytes} is more than {limit}")
    return Refused(tuple(faults)) if faults else changed


def _address_faults(act: Act, text: str, address: Address | None) -> Iterable[str]:
    ours = ", ".join(sorted(act.site.domains))
    if address is None:
        yield f"{text}: not an e-mail address; a group's is NAME@DOMAIN, with the domain {ours}"
        return
    if not act.site.is_ours(address):
        yield f"{text}: {address.domain} is not one of [site] domains ({ours})"
    if fault := recipient.name_fault(address.local.lower()):
        yield f"{text}: {fault}"
    if groups.find(act.tx, address.key):
        yield f"{text}: there is a group of this address already"


def _owner_faults(act: Act, named: Sequence[tuple[str, Address | None]]) -> Iterable[str]:
    for text, address in named:
        if address is None:
            yield f"--owner {text}: not an e-mail address"
        elif act.site.is_ours(address):
            yield f"--owner {text}: {CIRCLES}"


def _member_values(pairs: Pairs, languages: Collection[str]) -> tuple[dict[str, Any], list[str]]:
    values: dict[str, Any] = {}
    faults: list[str] = []
    for key, text in pairs:
        value = setting.read_member(key, text, languages)
        if isinstance(value, Wrong) or key in values:
            faults.append(f"{key}: {value.why if isinstance(value, Wrong) else 'given twice'}")
        else:
            values[key] = value
    return values, faults


def describe(act: Act, account_id: int, values: Mapping[str, Any]) -> None:
    """Of name, region, country and language, those given."""
    if public := {key: values[key] for key in setting.PERSONAL if key in values}:
        accounts.describe(act.tx, account_id, public)
    if "language" in values:
        accounts.speak(act.tx, account_id, values["language"])


def _save(act: Act, member: Member, values: dict[str, Any]) -> None:
    """Each where it belongs: the person, all his mailboxes, or this place in the group."""
    describe(act, member.account_id, values)
    columns = {key: str(value) if isinstance(value, StrEnum) else value for key, value in values.items()}
    place = {key: value for key, value in columns.items() if key not in setting.OF_PERSON}
    if place:
        accounts.change(act.tx, member.subscription_id, **place)


def _is_last_owner(act: Act, group: Group, member: Member) -> bool:
    owners = [admin for admin in accounts.admins(act.tx, group.id) if admin.role is Role.OWNER]
    return [owner.key for owner in owners] == [member.key]


def _pair(key: str, value: object) -> str:
    return f"{key}={setting.written(value)}"
