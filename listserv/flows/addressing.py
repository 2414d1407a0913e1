"""Several mailboxes of one person: added, removed, changed, each proven by mail; and all open rights ended.

A mailbox that is to belong to somebody is asked itself, whoever wants it: nobody is given another's address.  It is a
stranger to the one who asks, so the mail to it has a stranger's budget.  Whoever is in an account acts for it
everywhere, and therefore all its mailboxes hear of it when one is added.

A mailbox whose place was taken may object for a while, and then all is as it was.  That this can be so, nobody joins
the account as long as it may.
"""

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from listserv.access_log import events
from listserv.flows import asking, consenting, notifying
from listserv.flows.agreeing import Effect, Yes
from listserv.flows.asking import Asked, Pending, Waits, Wish
from listserv.flows.budgeting import Party
from listserv.flows.notifying import Letter
from listserv.flows.site import Act
from listserv.model.account import Mailbox
from listserv.model.address import Address, parse
from listserv.model.consent import Step
from listserv.model.envelope import Proof
from listserv.model.token import Action
from listserv.store import accounts, groups, journal, persons, requests, tokens

OBJECT_WITHIN = timedelta(days=14)
MOST = 20  # mailboxes of one person
OBJECTIONS = (Action.KEEP_ADDRESS, Action.RETURN)  # rights to undo what perhaps somebody else has done


@dataclass(frozen=True, slots=True)
class AddressAsked:
    """The mailbox is asked, or will be."""

    address: str
    asked: bool = True


@dataclass(frozen=True, slots=True)
class AddressRefused:
    """Nothing has changed; `why`: yours, ours, many, disputed, unwanted, busy, none, only."""

    address: str
    why: str


@dataclass(frozen=True, slots=True)
class AddressRemoved:
    address: str


@dataclass(frozen=True, slots=True)
class SessionsEnded:
    count: int


def want(act: Act, mine: Mailbox, address: Address, action: Action, by: Party) -> AddressAsked | AddressRefused:
    """Ask the owner of a mailbox whether it shall belong to this person, or take the place of `mine`."""
    own = accounts.mailboxes_of(act.tx, mine.account_id)
    if act.site.is_ours(address):
        return AddressRefused(str(address), "ours")
    if any(box.key == address.key and box.proven for box in own) and not _moves_at_home(action, mine, address):
        return AddressRefused(str(address), "yours")
    if len(own) >= MOST:
        return AddressRefused(str(address), "many")
    if _is_disputed(act, mine.account_id):
        return AddressRefused(str(address), "disputed")
    wish = Wish(action, None, {"account": mine.key})
    stranger = replace(by, proof=Proof.UNKNOWN)
    outcome = asking.ask(act, address, wish, stranger, language=mine.language)
    if isinstance(outcome, Asked | Waits | Pending):
        if not isinstance(outcome, Pending):
            journal.write(act.tx, events.address_asked(act.now, act.who, address=address.key))
        return AddressAsked(str(address), not isinstance(outcome, Waits))
    return AddressRefused(str(address), type(outcome).__name__.lower())


def _moves_at_home(action: Action, mine: Mailbox, address: Address) -> bool:
    """Another mailbox of the same person may take the place of this one."""
    return action is Action.CHANGE_ADDRESS and address.key != mine.key


def added(act: Act, yes: Yes) -> Effect:
    """The owner of the mailbox has said that it belongs to this person."""
    mine = _asker(act, yes)
    if mine is None or _hinders(act, mine, yes.actor):
        return Effect.CLOSED
    own = [box for box in accounts.mailboxes_of(act.tx, mine.account_id) if box.key != yes.actor]
    new = _join(act, mine, yes.address)
    consenting.record(act, Step.ADDED, None, new.key, account=mine.key, **yes.evidence)
    journal.write(act.tx, events.address_added(act.now, act.who, address=mine.key))
    for box in own:
        if box.proven or box.key == mine.key:
            _tell(act, box, Letter("address-added", {"address": new.address, "by": mine.address}))
    return Effect.DONE


def changed(act: Act, yes: Yes) -> Effect:
    """The mailbox takes the other's place in every group; that one hears of it and may object."""
    old = _asker(act, yes)
    if old is None or old.key == yes.actor or _hinders(act, old, yes.actor):
        return Effect.CLOSED
    accounts.ensure(act.tx, yes.address, act.now, proven=True)  # first: an undo takes from it what it gets here
    before = _before(act, old, yes.actor)
    new = _join(act, old, yes.address)
    for id in _part(act, old, new):
        consenting.record(act, Step.MOVED, groups.get(act.tx, id), new.key, former=old.key, **yes.evidence)
    facts = {"address": new.address, "old": old.address, "days": OBJECT_WITHIN.days}
    _tell(act, old, Letter("address-changed", facts, _undo(act, old, before)))
    _tell(act, new, Letter("address-moved", facts))
    journal.write(act.tx, events.address_changed(act.now, act.who, address=old.key))
    return Effect.DONE


def remove(act: Act, mine: Mailbox, address: Address) -> AddressRemoved | AddressRefused:
    """A mailbox acts for this person no more; what places it had, another one of his has now."""
    own = {box.key: box for box in accounts.mailboxes_of(act.tx, mine.account_id)}
    gone = own.get(address.key)
    others = [box for box in own.values() if box.key != address.key and box.proven]
    if gone is None:
        return AddressRefused(str(address), "none")
    if not others:
        return AddressRefused(str(address), "only")
    heir = mine if mine.key != gone.key else others[0]
    before = _before(act, gone)
    _part(act, gone, heir)
    facts = {"by": mine.address, "heir": heir.address, "days": OBJECT_WITHIN.days}
    _tell(act, gone, Letter("address-removed", facts, _undo(act, gone, before)))
    journal.write(act.tx, events.address_removed(act.now, act.who, address=gone.key))
    return AddressRemoved(gone.address)


def kept(act: Act, yes: Yes) -> Effect:
    """A mailbox whose place was taken objects: all is as it was before, whatever has been done since."""
    old = accounts.mailbox(act.tx, yes.actor)
    if old is None:
        return Effect.CLOSED
    tokens.end_all(act.tx, yes.doc["others"])
    _forget_wishes(act, set(yes.doc["others"]))
    account = persons.restore(act.tx, yes.doc["own"], yes.doc["boxes"], yes.doc["places"], act.now)
    accounts.describe(act.tx, account, yes.doc["about"])
    for key in yes.doc["others"]:  # nobody keeps the name of somebody else
        other = accounts.mailbox(act.tx, key)
        if other is not None and other.account_id != account:
            accounts.describe(act.tx, other.account_id, yes.doc["about_others"])
    consenting.record(act, Step.KEPT, None, old.key, **yes.evidence)
    _tell(act, old, Letter("address-kept", {}))
    journal.write(act.tx, events.address_kept(act.now, act.who, address=old.key))
    return Effect.DONE


def end_sessions(act: Act, mine: Mailbox) -> SessionsEnded:
    """Every open right of all mailboxes of this person ends.

    What stays: links that only leave a group, and the right to object to a change that was not one's own.
    """
    keys = {box.key for box in accounts.mailboxes_of(act.tx, mine.account_id)}
    ended = tokens.end_all(act.tx, keys, [action for action in Action if action not in OBJECTIONS])
    _forget_wishes(act, keys)
    journal.write(act.tx, events.sessions_ended(act.now, act.who, tokens=ended))
    return SessionsEnded(ended)


def _asker(act: Act, yes: Yes) -> Mailbox | None:
    """The mailbox whose owner wanted this, unless it has gone meanwhile."""
    return accounts.mailbox(act.tx, yes.doc["account"])


def _join(act: Act, mine: Mailbox, address: Address) -> Mailbox:
    """The mailbox, which belongs to this person now."""
    accounts.ensure(act.tx, _parsed(mine), act.now, proven=True)
    new = accounts.ensure(act.tx, address, act.now, proven=True)
    if new.account_id != mine.account_id:
        persons.unite(act.tx, mine.account_id, new.account_id)
    if mine.language and not new.language:
        accounts.speak(act.tx, mine.account_id, mine.language)
    return replace(new, account_id=mine.account_id)


def _hinders(act: Act, mine: Mailbox, key: str) -> bool:
    """Whether one of the two persons may not be united with another at present."""
    known = accounts.mailbox(act.tx, key)
    return _is_disputed(act, mine.account_id) or (known is not None and _is_disputed(act, known.account_id))


def _is_disputed(act: Act, account_id: int) -> bool:
    """A mailbox that was this person's may still object."""
    return any(token.doc["account"] == account_id for token in tokens.open_ones(act.tx, Action.KEEP_ADDRESS, act.now))


def _part(act: Act, gone: Mailbox, heir: Mailbox) -> list[int]:
    """The one mailbox leaves the account, and what places and rights it had; the groups where the other is instead.

    Who parts so stays banned with both.
    """
    groups.spread_bans(act.tx, heir.key, gone.key, act.now)
    groups.spread_bans(act.tx, gone.key, heir.key, act.now)
    moved = persons.transfer(act.tx, gone.id, heir.id)
    persons.separate(act.tx, [gone.id], act.now)
    tokens.end_all(act.tx, [gone.key])
    _forget_wishes(act, {gone.key})
    return moved


def _before(act: Act, mine: Mailbox, other: str = "") -> dict[str, Any]:
    """How things are with this person and the owner of the other mailbox, for an undo."""
    own = accounts.mailboxes_of(act.tx, mine.account_id)
    known = accounts.mailbox(act.tx, other)
    came = accounts.mailboxes_of(act.tx, known.account_id) if known else []
    places = persons.snapshot(act.tx, {mine.account_id, *(box.account_id for box in came)})
    others = {other, *(box.key for box in (*own, *came))} - {mine.key, ""}
    boxes = [box.id for box in (*own, *came)]
    return {
        "account": mine.account_id,
        "about": _about(act, mine.account_id),
        "about_others": _about(act, known.account_id) if known else {"name": "", "region": "", "country": ""},
        "own": [box.id for box in own],
        "boxes": boxes,
        "places": places,
        "others": sorted(others),
    }


def _about(act: Act, account_id: int) -> dict[str, str]:
    known = accounts.account(act.tx, account_id)
    return {"name": known.name, "region": known.region, "country": known.country}


def _undo(act: Act, box: Mailbox, before: dict[str, Any]) -> str:
    """The right of this mailbox to have all as it was before."""
    return notifying.issue(act, Action.KEEP_ADDRESS, box.key, before, lives=OBJECT_WITHIN)


def _forget_wishes(act: Act, keys: set[str]) -> None:
    """What these mailboxes wanted of others and nobody has answered yet, nobody can answer any more."""
    wanted = requests.of_kind(act.tx, (Action.ADD_ADDRESS, Action.CHANGE_ADDRESS))
    requests.remove(act.tx, [request.id for request in wanted if request.doc["account"] in keys])


def _tell(act: Act, box: Mailbox, letter: Letter) -> None:
    to = notifying.to_actor(act, None, box.key)
    assert to is not None  # it was judged when it was stored
    notifying.send(act, None, to, letter)


def _parsed(box: Mailbox) -> Address:
    known = parse(box.address)
    assert known is not None  # it was judged when it was stored
    return known
