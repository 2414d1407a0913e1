"""Trying out, from the command line, what the daemon will need: a port of its own, and the relay at the other end."""

import errno
import os
import smtplib
import socket
import ssl
from pathlib import Path

from listserv.net.routes import Smarthost, Tls

Address = tuple[str, int] | str


class Unreachable(Exception):
    """Why the relay cannot be used, in one line."""


class PortTaken(Exception):
    """Somebody listens there."""


def can_listen(address: Address) -> None:
    """Returns when it can be listened at.  Raises PortTaken, or OSError with the reason."""
    try:
        if isinstance(address, str):
            _can_make_socket(Path(address))
        else:
            family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
            socket.create_server(address, family=family).close()
    except OSError as fault:
        if fault.errno == errno.EADDRINUSE:
            raise PortTaken from None
        raise


def greet(route: Smarthost, timeout: float) -> str:
    """What the relay offers; the dialogue goes as far as AUTH and ends before any mail.  Raises Unreachable."""
    context = ssl.create_default_context()
    try:
        if route.tls is Tls.IMPLICIT:
            client: smtplib.SMTP = smtplib.SMTP_SSL(
                route.host, route.port, route.hostname, timeout=timeout, context=context
            )
        else:
            client = smtplib.SMTP(route.host, route.port, route.hostname, timeout=timeout)
        with client:
            return _talk(client, route, context)
    except smtplib.SMTPResponseException as fault:
        raise Unreachable(f"it says {fault.smtp_code} {_line(fault.smtp_error)}") from None
    except (smtplib.SMTPException, ssl.SSLError, UnicodeError) as fault:
        raise Unreachable(_line(str(fault))) from None
    except TimeoutError:
        raise Unreachable(f"no answer within {timeout:g} s") from None
    except OSError as fault:
        raise Unreachable(fault.strerror or str(fault)) from None


def _talk(client: smtplib.SMTP, route: Smarthost, context: ssl.SSLContext) -> str:
    code, said = client.ehlo()
    if code != 250:
        raise smtplib.SMTPResponseException(code, said)
    offered = route.tls is Tls.IMPLICIT
    if route.tls is Tls.REQUIRED:
        if not client.has_extn("starttls"):
            raise Unreachable('it offers no STARTTLS, and [relay] tls is "required"')
        client.starttls(context=context)
        client.ehlo()
        offered = True
    if route.username:
        client.login(route.username, route.password)
    features = sorted(name.upper() for name in client.esmtp_features if name.isascii())
    return f"{'TLS; ' if offered else ''}{' '.join(features) or 'no extensions'}"


def _can_make_socket(path: Path) -> None:
    if path.is_socket():
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            try:
                probe.connect(str(path))
            except ConnectionRefusedError:
                return  # left over; the daemon replaces it
        raise PortTaken
    if path.exists():
        raise OSError(errno.EEXIST, "there is a file of that name")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise OSError(errno.EACCES, f"{path.parent} is not there or not writable")


def _line(said: bytes | str) -> str:
    text = said.decode("utf-8", "replace") if isinstance(said, bytes) else said
    return " ".join(text.split())[:300]
