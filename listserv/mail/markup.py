"""What a writer of HTML mail wrote himself, as lines of text.

A scanner, not a parser: it follows the tags once, from left to right, and never builds a tree, so
ten thousand nested quotes cost as much as ten thousand words.  What a mail client marks as a quote
comes back as one line `>`, what it marks as the writer's signature is left out, and a mark
below which everything is quoted ends the text.  Quotes without marks (`From:`, `Sent:` …) stay as
lines; `mail.quoting` knows them in text and HTML alike.
"""

import re
from collections import Counter
from html import unescape

from listserv.mail.phrases import each

MAX_CHARACTERS = 262_144
QUOTE = ">"
SIGNATURE = "-- "  # RFC 3676 §4.3

_MARKUP = re.compile(r"<(?=[a-z!?]|/[a-z])", re.IGNORECASE)  # any other < is text
_TAG = re.compile(r"<(/?)([a-z][^\s/>]*+)((?:=\s*\"[^\"]*\"|=\s*'[^']*'|[^>])*+)>", re.IGNORECASE)
_VOID = each("area base basefont br col embed frame hr img input link meta param source track wbr")
_RAW = {name: re.compile(rf"</{name}\b", re.IGNORECASE) for name in ("style", "script", "title", "textarea")}
_BREAKS = each(
    "address article aside blockquote body br center dd div dl dt fieldset footer form h1 h2 h3 h4 h5 h6 header hr"
    " li main nav ol p pre section table tbody tfoot thead tr ul"
)
_MARKED = each("a blockquote br div font hr p section span table td")  # where clients put their marks

# The element is a quote, or the line that introduces one.
_QUOTED = re.compile(
    r"gmail_quote|gmail_attr|moz-cite-prefix|moz-forward-container"  # Gmail, K-9, Thunderbird
    r"|yahoo_quoted|protonmail_quote|tutanota_quote|zmail_extra|ik_mail_quote"
    r"|olk_src_body_section|messagereplysection"  # Outlook for Mac, Spark
    r"|\bname=[\"']?quote\b|reply-intro"  # GMX, Roundcube
)
# The element is the writer's signature.
_SIGNED = re.compile(
    r"gmail_signature|moz-signature|applemailsignature|ms-outlook-mobile-signature|protonmail_signature_block"
    r"|\bid=[\"']?(?:x_)?signature\b|composer_signature|\bclass=[\"']?ydp\w*signature\b|tutanota_signature"
)
# Everything from here on is quoted.
_ENDS = re.compile(
    r"divrplyfwdmsg|appendonsend|mail-editor-reference-message-container|ms-outlook-mobile-reference-message"
    r"|stopspelling|border-top:\s*solid #(?:e1e1e1|b5c4df)"  # Outlook's rule above From, Sent, To, Subject
)
_SIGNATURE_BELOW = "linebreakatbeginningofsignature"  # Apple Mail, before the signature and the quote


def lines(html: str) -> list[str]:
    """The text outside quotes and signatures, a line for each block or <br>; white space is folded except in <pre>."""
    page = _Page()
    html = html[:MAX_CHARACTERS]
    at = 0
    while not page.ended and (start := _MARKUP.search(html, at)):
        page.text(html[at : start.start()])
        at = _markup(page, html, start.start())
    if not page.ended:
        page.text(html[at:])
    return page.finish()


def _markup(page: "_Page", html: str, start: int) -> int:
    """Where the text goes on after the markup at `start`; what never ends swallows the rest (HTML §13.2.5)."""
    if html.startswith("<!--", start):
        return _after(html, "-->", start + 4)
    if html.startswith(("<!", "<?"), start):
        return _after(html, ">", start)
    tag = _TAG.match(html, start)
    if tag is None:
        return len(html)
    name = tag[2].lower()
    if tag[1]:
        page.close(name)
    elif name in _RAW:  # not shown, and no markup inside
        end = _RAW[name].search(html, tag.end())
        return end.start() if end else len(html)
    else:
        page.open(name, tag[3].lower())
    return tag.end()


def _after(html: str, end: str, start: int) -> int:
    at = html.find(end, start)
    return len(html) if at < 0 else at + len(end)


class _Page:
    """The lines so far and the elements that are open."""

    def __init__(self) -> None:
        self.ended = False
        self._lines: list[str] = []
        self._line: list[str] = []
        self._open: list[str] = []
        self._count: Counter[str] = Counter()  # of each name in _open, so that a stray end tag costs nothing
        self._skipped: int | None = None  # length of _open outside the element that is being left out

    def text(self, raw: str) -> None:
        if raw and self._skipped is None:
            text = _unescape(raw) if "&" in raw else raw
            if not self._count["pre"]:
                self._line.append(text)
                return
            first, *rest = text.split("\n")
            self._line.append(first)
            for line in rest:
                self._break()
                self._line.append(line)

    def open(self, name: str, attributes: str) -> None:
        if name in _BREAKS:
            self._break()
        elif name in ("td", "th"):
            self._line.append(" ")
        if self._skipped is None:
            self._look(name, attributes)
        if name not in _VOID:
            self._open.append(name)
            self._count[name] += 1

    def close(self, name: str) -> None:
        if name in _BREAKS:
            self._break()
        while self._count[name]:
            last = self._open.pop()
            self._count[last] -= 1
            if last == name:
                break
        if self._skipped is not None and len(self._open) <= self._skipped:
            self._skipped = None

    def finish(self) -> list[str]:
        self._break()
        return self._lines

    def _look(self, name: str, attributes: str) -> None:
        """Act on the marks that mail clients leave."""
        if name == "blockquote" or (name in _MARKED and _QUOTED.search(attributes)):
            self._mark(QUOTE)
            self._skip(name)
        elif name not in _MARKED or not attributes:
            return
        elif _ENDS.search(attributes):
            self._mark(QUOTE)
            self.ended = True
        elif _SIGNED.search(attributes) and self._lines:  # with nothing above it, it may hold the answer
            self._skip(name)
        elif _SIGNATURE_BELOW in attributes:
            self._mark(SIGNATURE)

    def _skip(self, name: str) -> None:
        """Leave out what is inside the element that is about to open."""
        if name not in _VOID:
            self._skipped = len(self._open)

    def _mark(self, line: str) -> None:
        self._break()
        self._lines.append(line)

    def _break(self) -> None:
        line = "".join(self._line)
        self._line.clear()
        if line.strip():
            self._lines.append(line.strip() if self._count["pre"] else " ".join(line.split()))


def _unescape(text: str) -> str:
    try:
        return unescape(text)
    except ValueError:  # &#111…1; with more digits than Python makes a number of
        return text
