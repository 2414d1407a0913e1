"""One ad below each post of a group that takes ads.

It is chosen once for each edition, by group and topic, never by person: all members get the same octets, nothing in
it is fetched from elsewhere, and what is counted is editions and copies by day and group.  Of the ads that fit, the
one that this group has seen least is next, the oldest first: fair, and the same again when a crash makes us ask twice.

An ad is data.  Its text is escaped where it becomes HTML; HTML that an operator gives is refused when it is added,
unless `mail.harmless` has nothing against it.
"""

import html as markup
import re
from dataclasses import dataclass
from datetime import datetime

from listserv.access_log import events
from listserv.access_log.line import Line
from listserv.flows.site import Act
from listserv.hooks import Addition, Feature
from listserv.mail import harmless
from listserv.model.group import Group
from listserv.store import ads, groups, journal
from listserv.store.ads import Ad, NewAd
from listserv.store.db import Tx

MAX_TEXT = 2000  # characters; an ad is not a second post
MAX_LINE = 200  # characters of title, advertiser and topic

_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def amend(tx: Tx, group: Group, now: datetime) -> Addition | None:
    """The ad of the next edition of this group, if there is one that may run in it."""
    ad = choose(tx, group, now)
    return Addition(as_text(ad), as_html(ad), ad.id) if ad else None


def printed(tx: Tx, addition: Addition, group: Group, copies: int, now: datetime) -> None:
    if addition.ad_id is not None:
        ads.count(tx, addition.ad_id, group.id, now.date(), copies)


def choose(tx: Tx, group: Group, now: datetime) -> Ad | None:
    """Of the ads that fit, the one this group has had least often; then the one that was added first."""
    if not group.policy.ads:
        return None
    fitting = [ad for ad in ads.running(tx, now.date()) if fits(ad, group)]
    if not fitting:
        return None
    shown = ads.shown(tx, group.id)
    return min(fitting, key=lambda ad: (shown.get(ad.id, 0), ad.id))


def fits(ad: Ad, group: Group) -> bool:
    """The ad names this group, or one of its topics, or neither groups nor topics."""
    said = ad.said
    if not said.groups and not said.topics:
        return True
    about = {topic.casefold() for topic in group.policy.topics}
    return group.address in said.groups or any(topic.casefold() in about for topic in said.topics)


def as_text(ad: Ad) -> str:
    """The ad as it stands in text parts, marked as what it is."""
    by = f"\n({ad.said.advertiser})" if ad.said.advertiser else ""
    return f"Advertisement: {ad.said.title}{by}\n\n{ad.said.text.strip()}"


def as_html(ad: Ad) -> str:
    """The same for HTML parts; only what `fault_in` has passed goes in unescaped."""
    said = ad.said
    by = f" ({markup.escape(said.advertiser)})" if said.advertiser else ""
    lines = (markup.escape(line) for line in said.text.strip().splitlines())
    shown = said.html or "<br>\n".join(lines)
    return f"<hr>\n<div>Advertisement: <b>{markup.escape(said.title)}</b>{by}</div>\n<div>\n{shown}\n</div>"


@dataclass(frozen=True, slots=True)
class Added:
    """The ad runs from now on, as far as its dates allow."""

    id: int


@dataclass(frozen=True, slots=True)
class Refused:
    """The ad cannot be taken, and why; nothing has changed."""

    why: str


def add(act: Act, said: NewAd) -> Added | Refused:
    """The operator's ad, unless it could do harm in a post or would never be shown."""
    fault = fault_in(said)
    if not fault:
        unknown = [address for address in said.groups if groups.find(act.tx, address) is None]
        fault = f"there is no group {unknown[0]}" if unknown else ""
    if fault:
        return Refused(fault)
    id = ads.add(act.tx, said, act.now)
    journal.write(act.tx, events.ad_added(act.now, act.who, ad=id, groups=said.groups))
    return Added(id)


def pause(act: Act, id: int) -> bool | None:
    """True: it is not shown for now.  False: it was so already.  None: there is no such ad."""
    return _move(act, id, ads.RUNNING, ads.PAUSED, events.ad_paused(act.now, act.who, ad=id))


def resume(act: Act, id: int) -> bool | None:
    """True: it may be shown again.  False: it was so already.  None: there is no such ad."""
    return _move(act, id, ads.PAUSED, ads.RUNNING, events.ad_resumed(act.now, act.who, ad=id))


def remove(act: Act, id: int) -> bool | None:
    """True: it is gone, and its counts with it.  None: there was no such ad."""
    if not ads.remove(act.tx, id):
        return None
    journal.write(act.tx, events.ad_removed(act.now, act.who, ad=id))
    return True


def fault_in(said: NewAd) -> str:
    """Why this cannot be an ad, "" when it can."""
    if not said.title.strip() or not said.text.strip():
        return "an ad needs a title and a text"
    for name, line in (("title", said.title), ("advertiser", said.advertiser), *(("topic", t) for t in said.topics)):
        if len(line) > MAX_LINE or _CONTROLS.search(line) or (name == "topic" and not line.strip()):
            return f"the {name} is not one line of at most {MAX_LINE} printable characters"
    if len(said.text) > MAX_TEXT or _CONTROLS.search(said.text.replace("\n", "")):
        return f"the text is not plain text of at most {MAX_TEXT} characters"
    if said.starts and said.ends and said.ends < said.starts:
        return f"it would end on {said.ends}, before it starts on {said.starts}"
    fault = harmless.fault_in(said.html)
    return f"HTML: {fault}" if fault else ""


def _move(act: Act, id: int, was: str, state: str, line: Line) -> bool | None:
    if ads.get(act.tx, id) is None:
        return None
    moved = ads.move(act.tx, id, was, state)
    if moved:
        journal.write(act.tx, line)
    return moved


FEATURE = Feature("ads", amend=amend, printed=printed)
