"""What people ask for by mail: the commands, as values, and the one spelling of each that is ours."""

from dataclasses import dataclass
from typing import assert_never

EVERY = "*"  # in place of a group: all that one is in
NOTHING = "-"  # stands for an empty value


@dataclass(frozen=True, slots=True)
class Subscribe:
    """`group` is as it was written, in lower case; "" is the group whose door it is, or none was named."""

    group: str = ""
    name: str = ""
    address: str = ""  # somebody else's, or another mailbox of one's own
    digest: bool = False


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    group: str = ""
    address: str = ""


@dataclass(frozen=True, slots=True)
class Set:
    """Settings as (key, value), the keys of `model.setting.OWN`; free text is at most the last of them."""

    group: str
    pairs: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Which:
    group: str = ""


@dataclass(frozen=True, slots=True)
class Who:
    group: str = ""


@dataclass(frozen=True, slots=True)
class Info:
    group: str = ""


@dataclass(frozen=True, slots=True)
class Help:
    pass


@dataclass(frozen=True, slots=True)
class Lists:
    pass


@dataclass(frozen=True, slots=True)
class MyData:
    pass


@dataclass(frozen=True, slots=True)
class Confirm:
    token: str


@dataclass(frozen=True, slots=True)
class AddAddress:
    address: str


@dataclass(frozen=True, slots=True)
class RemoveAddress:
    address: str


@dataclass(frozen=True, slots=True)
class ChangeAddress:
    """Move from the mailbox it was written from to this one."""

    address: str


@dataclass(frozen=True, slots=True)
class EndSessions:
    pass


@dataclass(frozen=True, slots=True)
class NotHere:
    """A word that other list servers know and for which there is nothing here; `verb` is that word."""

    verb: str


@dataclass(frozen=True, slots=True)
class Unknown:
    line: str
    near: str = ""  # the verb that may have been meant


Command = (
    Subscribe
    | Unsubscribe
    | Set
    | Which
    | Who
    | Info
    | Help
    | Lists
    | MyData
    | Confirm
    | AddAddress
    | RemoveAddress
    | ChangeAddress
    | EndSessions
    | NotHere
    | Unknown
)


@dataclass(frozen=True, slots=True)
class Request:
    """The commands in their order, each once; `more`: there were others, which are not done."""

    commands: tuple[Command, ...]
    more: bool = False


def written(command: Command) -> str:
    """The command in our own spelling; `mail.request.read` understands it where no group is implied."""
    match command:
        case Subscribe(group, name):
            return f"subscribe {group} {name}".rstrip()
        case Unsubscribe(group):
            return f"unsubscribe {group}".rstrip()
        case Set(group, pairs):
            said = " ".join(f"{key.replace('_', ' ')} {value or NOTHING}" for key, value in pairs)
            return f"set {group} {said}" if group else f"set {said}"
        case Which(group):
            return f"which {group}".rstrip()
        case Who(group):
            return f"who {group}".rstrip()
        case Info(group):
            return f"info {group}".rstrip()
        case Help():
            return "help"
        case Lists():
            return "lists"
        case MyData():
            return "mydata"
        case Confirm(token):
            return f"confirm {token}"
        case AddAddress(one):
            return f"address add {one}"
        case RemoveAddress(one):
            return f"address remove {one}"
        case ChangeAddress(one):
            return f"address change {one}"
        case EndSessions():
            return "end sessions"
        case NotHere(verb):
            return verb
        case Unknown(line):
            return line
        case _:
            assert_never(command)
