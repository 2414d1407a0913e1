"""`listserv check`: what is wrong, and how to mend it."""

import os
import sys
from collections.abc import Iterator
from datetime import UTC, datetime

import click

from listserv import keyring
from listserv.cli import checkup, show
from listserv.cli.checkup import Finding, Status, ok, wrong
from listserv.cli.main import Place, in_words, plain_faults
from listserv.keyring import Keyring, UnsafeKey
from listserv.settings import Faults, Settings, find


@click.command()
@click.option("--no-dns", is_flag=True, help="Ask the DNS nothing.")
@show.json_option
@click.pass_obj
def check(place: Place, no_dns: bool, as_json: bool) -> None:
    """Look at configuration, database, DNS, DKIM keys, ports and relay: what is wrong, and how to mend it.

    Every line begins with ok, WRONG or not yet; exit 1 when anything is wrong.

    \b
    Example:
      listserv check --no-dns
    """
    found: list[Finding] = []
    for finding in _findings(place, no_dns):
        found.append(finding)
        if not as_json:
            click.echo(line(finding))
    if as_json:
        show.array(found)
    if any(finding.status is Status.WRONG for finding in found):
        sys.exit(1)


def line(finding: Finding) -> str:
    status = "WRONG" if finding.status is Status.WRONG else finding.status.value
    mend = f" -- {finding.mend}" if finding.mend else ""
    return f"{status:<8}{show.clean(f'{finding.what}: {finding.detail}{mend}')}"


def _findings(place: Place, no_dns: bool) -> Iterator[Finding]:
    path = find(place.config, os.environ)
    if path is None:
        yield wrong("configuration", "none found", "run `listserv init`, or name one with --config PATH")
        return
    try:
        settings = Settings.load(path, os.environ)
    except Faults as faults:
        mend = "config/listserv.toml explains every key"
        if not path.exists():
            mend = "`listserv init` makes one, or name another with --config PATH"
        elif not os.access(path, os.R_OK):
            mend = "run this as a user who may read it"
        for fault in faults.faults:
            yield wrong("configuration", str(fault), mend)
        return
    yield checkup.configuration(path)
    yield from _house(settings, no_dns)


def _house(settings: Settings, no_dns: bool) -> Iterator[Finding]:
    """What is missing is made first, as by every command."""
    _make_what_is_missing(settings)
    yield from checkup.folder(settings)
    yield from checkup.database(settings, datetime.now(UTC))
    keys = _keys(settings)
    yield ok("DKIM keys", _named(keys)) if isinstance(keys, Keyring) else keys
    yield from checkup.texts(settings)
    yield from checkup.ports(settings)
    yield from checkup.processes(settings, datetime.now(UTC))
    yield from checkup.tls(settings)
    yield from checkup.password(settings)
    yield checkup.relay(settings)
    if not no_dns and isinstance(keys, Keyring):
        yield from checkup.records(settings, keys)
    yield from checkup.not_yet(settings)


def _make_what_is_missing(settings: Settings) -> None:
    """Whatever prevents it is what the check is about to find."""
    from listserv.node import Node

    try:
        with plain_faults():
            Node.open(settings).close()
    except click.ClickException:
        return


def _keys(settings: Settings) -> Keyring | Finding:
    folder = settings.site.data_dir / "dkim"
    try:
        found = keyring.open(folder, settings.site.domains, settings.dkim.selector)
        found.every_key()
    except UnsafeKey as fault:
        return wrong("DKIM keys", str(fault), f"see to the files in {folder}")
    except OSError as fault:
        return wrong("DKIM keys", in_words(fault), f"{folder} and what is in it have to belong to the daemon's user")
    return found


def _named(found: Keyring) -> str:
    signing = [f"{signer.selector} for {domain}" for domain, signer in found.signers.items()]
    return f"signing with {', '.join(signing)}"
