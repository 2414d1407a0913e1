"""The page behind the one-click link of a post: GET asks and changes nothing, POST leaves the group.

Link scanners and mail readers fetch every address in a mail, so that only a POST that says
`List-Unsubscribe=One-Click` acts: a mail reader's (RFC 8058 §3.2) or our own button's.  It needs no cookie, gets no
redirect, and comes twice without harm.  The tag is the credential, and whoever has it can do nothing but leave this
group for this mailbox: there is no session that a forged request could ride on, hence no CSRF token.

A wrong tag and an unknown group get the same answer.  Only who shows a right tag is written to the access log,
because strangers must not be able to make us write; its account is then the mailbox that the link was made for.
"""

import asyncio
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import parse_qsl

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from listserv.access_log import events
from listserv.access_log.line import Way, Who
from listserv.flows import joining
from listserv.flows.site import Act, Site
from listserv.model import address
from listserv.model.group import Group
from listserv.store import accounts, groups, journal
from listserv.store.db import Tx
from listserv.web.kit import Kit, client_ip

MAX_BODY_BYTES = 10_000
BODY_SECONDS = 10.0
MAX_FIELDS = 20

ONE_CLICK = ("List-Unsubscribe", "One-Click")


@dataclass(frozen=True, slots=True)
class Link:
    """What stands in the address; neither part need be right."""

    group: str
    tag: str


@dataclass(frozen=True, slots=True)
class Found:
    """A right link: its group, and the member's address, "" for one who has left."""

    group: Group
    account: str


def route(kit: Kit) -> Route:
    async def leave(request: Request) -> Response:
        link = Link(request.path_params["group"], request.path_params["tag"])
        found = await kit.db.read(find, kit.site, link)
        if found is None:
            return kit.page("gone", status=404)
        if request.method == "POST":
            return await _posted(kit, request, link, found)
        return await _shown(kit, request, found, 200)

    return Route("/leave/{group}/{tag}", leave, methods=["GET", "POST"], max_body_size=MAX_BODY_BYTES)


async def _shown(kit: Kit, request: Request, found: Found, status: int) -> Response:
    """The page with the button.  It names the group but not the mailbox: mail gets forwarded."""
    who = kit.who(request, found.account)
    await kit.db.write(record, kit.clock(), who, found.group, request.method, status)
    facts = {"group": found.group, "address_hint": ""}
    return kit.page("leave", found.group.policy.language, status, **facts)


async def _posted(kit: Kit, request: Request, link: Link, found: Found) -> Response:
    if not await _is_one_click(request):
        return await _shown(kit, request, found, 400)  # not 200: a robot would take it for done
    left = await kit.db.write(leave, kit.site, link, kit.clock(), client_ip(request))
    if left is None:  # the group went away in between
        return kit.page("gone", status=404)
    return kit.page("left", left.policy.language, group=left)


async def _is_one_click(request: Request) -> bool:
    """Whether the body is the form that RFC 8058 §3.2 demands, in either encoding, whatever else is in it.

    One without a Content-Type, or with a wrong one, is read as the simpler of the two.
    """
    content = await body(request)
    if request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        async with request.form(max_files=0, max_fields=MAX_FIELDS) as form:
            return form.get(ONE_CLICK[0]) == ONE_CLICK[1]
    try:
        return ONE_CLICK in parse_qsl(content.decode("latin-1"), max_num_fields=MAX_FIELDS)
    except ValueError:  # more fields than that
        return False


async def body(request: Request) -> bytes:
    """What was posted; who is too slow, or hangs up, gets an error."""
    try:
        async with asyncio.timeout(BODY_SECONDS):
            return await request.body()
    except TimeoutError:
        raise HTTPException(408, headers={"Connection": "close"}) from None
    except ClientDisconnect:  # nobody is there to read the answer
        raise HTTPException(400) from None


def find(tx: Tx, site: Site, link: Link) -> Found | None:
    """What the link stands for; None when there is no such group, or its tag is not this group's."""
    known = address.parse(link.group)
    group = groups.find(tx, known.key) if known else None
    mailbox_id = site.tags.read_leave(group.id, link.tag) if group else None
    if group is None or mailbox_id is None:
        return None
    member = accounts.member_by_id(tx, group.id, mailbox_id)
    return Found(group, member.key if member else "")


def leave(tx: Tx, site: Site, link: Link, now: datetime, ip: str) -> Group | None:
    """The act and its lines in the access log; None when the link has become wrong."""
    found = find(tx, site, link)
    if found is None:
        return None
    who = site.who(Way.WEB, found.account, ip)
    joining.leave_by_tag(Act(tx, site, now, who), found.group, link.tag)
    record(tx, now, who, found.group, "POST", 200)
    return found.group


def record(tx: Tx, now: datetime, who: Who, group: Group, method: str, status: int) -> None:
    line = events.web_request(now, who, group=group.address, method=method, page="leave", status=status)
    journal.write(tx, line)
