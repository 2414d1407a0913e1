"""What is named on the command line: groups, addresses, KEY=VALUE."""

import difflib
from typing import TYPE_CHECKING, Any

import click

from listserv.cli.show import Faults
from listserv.model import address
from listserv.model.address import Address

if TYPE_CHECKING:
    from listserv.model.group import Group
    from listserv.store.db import Tx


class Pair(click.ParamType[tuple[str, str]]):
    """KEY=VALUE."""

    name = "KEY=VALUE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        if isinstance(value, tuple):
            return value
        key, equals, text = str(value).partition("=")
        if not equals or not key.strip():
            self.fail(f"“{value}” is not KEY=VALUE", param, ctx)
        return key.strip().lower().replace("-", "_"), text


def group(tx: "Tx", name: str) -> "Group":
    """The group of this address; its name alone is enough where only one group is called so.  Raises Faults."""
    from listserv.store import groups

    known = address.parse(name)
    found = groups.find(tx, known.key) if known else None
    if found is not None:
        return found
    everyone = groups.everyone(tx)
    called = [each for each in everyone if each.local == name.lower()]
    if len(called) == 1:
        return called[0]
    if called:
        raise Faults(f"{name}: which one? {', '.join(each.address for each in called)}")
    raise Faults(f"{name}: there is no such group; {_hint(name, everyone)}")


def mailbox(text: str) -> Address:
    """Raises Faults when this is no address."""
    known = address.parse(text.strip())
    if known is None:
        raise Faults(f"{text}: not an e-mail address")
    return known


def _hint(name: str, everyone: "list[Group]") -> str:
    if not everyone:
        return "make one with `listserv group create ADDRESS --owner ADDR`"
    near = difflib.get_close_matches(name.lower(), [each.address for each in everyone], 1)
    near = near or [g.address for g in everyone if difflib.get_close_matches(name.lower(), [g.local], 1)]
    return f"did you mean {near[0]}?" if near else "see `listserv group list`"
