"""Opening a session with a next hop: connection, TLS, EHLO, AUTH.

aiosmtplib does all of it; then our `Dialogue` takes the transport, because aiosmtplib waits for each reply.  Whatever
goes wrong here is one value: Deferred, unreachable, with a text that tells the operator which relay and what to mend.

Sources: RFC 5321 §3.1, RFC 3207 (STARTTLS), RFC 4954 (AUTH), RFC 8314 §3.3 (implicit TLS).
"""

import asyncio
import base64
import os
import re
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import aiosmtplib
from aiosmtplib import SMTPException, SMTPHeloError, SMTPResponseException

from listserv.model.delivery import Deferred
from listserv.net.dialogue import Dialogue, Patience
from listserv.net.routes import Smarthost, Tls
from listserv.net.transaction import MAX_REPLY_CHARS, Offers, clean

VERIFIED = (Tls.REQUIRED, Tls.IMPLICIT)

_BASE64 = re.compile(r"[A-Za-z0-9+/]{40,}=*")  # an answer to CRAM-MD5 is no shorter


class _Unusable(Exception):
    """A step failed; the text begins with the enhanced status."""


class _NoTls(_Unusable):
    """STARTTLS failed."""


class _Opening(aiosmtplib.SMTP):
    """Gives up at once where the library says goodbye: a silent TLS peer would keep the socket for 30 s."""

    def close(self) -> None:
        if self.transport is not None:
            cast("asyncio.WriteTransport", self.transport).abort()
        super().close()


def tls_context(tls: Tls) -> ssl.SSLContext:
    """What `tls` wants to know of a certificate: the system's authorities and the host's name, or nothing at all."""
    if tls in VERIFIED:
        return ssl.create_default_context()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # RFC 7435: some protection is better than none
    return context


async def dial(relay: Smarthost, patience: Patience, context: ssl.SSLContext) -> Dialogue | Deferred:
    """A session that is ready for MAIL, or why there is none."""
    try:
        try:
            return await _dial(relay, patience, context, starttls=relay.tls in (Tls.OPPORTUNISTIC, Tls.REQUIRED))
        except _NoTls:
            if relay.tls is not Tls.OPPORTUNISTIC or relay.username:
                raise
            return await _dial(relay, patience, context, starttls=False)
    except _Unusable as unusable:
        status, _, text = str(unusable).partition(" ")
        return Deferred(f"451 {status} relay {relay.name}: {text}"[:MAX_REPLY_CHARS], unreachable=True)


async def _dial(relay: Smarthost, patience: Patience, context: ssl.SSLContext, *, starttls: bool) -> Dialogue:
    with _step("4.4.1 cannot connect"):
        connected = await _connect(relay, patience.connect)
    opening = _Opening(
        hostname=relay.host,
        local_hostname=relay.hostname,
        sock=connected,
        timeout=patience.greeting,
        use_tls=relay.tls is Tls.IMPLICIT,
        start_tls=False,
        tls_context=context,
    )
    try:
        with _step("4.4.1 no service"):
            await opening.connect()
            await _greet(opening)
        if starttls:
            await _secure(opening, required=relay.tls is Tls.REQUIRED)
        if relay.username:
            await _log_in(opening, relay)
        return _take_over(opening, relay, patience)
    except BaseException:
        opening.close()
        raise


async def _connect(relay: Smarthost, seconds: float) -> socket.socket:
    """A connected socket; each address of the host gets `seconds`.  OSError when none answers."""
    loop = asyncio.get_running_loop()
    error = OSError("no address")
    for family, kind, protocol, _, where in await loop.getaddrinfo(relay.host, relay.port, type=socket.SOCK_STREAM):
        candidate = socket.socket(family, kind, protocol)
        try:
            candidate.setblocking(False)
            candidate.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            async with asyncio.timeout(seconds):
                await loop.sock_connect(candidate, where)
            return candidate
        except TimeoutError:
            candidate.close()
            error = TimeoutError(f"no answer within {seconds:g} s")
        except OSError as refused:
            candidate.close()
            error = OSError(os.strerror(refused.errno)) if refused.errno else refused  # asyncio's own text is no help
        except BaseException:
            candidate.close()
            raise
    raise error


async def _greet(opening: _Opening) -> None:
    """EHLO, or HELO for those who do not know it."""
    try:
        await opening.ehlo()
    except SMTPHeloError:
        if not opening.is_connected:
            raise
        await opening.helo()


async def _secure(opening: _Opening, *, required: bool) -> None:
    if not opening.supports_extension("starttls"):
        if required:
            raise _Unusable('4.7.0 does not offer STARTTLS, and [relay] tls = "required"')
        return
    try:
        with _step("4.7.0 TLS failed"):
            await opening.starttls()
            await _greet(opening)  # RFC 3207 §4.2: what was offered before is forgotten
    except _Unusable as error:
        raise _NoTls(*error.args) from error


async def _log_in(opening: _Opening, relay: Smarthost) -> None:
    """AUTH; the password goes in clear only where the operator wrote `tls = "none"`."""
    if relay.tls is not Tls.NONE and opening.get_transport_info("sslcontext") is None:
        raise _Unusable('4.7.0 offers no TLS, and the password is not sent without, unless [relay] tls = "none"')
    try:
        with _step("4.7.0 login failed, see [relay] username and password_file"):
            await opening.login(relay.username, relay.password)
    except _Unusable as unusable:
        raise _Unusable(_without_password(str(unusable), relay)) from None


def _without_password(said: str, relay: Smarthost) -> str:
    """What was said of a login, and what it repeats of it left out: some quote the command that they refuse."""
    user, password = relay.username.encode(), relay.password.encode()
    for secret in (b"\0%b\0%b" % (user, password), b"%b\0%b\0%b" % (user, user, password), password):
        said = said.replace(base64.b64encode(secret).decode(), "…") if password else said
    return _BASE64.sub("…", said.replace(relay.password, "…") if password else said)


def _take_over(opening: _Opening, relay: Smarthost, patience: Patience) -> Dialogue:
    if opening.transport is None or opening.transport.is_closing():
        raise _Unusable("4.4.2 closed the connection after EHLO")
    dialogue = Dialogue(relay.name, Offers.of(opening.esmtp_extensions), patience)
    opening.transport.set_protocol(dialogue)
    dialogue.connection_made(opening.transport)
    return dialogue


@contextmanager
def _step(failing: str) -> Iterator[None]:
    """What the world does wrong in here becomes `_Unusable`: the words `failing` and what was said."""
    try:
        yield
    except SMTPResponseException as error:
        said = f"{error.code} {error.message}" if error.code > 0 else error.message
        raise _Unusable(clean(f"{failing}: {said}")) from error
    except SMTPException as error:
        cause = error.__cause__ if isinstance(error.__cause__, ssl.SSLError) else error.message
        raise _Unusable(clean(f"{failing}: {cause}")) from error
    except OSError as error:
        raise _Unusable(clean(f"{failing}: {error.strerror or error}")) from error
