"""Our own words to somebody: a template becomes a notice, an edition of one, with its delivery.

Nothing here decides whether somebody may be written to; the acts that call it do.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from listserv.flows.site import Act, Site
from listserv.mail import notice, tag, words
from listserv.mail.notice import File, Notice
from listserv.mail.recipient import SITE_NAME, Door
from listserv.model.account import Mailbox, Member
from listserv.model.address import Address, parse
from listserv.model.group import Group
from listserv.model.token import Action
from listserv.store import accounts, deliveries, editions, tokens
from listserv.store.editions import Edition
from listserv.texts import DEFAULT_LANGUAGE

BUTTONS = ("approve", "reject", "discard", "yes", "no", "never", "undo")


@dataclass(frozen=True, slots=True)
class To:
    """Whom a notice goes to, in which language."""

    address: Address
    language: str
    mailbox_id: int | None = None


@dataclass(frozen=True, slots=True)
class Letter:
    """A notice to be: the template's name and its facts, and what the post of it needs."""

    template: str
    facts: dict[str, Any] = field(default_factory=dict)
    token: str = ""  # replies go to the group's confirm door with this
    html: bool = False  # there is an HTML template of the same name
    attach: bytes | None = None  # digest of a stored message that goes along
    file: File | None = None  # something of ours that does
    again: bool = False  # replies go to the door of commands
    answers: str = ""  # Message-ID of what it answers


def to_member(group: Group, member: Member | Mailbox) -> To:
    address = parse(member.address)
    assert address is not None  # it was judged when it was stored
    mailbox_id = member.mailbox_id if isinstance(member, Member) else member.id
    return To(address, member.language or group.policy.language, mailbox_id)


def to_actor(act: Act, group: Group | None, key: str) -> To | None:
    """The mailbox that a token was sent to, whether it is known here or not."""
    known = accounts.mailbox(act.tx, key)
    address = parse(known.address if known else key)
    spoken = group.policy.language if group else DEFAULT_LANGUAGE
    return To(address, (known.language if known else "") or spoken, known.id if known else None) if address else None


def send(act: Act, group: Group | None, to: To, letter: Letter) -> None:
    """Write it down for delivery; without a group it is the site's own.

    A notice has the null sender (RFC 3834 §3.3): its bounce goes nowhere.
    """
    answered_at = door(group, Door.CONFIRM, letter.token) if group else site_door(act.site, Door.CONFIRM, letter.token)
    commands = door(group, Door.REQUEST) if group else _site(act.site)[1]
    facts = {"group": group, "site": act.site, "to": to.address, "token": letter.token, "buttons": {}, **letter.facts}
    facts["door"] = str(commands)
    if letter.token:
        facts["buttons"] = _links(answered_at)
    said = act.site.texts.mail(letter.template, to.language, **facts)
    html = act.site.texts.page(letter.template, to.language, **facts) if letter.html else ""
    word = f"confirm.{letter.token}" if letter.token else letter.template
    message_id = f"<{word}@{act.site.hostname}>" if letter.token else act.site.message_id(word)
    composed = notice.compose(
        Notice(
            sender=(words.clean(group.title), door(group, Door.OWNER)) if group else _site(act.site),
            to=to.address,
            subject=said.subject,
            text=said.body,
            html=html,
            message_id=message_id,
            reply_to=answered_at if letter.token else commands if letter.again else None,
            in_reply_to=letter.answers,
            file=letter.file,
        ),
        act.now,
        attachment=letter.attach is not None,
        answers=bool(letter.answers),
    )
    edition = Edition(
        kind="notice",
        style="bulk",
        message_id=act.site.message_id(letter.template),  # never the header's: it holds the token
        group_id=group.id if group else None,
        fields=composed.fields,
        before=composed.before,
        after=composed.after,
        digest=letter.attach,
    )
    id = editions.add(act.tx, edition, act.now)
    deliveries.address_to(act.tx, id, [(to.mailbox_id, str(to.address))], act.now)


def issue(
    act: Act,
    action: Action,
    actor: str,
    doc: dict[str, Any],
    *,
    lives: timedelta | None,
    group_id: int | None = None,
    hold_id: int | None = None,
) -> str:
    """A new token, known from here on only to the mail it is sent with; None lives as long as its hold."""
    token = tag.token(act.site.chance(tag.TOKEN_RANDOM_BYTES))
    expires_at: datetime | None = act.now + lives if lives else None
    tokens.add(
        act.tx,
        tag.digest(token),
        action,
        actor,
        doc,
        act.now,
        expires_at=expires_at,
        group_id=group_id,
        hold_id=hold_id,
    )
    return token


def door(group: Group, word: Door, tag_: str = "") -> Address:
    known = parse(group.door(word.value, tag_))
    assert known is not None
    return known


def site_door(site: Site, word: Door, tag_: str = "") -> Address:
    known = parse(site.door(word.value, tag_))
    assert known is not None
    return known


def _site(site: Site) -> tuple[str, Address]:
    known = parse(f"{SITE_NAME}@{site.domain}")
    assert known is not None
    return words.clean(site.name), known


def buttons(group: Group, token: str) -> dict[str, str]:
    """`mailto:` links that answer with one tap (RFC 6068)."""
    return _links(door(group, Door.CONFIRM, token))


def _links(confirm: Address) -> dict[str, str]:
    to = str(confirm).replace("+", "%2B")
    return {word: f"mailto:{to}?subject={word}&body={word}" for word in BUTTONS}
