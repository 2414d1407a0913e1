"""The pages of this server as one application.

    create_app(site, db, clock)     served by `server.Pages`, in the event loop that the mail runs in

| address               | page                                                         |
| --------------------- | ------------------------------------------------------------ |
| /                     | what this is                                                 |
| /leave/GROUP/TAG      | leave a group: `oneclick`                                    |
| /confirm/TOKEN        | answer a question of ours: `confirm`                         |
| /health               | 200 "ok" while the database answers, else 503: for monitors  |
| /robots.txt           | search engines stay out of the links                         |

No address redirects: whoever posts a one-click link does not follow (RFC 8058 §3.1).
"""

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime

from sqlalchemy.exc import SQLAlchemyError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from listserv.flows.site import Site
from listserv.store import groups
from listserv.store.db import Database
from listserv.web import confirm, oneclick
from listserv.web.kit import Guard, Kit

log = logging.getLogger(__name__)

HEALTH_SECONDS = 5.0
ROBOTS = "User-agent: *\nDisallow: /leave/\nDisallow: /confirm/\n"


def create_app(site: Site, db: Database, clock: Callable[[], datetime]) -> Starlette:
    kit = Kit(site, db, clock)

    async def home(request: Request) -> Response:
        return kit.page("home")

    async def robots(request: Request) -> Response:
        return PlainTextResponse(ROBOTS)

    async def health(request: Request) -> Response:
        try:
            async with asyncio.timeout(HEALTH_SECONDS):
                await db.read(groups.find, "")
        except (SQLAlchemyError, TimeoutError) as fault:
            log.error("the database does not answer: %s", type(fault).__name__)
            return PlainTextResponse("the database does not answer\n", 503)
        return PlainTextResponse("ok\n")

    app = Starlette(
        routes=[
            Route("/", home),
            Route("/robots.txt", robots),
            Route("/health", health),
            oneclick.route(kit),
            confirm.route(kit),
        ],
        middleware=[Middleware(Guard, kit=kit)],
        exception_handlers={HTTPException: kit.refuse},
    )
    app.router.redirect_slashes = False
    return app
