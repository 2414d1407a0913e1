"""Whose address stands in From of a copy: the author's, or the group's with the author's name.

Promise: never the third state.  What the author's domain vouches for leaves as it came, or it leaves in the group's own
name; a post that we have changed never bears the address of a domain whose DMARC policy would have it lost.  And the
author's address stands in every copy: in From, or in X-Original-From and in Reply-To or Cc.

A signature of the author's that holds no longer stays where it is: to a verifier it is none (RFC 6376 §6.1), to a
person who looks into a complaint it says what came.

Sources: RFC 9989 (DMARC; §4.7 policies), RFC 7960 §4.1.3 (what mailing lists can do), RFC 6377 §3.3 and §5 (signatures
that survive, signatures that do not), RFC 6376 §3.5 and §5.4.2 (h=), RFC 5322 §3.6.2 and §3.6.3.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never

from listserv.mail import header, mailbox, words
from listserv.mail.mailbox import Author, NoAuthor
from listserv.mail.message import Field
from listserv.model.address import Address
from listserv.model.envelope import DmarcPolicy, Evidence, Proof
from listserv.model.group import From, Group, ReplyTo

ORIGINAL = "X-Original-From"
VIA = "via"
_LONGEST_NAME = 100  # characters
_MOST_REPLY_TO = 20  # addresses of the author's own Reply-To
_LIKE_AN_ADDRESS = re.compile("[@\uff20\ufe6b]\\S*|[<>]")


@dataclass(frozen=True, slots=True)
class Kept:
    """From is the author's, and what the group wants changed is."""

    why: str


@dataclass(frozen=True, slots=True)
class Rewritten:
    """From is the group's, with the author's name."""

    why: str


@dataclass(frozen=True, slots=True)
class Unchanged:
    """From is the author's, and what the group wants changed is left as it was."""

    why: str


Choice = Kept | Rewritten | Unchanged


def choose(mode: From, evidence: Evidence, author: Author | NoAuthor, changes: Sequence[str]) -> Choice:
    """Which of the good states this post gets.

    changes  what we would change that its signature, or DMARC's eye, would see: names of fields, or `body`
    """
    if mode is From.GROUP:
        return Rewritten("from=group: every post bears the group's address")
    if isinstance(author, NoAuthor):
        return Kept(f"whose domain would object is unclear: {author.reason}")
    objection = _objection(evidence, author.address.domain)
    if not objection:
        return Kept(_no_objection(evidence, author.address.domain))
    if not changes and evidence.proof is not Proof.REFUTED:
        return Kept(f"{objection}; but nothing is changed that the author has signed")
    broken = f"{objection}, and {_what(changes)}"
    match mode:
        case From.AUTO:
            return Rewritten(broken)
        case From.AUTHOR if changes:
            return Unchanged(f"{broken}; from=author: so it is left as it came")
        case From.AUTHOR:
            return Kept(f"{broken}; from=author: so many receivers will refuse it")
        case _:
            assert_never(mode)


def rewrite(fields: Sequence[Field], author: Author | NoAuthor, group: Group) -> tuple[Field, ...]:
    """The same fields in the group's own name; the author stays in sight."""
    original = next((each for each in fields if each.name == "from"), None)
    sender = header.made_mailbox("From", (_display(author, group), group.address))
    kept = [each for each in fields if each.name not in ("from", "sender", ORIGINAL.lower())]
    at = next((place for place, each in enumerate(fields) if each.name == "from"), 0)
    at -= sum(each.name in ("sender", ORIGINAL.lower()) for each in fields[:at])
    kept.insert(at, sender)
    if isinstance(author, NoAuthor):
        said = words.text(original.value, header.MAX_LINE // 2) if original else ""
        return (*kept, header.made(ORIGINAL, said or "(none)"))
    in_sight = _in_cc(kept, author) if group.policy.reply_to is ReplyTo.GROUP else _in_reply_to(kept, author)
    return (*in_sight, header.made_mailbox(ORIGINAL, (author.name[:_LONGEST_NAME], author.address)))


def changes(before: Sequence[Field], after: Sequence[Field], author: Author | NoAuthor) -> tuple[str, ...]:
    """The names of header fields by whose change the post is not what its author's domain vouched for.

    Subject always counts.  Others count where no signature of that domain is left whole by them (RFC 6376 §5.4.2: a
    field that h= names, and that is not there, may not be added either).
    """
    subject = () if _raw(before, "subject") == _raw(after, "subject") else ("subject",)
    domain = author.address.domain if isinstance(author, Author) else ""
    signed = [
        tags.get("h", "").split(":")
        for tags in (header.signature_tags(each.value) for each in before if each.name == "dkim-signature")
        if _related(tags.get("d", ""), domain)
    ]
    broken = [[name for name in dict.fromkeys(names) if _raw(before, name) != _raw(after, name)] for names in signed]
    return tuple(dict.fromkeys((*subject, *min(broken, key=len)))) if broken else subject


def _objection(evidence: Evidence, domain: str) -> str:
    """Why a changed post with his own From would be lost, "" if it would not; a silent DNS may hide that it would."""
    if evidence.dmarc_policy.enforces:
        return f"{domain} wants mail that it does not vouch for to be met with {evidence.dmarc_policy}"
    if evidence.dmarc_policy is DmarcPolicy.UNKNOWN and evidence.results:
        return f"what {domain} wants of mail that it does not vouch for could not be found out"
    return ""


def _no_objection(evidence: Evidence, domain: str) -> str:
    if evidence.dmarc_policy is DmarcPolicy.UNKNOWN:
        return "its author's domain was not looked up"
    return f"{domain} publishes no DMARC policy that would have it lost"


def _what(changes: Sequence[str]) -> str:
    return f"this changes: {', '.join(changes)}" if changes else "it does not vouch for this"


def _related(signer: str, domain: str) -> bool:
    """Whether d= could be aligned with the author's domain: the same, or one above the other (RFC 9989 §4.4)."""
    return bool(domain) and (
        signer == domain or signer.endswith(f".{domain}") or (bool(signer) and domain.endswith(f".{signer}"))
    )


def _raw(fields: Sequence[Field], name: str) -> list[bytes]:
    return [each.raw for each in fields if each.name == name]


def _display(author: Author | NoAuthor, group: Group) -> str:
    """`Ana via Sailing`; no reader, and no filter that takes it for a fraud, may see an address in it."""
    title = _plain(group.title) or group.local
    if isinstance(author, NoAuthor):
        return title
    return f"{_plain(author.name) or _plain(author.address.local) or '?'} {VIA} {title}"


def _plain(name: str) -> str:
    return " ".join(_LIKE_AN_ADDRESS.sub(" ", words.clean(name)).split())[:_LONGEST_NAME]


def _in_reply_to(fields: Sequence[Field], author: Author) -> tuple[Field, ...]:
    """Where he wants replies, and himself."""
    old = [each for each in fields if each.name == "reply-to"]
    wanted = mailbox.several(each.value for each in old)
    is_there = any(each.key == author.address.key for each in wanted.addresses)
    if len(old) == 1 and is_there and wanted.count == len(wanted.addresses):
        return tuple(fields)
    others = [each for each in wanted.addresses[:_MOST_REPLY_TO] if each.key != author.address.key]
    made = header.made_mailbox("Reply-To", *(("", each) for each in others), _named(author))
    return (*(each for each in fields if each.name != "reply-to"), made)


def _in_cc(fields: Sequence[Field], author: Author) -> tuple[Field, ...]:
    """Replies go to the group; he stands before the others in Cc, so that nothing that they wrote can hide him."""
    named = mailbox.several(each.value for each in fields if each.name in ("to", "cc"))
    if any(each.key == author.address.key for each in named.addresses):
        return tuple(fields)
    mine = header.made_mailbox("Cc", _named(author))
    old = next((each for each in fields if each.name == "cc"), None)
    if old is None:
        return (*fields, mine)
    rest = old.content.strip(b" \t\r\n")
    whole = mine.raw.removesuffix(b"\r\n") + (b",\r\n " + rest if rest else b"") + b"\r\n"
    return tuple(Field("cc", whole) if each is old else each for each in fields)


def _named(author: Author) -> tuple[str, Address]:
    return author.name[:_LONGEST_NAME], author.address
