"""Every template of every language, with ordinary facts and with hostile ones.

A hold notice comes back quoted in its answers, and some clients quote without a mark: no line of ours may
then be taken for a decision, and no line of a question for a no.
"""

import ast
import re
import shutil
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, timezone
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, get_args
from urllib.parse import parse_qs, urlsplit

import pytest
from jinja2 import UndefinedError

import listserv
from listserv import rules
from listserv.flows import addressing, obeying, telling
from listserv.flows.agreeing import Effect, Yes
from listserv.flows.asking import Wish
from listserv.flows.confirming import Done
from listserv.flows.moderating import Decided, DecidedBefore
from listserv.flows.notifying import buttons
from listserv.flows.site import Site
from listserv.flows.vouching import Doubted
from listserv.mail import command, markup
from listserv.mail.command import Consent, Nothing, Unclear
from listserv.mail.phrases import each
from listserv.mail.tag import Tagger
from listserv.model.account import Account, Mailbox, Member
from listserv.model.address import Address
from listserv.model.consent import Consent as OnRecord
from listserv.model.consent import Step
from listserv.model.envelope import Proof
from listserv.model.group import Group, Joining, Kind, Mode, Policy, Posting, ReplyTo, Role, Strangers
from listserv.model.post import Ask, Hold, HoldKind, HoldState
from listserv.model.setting import Wrong, read_member
from listserv.model.token import Action, Request
from listserv.rules import RULES, judge
from listserv.store.holds import Held
from listserv.texts import WIDTH, Texts, one_line, short, templates_folder

LANGUAGES = ("en", "de")
NOW = datetime(2026, 11, 22, 10, 2, tzinfo=UTC)
TOKEN = "abcdefghijklmnopqrstuvwxyz"
TEXTS = Texts()
PACKAGE = Path(listserv.__file__).parent

SUBJECTS = (
    "Regatta on Sunday",
    "",
    "two\r\nBcc: everybody@example.net\r\n\r\nlines",
    "<script>alert(1)</script>",
    "{{ 7 * 7 }} {% raw %} {# no #}",
    "word " * 400,
    "x" * 3000,
    "‮drawkcab⁧‏\u200b\ufeff",
    "\x00\x1b[31m\x07\x85\u2028\u2029\ud800",
    "approve\n\napprove all\n",
    "“‘\"'&lt;&amp;><",
)
POLICIES = (
    Policy(title="Sailing", description="Boats, wind and weather. " * 8, welcome="Ahoy!\n\nBe kind.", farewell="Bye"),
    Policy(moderated=True, posting=Posting.ANYONE, joining=Joining.MODERATED, reply_to=ReplyTo.GROUP),
    Policy(title="<b>Sail</b>\r\nX: y", posting=Posting.MODERATORS, joining=Joining.INVITE, strangers=Strangers.HOLD),
    Policy(title="t" * 500, description="\x00\n\n" * 50, posting=Posting.OWNERS, joining=Joining.CLOSED),
)
ASKED = (
    Action.JOIN,
    Action.LEAVE,
    Action.COMMAND,
    Action.ADD_ADDRESS,
    Action.CHANGE_ADDRESS,
)  # what a question may ask
SHOWN = ["set sailing@lists.example.org own posts no", "unsubscribe *", "set name …", "end sessions", "set copies no"]
NOT_DONE = ("in", "out", "role", "closed", "banned", "ours", "other", "unwanted", "busy")
NO_ADDRESS = ("yours", "ours", "many", "disputed", "none", "only", "unwanted", "busy")
REASONS = ("every post to this group waits for an admin", "it looks like a command: “unsubscribe <b>me</b>”")


SITE = Site(
    name="Example Groups", hostname="lists.example.org", url="https://lists.example.org", node="one",
    domains=frozenset(["lists.example.org"]), operators=(), max_message_bytes=10_485_760,
    texts=TEXTS, tags=Tagger((b"the secret of this server",)), chance=bytes,
)  # fmt: skip


def group(policy: Policy = POLICIES[0]) -> Group:
    return Group(7, "sailing@lists.example.org", Kind.DISCUSSION, policy)


def hold(subject: str = SUBJECTS[0], kind: HoldKind = HoldKind.POST, state: HoldState = HoldState.OPEN) -> Held:
    decided = state is not HoldState.OPEN
    return Held(
        id=3, kind=kind, group_id=7, group="sailing@lists.example.org", post_id=5, digest=b"", author="ana@example.net",
        author_name=f"Ana {subject}"[:200], subject=subject[:998], reasons=REASONS, state=state, since=NOW,
        expires_at=NOW + timedelta(days=14), noticed=True, decided_by="bea@example.net" if decided else "",
        decided_at=NOW + timedelta(hours=1) if decided else None,
    )  # fmt: skip


def member(role: Role = Role.MEMBER, mode: Mode = Mode.EACH) -> Member:
    return Member(1, 2, "ana@example.net", "ana@example.net", "Ana", "de", role, mode, False, NOW, "asked by mail")


def always(policy: Policy, token: bool) -> dict[str, Any]:
    """What every notice gets."""
    known: dict[str, Any] = {"group": group(policy), "site": SITE, "to": Address("ana", "example.net")}
    known["door"] = "sailing-request@lists.example.org"
    return known | {"token": TOKEN if token else "", "buttons": buttons(group(), TOKEN) if token else {}}


Facts = Iterator[dict[str, Any]]


def hold_notice(kind: HoldKind) -> Callable[[str], Facts]:
    def made(text: str) -> Facts:
        for empty in (True, False):
            yield {"held": hold(text, kind), "admin": member(Role.OWNER), "empty_approves": empty}
        yield {"held": replace(hold(text, kind), author="", author_name=""), "admin": member(), "empty_approves": False}

    return made


def with_held(text: str) -> Facts:
    for kind in (HoldKind.POST, HoldKind.JOIN):
        for state in (HoldState.APPROVED, HoldState.REJECTED, HoldState.DISCARDED):
            yield {"held": hold(text, kind, state)}


def hold_result(text: str) -> Facts:
    for kind in (HoldKind.POST, HoldKind.JOIN):
        for state in HoldState:
            for why in ("", "still waiting"):
                for by in ("", f"Bea {text} <bea@example.net>"):
                    yield {"held": hold(text, kind, state), "why": why, "by": by}


def hold_second(text: str) -> Facts:
    for verb in ("approve", "reject", "discard", "undo"):
        for why in ("wrong-person", "unproven"):
            reason = text if verb == "reject" else ""
            yield {"held": hold(text), "verb": verb, "reason": reason, "days": 2, "why": why}


def batch_second(text: str) -> Facts:
    for why in ("wrong-person", "unproven"):
        verbs = (("approve", ""), ("reject", text), ("discard", ""))
        yield {"each": [(hold(text), *verb) for verb in verbs], "days": 2, "why": why}


def batch_result(text: str) -> Facts:
    waiting = [hold(text, state=state) for state in HoldState] + [hold(text, HoldKind.JOIN), None]
    done = [(n, Decided(hold(text, state=HoldState.APPROVED))) for n in (1, 6)]
    before = [(n, DecidedBefore(hold(text, state=state))) for n, state in enumerate(HoldState, 1) if n > 1]
    for results in ([], done, [*done, *before]):
        yield {"results": results, "line": text, "waiting": waiting}
        yield {"results": results, "line": "", "waiting": waiting[:1]}


def decision_of_admin(text: str) -> Facts:
    for reason in ("", text, f"first\n{text}\n\n   third {text}"):
        yield {"held": hold(text), "reason": reason}


def used_token(text: str) -> Facts:
    for action in Action:
        for is_in in (None, member(), member(Role.OWNER, Mode.NONE)):
            wishes = [(action, group()), (Action.LEAVE, group(POLICIES[2]))]
            yield {"used": {"state": "used", "used_at": NOW, "wishes": wishes, "is_in": is_in}}
            yield {"used": {"state": "expired", "used_at": None, "wishes": wishes[:1], "is_in": is_in}}


def question(text: str) -> Facts:
    """One wish, and several of several groups."""
    for number, action in enumerate((Action.JOIN, Action.LEAVE)):
        yield {"wishes": [(request(action), group())], "days": number + 1}
    everything = [(request(action), group(policy)) for action in ASKED for policy in POLICIES]
    yield {"wishes": everything, "days": 7}


def wishes(text: str) -> tuple[Yes, ...]:
    return tuple(
        Yes(action, group(Policy(title=text)), "ana@example.net", request(action).doc, NOW, {}) for action in ASKED
    )


def request(action: Action) -> Request:
    doc = {"address": "ana@example.net", "account": "bea@example.net", "shown": SHOWN}
    return Request(1, "ana@example.net", action, 7, doc, NOW, None)


def commands(text: str) -> Facts:
    """Everything that can become of a command."""
    where, place = group(), member()
    people = (("Ana", "", ""), (text, text, text))
    outcomes: list[obeying.Outcome] = [
        obeying.Wanted(Wish(Action.JOIN, where)),
        obeying.Left(where),
        *(obeying.NotDone(where, why) for why in NOT_DONE),
        *(obeying.NoGroup(name) for name in ("", text)),
        obeying.Nobody(),
        obeying.Changed(where, (("mode", "none"), ("own_posts", "no"))),
        obeying.Changed(None, (("name", text), ("region", ""), ("language", "de"))),
        obeying.NoValue("mode", ("each", "none"), is_later=True),
        obeying.NoValue("language", LANGUAGES),
        obeying.NoValue("country"),
        obeying.Twice("mode"),
        telling.Places(Account(1, text, text, "", NOW), (mailbox(),), ((where, place),)),
        telling.Places(Account(1, "", "", "", NOW), (mailbox(), mailbox()), ()),
        telling.People(where, people, 2),
        telling.People(where, (), 1),
        *(telling.NotTold(where, why) for why in ("often", "stranger")),
        telling.DataSent("ana@example.net"),
        obeying.About(where, 3),
        obeying.Helped(),
        obeying.NoLists(),
        *(addressing.AddressAsked("ana@example.net", asked) for asked in (True, False)),
        *(addressing.AddressRefused("ana@example.net", why) for why in NO_ADDRESS),
        addressing.AddressRemoved("ana@example.net"),
        *(addressing.SessionsEnded(count) for count in (1, 2)),
        obeying.NotOffered("index"),
        *(obeying.NotUnderstood(text, near) for near in ("", "which")),
    ]
    assert {type(outcome) for outcome in outcomes} == set(get_args(obeying.Outcome))
    each = [{"line": text, "outcomes": [outcome]} for outcome in outcomes]
    for more in (True, False):
        yield {"done": each, "more": more, "most": 20, "helps": more}
    yield {"done": [{"line": "which", "outcomes": tuple(outcomes[-3:])}], "more": False, "most": 20, "helps": False}


def mailbox() -> Mailbox:
    return Mailbox(2, 1, "ana@example.net", "ana@example.net", "Ana", "de", True)


def my_data(text: str) -> Facts:
    box = {"address": "ana@example.net", "language": "de", "proven_at": NOW, "bounces": 1, "bounced_at": NOW}
    token = {"action": "leave", "address": "ana@example.net", "made_at": NOW, "expires_at": NOW}
    held = {
        "mailboxes": [{**box, "bounce_reply": text}, {**box, "proven_at": None, "language": "", "bounces": 0}],
        "open_tokens": [token],
        "requests": [{"action": "join", "address": "ana@example.net", "made_at": NOW}],
        "bans": [{"group": "chess@lists.example.org", "address": "ana@example.net", "made_at": NOW}],
        "held": [{"kind": "post", "subject": text, "state": "open", "since": NOW}],
        "posts": [{"group": "chess@lists.example.org", "number": 1, "message_id": "<1@x.example>", "received_at": NOW}],
    }
    where = telling.Places(Account(1, text, text, "", NOW), (mailbox(),), ((group(), member()),))
    consent = OnRecord(1, Step.JOINED, "sailing@lists.example.org", "mail", NOW, {"ip": text})
    yield {"where": where, "held": held, "never": True, "record": [(consent, text)]}
    nowhere = telling.Places(Account(1, "", "", "", NOW), (mailbox(),), ())
    yield {"where": nowhere, "held": {name: [] for name in held}, "never": False, "record": []}


def vouch(text: str) -> Facts:
    one = Doubted(group(Policy(title="Sailing")), NOW, 1234)
    yield {"posts": [one], "days": 14}
    yield {"posts": [one] * 12, "days": 1}


def help_(text: str) -> Facts:
    yield from ({"member": known} for known in (None, member(), member(Role.MODERATOR, Mode.NONE)))


def fixed(**facts: Any) -> Callable[[str], Facts]:
    return lambda text: iter([facts])


FACTS: dict[str, Callable[[str], Facts]] = {
    "hold-post": hold_notice(HoldKind.POST),
    "hold-join": hold_notice(HoldKind.JOIN),
    "hold-summary": lambda text: iter([{"waiting": [hold(text, kind) for kind in (HoldKind.POST, HoldKind.JOIN)] * 3}]),
    "hold-unclear": lambda text: iter([{"held": hold(text), "line": text}, {"held": hold(text), "line": ""}]),
    "hold-result": hold_result,
    "hold-second": hold_second,
    "batch-result": batch_result,
    "batch-second": batch_second,
    "decided": with_held,
    "awaiting": lambda text: iter([{"subject": text, "reasons": (*REASONS, text), "days": 14}]),
    "rejected": decision_of_admin,
    "expired": lambda text: iter([{"held": hold(text, state=HoldState.EXPIRED), "reason": ""}]),
    "question": question,
    "join-waits": fixed(days=14),
    "join-rejected": lambda text: iter([{"reason": ""}, {"reason": text}]),
    "closed": fixed(),
    "welcome": lambda text: iter(
        {"leave_url": url, "leave_mailbox": "sailing-unsubscribe+aaabfvuhthal5tfuynsye@lists.example.org"}
        for url in ("", "https://lists.example.org/leave/sailing@lists.example.org/aaabfvuhthal5tfuynsye")
    ),
    "farewell": lambda text: iter([{"days": 14, "is_admin": True}, {"days": 1, "is_admin": False}]),
    "invitation": fixed(days=14),
    "already-in": fixed(),
    "used-token": used_token,
    "vouch": vouch,
    "help": help_,
    "commands": commands,
    "mydata": my_data,
    "help-site": fixed(group=None),
    "address-added": fixed(address="ada@example.net", by="bea@example.net"),
    "address-changed": fixed(address="ada@example.net", old="bea@example.net", days=14),
    "address-moved": fixed(address="ada@example.net", old="bea@example.net", days=14),
    "address-removed": fixed(by="ada@example.net", heir="bea@example.net", days=14),
    "address-kept": fixed(),
    "refused": lambda text: iter([{"subject": text, "address": "a@lists.example.org", "why": text}]),
}
WITH_HTML = ("hold-post", "hold-join")
WITH_TOKEN = {"hold-post", "hold-join", "hold-summary", "hold-second", "batch-second", "vouch"}
WITH_TOKEN |= {"question", "invitation", "farewell", "help", "help-site", "address-changed", "address-removed"}
ABOUT_HOLDS = ("hold-unclear", "hold-result", "batch-result")
WITH_TOKEN |= set(ABOUT_HOLDS)
QUESTIONS = ("hold-second", "batch-second", "vouch", "question", "invitation", "farewell", "address-changed")
QUESTIONS += ("address-removed",)
PAGES: dict[str, Callable[[str], dict[str, Any]]] = {
    "page-leave": lambda text: {"group": group(Policy(title=text)), "address_hint": text, "action": text},
    "page-left": lambda text: {"group": group(Policy(title=text)), "site": replace(SITE, name=text)},
    "page-gone": lambda text: {},
    "page-confirm": lambda text: {"wishes": wishes(text), "joins": True, "is_open": text != ""},
    "page-answered": lambda text: {"result": Done(tuple((wish, Effect.DONE) for wish in wishes(text))), "never": False},
    "page-error": lambda text: {"status": 404 if text else 500, "title": text, "text": text},
    "page-home": lambda text: {"site": replace(SITE, name=text)},
}


def given(name: str, text: str = SUBJECTS[0], policies: tuple[Policy, ...] = POLICIES) -> Facts:
    """All facts that the flows could hand to this template about this text."""
    for policy in policies:
        for facts in FACTS[name](text):
            yield always(policy, name in WITH_TOKEN) | facts


each_language = pytest.mark.parametrize("language", LANGUAGES)
each_mail = pytest.mark.parametrize("name", FACTS)


def test_every_language_has_the_same_texts() -> None:
    files = {folder.name: {file.name for file in folder.iterdir()} for folder in templates_folder().iterdir()}
    assert files.keys() == set(LANGUAGES)
    assert all(names == files["en"] for names in files.values())
    ours = {f"{name}.txt" for name in FACTS} | {f"{name}.html" for name in (*WITH_HTML, *PAGES)}
    assert {name for name in files["en"] if not name.startswith("_")} == ours


def test_every_letter_that_an_act_writes_has_its_template() -> None:
    letters = {name for file in (PACKAGE / "flows").glob("*.py") for name in _letters(ast.parse(file.read_text()))}
    assert letters == set(FACTS)


def test_every_page_of_the_web_has_its_template() -> None:
    sources = "".join(file.read_text() for file in (PACKAGE / "web").rglob("*.py"))
    assert {f"page-{name}" for name in re.findall(r"\.page\(\"([a-z-]+)\"", sources)} == PAGES.keys()


@each_language
@each_mail
def test_a_mail_has_one_subject_line_and_clean_lines_whatever_the_facts_hold(name: str, language: str) -> None:
    for text in SUBJECTS:
        policies = POLICIES if text == SUBJECTS[0] else POLICIES[2:3]
        for facts in given(name, text, policies):
            said = TEXTS.mail(name, language, **facts)
            assert said.subject == one_line(said.subject)
            assert 10 < len(said.subject) < 330
            assert said.body.split("\n")[0] not in said.subject
            assert not _unclean(said.subject + said.body)
            assert said.body.endswith("\n")
            assert not said.body.startswith("\n")
            assert "\n\n\n" not in said.body
            assert not any(line.endswith(" ") for line in said.body.split("\n")), said.body
            assert "Subject:" not in said.body.split("\n")[0]
            assert "49" not in said.body


@each_language
@each_mail
def test_lines_are_at_most_72_characters_unless_a_fact_is_longer(name: str, language: str) -> None:
    for facts in given(name, policies=POLICIES[:2]):
        for line in TEXTS.mail(name, language, **facts).body.split("\n"):
            assert (
                len(line) <= WIDTH
                or max(map(len, line.split())) > 40
                or line.startswith(("        It waits: ", "        Grund:    "))
            ), line


@each_mail
def test_german_is_really_german(name: str) -> None:
    facts = next(given(name))
    english, german = (TEXTS.mail(name, language, **facts) for language in LANGUAGES)
    assert english.subject != german.subject
    assert re.search(r"\b(der|die|das|und|ist|nicht)\b", german.body)
    assert not re.search(r"\b(the|and|you|your|this|has)\b", _own_words(german.body))
    assert not re.search(r"\b(fuer|ueber|zurueck|moecht\w+|bestaetig\w+|Loesch\w+|koenn\w+)\b", german.body)


def test_a_region_gets_its_language_and_an_unknown_language_gets_english() -> None:
    facts = next(given("farewell"))
    assert TEXTS.mail("farewell", "de-AT", **facts) == TEXTS.mail("farewell", "de", **facts)
    assert TEXTS.mail("farewell", "xx", **facts) == TEXTS.mail("farewell", "en", **facts)


def test_another_language_is_a_folder_and_what_it_lacks_is_english(tmp_path: Path) -> None:
    own = tmp_path / "fr"
    own.mkdir()
    (own / "address-kept.txt").write_text("Subject: Tout est comme avant\n\n{{ to }} le {{ held | moment }}.\n")
    texts, facts = Texts([tmp_path]), next(given("address-kept")) | {"held": NOW}
    assert texts.languages == {*LANGUAGES, "fr"}
    assert texts.spoken == ["de (Deutsch)", "en (English)", "fr (français)"]
    said = texts.mail("address-kept", "fr", **facts)
    assert (said.subject, said.body) == ("Tout est comme avant", "ana@example.net le 22 novembre 2026, 10:02 UTC.\n")
    assert texts.mail("help-site", "fr", **facts).subject == texts.mail("help-site", "en", **facts).subject
    there = facts | {"site": replace(SITE, texts=texts)}
    assert "fr (français)" in texts.mail("help-site", "de", **there).body
    assert [read_member("language", text, texts.languages) for text in ("FR", "fr-CA", "de")] == ["fr", "fr", "de"]
    assert isinstance(read_member("language", "it", texts.languages), Wrong)


def test_dates_speak_the_language_of_the_words_around_them() -> None:
    facts = next(given("hold-post"))
    assert "22 November 2026, 10:02 UTC" in TEXTS.mail("hold-post", "en", **facts).body
    assert "22. November 2026, 10:02 UTC" in TEXTS.mail("hold-post", "de", **facts).body
    assert "22 November 2026, 10:02 UTC" in TEXTS.mail("hold-post", "fr", **facts).body
    elsewhere = NOW.astimezone(timezone(timedelta(hours=14)))  # it is the 23rd there
    said = TEXTS.mail("hold-post", "en", **facts | {"held": replace(facts["held"], since=elsewhere)})
    assert "22 November 2026, 10:02 UTC" in said.body


def test_a_missing_fact_is_an_error() -> None:
    facts = next(given("welcome"))
    del facts["leave_url"]
    with pytest.raises(UndefinedError):
        TEXTS.mail("welcome", "en", **facts)


def test_an_operators_own_folder_goes_before_ours_also_for_pieces(tmp_path: Path) -> None:
    own = tmp_path / "en"
    own.mkdir()
    (own / "_foot.txt").write_text("\nOur own foot.\n")
    (own / "closed.txt").write_text("Subject: Shut, {{ to }}\n\nOur own words.\n{% include '_foot.txt' %}")
    texts, facts = Texts([tmp_path]), next(given("closed"))
    assert texts.mail("closed", "en", **facts).body == "Our own words.\n\nOur own foot.\n"
    assert texts.mail("closed", "en", **facts).subject == "Shut, ana@example.net"
    assert texts.mail("already-in", "en", **facts).body.endswith("\nOur own foot.\n")
    assert texts.mail("closed", "de", **facts) == TEXTS.mail("closed", "de", **facts)
    (own / "closed.txt").write_text("Subject: Shut\n\nChanged.\n")
    texts.reload()
    assert texts.mail("closed", "en", **facts).body == "Changed.\n"


def test_a_text_has_a_version_that_changes_with_its_wording_and_that_of_its_pieces(tmp_path: Path) -> None:
    own = tmp_path / "en"
    own.mkdir()
    texts = Texts([tmp_path])
    spoken, first = texts.version("question", "fr")
    assert spoken == "en"
    assert first == TEXTS.version("question", "en")[1] != TEXTS.version("question", "de")[1]
    assert TEXTS.version("question", "de")[0] == "de"
    (own / "_never.txt").write_text("Say never.\n")
    assert texts.version("question", "en")[1] == first, "until it is loaded again"
    texts.reload()
    assert texts.version("question", "en")[1] != first
    assert texts.version("welcome", "en") == TEXTS.version("welcome", "en")


@each_language
@pytest.mark.parametrize("name", [*WITH_HTML, *ABOUT_HOLDS, "hold-summary", "decided"])
def test_no_line_of_a_notice_looks_like_a_decision_when_it_is_quoted_without_a_mark(name: str, language: str) -> None:
    for facts in given(name, "approve"):
        said = TEXTS.mail(name, language, **facts).body
        assert isinstance(command.decision(said, None), Unclear)
        for line in said.split("\n"):
            assert isinstance(command.decision(line, None), Nothing | Unclear), line
            assert isinstance(command.batch(line, None), Nothing | Unclear), line


@each_language
@pytest.mark.parametrize("name", ["hold-summary", "batch-result"])
def test_nobody_can_write_a_subject_that_becomes_a_command_in_a_summary(name: str, language: str) -> None:
    for padding in range(0, 90, 3):
        for text in (f"{'x' * padding} approve all {'y' * 90}", f"{'x ' * padding}\napprove all\n"):
            for facts in given(name, text, POLICIES[:1]):
                held = replace(facts["waiting"][0], author=f"reject*1@{'x' * padding}.example")
                facts |= {"line": "", "waiting": [*facts["waiting"], held]}
                for line in TEXTS.mail(name, language, **facts).body.split("\n"):
                    assert isinstance(command.batch(line, None), Nothing | Unclear), line


@each_language
@pytest.mark.parametrize("name", WITH_HTML)
def test_nor_does_a_line_of_its_html_variant(name: str, language: str) -> None:
    for facts in given(name, "reject"):
        html = TEXTS.page(name, language, **facts)
        assert isinstance(command.decision(None, html), Unclear)
        for line in markup.lines(html):
            assert isinstance(command.decision(line, None), Nothing | Unclear), line


@each_language
@pytest.mark.parametrize("name", QUESTIONS)
def test_a_question_quoted_without_a_mark_is_no_objection(name: str, language: str) -> None:
    for facts in given(name):
        lines = TEXTS.mail(name, language, **facts).body.split("\n")
        for at in range(len(lines)):
            assert command.consent("\n".join(lines[at:]), None) is Consent.YES, lines[at]


@each_language
def test_the_question_whose_post_it_is_quoted_without_a_mark_says_no_more_than_yes(language: str) -> None:
    for facts in given("vouch"):
        said = TEXTS.mail("vouch", language, **facts).body
        everything = frozenset(range(1, len(facts["posts"]) + 1))
        for line in said.split("\n"):
            assert command.own(f"{line}\n{said}", None, len(facts["posts"])) == everything, line


@each_language
@pytest.mark.parametrize("name", ["question", "invitation"])
def test_a_question_says_who_for_how_long_and_what_to_do(name: str, language: str) -> None:
    for facts in given(name, policies=POLICIES[:1]):
        said = TEXTS.mail(name, language, **facts).body
        assert "ana@example.net" in said
        assert "sailing@lists.example.org" in said
        assert f"<{buttons(group(), TOKEN)['yes']}>" in said
        assert re.search(rf"\b{facts['days']} (days?|Tage?n?)\b", " ".join(said.split()))


@each_language
@pytest.mark.parametrize("name", WITH_HTML)
def test_a_hold_notice_says_who_what_and_why_and_has_three_buttons(name: str, language: str) -> None:
    facts = always(POLICIES[0], True) | next(FACTS[name]("Regatta"))
    facts["held"] = replace(facts["held"], reasons=("strange & new",))
    said = TEXTS.mail(name, language, **facts)
    shown = _html(TEXTS.page(name, language, **facts))
    who, where = "Ana Regatta <ana@example.net>", "Sailing <sailing@lists.example.org>"
    for expected in (who, where, "strange & new", "2026, 10:02 UTC"):
        assert expected in said.body
        assert expected in shown.text
    for word in ("approve", "reject", "discard", "undo"):
        assert re.search(rf"\b{word}\b", said.body)
        assert re.search(rf"\b{word}\b", shown.text)
    links = [buttons(group(), TOKEN)[word] for word in ("approve", "reject", "discard")]
    assert re.findall(r"^ +[^:\n]+: +<(mailto:\S+)>$", said.body, re.MULTILINE) == links
    assert shown.links == links
    assert parse_qs(urlsplit(shown.links[0]).query) == {"subject": ["approve"], "body": ["approve"]}
    assert "Ana Regatta" in said.subject
    assert "[Sailing] " in said.subject


@each_language
def test_an_answer_that_was_not_understood_offers_what_can_be_tapped_while_it_waits(language: str) -> None:
    links = [buttons(group(), TOKEN)[word] for word in ("approve", "reject", "discard")]
    for state, shown in ((HoldState.OPEN, links), (HoldState.APPROVED, [])):
        facts = next(given("hold-unclear")) | {"held": hold(state=state)}
        said = TEXTS.mail("hold-unclear", language, **facts).body
        assert re.findall(r"^ +[^:\n]+: +<(mailto:\S+)>$", said, re.MULTILINE) == shown


@each_language
@pytest.mark.parametrize("name", ["help", "help-site"])
def test_help_for_whom_nothing_proves_says_that_the_next_mail_comes_tomorrow(name: str, language: str) -> None:
    facts = next(given(name))
    for token, is_said in ((TOKEN, True), ("", False)):
        said = TEXTS.mail(name, language, **(facts | {"token": token})).body
        assert bool(re.search(r"tomorrow|morgen", said)) == is_said


@each_language
def test_a_hold_notice_says_whether_an_empty_answer_approves(language: str) -> None:
    for empty_approves, words in (
        (True, "approves this post|gibt diesen Beitrag"),
        (False, "changes nothing|ändert nichts"),
    ):
        facts = always(POLICIES[0], True) | {"held": hold(), "admin": member(), "empty_approves": empty_approves}
        said = TEXTS.mail("hold-post", language, **facts).body, TEXTS.page("hold-post", language, **facts)
        assert all(re.search(rf"(?:empty reply|leere Antwort) (?:{words})", text.replace("\n", " ")) for text in said)


@each_language
@pytest.mark.parametrize("name", WITH_HTML)
def test_html_of_a_notice_is_escaped_and_loads_nothing(name: str, language: str) -> None:
    for text in SUBJECTS:
        for facts in given(name, text, POLICIES[2:]):
            _assert_harmless(TEXTS.page(name, language, **facts), language)


@each_language
@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_escaped_whole_and_loads_nothing(name: str, language: str) -> None:
    for text in SUBJECTS:
        page = TEXTS.page(name, language, **PAGES[name](text))
        _assert_harmless(page, language)
        assert _html(page).tags.count("h1") == _html(page).tags.count("main") == 1


@each_language
def test_the_page_to_leave_has_one_form_with_one_button_that_posts(language: str) -> None:
    html = TEXTS.page("page-leave", language, group=group(), address_hint="")
    page = _html(html)
    assert page.tags.count("form") == page.tags.count("button") == 1
    assert page.forms == [{"method": "post"}]
    assert page.tags.count("input") == html.count('name="List-Unsubscribe" value="One-Click"') == 1  # RFC 8058 §3.2
    assert "Sailing" in page.text


@each_language
def test_the_reason_of_an_admin_keeps_its_lines_and_is_indented(language: str) -> None:
    facts = always(POLICIES[0], False) | {"held": hold(), "reason": "Too long.\n\n  Please cut it\x07."}
    assert "\n    Too long.\n    Please cut it .\n" in TEXTS.mail("rejected", language, **facts).body


def test_the_reasons_of_our_rules_are_german_in_german() -> None:
    for reason in _rules_reasons():
        facts = always(POLICIES[0], False) | {"subject": "x", "reasons": (reason,), "days": 14}
        english, german = (" ".join(TEXTS.mail("awaiting", language, **facts).body.split()) for language in LANGUAGES)
        assert reason in english
        assert reason not in german


def test_what_is_short_is_cut_at_its_limit_and_says_so() -> None:
    assert short("a b", 3) == "a b"
    assert short("a\r\n b c", 4) == "a b…"
    assert one_line(" \u202ea\x00b\u2028 c\t") == "a b c"
    assert one_line("👩\u200d🚀 می\u200cخواهم") == "👩\u200d🚀 می\u200cخواهم"


@dataclass
class _Page:
    tags: list[str]
    links: list[str]
    forms: list[dict[str, str | None]]
    lines: list[str]
    ids: dict[str, str | None]
    attributes: list[tuple[str, str | None]]

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.lines).split())


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.page = _Page([], [], [], [], {}, [])

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.page.tags.append(tag)
        self.page.attributes += attrs
        if tag == "a":
            self.page.links.append(dict(attrs)["href"] or "")
        if tag == "form":
            self.page.forms.append(dict(attrs))
        if tag == "html":
            self.page.ids = dict(attrs)

    def handle_data(self, data: str) -> None:
        self.page.lines.append(data)


def _html(text: str) -> _Page:
    reader = _Reader()
    reader.feed(text)
    return reader.page


TAGS = each(
    "html head meta title style body main footer div p h1 ul li table tr th td a form input label button bdi code small"
)


def _assert_harmless(html: str, language: str) -> None:
    """Only our own elements, no handlers, and no address that is fetched when it is shown."""
    page = _html(html)
    assert html.startswith("<!DOCTYPE html>")
    assert page.ids["lang"] == language
    assert set(page.tags) <= TAGS
    assert not [name for name, _ in page.attributes if name.startswith("on") or name in ("src", "srcset", "background")]
    assert all(link.startswith("mailto:") for link in page.links)
    assert not re.search(r"url\(|@import|http-equiv", html)
    assert not _unclean(html)


def _unclean(text: str) -> list[str]:
    """Characters that may not reach a reader: controls, surrogates, turners of direction, foreign line ends."""
    found = {c for c in text if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") and c != "\n"}
    return [hex(ord(c)) for c in found | ({*"\u202e\u2067\u200f\u200b\ufeff"} & {*text})]


def _own_words(body: str) -> str:
    """Without our English reasons and the facts: the indented lines of a table, and what stands in quotes."""
    return re.sub(r"„[^“]*“", "", "\n".join(line for line in body.split("\n") if not line.startswith("    ")))


def _rules_reasons() -> set[str]:
    """Every reason that our rules can give for a hold."""
    strangers = Policy(moderated=True, strangers=Strangers.HOLD)
    seen = rules.Facts(
        group=group(strangers), size=1, author=Address("ana", "example.net"), proof=Proof.UNKNOWN,
        is_from_a_list=True, names_the_group=False, recipients=99, command="unsubscribe", shows_a_right=True,
    )  # fmt: skip
    unclear = replace(seen, author=None, author_fault="From names two people")
    moderated = replace(seen, member=replace(member(), moderated=True))
    owners = replace(moderated, group=group(replace(strangers, posting=Posting.OWNERS)))
    only = replace(moderated, group=group(replace(strangers, posting=Posting.MODERATORS)))
    refuted = replace(seen, proof=Proof.REFUTED, is_believed=False, why=("SPF fails",))
    unproven = replace(moderated, is_believed=False)
    fast, alike = replace(moderated, lately=99), replace(moderated, alike=99)
    every = (seen, unclear, moderated, owners, only, refuted, unproven, fast, alike)
    verdicts = [judge(facts, RULES).verdict for facts in every]
    reasons = {reason for verdict in verdicts if isinstance(verdict, Hold | Ask) for reason in verdict.reasons}
    assert len(reasons) == 15, reasons
    return reasons | {"an admin decides who joins this group"}


def _letters(tree: ast.Module) -> Iterator[str]:
    """The names of templates in `Letter(…)`: given as they are, by the kind of a hold, or by a caller's argument."""
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
    for call in calls:
        if isinstance(call.func, ast.Name) and call.func.id == "Letter":
            yield from _names(call.args[0], tree, calls)


def _names(name: ast.expr, tree: ast.Module, calls: list[ast.Call]) -> Iterator[str]:
    match name:
        case ast.Constant(value=str(text)):
            yield text
        case ast.JoinedStr(values=[ast.Constant(value=str(start)), ast.FormattedValue()]):
            yield from (f"{start}{kind}" for kind in (HoldKind.POST, HoldKind.JOIN))
        case ast.Name(id=parameter):
            for function in (node for node in tree.body if isinstance(node, ast.FunctionDef)):
                names = [argument.arg for argument in function.args.args]
                if parameter in names:
                    mine = [call for call in calls if isinstance(call.func, ast.Name) and call.func.id == function.name]
                    for call in mine:
                        yield from _names(call.args[names.index(parameter)], tree, calls)
        case _:
            raise AssertionError(f"a template's name that this test cannot read: {ast.dump(name)}")


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("welcome.txt", "Subject: {{ nope\n\nHello\n", ", line 3: "),
        ("welcome.txt", "Subject: x\n\n{{ to | nofilter }}\n", ", line 3: No filter named 'nofilter'"),
        ("welcome.txt", "Hello\n", ": has no line “Subject: …” on top"),
        ("welcome.txt", "Subject: Hi {{ grp.title }}\n\nHello\n", ": no text is told “grp”"),
        ("wlcome.txt", "Subject: Hi\n\nHello\n", ": no text has this name; did you mean welcome.txt?"),
        ("welcome.txt", "Subject: Hi\n\n{% include '_nose.txt' %}\n", ": there is no “_nose.txt”"),
        ("page-left.html", "{% block %}", ", line 1: "),
    ],
)
def test_a_wrong_text_of_the_operator_is_named_and_ours_is_used(tmp_path: Path, name: str, text: str, why: str) -> None:
    (tmp_path / "en").mkdir()
    (tmp_path / "en" / name).write_text(text)
    texts = Texts([tmp_path])
    assert len(texts.faults) == 1
    assert texts.faults[0].startswith(f"{tmp_path}/en/{name}{why}")
    assert texts.version("welcome", "en") == Texts().version("welcome", "en")
    (tmp_path / "en" / name).unlink()
    texts.reload()
    assert texts.faults == ()


def test_a_wrong_text_in_a_language_that_we_do_not_speak_leaves_english(tmp_path: Path) -> None:
    (tmp_path / "fr").mkdir()
    (tmp_path / "fr" / "closed.txt").write_text("Subject: {{\n\nBonjour\n")
    facts = next(given("closed"))
    assert Texts([tmp_path]).mail("closed", "fr", **facts) == TEXTS.mail("closed", "en", **facts)


def test_all_of_our_own_texts_would_be_right_as_an_operators(tmp_path: Path) -> None:
    shutil.copytree(templates_folder(), tmp_path / "templates")
    assert Texts([tmp_path / "templates"]).faults == ()


@each_language
def test_a_command_with_words_that_it_does_not_take_is_told_apart_from_an_unknown_one(language: str) -> None:
    def said(line: str, near: str) -> str:
        done = [{"line": line, "outcomes": (obeying.NotUnderstood(line, near),)}]
        facts = next(given("commands")) | {"done": done, "helps": False}
        return " ".join(TEXTS.mail("commands", language, **facts).body.split())

    assert "Sailing" in said("subscribe weather", "subscribe").partition("listserv@lists.example.org")[0]
    assert "listserv@lists.example.org" in said("Subscribe weather", "subscribe")
    assert "listserv@lists.example.org" not in said("subscrbe", "subscribe")
    assert "subscribe" in said("subscrbe", "subscribe")
