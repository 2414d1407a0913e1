"""`listserv run`: the daemon in the foreground."""

import logging
import os
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from listserv.cli import checkup, show
from listserv.cli.checkup import Status
from listserv.cli.main import Place
from listserv.settings import Faults, Settings, find

if TYPE_CHECKING:
    from listserv.daemon import Daemon

ROLES = ("all", "smtp", "delivery", "web")

log = logging.getLogger("listserv")


class OneLine(logging.Formatter):
    """Time (UTC), level, where, what: one line, whatever the message holds; a traceback stands indented below it."""

    converter = staticmethod(time.gmtime)

    def __init__(self) -> None:
        super().__init__("%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%S")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the name is logging's
        return show.clean(super().formatMessage(record))

    def formatException(self, ei: object) -> str:  # noqa: N802
        lines = super().formatException(ei).splitlines()  # type: ignore[arg-type]
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
    from listserv import daemon
    from listserv.daemon import AlreadyRunning, Role, serve

    log_to_stderr()
    with place.node() as node:
        for finding in checkup.tls(node.settings):
            if finding.status is Status.WRONG:
                raise click.ClickException(f"{finding.what}: {finding.detail} -- {finding.mend}")
        try:
            daemon.run(serve(node, Role(role), _reread(place), _ready))
        except AlreadyRunning as fault:
            raise click.ClickException(str(fault)) from None


def log_to_stderr() -> None:
    """Our own words from INFO on, other people's from WARNING on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(OneLine())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    log.setLevel(logging.INFO)


def _ready(daemon: "Daemon") -> None:
    """Into the log where it listens, with the real ports; one word on standard output when it takes mail."""
    for door in daemon.doors():
        log.info("listening: %s", door)
    click.echo("ready")
    sys.stdout.flush()


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
