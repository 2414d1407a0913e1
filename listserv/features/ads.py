"""One ad below each post of a group that takes ads.

It is chosen once for each edition, by group and topic, never by person: all members get the same octets, nothing in
it is fetched from elsewhere, and what is counted is editions and copies by day and group.  Of the ads that fit, the
one that this group has seen least is next, the oldest first: fair, and the same again when a crash makes us ask twice.

An ad is data.  Its text is escaped where it becomes HTML; HTML that an operator gives is refused when it is added,
unless it is made of the few elements named in `_ALLOWED`.
"""

import html as markup
import re
from datetime import datetime

from listserv.hooks import Addition, Feature
from listserv.model.group import Group
from listserv.store import ads
from listserv.store.ads import Ad
from listserv.store.db import Tx

MAX_TEXT = 2000  # characters; an ad is not a second post
MAX_HTML = 20_000

_ALLOWED = {"a", "b", "br", "em", "i", "p", "span", "strong"}
_TAG = re.compile(r"<(/?)([A-Za-z][A-Za-z0-9-]*)([^<>]*)>")
_LINK = re.compile(r"""\s+href=("https://[^"<>\s]+"|'https://[^'<>\s]+')\s*\Z""", re.IGNORECASE)
_REFERENCE = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9A-Fa-f]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


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


def fault_in(html: str) -> str:
    """What speaks against this HTML, naming the culprit; "" when nothing does.  Linear.

    Allowed are text, character references, and the elements in `_ALLOWED` without attributes, but for
    <a href="https://…">; every element that is opened is closed, in order, so nothing reaches beyond the ad.
    """
    if len(html) > MAX_HTML:
        return f"it has {len(html)} characters; at most {MAX_HTML}"
    if found := _UNPRINTABLE.search(html):
        return f"it has the control character U+{ord(found[0]):04X}"
    at, open_elements = 0, list[str]()
    while at < len(html):
        start = html.find("<", at)
        if fault := _fault_in_text(html[at : start if start >= 0 else len(html)]):
            return fault
        if start < 0:
            break
        tag = _TAG.match(html, start)
        if tag is None:
            return f"{_quoted(html[start:])} is no simple tag; write &lt; for a less-than sign"
        if fault := _fault_in_tag(tag, open_elements):
            return fault
        at = tag.end()
    return f"<{open_elements[-1]}> is not closed" if open_elements else ""


def _fault_in_text(text: str) -> str:
    ampersand = text.find("&")
    while ampersand >= 0:
        if not _REFERENCE.match(text, ampersand):
            return f"{_quoted(text[ampersand:])} is no character reference; write &amp; for an ampersand"
        ampersand = text.find("&", ampersand + 1)
    return ""


def _fault_in_tag(tag: re.Match[str], open_elements: list[str]) -> str:
    """Keeps account of the elements that are open."""
    name, rest = tag[2].lower(), tag[3].rstrip().removesuffix("/") if tag[2].lower() == "br" else tag[3]
    if name not in _ALLOWED:
        return f"<{tag[1]}{name}> is not allowed; allowed are {', '.join(sorted(_ALLOWED))}"
    if tag[1]:
        if rest.strip() or name == "br":
            return f"{_quoted(tag[0])} is no end tag"
        if not open_elements or open_elements[-1] != name:
            return f"</{name}> closes what is not open"
        open_elements.pop()
        return ""
    if name == "a":
        if fault := _fault_in_link(tag, rest):
            return fault
        if "a" in open_elements:
            return "<a> stands inside of another <a>"
    elif rest.strip():
        return f"{_quoted(tag[0])} has attributes; none are allowed here"
    if name != "br":
        open_elements.append(name)
    return ""


def _fault_in_link(tag: re.Match[str], attributes: str) -> str:
    if not _LINK.match(attributes):
        return f'{_quoted(tag[0])} is not allowed; a link is <a href="https://…"> without other attributes'
    return _fault_in_text(attributes)


def _quoted(html: str) -> str:
    """The beginning of the culprit, on one line."""
    line = " ".join(html[:60].split())
    return f"“{line}…”" if len(html) > 60 else f"“{line}”"


FEATURE = Feature("ads", amend=amend, printed=printed)
