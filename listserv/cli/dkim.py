"""`listserv dkim`: the keys that sign our mail, what to publish, and how to change them."""

import click

from listserv.cli import show
from listserv.cli.main import Commands, Place
from listserv.keyring import Key, NoNewKey
from listserv.net import lookup
from listserv.net.lookup import NoAnswer
from listserv.node import Node


@click.group(cls=Commands)
def dkim() -> None:
    """The keys that sign our mail.

    \b
    Examples:
      listserv dkim show
      listserv dkim rotate               makes the next key and prints its DNS record
      listserv dkim rotate --activate    lets it sign, once the record is published
    """


@dkim.command("show")
@show.json_option
@click.pass_obj
def show_(place: Place, as_json: bool) -> None:
    """Every key, and its DNS record as a zone line.

    \b
    Example:
      listserv dkim show --json
    """
    with place.node() as node:
        keys = node.keys.every_key()
    if as_json:
        show.json([_object(key) for key in keys])
        return
    for key in keys:
        click.echo(f"; {key.signer.selector} of {key.signer.domain}: {_MEANING[key.state]}\n{key.zone_line}\n")


@dkim.command()
@click.argument("domains", nargs=-1, metavar="[DOMAIN…]")
@click.option("--activate", is_flag=True, help="Sign with the new key from now on.")
@click.option("--force", is_flag=True, help="Activate it even if its record cannot be seen in the DNS.")
@show.json_option
@click.pass_obj
def rotate(place: Place, domains: tuple[str, ...], activate: bool, force: bool, as_json: bool) -> None:
    """Change the signing key in two steps, for all domains or those named.

    The first call makes a new key and prints its record: publish it.  The second one, with --activate, looks
    whether it is published, and lets it sign; a running daemon follows with its next post.  The old record should
    stay for a week or two.  The keys are files in data_dir/dkim: with several machines, copy that folder to each
    one before you activate.

    \b
    Example:
      listserv dkim rotate && listserv dkim rotate --activate
    """
    if force and not activate:
        raise click.UsageError("--force belongs to --activate")
    with place.node() as node:
        chosen = _chosen(node, domains)
        keys = _activate(node, chosen, force) if activate else [node.keys.begin_rotation(domain) for domain in chosen]
    if as_json:
        show.json([_object(key) for key in keys])
        return
    for key in keys:
        if activate:
            click.echo(f"{key.signer.selector} signs for {key.signer.domain} from now on")
        else:
            click.echo(f"; publish this, then run `listserv dkim rotate --activate`\n{key.zone_line}")


_MEANING = {"signing": "signs", "new": "signs after `listserv dkim rotate --activate`", "old": "signs no more"}


def _chosen(node: Node, domains: tuple[str, ...]) -> list[str]:
    ours = node.settings.site.domains
    for domain in domains:
        if domain.lower() not in ours:
            raise click.ClickException(f"{domain} is none of our domains: {', '.join(ours)}")
    return [domain.lower() for domain in domains] or list(ours)


def _activate(node: Node, domains: list[str], force: bool) -> list[Key]:
    """All of them or, when something is in the way of one, none."""
    try:
        new = [node.keys.next_key(domain) for domain in domains]
        for key in [] if force else new:
            _is_published(node, key)
        return [node.keys.activate(domain) for domain in domains]
    except NoNewKey as fault:
        raise click.ClickException(str(fault)) from None


def _is_published(node: Node, key: Key) -> None:
    dns = node.settings.dns
    try:
        seen = lookup.txt(key.name, [(each.host, each.port) for each in dns.servers], dns.timeout_seconds)
    except NoAnswer as fault:
        raise click.ClickException(f"{key.name}: {fault}; nothing has changed (--force activates anyway)") from None
    if not any(same_record(key.record, each) for each in seen):
        what = "has another record" if seen else "has no record yet"
        raise click.ClickException(
            f"{key.name} {what}; nothing has changed (`listserv dkim show` prints the right one)"
        )


def same_record(ours: str, seen: str) -> bool:
    """The same public key; blanks and the order of the tags may differ (RFC 6376 §3.2)."""
    return _tags(ours).get("p") == _tags(seen).get("p")


def _tags(record: str) -> dict[str, str]:
    pairs = (tag.partition("=") for tag in record.split(";") if tag.strip())
    return {name.strip(): "".join(value.split()) for name, _, value in pairs}


def _object(key: Key) -> dict[str, str]:
    return {
        "domain": key.signer.domain,
        "selector": key.signer.selector,
        "name": key.name,
        "record": key.record,
        "state": key.state,
    }
