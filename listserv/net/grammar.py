"""What a client may say: command lines, paths and parameters, as plain values or as the reply that refuses them.

Nothing here waits or remembers; a line is at most `MAX_COMMAND` octets, and each of them is looked at a fixed
number of times.

Sources: RFC 5321 §2.3.8 (only CRLF ends a line), §4.1.1, §4.1.2 (paths), §4.5.3.1.4, Appendix C (source routes);
RFC 1870 (SIZE); RFC 6152 (8BITMIME); RFC 6531 §3.4, §3.5 (SMTPUTF8); RFC 3463 and RFC 5248 (enhanced codes).
"""

import re
from dataclasses import dataclass

from listserv.model import address
from listserv.model.envelope import Reply

MAX_COMMAND = 2048  # octets with CRLF; RFC 5321 §4.5.3.1.4 asks for 512, SMTPUTF8 and parameters need more

BARE = Reply(500, "5.5.2", "Lines end in CRLF; a bare CR, a bare LF or a NUL is no part of one")
TOO_LONG = Reply(500, "5.5.2", "Line too long")
NOT_UTF8 = Reply(500, "5.5.2", "Neither ASCII nor UTF-8")
NO_COMMAND = Reply(500, "5.5.2", "Not a command")
BAD_SENDER = Reply(501, "5.1.7", "Syntax: MAIL FROM:<address> [SP parameters]")
BAD_RECIPIENT = Reply(501, "5.1.3", "Syntax: RCPT TO:<address>")
BAD_PARAMETER = Reply(501, "5.5.4", "A parameter is malformed")
UNKNOWN_PARAMETER = Reply(555, "5.5.4", "A parameter is not known here")
NEEDS_UTF8 = Reply(553, "5.6.7", "An address that is not ASCII needs the parameter SMTPUTF8")
TOO_BIG = Reply(552, "5.3.4", "Message too big")

_VERB = re.compile(r"[A-Za-z]{1,16}\Z")
_HOST = re.compile(
    r"[A-Za-z0-9._:\[\]-]{1,255}\Z"
)  # a domain or an address literal, and the sloppy names of real clients
# Each alternative begins with a different character, so no text can be read in two ways.
_PATH = re.compile(r'<(?:@[^\s"<>:]+:)?(?P<mailbox>(?:"(?:[^"\\]|\\.)*"|[^\s"<>])*)>(?P<rest> .*)?\Z')
_PARAMETER = re.compile(r"([A-Za-z0-9][A-Za-z0-9-]*)(?:=([!-<>-~]+))?\Z")
_SIZE = re.compile(r"[0-9]{1,20}\Z")


@dataclass(frozen=True, slots=True)
class Command:
    """`verb` in upper case; `argument` without the blanks around it, "" when there is none."""

    verb: str
    argument: str


@dataclass(frozen=True, slots=True)
class Mail:
    """What MAIL says.  `sender` "" is the null sender."""

    sender: str
    utf8: bool = False


def command(line: bytes) -> Command | Reply:
    """The command that `line`, with its end, holds."""
    if len(line) > MAX_COMMAND:
        return TOO_LONG
    said = line[:-2]
    if not line.endswith(b"\r\n") or b"\r" in said or b"\n" in said or b"\0" in said:
        return BARE
    try:
        verb, _, argument = said.decode().partition(" ")
    except UnicodeDecodeError:
        return NOT_UTF8
    return Command(verb.upper(), argument.strip(" \t")) if _VERB.match(verb) else NO_COMMAND


def host(argument: str) -> str | None:
    """How the client names itself in EHLO, HELO or LHLO; it ends up in Received, so nothing odd passes."""
    return argument if _HOST.match(argument) else None


def mail(argument: str, max_bytes: int, *, extended: bool) -> Mail | Reply:
    """MAIL FROM, or its refusal.  `extended`: the client said EHLO, so it may use parameters."""
    parts = _path("FROM:", argument)
    if parts is None:
        return BAD_SENDER
    mailbox, rest = parts
    given = _parameters(rest)
    if given is None:
        return BAD_PARAMETER
    fault = _mail_fault(given, max_bytes) if extended or not given else UNKNOWN_PARAMETER
    if fault:
        return fault
    utf8 = "SMTPUTF8" in given
    sender = _mailbox(mailbox, utf8, BAD_SENDER) if mailbox else ""
    return sender if isinstance(sender, Reply) else Mail(sender, utf8)


def rcpt(argument: str, *, utf8: bool) -> str | Reply:
    """The address of RCPT TO, or its refusal; "postmaster" stands alone (RFC 5321 §4.1.1.3)."""
    parts = _path("TO:", argument)
    if parts is None:
        return BAD_RECIPIENT
    mailbox, rest = parts
    if rest:
        return UNKNOWN_PARAMETER  # DSN (RFC 3461) is not offered
    if mailbox.lower() == "postmaster":
        return "postmaster"
    return _mailbox(mailbox, utf8, BAD_RECIPIENT)


def _path(keyword: str, argument: str) -> tuple[str, str] | None:
    """Mailbox and parameters of a path.  A source route is read and forgotten (RFC 5321 Appendix C)."""
    if argument[: len(keyword)].upper() != keyword:
        return None
    match = _PATH.match(argument[len(keyword) :].lstrip(" "))
    return (match["mailbox"], (match["rest"] or "").strip(" ")) if match else None


def _mailbox(text: str, utf8: bool, malformed: Reply) -> str | Reply:
    if not text.isascii() and not utf8:
        return NEEDS_UTF8
    known = address.parse(text)
    return str(known) if known else malformed


def _parameters(rest: str) -> dict[str, str] | None:
    """Keyword in upper case → value ("" without one); None when one is malformed or said twice."""
    given: dict[str, str] = {}
    for word in rest.split():
        match = _PARAMETER.match(word)
        if not match or match[1].upper() in given or (match[2] is None and "=" in word):
            return None
        given[match[1].upper()] = match[2] or ""
    return given


def _mail_fault(given: dict[str, str], max_bytes: int) -> Reply | None:
    if not given.keys() <= {"SIZE", "BODY", "SMTPUTF8"}:
        return UNKNOWN_PARAMETER
    size = given.get("SIZE", "0")
    if not _SIZE.match(size) or given.get("SMTPUTF8") or given.get("BODY", "7BIT").upper() not in {"7BIT", "8BITMIME"}:
        return BAD_PARAMETER
    return TOO_BIG if int(size) > max_bytes else None
