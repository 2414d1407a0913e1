"""What people do, as lines for the access log: one typed function per event, and no other way to a line.

The signatures are the promise: facts only (who, when, from where, which group, which message, what came of
it), never a secret, token, tag, subject or body, nor the words of a moderator.  A new event is a function
here and its row in docs/access-log.md; a test holds the two equal.
"""

from datetime import datetime

from listserv.access_log.line import Line, Value, Who


def _line(
    action: str,
    at: datetime,
    who: Who,
    *,
    group: str = "",
    message_id: str = "",
    post: int | None = None,
    **rest: Value | None,
) -> Line:
    return Line(at, action, who, group, message_id, post, tuple(rest.items()))


# Posts.  `mail_from` is the envelope's sender, `rules` are the names of the rules that spoke, `size` is in bytes.


def post_accepted(at: datetime, who: Who, *, group: str, message_id: str, post: int, mail_from: str, size: int) -> Line:
    """A post goes to the members."""
    return _line(
        "post.accepted", at, who, group=group, message_id=message_id, post=post, mail_from=mail_from, size=size
    )


def post_held(
    at: datetime,
    who: Who,
    *,
    group: str,
    message_id: str,
    hold: int,
    waits_for: str,
    rules: tuple[str, ...],
    mail_from: str,
    size: int,
) -> Line:
    """A post waits for an admin; or for its author, who has to say whether it is his: `waits_for`."""
    return _line(
        "post.held",
        at,
        who,
        group=group,
        message_id=message_id,
        hold=hold,
        waits_for=waits_for,
        rules=rules,
        mail_from=mail_from,
        size=size,
    )


def post_vouched(at: datetime, who: Who, *, group: str, message_id: str, hold: int, author: str) -> Line:
    """The author answered that a held post is his; it is judged again, and the next line says how."""
    return _line("post.vouched", at, who, group=group, message_id=message_id, hold=hold, author=author)


def post_disowned(at: datetime, who: Who, *, group: str, message_id: str, hold: int, author: str) -> Line:
    """The author answered that a held post is not his; it is thrown away."""
    return _line("post.disowned", at, who, group=group, message_id=message_id, hold=hold, author=author)


def post_replaced(at: datetime, who: Who, *, group: str, message_id: str, hold: int, author: str) -> Line:
    """A held post is thrown away: the same came from its proven author."""
    return _line("post.replaced", at, who, group=group, message_id=message_id, hold=hold, author=author)


def post_rejected(
    at: datetime,
    who: Who,
    *,
    group: str,
    message_id: str,
    status: str,
    rules: tuple[str, ...],
    mail_from: str,
    size: int,
) -> Line:
    """A post was refused; `status` is the enhanced code of the answer (RFC 3463)."""
    return _line(
        "post.rejected",
        at,
        who,
        group=group,
        message_id=message_id,
        status=status,
        rules=rules,
        mail_from=mail_from,
        size=size,
    )


def post_discarded(
    at: datetime, who: Who, *, group: str, message_id: str, rules: tuple[str, ...], mail_from: str, size: int
) -> Line:
    """A post was taken with a 250 and goes to nobody, and nobody is told."""
    return _line(
        "post.discarded", at, who, group=group, message_id=message_id, rules=rules, mail_from=mail_from, size=size
    )


def post_repeated(at: datetime, who: Who, *, group: str, message_id: str, mail_from: str, size: int) -> Line:
    """A post that is here already came again; nothing was done."""
    return _line("post.repeated", at, who, group=group, message_id=message_id, mail_from=mail_from, size=size)


# Holds.  `author` wrote the post, or asked to join; a request to join has no message_id.


def hold_approved(at: datetime, who: Who, *, group: str, message_id: str, hold: int, author: str) -> Line:
    """An admin let a held post, or somebody who asked to join, in."""
    return _line("hold.approved", at, who, group=group, message_id=message_id, hold=hold, author=author)


def hold_rejected(at: datetime, who: Who, *, group: str, message_id: str, hold: int, author: str) -> Line:
    """An admin refused what was held, and its author is told."""
    return _line("hold.rejected", at, who, group=group, message_id=message_id, hold=hold, author=author)


def hold_discarded(at: datetime, who: Who, *, group: str, message_id: str, hold: int, author: str) -> Line:
    """An admin threw away what was held, and nobody is told."""
    return _line("hold.discarded", at, who, group=group, message_id=message_id, hold=hold, author=author)


def hold_undone(at: datetime, who: Who, *, group: str, message_id: str, hold: int, author: str) -> Line:
    """An admin took back a rejection or a discard; it is held again."""
    return _line("hold.undone", at, who, group=group, message_id=message_id, hold=hold, author=author)


def hold_expired(at: datetime, who: Who, *, group: str, message_id: str, hold: int, author: str) -> Line:
    """Nobody decided in time."""
    return _line("hold.expired", at, who, group=group, message_id=message_id, hold=hold, author=author)


def hold_unclear(at: datetime, who: Who, *, group: str, message_id: str, hold: int, why: str) -> Line:
    """An admin's reply decided nothing and was answered, at most twice in 12 hours; `why` says in words."""
    return _line("hold.unclear", at, who, group=group, message_id=message_id, hold=hold, why=why)


# Members.  `member` is whom it is about: account itself, or somebody whom account acted upon.


def member_asked(at: datetime, who: Who, *, group: str, member: str, hold: int | None) -> Line:
    """Somebody asked to join; `hold` is there when an admin has to decide."""
    return _line("member.asked", at, who, group=group, member=member, hold=hold)


def member_invited(at: datetime, who: Who, *, group: str, member: str) -> Line:
    """An invitation went out."""
    return _line("member.invited", at, who, group=group, member=member)


def member_joined(at: datetime, who: Who, *, group: str, member: str, how: str) -> Line:
    """Somebody is a member now; `how` says in words who agreed to it, and how."""
    return _line("member.joined", at, who, group=group, member=member, how=how)


def member_left(at: datetime, who: Who, *, group: str, member: str) -> Line:
    """A member left."""
    return _line("member.left", at, who, group=group, member=member)


def member_returned(at: datetime, who: Who, *, group: str, member: str) -> Line:
    """A member took back having left."""
    return _line("member.returned", at, who, group=group, member=member)


def member_removed(at: datetime, who: Who, *, group: str, member: str) -> Line:
    """An admin removed a member."""
    return _line("member.removed", at, who, group=group, member=member)


def member_changed(at: datetime, who: Who, *, group: str, member: str, changes: tuple[str, ...]) -> Line:
    """Settings of a member changed; `changes` are KEY=VALUE, a name stands as the bare key."""
    return _line("member.changed", at, who, group=group, member=member, changes=changes)


def member_banned(at: datetime, who: Who, *, group: str, member: str) -> Line:
    """An address may neither join nor post."""
    return _line("member.banned", at, who, group=group, member=member)


def member_unbanned(at: datetime, who: Who, *, group: str, member: str) -> Line:
    """A banned address may join and post again."""
    return _line("member.unbanned", at, who, group=group, member=member)


# People, whatever group they are in.  `account` is the address that acted.


def account_changed(at: datetime, who: Who, *, changes: tuple[str, ...]) -> Line:
    """Somebody changed what is the same in all groups; `changes` names name, region, country, language."""
    return _line("account.changed", at, who, changes=changes)


def account_told(at: datetime, who: Who, *, message_id: str) -> Line:
    """Somebody was sent all that is held about him."""
    return _line("account.told", at, who, message_id=message_id)


def address_asked(at: datetime, who: Who, *, address: str) -> Line:
    """Somebody wants this mailbox for his account; its owner is asked."""
    return _line("address.asked", at, who, address=address)


def address_added(at: datetime, who: Who, *, address: str) -> Line:
    """A mailbox belongs to the account of `address` too; both have said so."""
    return _line("address.added", at, who, address=address)


def address_removed(at: datetime, who: Who, *, address: str) -> Line:
    """A mailbox belongs to the account no more."""
    return _line("address.removed", at, who, address=address)


def address_changed(at: datetime, who: Who, *, address: str) -> Line:
    """A mailbox has taken the place of `address`; both have said so."""
    return _line("address.changed", at, who, address=address)


def address_kept(at: datetime, who: Who, *, address: str) -> Line:
    """The mailbox whose place was taken by `address` objected, and has it back."""
    return _line("address.kept", at, who, address=address)


def sessions_ended(at: datetime, who: Who, *, tokens: int) -> Line:
    """Somebody ended every open right of all his mailboxes; `tokens` is how many."""
    return _line("sessions.ended", at, who, tokens=tokens)


def commands_asked(at: datetime, who: Who, *, group: str, message_id: str, commands: tuple[str, ...]) -> Line:
    """Commands came from an author who is not proven; his mailbox is asked.  `commands` are their verbs."""
    return _line("commands.asked", at, who, group=group, message_id=message_id, commands=commands)


def commands_done(at: datetime, who: Who, *, group: str, message_id: str, commands: tuple[str, ...]) -> Line:
    """A mail of commands was read, or confirmed, and answered; what came of each has its own line."""
    return _line("commands.done", at, who, group=group, message_id=message_id, commands=commands)


# Groups.


def group_created(at: datetime, who: Who, *, group: str, owner: str) -> Line:
    """A group was made."""
    return _line("group.created", at, who, group=group, owner=owner)


def group_changed(at: datetime, who: Who, *, group: str, changes: tuple[str, ...]) -> Line:
    """Settings of a group changed; `changes` are KEY=VALUE, free text stands as the bare key."""
    return _line("group.changed", at, who, group=group, changes=changes)


def group_deleted(at: datetime, who: Who, *, group: str, members: int) -> Line:
    """A group is gone, with so many subscriptions."""
    return _line("group.deleted", at, who, group=group, members=members)


def group_imported(at: datetime, who: Who, *, group: str, members: int, how: str) -> Line:
    """Many became members at once, from a file; `how` as for one who joined."""
    return _line("group.imported", at, who, group=group, members=members, how=how)


def group_exported(at: datetime, who: Who, *, group: str, members: int) -> Line:
    """Somebody took out the list of members."""
    return _line("group.exported", at, who, group=group, members=members)


# The other doors.  `door` is the word in the address: owner, postmaster, request, confirm …


def mail_to_owner(
    at: datetime, who: Who, *, group: str, message_id: str, door: str, hold: int | None, mail_from: str, size: int
) -> Line:
    """Mail for the admins of a group, or for the operators; `hold` is there when it waits for them here."""
    return _line(
        "mail.to_owner",
        at,
        who,
        group=group,
        message_id=message_id,
        door=door,
        hold=hold,
        mail_from=mail_from,
        size=size,
    )


def mail_ignored(at: datetime, who: Who, *, group: str, message_id: str, door: str, why: str, mail_from: str) -> Line:
    """Mail to a door got its 250 and changed nothing; `why` says in words: asked lately, not a member, a robot …"""
    return _line("mail.ignored", at, who, group=group, message_id=message_id, door=door, why=why, mail_from=mail_from)


def help_asked(at: datetime, who: Who, *, group: str, message_id: str) -> Line:
    """Somebody asked how a group, or this place, is used."""
    return _line("help.asked", at, who, group=group, message_id=message_id)


def token_refused(at: datetime, who: Who, *, group: str, what: str, why: str) -> Line:
    """A right was shown that does not count; `what` it was for, `why`: used, expired, wrong-person, unproven …"""
    return _line("token.refused", at, who, group=group, what=what, why=why)


# Reports.


def bounce_reported(at: datetime, who: Who, *, group: str, message_id: str, member: str, status: str) -> Line:
    """A report says that a member's copy could not be delivered; it is charged to the mailbox."""
    return _line("bounce.reported", at, who, group=group, message_id=message_id, member=member, status=status)


def message_refused(at: datetime, who: Who, *, group: str, message_id: str, member: str, status: str) -> Line:
    """A report says that a member's server did not want the message (policy, spam, size); charged to no mailbox."""
    return _line("message.refused", at, who, group=group, message_id=message_id, member=member, status=status)


def bounce_forged(at: datetime, who: Who, *, group: str, mail_from: str) -> Line:
    """A bounce was refused at RCPT: its tag is not ours."""
    return _line("bounce.forged", at, who, group=group, mail_from=mail_from)


def report_logged(at: datetime, who: Who, *, group: str, message_id: str, kind: str, status: str) -> Line:
    """A report came that is charged to nobody; `kind` is delivery-status or unknown."""
    return _line("report.logged", at, who, group=group, message_id=message_id, kind=kind, status=status)


# Pages.


def web_request(at: datetime, who: Who, *, group: str, method: str, page: str, status: int) -> Line:
    """A page was asked for; `page` is the route's name, because its path may hold a tag."""
    return _line("web.request", at, who, group=group, method=method, page=page, status=status)


# What operators do.


def ad_added(at: datetime, who: Who, *, ad: int, groups: tuple[str, ...]) -> Line:
    """An ad may be shown; without `groups` in all that take ads, or by topic."""
    return _line("ad.added", at, who, ad=ad, groups=groups)


def ad_paused(at: datetime, who: Who, *, ad: int) -> Line:
    """An ad is not shown for now."""
    return _line("ad.paused", at, who, ad=ad)


def ad_resumed(at: datetime, who: Who, *, ad: int) -> Line:
    """An ad may be shown again."""
    return _line("ad.resumed", at, who, ad=ad)


def ad_removed(at: datetime, who: Who, *, ad: int) -> Line:
    """An ad is gone."""
    return _line("ad.removed", at, who, ad=ad)


def delivery_retried(at: datetime, who: Who, *, copies: int) -> Line:
    """An operator had waiting copies tried at once; `copies` is how many."""
    return _line("delivery.retried", at, who, copies=copies)


def delivery_dropped(at: datetime, who: Who, *, group: str, message_id: str, member: str) -> Line:
    """An operator gave up a copy."""
    return _line("delivery.dropped", at, who, group=group, message_id=message_id, member=member)


def post_retried(at: datetime, who: Who, *, group: str, message_id: str) -> Line:
    """An operator had a post handed out that our own code had failed on."""
    return _line("post.retried", at, who, group=group, message_id=message_id)


def post_dropped(at: datetime, who: Who, *, group: str, message_id: str) -> Line:
    """An operator gave up a post that our own code had failed on."""
    return _line("post.dropped", at, who, group=group, message_id=message_id)


def delivery_paused(at: datetime, who: Who) -> Line:
    """An operator stopped all deliveries; or, by the clock, the daemon, because the database had been restored."""
    return _line("delivery.paused", at, who)


def delivery_resumed(at: datetime, who: Who) -> Line:
    """An operator let deliveries go on."""
    return _line("delivery.resumed", at, who)


def actions() -> list[str]:
    """Every action that a line can have: each event is named after its own."""
    made = (name for name, each in globals().items() if getattr(each, "__annotations__", {}).get("return") is Line)
    return sorted(name.replace("_", ".", 1) for name in made if not name.startswith("_"))
