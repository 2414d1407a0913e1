"""What the listener itself says, and how a reply is written on the wire.

Sources: RFC 5321 §4.2 (codes, several lines), §4.5.3.1.5 (length); RFC 2034 §4 and RFC 3463 (enhanced codes: in all
replies but the greeting, the answers to EHLO, HELO and LHLO, and 3xx).
"""

import re

from listserv.model.envelope import Reply

MAX_TEXT = 450  # of a line of 512 octets with its code and CRLF
MAX_LINES = 20

OK = Reply(250, "2.0.0", "OK")
SENDER_OK = Reply(250, "2.1.0", "OK")
RECIPIENT_OK = Reply(250, "2.1.5", "OK")
BYE = Reply(221, "2.0.0", "Bye")
GO_AHEAD = Reply(354, "", "End data with <CR><LF>.<CR><LF>")
HELP = Reply(214, "2.0.0", "See RFC 5321")
UNVERIFIED = Reply(252, "2.0.0", "Nobody is verified here; send and see")

SHUTTING_DOWN = Reply(421, "4.3.2", "Shutting down; try again later")
TOO_MANY_ERRORS = Reply(421, "4.7.0", "Too many errors")
LOITERING = Reply(421, "4.7.0", "Too many commands without a message")
OUR_FAULT = Reply(451, "4.3.0", "Internal error; try again later")
TOO_MANY_RECIPIENTS = Reply(452, "4.5.3", "Too many recipients; send the rest in another transaction")

UNKNOWN = Reply(500, "5.5.1", "Command not recognised")
ODD_ARGUMENT = Reply(501, "5.5.4", "Syntax error in the argument")
NOT_HERE = Reply(502, "5.5.1", "Command not implemented")
NO_TLS = Reply(502, "5.5.1", "TLS is not available, or in use already")
NO_GREETING = Reply(503, "5.5.1", "Introduce yourself first")
NESTED = Reply(503, "5.5.1", "A transaction is open already")
NO_MAIL = Reply(503, "5.5.1", "Say MAIL first")
NO_RECIPIENT = Reply(503, "5.5.1", "Say RCPT first")

_UNPRINTABLE = re.compile(r"[^\x20-\x7e]")
_STATUS = re.compile(r"[245]\.\d{1,3}\.\d{1,3}(?: |\Z)")


def wire_form(reply: Reply) -> bytes:
    """The reply with its CRLF; a text of several lines makes as many, nothing in it can make one more."""
    lines = reply.text.splitlines()[:MAX_LINES] or [""]
    status = f"{reply.status} " if reply.status else ""
    last = len(lines) - 1
    written = (
        f"{reply.code}{' ' if number == last else '-'}{status}{_UNPRINTABLE.sub('?', line[:MAX_TEXT])}\r\n"
        for number, line in enumerate(lines)
    )
    return "".join(written).encode("ascii")


def enhanced(line: str) -> Reply:
    """A reply of aiosmtpd's, which knows few enhanced codes, as one of ours."""
    code, _, text = line.partition(" ")
    known = _STATUS.match(text) or code.startswith("3")
    return Reply(int(code), "" if known else f"{code[0]}.0.0", text)
