"""HTML that may stand in other people's mail: a few elements, and links that say where they lead.

A linear scanner with a short list of what is allowed; what is not on it is refused, never repaired.  So nothing is
fetched when a message is opened (no images, styles, frames or scripts), nothing is sent (no forms), nothing reaches
beyond its place (every element is closed), and nothing is hidden.
"""

import re

MAX_CHARACTERS = 20_000

_ALLOWED = {"a", "b", "br", "em", "i", "p", "span", "strong"}
_TAG = re.compile(r"<(/?)([A-Za-z][A-Za-z0-9-]*)([^<>]*)>")
_LINK = re.compile(r"""\s+href=("https://[^"<>\s]+"|'https://[^'<>\s]+')\s*\Z""", re.IGNORECASE)
_REFERENCE = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9A-Fa-f]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def fault_in(html: str) -> str:
    """What speaks against this HTML, naming the culprit; "" when nothing does.  Linear.

    Allowed are text, character references, and the elements in `_ALLOWED` without attributes, but for
    <a href="https://…">; every element that is opened is closed, in order, so nothing reaches beyond the ad.
    """
    if len(html) > MAX_CHARACTERS:
        return f"it has {len(html)} characters; at most {MAX_CHARACTERS}"
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
