"""The wording of every notice and page: templates under config/templates/<language>/, one file a text.

A text is looked up in the reader's language, then in English; an operator's own folder (`templates/` in data_dir) goes
before ours, but for files in it that cannot be right: those are `faults`.  A mail template is a Subject line, an empty
line, and the body; files that begin with `_` are pieces of others.  Missing facts are errors, never empty spots.

Facts are data, whoever wrote them: each comes out as one line without control characters and without
marks that turn the direction of what follows (UAX #9); several lines only by `indented` and `wrapped`.
In HTML they are escaped besides.
"""

import difflib
import hashlib
import re
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
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
    TemplateSyntaxError,
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
_SUBJECT = re.compile("^Subject:", re.MULTILINE)
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
        self._environment, loader = _environment(self._folders)
        wrong = {path: why for folder in self._folders[:-1] for path, why in _faults(self._environment, folder)}
        self._without = loader.without = frozenset(f"{path.parent.name}/{path.name}" for path in wrong)
        self.faults = tuple(f"{path}{why}" for path, why in wrong.items())
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
        known = [name for name in names if any((folder / name).is_file() for folder in self._where(name))]
        return known[0] if known else names[-1]

    def _where(self, name: str) -> Sequence[Path]:
        return self._folders[-1:] if name in self._without else self._folders


class _Environment(Environment):
    def join_path(self, template: str, parent: str) -> str:
        """A piece is of the language of the template that uses it, and is escaped where that is HTML."""
        piece = f"{parent.partition('/')[0]}/{template}"
        return f"{piece.removesuffix('.txt')}.html" if parent.endswith(".html") and piece.endswith(".txt") else piece


class _Loader(FileSystemLoader):
    """`without`: names that are read from the last folder, ours, only."""

    def __init__(self, folders: Sequence[Path]) -> None:
        super().__init__([str(folder) for folder in folders])
        self.ours = FileSystemLoader(str(folders[-1]))
        self.without: frozenset[str] = frozenset()

    def get_source(self, environment: Environment, template: str) -> tuple[str, str, Callable[[], bool]]:
        """A piece for both, `_words.txt`, is found as `_words.html` too: under that name it is compiled with escaping.

        Macros of a text, called from HTML, would else pass for markup that is escaped already.
        """
        try:
            return self._source(environment, template)
        except TemplateNotFound:
            if "/_" in template and template.endswith(".html"):
                return self._source(environment, f"{template.removesuffix('.html')}.txt")
            raise

    def _source(self, environment: Environment, template: str) -> tuple[str, str, Callable[[], bool]]:
        if template in self.without:
            return self.ours.get_source(environment, template)
        return super().get_source(environment, template)


class _Lines(str):
    """Text that may break lines, because a filter has seen to each of them."""

    __slots__ = ()


def _environment(folders: Sequence[Path]) -> tuple[Environment, _Loader]:
    loader = _Loader(folders)
    made = _Environment(
        loader=loader,
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
    return made, loader


def _faults(environment: Environment, folder: Path) -> Iterator[tuple[Path, str]]:
    """Files of an operator that cannot be right, and why, as it follows the file's name."""
    found: list[Path] = []
    with suppress(PermissionError):  # what we may not look at is not used either
        found = sorted(path for path in folder.glob("*/*") if path.suffix in (".txt", ".html"))
    if not found:
        return
    examples = {path.name: path.read_text("utf-8") for path in (templates_folder() / DEFAULT_LANGUAGE).iterdir()}
    trees = map(environment.parse, examples.values())
    facts = {"admin"}.union(*map(meta.find_undeclared_variables, trees))  # that one is told, and ours do without it
    for path in found:
        if why := _fault(environment, path, examples, facts):
            yield path, why


def _fault(environment: Environment, path: Path, examples: Mapping[str, str], facts: AbstractSet[str]) -> str:
    """ "" when nothing is wrong that can be seen before it is used."""
    if path.name not in examples and not path.name.startswith("_"):
        near = difflib.get_close_matches(path.name, examples, 1)
        return f": no text has this name{f'; did you mean {near[0]}?' if near else ''}"
    try:
        source = path.read_text("utf-8")
        environment.compile(source)
    except UnicodeDecodeError:
        return ": is not UTF-8"
    except OSError as fault:
        return f": {fault.strerror}"
    except TemplateSyntaxError as fault:
        return f", line {fault.lineno}: {fault.message}"
    if _SUBJECT.search(examples.get(path.name, "")) and not _SUBJECT.search(source):
        return ": has no line “Subject: …” on top"
    tree = environment.parse(source)
    if unknown := sorted(meta.find_undeclared_variables(tree) - facts):
        return f": no text is told “{unknown[0]}”"
    pieces = [piece for piece in meta.find_referenced_templates(tree) if piece]
    missing = [piece for piece in pieces if piece not in examples and not path.with_name(piece).exists()]
    return f": there is no “{missing[0]}”" if missing else ""


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
