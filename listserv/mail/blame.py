"""What a refusal is about: the address, the message, or neither.

Promise: a policy, a spam filter or somebody's failed DMARC never makes a healthy mailbox look dead.  5.7.x, 5.6.x,
5.2.3 and 5.3.4 are the message's, whatever else is said; so is a bare 550 that speaks of spam or policy.  An address is
no good only where 5.1.x says so, and nothing in the text says that something else was meant.

Sources: RFC 3463 §3 (codes), RFC 7372 (5.7.20 ff.), RFC 6377 §5.10 (a refusal for DKIM or policy is no bounce of a
member), and what receivers write.
"""

import re
from enum import StrEnum


class Blame(StrEnum):
    MAILBOX = "mailbox"  # there is no such mailbox
    MESSAGE = "message"  # policy, authentication, content or size: another message may get through
    NOBODY = "nobody"  # a full mailbox, a bad day, our own side, or not to be told


_REPLY = re.compile(r"(?:gave up after [^:]{1,20}: )?(\d)\d\d[ -](?:#?((?:2|4|5)\.\d{1,3}\.\d{1,3})(?!\d))?")
_OURS = ("1.7", "1.8", "1.9")  # RFC 3463 §3.2: the sender's address
_OF_THE_MESSAGE = ("2.3", "3.4")  # longer than the mailbox, or the system, takes

_POLICY = re.compile(
    r"\bspam|\bspm\b|junk|unsolicited|bulk mail|black ?list|block ?list|\bdnsbl|\brbl\b|spamhaus|spamcop|barracuda"
    r"|\bblocked\b|\(BL\d*\)|\[BL\d+\]|\bBL0000|reputation|polic(?:y|ies)|prohibit|security|suspicious|malicious|complaint"
    r"|\bdmarc\b|\bspf\b|\bdkim\b|authenticat|content (?:rejected|denied|not)|virus|malware|phish|reverse dns|\brdns\b"
    r"|\bptr\b|problem occurred\. \(ask your postmaster|too (?:large|big)|size limit|exceed\w* (?:\w+ ){0,4}size"
    r"|header based|message (?:was )?(?:rejected|refused|blocked)|mail rejected",
    re.IGNORECASE,
)
_UNKNOWN = re.compile(
    r"unknown (?:user|recipient|mailbox|address|or illegal)|(?:user|recipient|mailbox|account|alias)\W+(?:is )?unknown"
    r"|no such|does(?: not|n't) exist|not exist|no mailbox|not found|recipientnotfound|not a valid"
    r"|invalid (?:recipient|mailbox|address|user)|unroute?able|unavailable|no longer|disabled|inactive",
    re.IGNORECASE,
)
_SENDER = re.compile(r"\bsender\b", re.IGNORECASE)


def of_reply(reply: str) -> Blame:
    """What an SMTP reply that ended a delivery is about: `550 5.1.1 <bob@b.example>: User unknown`."""
    said = _REPLY.match(reply)
    if said is None:
        return Blame.NOBODY
    return of(said[2] or f"{said[1]}.0.0", reply)


def of(status: str, text: str) -> Blame:
    """The same of an enhanced code (RFC 3463) and the words beside it."""
    severity, _, rest = status.partition(".")
    subject = rest.partition(".")[0]
    if subject in ("6", "7") or rest in _OF_THE_MESSAGE:
        return Blame.MESSAGE
    speaks_of_policy = _POLICY.search(text) is not None
    if subject != "1":
        return Blame.MESSAGE if speaks_of_policy else Blame.NOBODY
    if rest in _OURS or severity != "5":
        return Blame.NOBODY
    if _UNKNOWN.search(text):
        return Blame.MAILBOX
    return Blame.MESSAGE if speaks_of_policy or (rest == "1.0" and _SENDER.search(text)) else Blame.MAILBOX
