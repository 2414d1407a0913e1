"""Mail to `g-request@` and `listserv@`: what it asks for, whether its author may, and one answer.

Commands never act on an unproven From.  A proven author's are done at once; of anybody else the mailbox that From
names is asked, in our own words, and its yes does what the question named; a refuted author's are refused.
What changes nothing and tells nothing about anybody (help, info) is answered within a stranger's budget.
A token in a mail is its own proof.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

from listserv.access_log import events
from listserv.flows import answering, asking, budgeting, notifying, obeying
from listserv.flows.agreeing import Effect, Yes
from listserv.flows.asking import Asked, Idle, Pending, Waits, Wish
from listserv.flows.budgeting import Party
from listserv.flows.notifying import Letter
from listserv.flows.obeying import HAS_OWN_MAIL, NotDone, Outcome, Wanted, Writer
from listserv.flows.reading import Reading
from listserv.flows.site import Act
from listserv.mail.message import Author
from listserv.mail.options import TEXT
from listserv.mail.request import MAX_COMMANDS, parse, read
from listserv.model import request, setting
from listserv.model.account import Mailbox
from listserv.model.address import Address
from listserv.model.envelope import RECEIVED, Envelope, Proof, Reply
from listserv.model.group import Group
from listserv.model.request import Command, Request
from listserv.model.token import Action
from listserv.store import accounts, buckets, journal
from listserv.store.buckets import Budget

ANSWERS = Budget(10, timedelta(days=1) / 10)  # mails of commands of one proven author

Redeem = Callable[[str], Reply]
Line = tuple[Command, tuple[Outcome, ...]]

HARMLESS = (request.Help, request.Info, request.Lists, request.NotHere, request.Unknown)


def take(act: Act, group: Group | None, envelope: Envelope, reading: Reading, redeem: Redeem) -> Reply:
    """Mail to a door of commands; `redeem` does what a token in it stands for."""
    author = reading.answerable(act.site.domains)
    if author is None:
        return _ignored(act, group, reading, reading.robot or "not to be answered")
    asked = parse(reading.subject, reading.plain, reading.html, group.address if group else "")
    tokens = [command.token for command in asked.commands if isinstance(command, request.Confirm)]
    replies = [redeem(token) for token in tokens]
    commands = tuple(command for command in asked.commands if not isinstance(command, request.Confirm))
    if replies and not any(not isinstance(command, request.Unknown) for command in commands):
        return replies[0]
    return _perform(act, group, envelope, reading, replace(asked, commands=commands))


def set_mode(act: Act, group: Group, envelope: Envelope, reading: Reading, mode: str) -> Reply:
    """Mail to -mail and -nomail: a command without words."""
    author = reading.answerable(act.site.domains)
    if author is None or reading.hidden:
        return _ignored(act, group, reading, reading.robot or reading.hidden or "not to be answered")
    return _perform(act, group, envelope, reading, Request((request.Set("", (("mode", mode),)),)))


def confirmed(act: Act, yes: Yes) -> Effect:
    """The owner of the mailbox has said that these commands are his."""
    commands = tuple(read(line) for line in yes.doc["lines"])
    by = Party(Proof.UNKNOWN, domains=(yes.address.domain,))
    writer = Writer(yes.address, _proven(act, yes.address), by, yes.message_id)
    _do(act, yes.group, writer, Request(commands))
    return Effect.DONE


def _perform(act: Act, group: Group | None, envelope: Envelope, reading: Reading, asked: Request) -> Reply:
    """By what is proven about the author."""
    assert isinstance(reading.author, Author)
    address, by = reading.author.address, budgeting.party(envelope, reading)
    match envelope.proof:
        case Proof.REFUTED:
            return asking.reply(asking.Refuted(by.why), address, by)
        case Proof.PROVEN if not _has_sense(asked) and not budgeting.once_a_day(act, "nonsense", address.key):
            return _ignored(act, group, reading, "no command, and told so today")
        case Proof.PROVEN if not buckets.spend(act.tx, _budget(act, address), ANSWERS, act.now):
            return asking.reply(asking.Busy(), address, by)
        case Proof.PROVEN:
            writer = Writer(address, _proven(act, address), by, reading.message_id)
            _do(act, group, writer, asked if asked.commands else Request((request.Help(),)))
            return Reply(250, "2.0.0", f"the answer goes to {address}")
        case Proof.UNKNOWN:
            return _ask(act, group, envelope, reading, asked, by)


def _has_sense(asked: Request) -> bool:
    """One line of ours at least; without any it may be a responder that does not say so, and answers for ever."""
    return any(not isinstance(command, request.Unknown) for command in asked.commands)


def _ask(act: Act, group: Group | None, envelope: Envelope, reading: Reading, asked: Request, by: Party) -> Reply:
    """One question about all that is more than harmless; without any, help, as at its own door.

    The answer of SMTP is that of a question in any case: it says nothing about who is a member.
    """
    assert isinstance(reading.author, Author)
    address = reading.author.address
    if not by.trusted and (closed := _closed(act, group, address, asked.commands)):
        return Reply(550, "5.7.1", f"{address} cannot join {closed.address} by mail")
    wishes = _wishes(act, group, address, asked.commands)
    is_harmless = not asked.commands or any(isinstance(command, HARMLESS) for command in asked.commands)
    if not wishes and is_harmless:
        said = answering.help(act, group, envelope, reading)
        return asking.reply(Idle(), address, by) if said.positive else said
    outcome = asking.ask_all(act, address, wishes, by, answers=reading.message_id)
    if isinstance(outcome, Asked | Waits):
        line = events.commands_asked(
            act.now,
            act.who,
            group=group.address if group else "",
            message_id=reading.message_id,
            commands=_verbs(asked.commands),
        )
        journal.write(act.tx, line)
    elif isinstance(outcome, Idle):
        _ignored(act, group, reading, "nothing that can be done")
    elif not isinstance(outcome, Pending):
        _ignored(act, group, reading, type(outcome).__name__.lower())
    return asking.reply(outcome, address, by)


def _closed(act: Act, group: Group | None, address: Address, commands: Sequence[Command]) -> Group | None:
    """The first group of those he asks to join, if he asks for nothing else and none of them can be joined by mail."""
    named = [command.group for command in commands if isinstance(command, request.Subscribe)]
    known = [obeying.find(act, name, group) for name in named]
    if len(named) < len(commands) or any(each is None or not obeying.is_shut(act, each, address) for each in known):
        return None
    return known[0] if known else None


def _wishes(act: Act, group: Group | None, address: Address, commands: Sequence[Command]) -> list[Wish]:
    """What the mailbox is asked: to join, to leave, and all the rest as one."""
    wishes: list[Wish] = []
    lines: list[Command] = []
    for command in commands:
        match command:
            case request.Subscribe() | request.Unsubscribe() if command.address:
                pass  # of somebody else's mailbox
            case request.Subscribe(name):
                known = obeying.find(act, name, group)
                wishes += [Wish(Action.JOIN, known)] if known and not obeying.hindrance(act, known, address) else []
            case request.Unsubscribe(name) if name != request.EVERY:
                known = obeying.find(act, name, group)
                member = accounts.member(act.tx, known.id, address.key) if known else None
                wishes += [Wish(Action.LEAVE, known)] if member else []
            case _ if not isinstance(command, HARMLESS):
                lines += _located(act, command, group)
    if lines and accounts.mailbox(act.tx, address.key) is not None:  # who is nobody here has nothing to change
        doc = {"lines": [request.written(each) for each in lines], "shown": [_shown(each) for each in lines]}
        wishes.append(Wish(Action.COMMAND, group, doc))
    return wishes


def _located(act: Act, command: Command, group: Group | None) -> list[Command]:
    """The command as it is read without a group's door; none when there is no such group."""
    match command:
        case request.Set(name, pairs) if name != request.EVERY and any(
            key not in setting.OF_PERSON for key, _ in pairs
        ):
            known = obeying.find(act, name, group)
            if known is None:
                return [] if name else _sound(act, command)
            return _sound(act, replace(command, group=known.address))
        case request.Set(name) if name != request.EVERY:  # of the person, whatever group it names
            return _sound(act, replace(command, group=""))
        case request.Who(name) | request.Which(name):
            known = obeying.find(act, name, group if isinstance(command, request.Who) else None)
            if known is None:
                return [] if name or isinstance(command, request.Who) else [command]
            return [replace(command, group=known.address)]
        case _:
            return [command]


def _sound(act: Act, command: request.Set) -> list[Command]:
    """Without values that cannot be: nobody is asked about the words of a stranger."""
    languages = act.site.texts.languages
    pairs = tuple(
        pair for pair in command.pairs if not isinstance(setting.read_member(*pair, languages), setting.Wrong)
    )
    return [replace(command, pairs=pairs)] if pairs else []


def _shown(command: Command) -> str:
    """The command in a question: in our own words, without what somebody wrote of himself."""
    if isinstance(command, request.Set):
        command = replace(command, pairs=tuple((k, "…" if k in TEXT else v) for k, v in command.pairs))
    return request.written(command)


def _do(act: Act, group: Group | None, writer: Writer, asked: Request) -> None:
    """Each command in its turn, and one answer; none where every one has a mail of its own."""
    done: list[Line] = [(command, tuple(obeying.obey(act, writer, command, group))) for command in asked.commands]
    wishes = [outcome.wish for _, outcomes in done for outcome in outcomes if isinstance(outcome, Wanted)]
    refused = _want(act, writer, wishes)
    if refused:
        done = [(command, tuple(_refused(outcome, refused) for outcome in outcomes)) for command, outcomes in done]
    line = events.commands_done(
        act.now,
        act.who,
        group=group.address if group else "",
        message_id=writer.answers,
        commands=_verbs(asked.commands),
    )
    journal.write(act.tx, line)
    if asked.more or any(not isinstance(outcome, HAS_OWN_MAIL) for _, outcomes in done for outcome in outcomes):
        _answer(act, group, writer, done, asked)


def _want(act: Act, writer: Writer, wishes: Sequence[Wish]) -> str:
    """Ask about all in one mail; why not, in one word, "" when it is on its way."""
    if not wishes:
        return ""
    outcome = asking.ask_all(act, writer.address, wishes, writer.by, answers=writer.answers)
    for wish in wishes:
        if isinstance(outcome, Asked | Waits) and wish.group:
            line = events.member_asked(act.now, act.who, group=wish.group.address, member=writer.address.key, hold=None)
            journal.write(act.tx, line)
    return "" if isinstance(outcome, Asked | Waits | Pending) else type(outcome).__name__.lower()


def _refused(outcome: Outcome, why: str) -> Outcome:
    if isinstance(outcome, Wanted) and outcome.wish.group is not None:
        return NotDone(outcome.wish.group, why)
    return outcome


def _answer(act: Act, group: Group | None, writer: Writer, done: Sequence[Line], asked: Request) -> None:
    """What became of each line, in the person's language."""
    to = notifying.to_actor(act, group, writer.address.key)
    assert to is not None  # it was parsed as an address
    said: list[dict[str, Any]] = [
        {"line": request.written(command), "outcomes": outcomes} for command, outcomes in done if outcomes
    ]
    helps = any(
        isinstance(outcome, obeying.Helped | obeying.NotUnderstood) for each in said for outcome in each["outcomes"]
    )
    facts = {"done": said, "more": asked.more, "most": MAX_COMMANDS, "helps": helps}
    letter = Letter("commands", facts, answers=writer.answers, again=True)
    notifying.send(act, group, to, letter)


def _proven(act: Act, address: Address) -> Mailbox | None:
    """The mailbox, if we know it; that it is its owner's has just been shown."""
    known = accounts.mailbox(act.tx, address.key)
    return accounts.ensure(act.tx, address, act.now, proven=True) if known and not known.proven else known


def _verbs(commands: Sequence[Command]) -> tuple[str, ...]:
    return tuple(type(command).__name__.lower() for command in commands)


def _budget(act: Act, address: Address) -> bytes:
    return act.site.tags.hashes("budget.commands", address.key)[0]


def _ignored(act: Act, group: Group | None, reading: Reading, why: str) -> Reply:
    line = events.mail_ignored(
        act.now,
        act.who,
        group=group.address if group else "",
        message_id=reading.message_id,
        door="request",
        why=why,
        mail_from=reading.mail_from,
    )
    journal.write(act.tx, line)
    return RECEIVED
