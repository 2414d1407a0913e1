"""Rules about who wrote it, and whether he did.

The author is who From names, and nobody else: never Reply-To, Sender or the envelope.  The rights of a member or an
admin need a believed author (`Facts.is_believed`): proven, or unknown where `[smtp] unknown_authors` accepts that.
"""

from listserv.model.envelope import Proof
from listserv.model.group import Joining, Posting, Role, Strangers
from listserv.model.post import Ask, Discard, Hold, Reject, Verdict
from listserv.rules.judge import Facts

MODERATION = "every post to this group waits for an admin"
REFUTED = "the author's domain does not vouch for it"
UNPROVEN = "nothing proves that its author wrote it"


def banned(facts: Facts) -> Verdict | None:
    """Where our own MTA would turn a rejection into a bounce, whoever forged the address gets nothing."""
    if not facts.is_banned:
        return None
    if facts.peer_is_trusted:
        return Discard("its author is banned")
    return Reject("5.7.1", f"{facts.author} may not post to {facts.group.address}")


def unclear_author(facts: Facts) -> Verdict | None:
    if facts.author is None:
        return Hold((f"the author is unclear: {facts.author_fault}",))
    return None


def unproven_author(facts: Facts) -> Verdict | None:
    """A member is asked himself, and the admins are not troubled; who is nobody here is told by SMTP or not at all.

    A domain that publishes nothing, or a silent DNS, is no reason to refuse for good: then an admin looks at it.
    """
    if facts.author is None or facts.is_believed:
        return None
    if _may_post(facts) and facts.member is not None:
        return Ask((_doubt(facts),))
    if _may_post(facts) and facts.proof is Proof.REFUTED and not facts.peer_is_trusted:
        what = f"From names {facts.author}, and {facts.author.domain} does not vouch for that"
        return Reject("5.7.1", f"{what}{_found(facts)}")
    return Hold((_doubt(facts),))


def stranger(facts: Facts) -> Verdict | None:
    """A rejection only where SMTP itself tells the sender; behind an MTA of ours it would become a bounce."""
    if facts.author is None or _may_post(facts):
        return None
    if facts.group.policy.strangers is Strangers.HOLD or facts.peer_is_trusted:
        return Hold((_who(facts),))
    return Reject("5.7.1", f"{_who(facts)}{_how_to_join(facts)}")


def moderated_group(facts: Facts) -> Verdict | None:
    """An admin's own post is held like any other unless From is proven."""
    if not facts.group.policy.moderated:
        return None
    is_admin = facts.member is not None and facts.member.role.is_admin
    return None if is_admin and facts.proof is Proof.PROVEN else Hold((MODERATION,))


def moderated_member(facts: Facts) -> Verdict | None:
    if facts.member is not None and facts.member.moderated:
        return Hold(("posts of this member wait for an admin",))
    return None


def _may_post(facts: Facts) -> bool:
    match facts.group.policy.posting:
        case Posting.ANYONE:
            return True
        case Posting.MEMBERS:
            return facts.member is not None
        case Posting.MODERATORS:
            return facts.member is not None and facts.member.role.is_admin
        case Posting.OWNERS:
            return facts.member is not None and facts.member.role is Role.OWNER


def _doubt(facts: Facts) -> str:
    return f"{REFUTED if facts.proof is Proof.REFUTED else UNPROVEN}{_found(facts)}"


def _found(facts: Facts) -> str:
    return f": {'; '.join(facts.why)}" if facts.why else ""


def _who(facts: Facts) -> str:
    if facts.member is not None:
        return f"only {facts.group.policy.posting} may post to this group"
    return "the author is not a member"


def _how_to_join(facts: Facts) -> str:
    group = facts.group
    if facts.member is not None or group.policy.joining in (Joining.INVITE, Joining.CLOSED):
        return f"; {group.door('owner')} reaches the admins"
    return f" of {group.address}; to join, write to {group.door('subscribe')}"
