"""`listserv init`: a configuration to begin with, what belongs to it, and the DNS records to publish."""

import os
from pathlib import Path

import click

from listserv import files
from listserv.cli.checkup import dmarc_line, mx_line, spf_line
from listserv.cli.main import Place, plain_faults
from listserv.keyring import Keyring
from listserv.model.address import domain_name
from listserv.settings import Settings
from listserv.texts import templates_folder

NAME = "listserv.toml"

CONFIGURATION = """\
# What differs from the defaults.  Every key, its default, unit and meaning:
# {reference}

[site]
hostname = "{domain}"       # this server's own name: HELO, Message-IDs
domains = ["{domain}"]      # groups live here
# name = "Example Groups"           # what people read in notices
# operators = ["you@example.net"]   # get postmaster@, abuse@ and security@; until then: `listserv hold list`
# url = "https://{domain}"  # public base of the links, when a web server with TLS is in front

[smtp]
# listen = ["0.0.0.0:25"]           # to take mail from everywhere; now only from this machine, on 127.0.0.1:8025

[relay]
# host = "127.0.0.1"                # where mail goes: the mail server of this machine, or your provider's
# port = 25
"""


class Domain(click.ParamType[str]):
    """A domain in lower case and A-labels."""

    name = "D"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        found = domain_name(str(value))
        if found is None:
            self.fail(f"“{value}” is no domain such as lists.example.org", param, ctx)
        return found


@click.command()
@click.option("--dir", "folder", type=click.Path(path_type=Path, file_okay=False), help="Where; default: here.")
@click.option(
    "--domain", type=Domain(), default="lists.example.org", help="The domain of the groups.", show_default=True
)
@click.pass_obj
def init(place: Place, folder: Path | None, domain: str) -> None:
    """Write listserv.toml, make the database and a DKIM key, and print the DNS records to publish.

    An existing configuration is left as it is.

    \b
    Example:
      listserv init --dir /var/lib/listserv --domain lists.example.org
    """
    if place.config and folder:
        raise click.UsageError("--config says where the configuration is; --dir says it too")
    path = (place.config or (folder or Path()) / NAME).absolute()
    with plain_faults():
        settings = _write(path, domain)
        try:
            keys = _make(settings)
        except BaseException:
            path.unlink()  # nothing half: the next try begins anew
            raise
    click.echo(f"{path} is written; database and DKIM key are in {settings.site.data_dir}")
    click.echo("\nPublish these DNS records, and an address record for the server's own name:\n")
    for line in zone(settings, keys):
        click.echo(line)
    click.echo(f"\nThen: listserv --config {path} check")


def zone(settings: Settings, keys: Keyring) -> list[str]:
    """The records of all our domains as lines of a zone file."""
    hostname = settings.site.hostname
    lines = []
    for domain in settings.site.domains:
        lines += [mx_line(domain, hostname), f"{spf_line(domain)}  ; and whatever your relay's provider says"]
        lines += [key.zone_line for key in keys.every_key() if key.signer.domain == domain and key.state == "signing"]
        lines.append(dmarc_line(domain))
    return lines


def _write(path: Path, domain: str) -> Settings:
    """The new configuration, written for its owner and group; never in the place of another."""
    path.parent.mkdir(parents=True, exist_ok=True)
    reference = templates_folder().parent / NAME
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640)
    except FileExistsError:
        raise click.ClickException(f"{path} is there already; nothing has changed") from None
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(CONFIGURATION.format(domain=domain, reference=reference))
    files.give_to_owner_of(path.parent, path)
    return Settings.load(path, os.environ)


def _make(settings: Settings) -> Keyring:
    from listserv.node import Node

    node = Node.open(settings)
    node.close()
    return node.keys
