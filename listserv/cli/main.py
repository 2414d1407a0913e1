"""The command `listserv`: finds the configuration, opens the node, and says every fault in one line.

Subcommands are loaded when they are asked for, so that `--help` answers at once.
"""

import importlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

import click

if TYPE_CHECKING:
    from listserv.flows.site import Act
    from listserv.node import Node
    from listserv.settings import Settings
    from listserv.store.db import Tx

P = ParamSpec("P")
T = TypeVar("T")

COMMANDS = {  # where each is, and what `listserv --help` says of it without loading it
    "init": ("listserv.cli.setting_up:init", "Write listserv.toml, and print the DNS records to publish."),
    "run": ("listserv.cli.running:run", "Run the daemon, until Ctrl-C or SIGTERM."),
    "check": ("listserv.cli.checking:check", "What is wrong here, and how to mend it."),
    "group": ("listserv.cli.group:group", "Groups: create, list, show, set, delete."),
    "member": ("listserv.cli.member:member", "Members: add, remove, list, show, set, ban, import, export."),
    "hold": ("listserv.cli.hold:hold", "What waits for an admin: list, show, approve, reject, discard."),
    "queue": ("listserv.cli.queue:queue", "Mail on its way: status, list, show, retry, drop, pause."),
    "trace": ("listserv.cli.trace:trace", "Everything that happened to one message."),
    "explain": ("listserv.cli.message:explain", "What would happen to a message, and why."),
    "post": ("listserv.cli.message:post", "Hand in a message as if it had come by SMTP."),
    "log": ("listserv.cli.log:log", "What people did here: search."),
    "ad": ("listserv.cli.ad:ad", "Ads below posts: add, list, show, pause, remove, report."),
    "dkim": ("listserv.cli.dkim:dkim", "The keys that sign our mail: show, rotate."),
    "db": ("listserv.cli.database:db", "The database: backup, upgrade, verify."),
}


class Commands(click.Group):
    """A group whose help says of each command a whole sentence."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, self.says(ctx, name)) for name in self.list_commands(ctx)])

    def says(self, ctx: click.Context, name: str) -> str:
        command = self.get_command(ctx, name)
        return command.get_short_help_str(limit=1000) if command else ""


class Lazy(Commands):
    """A group whose commands are modules."""

    def invoke(self, ctx: click.Context) -> object:
        """A fault of the system that no command has put into words is one line as well: a full disk below `> FILE`."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise  # the reader has enough (`| head`): click ends quietly
        except OSError as fault:
            raise click.ClickException(in_words(fault)) from fault

    def says(self, ctx: click.Context, name: str) -> str:
        return COMMANDS[name][1]

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command


@dataclass(frozen=True, slots=True)
class Place:
    """Where the command works: the configuration that was named, or the first that is found."""

    config: Path | None

    def settings(self) -> "Settings":
        """Exit 1 with one line per fault when there is no configuration or a wrong one."""
        from listserv.settings import Faults, Settings, find

        path = find(self.config, os.environ)
        if path is None:
            raise click.ClickException("no configuration found: run `listserv init`, or name one with --config PATH")
        try:
            return Settings.load(path, os.environ)
        except Faults as faults:
            click.echo(str(faults), err=True)
            sys.exit(1)

    @contextmanager
    def node(self, *, signs: bool = True) -> Iterator["Node"]:
        """The node of this configuration, whether a daemon runs or not; every fault is one line; `signs` as in Node."""
        with plain_faults():
            from listserv.node import Node

            node = Node.open(self.settings(), signs=signs)
            try:
                yield node
            finally:
                node.close()

    def act(self, node: "Node", work: "Callable[Concatenate[Act, P], T]", *args: "P.args", **kwargs: "P.kwargs") -> "T":
        """What `work` returned, done by the operator in one transaction; its access-log lines are in the file."""
        from listserv.access_log.line import Way
        from listserv.flows.site import Act
        from listserv.workers import clerk

        def in_transaction(tx: "Tx") -> "T":
            return work(Act(tx, node.site, node.clock(), node.site.who(Way.SHELL)), *args, **kwargs)

        result = node.db.write_now(in_transaction)
        clerk.write_now(node.db, node.journal, node.site.node)
        return result


@contextmanager
def plain_faults() -> Iterator[None]:
    """What the world does wrong, in one line on standard error and exit 1; never a traceback for it."""
    from sqlalchemy.exc import DBAPIError

    from listserv.keyring import UnsafeKey
    from listserv.store.engines import UnsafeDatabase
    from listserv.store.upgrade import NewerDatabase

    try:
        yield
    except BrokenPipeError:
        raise  # the reader has enough (`| head`): click ends quietly
    except DBAPIError as fault:
        raise click.ClickException(f"[database] url: {_first_line(fault.orig)}{_whose(fault.orig)}") from fault
    except (UnsafeKey, NewerDatabase, UnsafeDatabase) as fault:
        raise click.ClickException(str(fault)) from fault
    except OSError as fault:
        raise click.ClickException(in_words(fault)) from fault


def in_words(fault: OSError) -> str:
    """Which file it was about, and what was wrong."""
    said = fault.strerror or str(fault)
    return f"{fault.filename}: {said}" if fault.filename else said


def _whose(fault: BaseException | None) -> str:
    """What most often is behind it where an SQLite file cannot be opened, or not be written to."""
    if getattr(fault, "sqlite_errorname", "").startswith(("SQLITE_CANTOPEN", "SQLITE_READONLY")):
        return "; its folder and its file have to belong to the user who runs this"
    return ""


_LOCKED = "database is locked"  # SQLite's own words


def _first_line(fault: BaseException | None) -> str:
    said = next(iter(str(fault).strip().splitlines()), type(fault).__name__)
    return f"{said}: another process has been writing for long; is one stopped?" if said == _LOCKED else said


@click.group(cls=Lazy, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--config", type=click.Path(path_type=Path), help="The configuration file (TOML).")
@click.version_option(package_name="listserv")
@click.pass_context
def main(ctx: click.Context, config: Path | None) -> None:
    """A mailing-list server: groups that work by e-mail.

    \b
    First steps, beside the daemon (`listserv run`):
      listserv group create sailing@lists.example.org --owner ada@example.com --title Sailing
      listserv member add sailing bob@example.com
      listserv check

    G is a group's address, or its name alone where only one is called so.  COMMAND --help has examples.

    The configuration is --config PATH, else $LISTSERV_CONFIG, else ./listserv.toml, ./var/listserv.toml or
    /etc/listserv/listserv.toml.
    """
    ctx.obj = Place(config)
