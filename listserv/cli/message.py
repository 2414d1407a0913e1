"""`listserv post` and `listserv explain`: a message from a file, taken as if by SMTP, or only judged."""

import sys
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from listserv.cli import naming, show
from listserv.cli.main import Place

if TYPE_CHECKING:
    from listserv.flows.reading import Reading
    from listserv.model.envelope import Envelope, Evidence, Reply
    from listserv.model.group import Group
    from listserv.model.post import Verdict
    from listserv.node import Node
    from listserv.rules import Facts
    from listserv.store.db import Tx

file_argument = click.argument(
    "file", metavar="FILE.eml", type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path)
)


def _ip(_context: click.Context, _option: click.Parameter, value: str) -> str:
    import ipaddress

    try:
        return str(ipaddress.ip_address(value)) if value else ""
    except ValueError:
        raise click.BadParameter(f"“{value}” is no IP address") from None


@click.command()
@click.argument("name", metavar="G")
@file_argument
@click.pass_obj
def post(place: Place, name: str, file: Path) -> None:
    """Hand in a message (- is standard input) as if it had come by SMTP from a trusted peer.

    Lines may end with LF.  The answer is that of SMTP; exit 1 when it is a refusal.

    \b
    Example:
      listserv post sailing message.eml
    """
    from listserv.flows import receiving

    with place.node() as node:
        group = node.db.read_now(naming.group, name)
        taken = _take(node, group, file, Origin(trusted=True))
        if taken.refusal is not None:
            reply = taken.refusal
        else:
            envelope, read = taken.envelope, taken.reading
            reply = place.act(node, lambda act: receiving.take(act.tx, act.site, envelope, read))[0]
    if not reply.positive:
        show.error(str(reply))
        sys.exit(1)
    click.echo(show.clean(reply))


@click.command()
@click.argument("name", metavar="G")
@file_argument
@click.option("--ip", default="", metavar="IP", callback=_ip, help="Where it came from; without it SPF says nothing.")
@click.option("--mail-from", metavar="ADDR", help='MAIL FROM, "" for the null sender; default: the author\'s address.')
@click.option("--helo", default="", metavar="NAME", help="What the client called itself.")
@click.option("--trusted", is_flag=True, help="As if from a peer inside [smtp] trusted_networks, or by LMTP.")
@show.json_option
@click.pass_obj
def explain(
    place: Place, name: str, file: Path, ip: str, mail_from: str | None, helo: str, trusted: bool, as_json: bool
) -> None:
    """What would happen to a message (- is standard input) that comes from outside, and why.  Changes nothing.

    Who wrote it is looked up in the DNS, as the daemon does ([smtp] authenticate).

    \b
    Examples:
      listserv explain sailing message.eml
      listserv explain sailing message.eml --ip 192.0.2.1 --mail-from ada@example.net
    """
    with place.node() as node:
        group = node.db.read_now(naming.group, name)
        taken = _take(node, group, file, Origin(ip, mail_from, helo, trusted))
        about = node.db.read_now(_explained, node, group, taken)
    if as_json:
        show.json(about)
        return
    rules, facts, evidence, copies = (about.pop(name) for name in ("rules", "facts", "evidence", "copies"))
    show.facts(about.items())
    click.echo()
    show.facts(
        [*((key, evidence[key]) for key in ("proof", "dmarc_policy", "results")), ("why", "\n".join(evidence["why"]))]
    )
    click.echo()
    show.table(("rule", "says"), ([rule["rule"], rule["says"]] for rule in rules))
    click.echo()
    show.facts(copies.items())
    click.echo()
    show.facts(facts.items())


@dataclass(frozen=True, slots=True)
class Origin:
    """Whence a message is said to come: `mail_from` None is the author's address."""

    ip: str = ""
    mail_from: str | None = None
    helo: str = ""
    trusted: bool = False


@dataclass(frozen=True, slots=True)
class Taken:
    """A message as it would have come over the wire; `refusal` is the listener's, before any rule is asked."""

    envelope: "Envelope"
    reading: "Reading"
    refusal: "Reply | None"


def _take(node: "Node", group: "Group", file: Path, origin: Origin) -> Taken:
    import asyncio

    from listserv.flows import reading
    from listserv.mail import message
    from listserv.mail.message import Author
    from listserv.model.envelope import Envelope, Peer

    limit = node.settings.smtp.max_message_bytes
    octets = _read(file, limit + 1)
    if not octets.strip():
        raise click.ClickException(f"{'standard input' if str(file) == '-' else file}: there is no message in it")
    content, refusal = _over_the_wire(octets, limit)
    author = message.author(message.parse(content))
    sender = str(author.address) if isinstance(author, Author) else f"postmaster@{node.site.hostname}"
    sender = sender if origin.mail_from is None else origin.mail_from
    peer = Peer(origin.ip, origin.helo, trusted=origin.trusted)  # no HELO: nobody came over the wire
    envelope = Envelope(sender, (group.address,), peer, node.clock())
    read = reading.read(content, envelope, node.site.hostname)
    evidence = asyncio.run(_checked(node, envelope, read)) if refusal is None else envelope.evidence
    return Taken(replace(envelope, evidence=evidence), replace(read, proof=evidence.proof), refusal)


async def _checked(node: "Node", envelope: "Envelope", read: "Reading") -> "Evidence":
    """What SPF, DKIM and DMARC say, as the daemon would hear it."""
    from listserv.net import authenticator

    checks = authenticator.configured(node.settings)
    if checks is None:
        return envelope.evidence
    try:
        return await checks.check(read.message, read.author, envelope) or envelope.evidence
    finally:
        await checks.close()


def _read(file: Path, limit: int) -> bytes:
    if str(file) == "-":
        return sys.stdin.buffer.read(limit)
    with file.open("rb") as opened:
        return opened.read(limit)


def _over_the_wire(content: bytes, limit: int) -> "tuple[bytes, Reply | None]":
    """With CRLF, and what the listener says of it; dots are doubled because it takes them away again."""
    from listserv.net.content import Scanner
    from listserv.net.gate import Limits

    lines = content.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    lines = lines if lines.endswith(b"\r\n") else lines + b"\r\n"
    scanner = Scanner(Limits(max_message_bytes=limit))
    scanner.feed((b"\r\n" + lines).replace(b"\r\n.", b"\r\n.."))
    scanner.end()
    return lines, scanner.fault


def _explained(tx: "Tx", node: "Node", group: "Group", taken: Taken) -> dict[str, Any]:
    """The verdict, the rules that spoke, and what they looked at."""
    from listserv.access_log.line import Way
    from listserv.flows import posting
    from listserv.flows.site import Act
    from listserv.rules import RULES

    act = Act(tx, node.site, node.clock(), node.site.who(Way.SHELL))
    facts = posting.gather(act, group, taken.envelope, taken.reading)
    judgement = posting.consider(act, group, taken.envelope, taken.reading)
    spoke = [rule for rule in RULES if rule.__name__ in judgement.by]
    about = {"group": group.address, "message_id": taken.reading.message_id, "subject": taken.reading.subject}
    outcome, reply = _outcome(judgement.verdict, group)
    before = posting.known_already(act, group, taken.reading)
    rules = [{"rule": rule.__name__, "verdict": _word(rule(facts)), "says": _says(rule(facts))} for rule in spoke]
    if taken.refusal is not None:
        outcome, reply, before = "reject", str(taken.refusal), None
        rules = [{"rule": "listener", "verdict": "reject", "says": taken.refusal.text}]
    elif before is not None:
        outcome, reply = "repeat", f"250 2.0.0 {before} (known already)"
    found = taken.envelope.evidence
    evidence = {
        "proof": found.proof.value,
        "dmarc_policy": found.dmarc_policy.value,
        "results": found.results,
        "why": list(found.why),
    }
    return {
        **about,
        "verdict": outcome,
        "reply": reply,
        "evidence": evidence,
        "rules": rules,
        "copies": _copies(tx, node, group, taken),
        "facts": _facts(facts),
    }


def _copies(tx: "Tx", node: "Node", group: "Group", taken: Taken) -> dict[str, Any]:
    """How members would get it once it is accepted: whose From, why, and what of it is not as it came."""
    from listserv.flows import distributing
    from listserv.mail import words
    from listserv.mail.alignment import Unchanged

    said = [addition for _, addition in distributing.additions(tx, node.site, group, node.clock())]
    dressed = distributing.dress(node.site, group, taken.reading.message, taken.envelope, said, node.keys.names)
    is_left = isinstance(dressed.choice, Unchanged)
    return {
        "from": next((words.text(field.value) for field in dressed.fields if field.name == "from"), ""),
        "because": dressed.choice.why,
        "changed": [] if is_left else list(dressed.changes),
        "left_out": list(dressed.changes) if is_left else [],
    }


def _outcome(verdict: "Verdict", group: "Group") -> tuple[str, str]:
    """The verdict's word, and how SMTP would hear it."""
    from listserv.model.post import Accept, Ask, Discard, Hold, Reject

    match verdict:
        case Accept():
            return "accept", f"250 2.0.0 accepted as a post of {group.address}"
        case Hold():
            return "hold", f"250 2.0.0 held for the admins of {group.address}"
        case Ask():
            return "ask", "250 2.0.0 held until its author has confirmed it"
        case Reject(status, text, code):
            return "reject", f"{code} {status} {text}"
        case Discard(reason):
            return "discard", f"250 2.0.0 received; {group.address} does not distribute it: {reason}"


def _word(verdict: "Verdict | None") -> str:
    return type(verdict).__name__.lower() if verdict is not None else ""


def _says(verdict: "Verdict | None") -> str:
    from listserv.model.post import Ask, Discard, Hold, Reject

    match verdict:
        case Hold(reasons) | Ask(reasons):
            return "; ".join(reasons)
        case Reject(_, text):
            return text
        case Discard(reason):
            return reason
        case _:
            return ""


def _facts(facts: "Facts") -> dict[str, Any]:
    plain = {each.name: getattr(facts, each.name) for each in fields(facts) if each.name not in ("group", "member")}
    member = facts.member
    plain["author"] = str(facts.author) if facts.author else ""
    plain["proof"] = facts.proof.value
    plain["member"] = f"{member.role}{', moderated' if member.moderated else ''}" if member else None
    return plain
