"""`listserv run`: the daemon in the foreground."""

import logging
import os
import sys
import time
from collections.abc import Callable, Collection
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

import click

from listserv.cli import checkup, show
from listserv.cli.checkup import Status
from listserv.cli.main import Place
from listserv.settings import Faults, Settings, find
from listserv.store.db import away

if TYPE_CHECKING:
    from listserv.daemon import Daemon
    from listserv.net.doorway import Doorway
    from listserv.node import Node
    from listserv.roles import Part, Role, Work
    from listserv.supervisor import Place as Beneath

ROLES = ("all", "smtp", "delivery", "web")

log = logging.getLogger("listserv")


class OneLine(logging.Formatter):
    """Time (UTC), level, where, what: one line, whatever the message holds; a traceback stands indented below it.

    Of a database that cannot be used there is one line instead: its traceback says nothing, and comes again and again.
    """

    converter = staticmethod(time.gmtime)

    def __init__(self) -> None:
        super().__init__("%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%S")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the name is logging's
        return show.clean(super().formatMessage(record))

    def formatException(self, ei: object) -> str:  # noqa: N802
        fault = ei[1]  # type: ignore[index]
        why = away(fault)
        lines = [f"the database: {why}"] if why else super().formatException(ei).splitlines()  # type: ignore[arg-type]
        return "\n".join(f"    {show.clean(line.expandtabs())}" for line in lines)


@click.command()
@click.option("--role", type=click.Choice(ROLES), default="all", help="What this process does.", show_default=True)
@click.pass_obj
def run(place: Place, role: str) -> None:
    """Run the daemon until Ctrl-C or SIGTERM; it prints "ready" when it takes mail.  SIGHUP re-reads texts and limits.

    \b
    Examples:
      listserv run
      listserv run --role smtp        one of several processes that share a database
    """
    from listserv import process, roles, supervisor

    log_to_stderr()
    settings, whole = place.settings(), roles.Role(role)
    parts = roles.parts(whole, settings.workers)
    does = roles.works(whole)
    at = doorway = None
    try:
        with ExitStack() as stack:
            if parts:
                doorway = _prepare(place, stack, whole)
                file = supervisor.file(settings.site.data_dir, whole)
                at = supervisor.supervise(parts, file, _all_ready, partial(doorway.close, last=True))
                if at is None:
                    return
                does = at.part.works
                _take_place(at.part, doorway)
            node = stack.enter_context(place.node(signs=roles.Work.DELIVERY in does))
            _check_secrets(node, does)
            process.run(_serve(node, whole, _reread(place), at, doorway))
    except (roles.AlreadyRunning, supervisor.NeverReady) as fault:
        raise click.ClickException(str(fault)) from None


def _prepare(place: Place, stack: ExitStack, role: "Role") -> "Doorway":
    """What the parent of several processes does before they are: the locks, which they hold too, and the doors."""
    from listserv import daemon, roles

    does = roles.works(role)
    with place.node(signs=roles.Work.DELIVERY in does) as node:
        _check_secrets(node, does)
        stack.enter_context(roles.locked(node.settings.site.data_dir, role))
        if roles.Work.DELIVERY in does:
            daemon.look_back(node)
            node.db.write_now(daemon.give_back, node, whole=True)
        return daemon.doorway(role, node.settings)


def _take_place(part: "Part", doorway: "Doorway") -> None:
    """In a child: it receives, as the one with this number, or has no business at the doors."""
    if "smtp" in part.works:
        doorway.take_place(part.receiver - 1)
    else:
        doorway.close()


async def _serve(
    node: "Node",
    role: "Role",
    reread: Callable[[], Settings | None],
    at: "Beneath | None",
    doorway: "Doorway | None",
) -> None:
    from listserv.daemon import serve

    def ready(daemon: "Daemon") -> None:
        """Into the log where it listens, with the real ports."""
        for door in daemon.doors() if at is None or at.part.is_main else ():
            log.info("listening: %s", door)
        if at is None:
            _say_ready()
        else:
            at.say_ready()

    if at is not None:
        at.watch()
    await serve(node, role, reread, ready, at.part if at else None, doorway)


def _all_ready() -> None:
    from listserv.process import notify_systemd

    _say_ready()
    notify_systemd("READY=1")


def _say_ready() -> None:
    """One word on standard output when it takes mail."""
    click.echo("ready")
    sys.stdout.flush()


def _check_secrets(node: "Node", does: "Collection[Work]") -> None:
    """Only who takes mail in needs the certificate, and only who delivers the password."""
    findings = [*(checkup.tls(node.settings) if "smtp" in does else ())]
    findings += checkup.password(node.settings) if "delivery" in does else ()
    for finding in findings:
        if finding.status is Status.WRONG:
            raise click.ClickException(f"{finding.what}: {finding.detail} -- {finding.mend}")


def log_to_stderr() -> None:
    """Our own words from INFO on, other people's from WARNING on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(OneLine())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    log.setLevel(logging.INFO)


def _reread(place: Place) -> Callable[[], Settings | None]:
    """For SIGHUP: the settings as the file has them now; None, and said why, when it is wrong."""

    def reread() -> Settings | None:
        path = find(place.config, os.environ)
        try:
            return Settings.load(path, os.environ) if path else None
        except Faults as faults:
            for fault in faults.faults:
                log.error("not read anew: %s", fault)
            return None

    return reread
