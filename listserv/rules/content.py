"""Rules about what was sent and how it came."""

from listserv.mail.trace import MAX_HOPS
from listserv.model.post import Discard, Hold, Reject, Verdict
from listserv.rules.judge import Facts

MAX_RECIPIENTS = 20


def own_loop(facts: Facts) -> Verdict | None:
    return Discard("it has been through this group before") if facts.is_own_loop else None


def robot(facts: Facts) -> Verdict | None:
    """RFC 3834 §2: what a machine sent gets no answer, and no distribution."""
    return Discard(f"sent by a machine: {facts.robot}") if facts.robot else None


def looks_automatic(facts: Facts) -> Verdict | None:
    """A guess is for a person to judge: what a machine declares itself is discarded, what only looks so is not."""
    return Hold((f"it looks like an automatic reply: {facts.looks_automatic}",)) if facts.looks_automatic else None


def too_many_hops(facts: Facts) -> Verdict | None:
    if facts.hops > MAX_HOPS:
        return Reject("5.4.6", f"this message has {facts.hops} hops: a mail loop", code=554)
    return None


def too_big(facts: Facts) -> Verdict | None:
    limit = facts.group.policy.max_message_bytes
    if limit and facts.size > limit:
        return Reject("5.3.4", f"message of {facts.size} bytes; {facts.group.address} takes {limit}", code=552)
    return None


def from_another_list(facts: Facts) -> Verdict | None:
    return Hold(("it comes from another mailing list",)) if facts.is_from_a_list else None


def no_explicit_recipient(facts: Facts) -> Verdict | None:
    return None if facts.names_the_group else Hold(("neither To nor Cc names the group",))


def too_many_recipients(facts: Facts) -> Verdict | None:
    if facts.recipients > MAX_RECIPIENTS:
        return Hold((f"To and Cc name {facts.recipients} people, more than {MAX_RECIPIENTS}",))
    return None


def somebodys_right(facts: Facts) -> Verdict | None:
    """“I got this, what is it?”: whoever reads the address or link in it could answer in somebody's name."""
    return Hold(("it shows a link of ours that acts for one person",)) if facts.shows_a_right else None


def administrative_words(facts: Facts) -> Verdict | None:
    """People write “unsubscribe” to everybody; it belongs to one of the group's other doors."""
    if facts.command:
        return Hold((f"it looks like a command: “{facts.command}”",))
    return None
