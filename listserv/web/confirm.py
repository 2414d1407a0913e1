"""The page behind a question of ours: GET shows what it asks and changes nothing, POST answers it.

Link scanners and mail readers fetch every address in a mail, so that only a POST that says `answer=yes`, as our own
button does, counts.  The token is the credential, for just what its mail asked, and only once; there is no session that
a forged request could ride on, hence no CSRF token and no cookie.  Whoever comes again is told what has happened.

A mail may ask several things: the page lets its reader take some and leave the others.  Who joins may say name, region
and country.  The same acts as for a reply by mail (`flows.confirming`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from starlette.datastructures import FormData
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from listserv.access_log import events
from listserv.access_log.line import Way, Who
from listserv.flows import confirming
from listserv.flows.agreeing import Yes
from listserv.flows.confirming import Answer, Result
from listserv.flows.guessing import WITHIN, Guesses
from listserv.flows.site import Act, Site
from listserv.mail import tag
from listserv.mail.command import Consent
from listserv.model.group import Group
from listserv.model.token import Action, Token
from listserv.store import accounts, groups, journal, tokens
from listserv.store.db import Tx
from listserv.texts import DEFAULT_LANGUAGE
from listserv.web.kit import Kit, client_ip
from listserv.web.oneclick import MAX_BODY_BYTES, body

MAX_FIELDS = 100
ABOUT = ("name", "region", "country")
JOINING = (Action.JOIN, Action.INVITE)


@dataclass(frozen=True, slots=True)
class Question:
    """What the token in the address stands for.

    is_open  it can be answered
    """

    token: Token
    group: Group | None
    wishes: tuple[Yes, ...]
    language: str
    is_open: bool


def route(kit: Kit) -> Route:
    guesses = Guesses()

    async def confirm(request: Request) -> Response:
        ip, now = client_ip(request), kit.clock()
        if guesses.too_many(ip, now):
            return kit.error(429, {"Retry-After": str(int(WITHIN.total_seconds()))})
        question = await kit.db.read(find, kit.site, request.path_params["token"], now)
        if question is None:
            guesses.wrong(ip, now)
            return kit.page("gone", status=404)
        if request.method == "POST":
            return await _posted(kit, request, question)
        return await _shown(kit, request, question, 200)

    return Route("/confirm/{token}", confirm, methods=["GET", "POST"], max_body_size=MAX_BODY_BYTES)


async def _shown(kit: Kit, request: Request, question: Question, status: int) -> Response:
    """The page with the buttons.  It names groups but not the mailbox: mail gets forwarded."""
    who = kit.who(request, question.token.actor)
    await kit.db.write(record, kit.clock(), who, question.group, request.method, status)
    joins = any(wish.action in JOINING for wish in question.wishes)
    return kit.page("confirm", question.language, status, wishes=question.wishes, joins=joins, is_open=question.is_open)


async def _posted(kit: Kit, request: Request, question: Question) -> Response:
    said = await _said(request)
    if said is None:
        return await _shown(kit, request, question, 400)  # not 200: a robot would take it for done
    consent, how = said
    result = await kit.db.write(answer, kit.site, question.token, consent, how, kit.clock(), client_ip(request))
    return kit.page("answered", question.language, result=result, never=consent is Consent.NEVER)


async def _said(request: Request) -> tuple[Consent, Answer] | None:
    """What the form says; None when it is none of ours."""
    await body(request)
    try:
        async with request.form(max_files=0, max_fields=MAX_FIELDS) as form:
            answers = form.getlist("answer")
            if len(answers) != 1 or answers[0] not in list(Consent):
                return None
            return Consent(str(answers[0])), Answer(said=_about(form), only=_chosen(form))
    except ClientDisconnect:
        return None


def _about(form: FormData) -> Mapping[str, str]:
    return {name: str(form[name]).strip() for name in ABOUT if form.get(name)}


def _chosen(form: FormData) -> frozenset[int] | None:
    """The places of the wishes that are taken, where there were several to choose from."""
    if form.get("several") is None:
        return None
    return frozenset(int(str(place)) for place in form.getlist("wish") if str(place).isdecimal())


def find(tx: Tx, site: Site, text: str, now: datetime) -> Question | None:
    """None: there is no such token, or it is for another way than a page."""
    canonical = tag.read_token(text)
    token = tokens.find(tx, tag.digest(canonical)) if canonical else None
    if token is None or not confirming.has_page(token):
        return None
    group = groups.get(tx, token.group_id) if token.group_id is not None else None
    known = accounts.mailbox(tx, token.actor)
    language = (known.language if known else "") or (group.policy.language if group else DEFAULT_LANGUAGE)
    wishes = confirming.named(Act(tx, site, now, site.who(Way.WEB)), token)
    is_open = token.state == "open" and (token.expires_at is None or token.expires_at > now)
    return Question(token, group, wishes, language, is_open)


def answer(tx: Tx, site: Site, token: Token, said: Consent, how: Answer, now: datetime, ip: str) -> Result:
    """The act and its lines in the access log."""
    who = site.who(Way.WEB, token.actor, ip)
    result = confirming.answer(Act(tx, site, now, who), token, said, how)
    group = groups.get(tx, token.group_id) if token.group_id is not None else None
    record(tx, now, who, group, "POST", 200)
    return result


def record(tx: Tx, now: datetime, who: Who, group: Group | None, method: str, status: int) -> None:
    address = group.address if group else ""
    line = events.web_request(now, who, group=address, method=method, page="confirm", status=status)
    journal.write(tx, line)
