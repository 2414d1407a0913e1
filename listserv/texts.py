"""The wording of every notice and page: templates under config/templates/<language>/, one file a text.

A text is looked up in the reader's language, then in English; an operator's own folder
(`templates/` in data_dir) goes before ours.  A mail template is a Subject line, an empty line, and the
body; files that begin with `_` are pieces of others.  Missing facts are errors, never empty spots.

Facts are data, whoever wrote them: each comes out as one line without control characters and without
marks that turn the direction of what follows (UAX #9); several lines only by `indented` and `wrapped`.
In HTML they are escaped besides.
"""

import hashlib
import re
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from babel import Locale, UnknownLocaleError
from babel.dates import format_date, format_time
from jinja2 import (
    Environment,
    FileSystemLoader,
    StrictUndefined,
    TemplateNotFound,
    meta,
    pass_context,
    select_autoescape,
)
from jinja2.runtime import Context
from markupsafe import Markup

DEFAULT_LANGUAGE = "en"
WIDTH = 72  # characters of a line of ours; facts may be longer

_UNSEEN = re.compile("[\u200b\u200e\u200f\u061c\u202a-\u202e\u2060-\u2069\ufeff\U000e0000-\U000e007f]")
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_GAP = re.compile(r"\n{3,}")


def templates_folder() -> Path:
    """Where our own templates are: beside the package in a checkout, inside it in an installed wheel."""
    package = Path(__file__).parent
    beside = package.parent / "config" / "templates"
    return beside if beside.is_dir() else package / "_config" / "templates"


@dataclass(frozen=True, slots=True)
class Text:
    subject: str
    body: str


class Texts:
    """Templates from `folders`, first found first; `reload` after SIGHUP."""

    def __init__(self, folders: Sequence[Path] = ()) -> None:
        self._folders = [*folders, templates_folder()]
        self.reload()

    def __reduce__(self) -> tuple[type["Texts"], tuple[list[Path]]]:
        """Another process reads the same folders."""
        return Texts, (self._folders[:-1],)

    def reload(self) -> None:
        self._environment = _environment(self._folders)
        self._find = cache(self._choose)
        self._mark = cache(self._hash)

    @property
    def languages(self) -> frozenset[str]:
        """Those in which there is at least one text, ours or the operator's."""
        return frozenset(found.parent.name for folder in self._folders for found in folder.glob("*/*.txt"))

    @property
    def spoken(self) -> list[str]:
        """The same for people: `de (Deutsch)`."""
        return [f"{language} ({language_name(language)})" for language in sorted(self.languages)]

    def mail(self, name: str, language: str, **facts: Any) -> Text:
        """The notice `name` in this language; its subject is one line whatever the facts hold."""
        head, _, body = self._render(f"{name}.txt", language, facts).lstrip("\n").partition("\n")
        subject = one_line(head.removeprefix("Subject:"))
        return Text(subject, _GAP.sub("\n\n", body).strip("\n") + "\n")

    def page(self, name: str, language: str, **facts: Any) -> str:
        """HTML; every fact is escaped."""
        return self._render(f"{name}.html", language, facts)

    def version(self, name: str, language: str) -> tuple[str, str]:
        """The language in which the notice `name` is written for this one, and a mark that changes with its wording."""
        found = self._find(f"{name}.txt", language)
        return found.partition("/")[0], self._mark(found)

    def _hash(self, file: str) -> str:
        """SHA-256, shortened, over the template and every piece it uses."""
        seen: dict[str, bytes] = {}
        waiting = [file]
        while waiting:
            one = waiting.pop()
            if one in seen or self._environment.loader is None:
                continue
            source = self._environment.loader.get_source(self._environment, one)[0]
            seen[one] = source.encode()
            pieces = meta.find_referenced_templates(self._environment.parse(source))
            waiting += [self._environment.join_path(piece, one) for piece in pieces if piece]
        return hashlib.sha256(b"\0".join(seen[each] for each in sorted(seen))).hexdigest()[:16]

    def _render(self, file: str, language: str, facts: dict[str, Any]) -> str:
        """`language` is a fact too: that of the template, so that dates speak as the words around them."""
        found = self._find(file, language)
        return self._environment.get_template(found).render({**facts, "language": found.partition("/")[0]})

    def _choose(self, file: str, language: str) -> str:
        names = [f"{language}/{file}", f"{language.partition('-')[0]}/{file}", f"{DEFAULT_LANGUAGE}/{file}"]
        known = [name for name in names if any((folder / name).is_file() for folder in self._folders)]
        return known[0] if known else names[-1]


class _Environment(Environment):
    def join_path(self, template: str, parent: str) -> str:
        """A piece is of the language of the template that uses it, and is escaped where that is HTML."""
        piece = f"{parent.partition('/')[0]}/{template}"
        return f"{piece.removesuffix('.txt')}.html" if parent.endswith(".html") and piece.endswith(".txt") else piece


class _Loader(FileSystemLoader):
    def get_source(self, environment: Environment, template: str) -> tuple[str, str, Callable[[], bool]]:
        """A piece for both, `_words.txt`, is found as `_words.html` too: under that name it is compiled with escaping.

        Macros of a text, called from HTML, would else pass for markup that is escaped already.
        """
        try:
            return super().get_source(environment, template)
        except TemplateNotFound:
            if "/_" in template and template.endswith(".html"):
                return super().get_source(environment, f"{template.removesuffix('.html')}.txt")
            raise


class _Lines(str):
    """Text that may break lines, because a filter has seen to each of them."""

    __slots__ = ()


def _environment(folders: Sequence[Path]) -> Environment:
    made = _Environment(
        loader=_Loader([str(folder) for folder in folders]),
        undefined=StrictUndefined,
        autoescape=select_autoescape(["html"], default_for_string=False),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=_finish,
    )
    made.filters |= {
        "plural": plural,
        "short": short,
        "indented": indented,
        "wrapped": wrapped,
        "language_name": language_name,
        "moment": moment,
        "day": day,
        "kind": lambda value: type(value).__name__,
    }
    return made


def _finish(value: Any) -> Any:
    """What an expression in a template puts out: markup and lines are done already, all else becomes one line."""
    return value if isinstance(value, Markup | _Lines) else one_line(str(value))


def one_line(text: str) -> str:
    """The words with one blank between them, without what could end a line, hide text or turn its direction."""
    plain = text.unescape() if isinstance(text, Markup) else text  # an expression puts it out escaped again
    return " ".join(_UNPRINTABLE.sub(" ", _UNSEEN.sub("", plain)).split())


def plural(number: int, one: str, many: str) -> str:
    """`1 post`, `2 posts`."""
    return f"{number} {one if number == 1 else many}"


def short(text: str, limit: int = 100) -> str:
    """One line of at most `limit` characters; an ellipsis says that there was more."""
    line = one_line(text)
    return line if len(line) <= limit else line[: limit - 1].rstrip() + "…"


def indented(text: str, prefix: str = "    ") -> str:
    """Each line of the text on lines of its own behind `prefix`, blank ones left out."""
    lines = [one_line(line) for line in text.splitlines()]
    return _Lines("\n".join(_wrap(line, prefix, prefix) for line in lines if line))


def wrapped(text: str, first: str = "", rest: str | None = None) -> str:
    """The text as one paragraph; `first` stands before its first line and `rest` before the others.

    Without `rest`, the others begin under the first letter of the first.
    """
    return _Lines(_wrap(one_line(text), first, " " * len(first) if rest is None else rest))


@pass_context
def moment(context: Context, at: datetime) -> str:
    """`22 November 2026, 10:02 UTC`, in the template's language."""
    clock = format_time(at.astimezone(UTC), "short", locale=_locale(context["language"]))
    return f"{day(context, at)}, {clock} UTC"


@pass_context
def day(context: Context, at: datetime) -> str:
    """`22 November 2026`, in the template's language; the day is that of UTC."""
    return format_date(at.astimezone(UTC), "long", locale=_locale(context["language"]))


def language_name(language: str) -> str:
    """What a language calls itself: Deutsch, English; the code where Babel does not know it."""
    try:
        known = Locale.parse(language, sep="-")
    except (UnknownLocaleError, ValueError):
        return language
    return known.get_display_name(known) or language


@cache
def _locale(language: str) -> Locale:
    """English is the one of day before month and 24 hours, and stands in for what Babel does not know."""
    if language == DEFAULT_LANGUAGE:
        return Locale("en", "GB")
    try:
        return Locale.parse(language, sep="-")
    except (UnknownLocaleError, ValueError):
        return Locale("en", "GB")


def _wrap(line: str, first: str, rest: str) -> str:
    """At the blanks only: addresses and links stay whole."""
    return textwrap.fill(
        line, WIDTH, initial_indent=first, subsequent_indent=rest, break_long_words=False, break_on_hyphens=False
    )
