"""What all pages share: wording, headers, error pages, and who asked.

Pages are text by default: no script, no image, no frame, nothing from elsewhere, no cookie for anybody.  Their
addresses may hold a tag, so that no page is kept in a cache and no link away from it says where one came from.

Sources: RFC 9110 (HTTP); Content Security Policy Level 3; RFC 9309 (robots.txt).
"""

import hashlib
import ipaddress
import logging
import re
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from http import HTTPStatus
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from listserv.access_log.line import Way, Who
from listserv.flows.site import Site
from listserv.store.db import Database, away
from listserv.texts import DEFAULT_LANGUAGE

log = logging.getLogger(__name__)

_POLICY = "default-src 'none'; base-uri 'none'; frame-ancestors 'none'; form-action"
HEADERS = {
    "Content-Security-Policy": f"{_POLICY} 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "X-Robots-Tag": "noindex",
}

_STYLE = re.compile("<style>([^<]*)</style>")

# What an error page says about it; of our own faults it says nothing.
_ERRORS = {
    400: "Your browser sent something that cannot be understood here.",
    404: "There is no page at this address.",
    405: "This page cannot be used in this way.",
    408: "The request took too long to arrive. Please try again.",
    413: "The request is too large for this page.",
    429: "Too many links that are not valid came from your network. Please try again in ten minutes.",
    500: "Something went wrong here.",
    503: "This server cannot work at the moment.",
}


@dataclass(frozen=True, slots=True)
class Kit:
    site: Site
    db: Database
    clock: Callable[[], datetime]

    def page(self, name: str, language: str = DEFAULT_LANGUAGE, status: int = 200, **facts: Any) -> Response:
        """The page from the template `page-<name>`; every template knows `site` and `status`."""
        html = self.site.texts.page(f"page-{name}", language, site=self.site, status=status, **facts)
        return HTMLResponse(html, status, {"Content-Security-Policy": _policy(html)})

    def error(self, status: int, headers: Mapping[str, str] | None = None) -> Response:
        title = HTTPStatus(status).phrase
        response = self.page("error", status=status, title=title, text=_ERRORS.get(status, title))
        response.headers.update(headers or {})
        return response

    async def refuse(self, request: Request, fault: Exception) -> Response:
        """The page for an HTTPException: what the client did wrong."""
        assert isinstance(fault, HTTPException)
        return self.error(fault.status_code, fault.headers)

    def who(self, request: Request, account: str = "") -> Who:
        return self.site.who(Way.WEB, account, client_ip(request))


def client_ip(request: Request) -> str:
    """The address the request came from, "" when a unix socket's peer does not say.

    A peer on this machine is the web server in front of us, and the last entry of its X-Forwarded-For is what it
    saw itself; from anybody else that field proves nothing and is not read.
    """
    peer = request.client.host if request.client else ""
    if peer and not _ip(peer, lambda ip: ip.is_loopback):
        return peer
    entries = request.headers.getlist("x-forwarded-for")
    return _ip(entries[-1].rpartition(",")[2].strip()) or peer if entries else peer


def _ip(text: str, accept: Callable[[Any], bool] = lambda ip: True) -> str:
    """The address in its usual form; "" when `text` is none, or is not accepted."""
    try:
        ip = ipaddress.ip_address(text)
    except ValueError:
        return ""
    return str(ip) if accept(ip) else ""


def _policy(html: str) -> str:
    """Forms go back to us, and the page's own style sheets are allowed by their hashes (CSP 3 §2.3.1)."""
    hashes = " ".join(f"'sha256-{_digest(style)}'" for style in _STYLE.findall(html))
    return f"{_POLICY} 'self'" + (f"; style-src {hashes}" if hashes else "")


def _digest(text: str) -> str:
    return b64encode(hashlib.sha256(text.encode()).digest()).decode()


class Guard:
    """Around all pages: headers on every response; of a fault the log gets the traceback and the client nothing."""

    def __init__(self, app: ASGIApp, kit: Kit) -> None:
        self.app = app
        self.kit = kit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        is_started = False

        async def guarded(message: Message) -> None:
            nonlocal is_started
            if message["type"] == "http.response.start":
                is_started = True
                self._protect(MutableHeaders(scope=message))
            await send(message)

        try:
            await self.app(scope, receive, guarded)
        except Exception as fault:
            if is_started:
                raise
            log.exception("a page could not be shown (%s)", scope["method"])  # its address may hold a tag
            await self.kit.error(503 if away(fault) else 500)(scope, receive, guarded)

    def _protect(self, headers: MutableHeaders) -> None:
        for name, value in HEADERS.items():
            headers.setdefault(name, value)
        headers["Date"] = format_datetime(self.kit.clock().astimezone(UTC), usegmt=True)  # RFC 9110 §6.6.1
