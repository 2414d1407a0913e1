"""Commands: as the people of every list server write them, word by word, and whatever anybody may send."""

import time
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from listserv.mail import message, mime, request
from listserv.model.request import (
    AddAddress,
    ChangeAddress,
    Command,
    Confirm,
    EndSessions,
    Help,
    Info,
    Lists,
    MyData,
    NotHere,
    RemoveAddress,
    Request,
    Set,
    Subscribe,
    Unknown,
    Unsubscribe,
    Which,
    Who,
    written,
)

REQUESTS = Path(__file__).parent.parent / "messages" / "requests"
TOKEN = "abcdefghijklmnopqrstuvwxyz"
SAILING = "sailing@lists.example.org"


def one(key: str, value: str, group: str = "") -> Set:
    return Set(group, ((key, value),))


PROSE = (
    Unknown("who is going to sail on Sunday? Please set sail without me. I was told to", "who"),
    Unknown("leave the harbour before ten, and to subscribe to the forecast.", "unsubscribe"),
    Unknown("Could you help me with that?", ""),
)

# What each writer meant.
MEANT: dict[str, tuple[Command, ...]] = {
    "ezmlm-request": (Unsubscribe(),),
    "gmail-app-html-only": (Which(), one("name", "Ada King, Countess of Lovelace")),
    "gmail-web-en-html": (one("mode", "none"), one("own_posts", "no"), one("language", "de")),
    "ios-mail-de-mixed": (ChangeAddress("ada@neu.example"),),
    "listserv-change-register": (ChangeAddress("ada@new.example"), one("name", "Ada King Lovelace"), Confirm(TOKEN)),
    "mailman2-options": (
        *(NotHere("authenticate"), one("mode", "none"), one("own_posts", "no"), one("visible", "no")),
        *(one("copies", "no"), one("mode", "digest"), Which()),
    ),
    "mailman2-request-subject": (Unsubscribe(),),
    "mailman3-join-digest": (Subscribe(),),
    "majordomo-other-address": (Subscribe("sailing", "", "grace@g.example"), Unsubscribe("walkers", "ada@a.example")),
    "mutt-listserv-many": (
        *(Subscribe("sailing", "Ada King Lovelace"), Set("sailing", (("own_posts", "no"), ("visible", "no")))),
        *(one("mode", "none", "walkers"), Who("walkers"), Which()),
    ),
    "outlook-desktop-de-abmelden": (Unsubscribe(),),
    "outlook-web-de-signature-without-dashes": (MyData(), EndSessions()),
    "pine-majordomo-end": (Which(), Info("sailing"), Subscribe("sailing")),
    "prose-en": PROSE,
    "sympa-commands": (
        *(Unsubscribe("walkers"), one("mode", "none", "*"), one("own_posts", "no", "sailing"), NotHere("last")),
    ),
    "thunderbird-bottom-below-quote": (one("mode", "each"), Who()),
}


def asked(name: str, *, html_only: bool = False) -> tuple[Command, ...]:
    parsed = message.parse((REQUESTS / f"{name}.eml").read_bytes())
    said = mime.text_parts(parsed)
    to = str(next(field.value.decode() for field in parsed.fields if field.name == "to"))
    scope = "" if to.startswith("listserv") else SAILING
    return request.parse(message.subject(parsed), None if html_only else said.plain, said.html, scope).commands


def test_every_mail_on_file_has_a_meaning_in_the_table():
    assert {path.stem for path in REQUESTS.glob("*.eml")} == set(MEANT)


@pytest.mark.parametrize("name", MEANT)
def test_a_mail_is_understood_as_its_writer_meant_it(name: str):
    assert asked(name) == MEANT[name]


@pytest.mark.parametrize("name", [name for name in MEANT if "outlook-desktop" in name or "gmail" in name])
def test_its_html_says_the_same(name: str):
    assert asked(name, html_only=True) == MEANT[name]


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        # at the door of a group its name may be left out
        ("subscribe", Subscribe()),
        ("Join!", Subscribe()),
        ("subscribe me please", Subscribe()),
        ("please subscribe me to this list", Subscribe()),
        ("subscribe sailing Ada Lovelace", Subscribe(name="Ada Lovelace")),
        ("subscribe Ada Lovelace", Subscribe(name="Ada Lovelace")),
        ("subscribe digest", Subscribe(digest=True)),
        ("subscribe nodigest", Subscribe()),
        ("subscribe address=grace@g.example", Subscribe(address="grace@g.example")),
        ("subscribe weather", Unknown("subscribe weather", "subscribe")),
        ("unsubscribe", Unsubscribe()),
        ("*unsubscribe*", Unsubscribe()),
        ("please unsubscribe me from this list", Unsubscribe()),
        ("sign off", Unsubscribe()),
        ("signoff *", Unsubscribe("*")),
        ("Abmelden.", Unsubscribe()),
        ("unsubscribe grace@g.example", Unsubscribe(address="grace@g.example")),
        ("leave me alone", Unknown("leave me alone", "unsubscribe")),
        ("set nomail", one("mode", "none")),
        ("nomail", one("mode", "none")),
        ("set mail", one("mode", "each")),
        ("set delivery on", one("mode", "each")),
        ("set digest off", one("mode", "each")),
        ("set mode=digest", one("mode", "digest")),
        ("set mode vacation", Unknown("set mode vacation", "set mode")),
        ("set sailing@lists.example.org postpone", one("mode", "none")),
        ("set own_posts=no", one("own_posts", "no")),
        ("set own posts off", one("own_posts", "no")),
        ("set eigene Beiträge nein", one("own_posts", "no")),
        ("set repro", one("own_posts", "yes")),
        ("set hide off", one("visible", "yes")),
        ("set noconceal", one("visible", "yes")),
        ("set language DE", one("language", "de")),
        ("set region = Bavaria", one("region", "Bavaria")),
        ("set country -", one("country", "")),
        ("set mode none visible no name A = B", Set("", (("mode", "none"), ("visible", "no"), ("name", "A = B")))),
        ("set ack on", NotHere("ack")),
        ("set sail tomorrow", Unknown("set sail tomorrow", "set")),
        ("set", Unknown("set", "set")),
        ("set nme Ada", Unknown("set nme Ada", "set name")),
        ("set langauge de", Unknown("set langauge de", "set language")),
        ("set name", Unknown("set name", "set name")),
        ("who", Who()),
        ("review sailing", Who()),
        ("who is it", Unknown("who is it", "who")),
        ("status", Which()),
        ("info", Info()),
        ("help", Help()),
        ("?", Help()),
        ("Hilfe!", Help()),
        ("help set", Help()),
        ("lists", Lists()),
        ("my data", MyData()),
        ("Auskunft", MyData()),
        (f"confirm {TOKEN}", Confirm(TOKEN)),
        (f"OK {TOKEN.upper()}", Confirm(TOKEN)),
        (f"auth {TOKEN} subscribe sailing ada@a.example", Confirm(TOKEN)),
        ("confirm 12345", Unknown("confirm 12345", "confirm")),
        ("address add Grace@G.example", AddAddress("Grace@g.example")),
        ("address remove <grace@g.example>", RemoveAddress("grace@g.example")),
        ("address change ada@new.example", ChangeAddress("ada@new.example")),
        ("address add", Unknown("address add", "address")),
        ("end all sessions", EndSessions()),
        ("revoke", EndSessions()),
        ("index", NotHere("index")),
        ("1. which", Which()),
        ("subscrbe", Unknown("subscrbe", "subscribe")),
        ("", Unknown("")),
    ],
)  # fmt: skip
def test_a_line_at_the_door_of_a_group(line: str, meant: Command):
    assert request.read(line, SAILING) == meant


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ("subscribe sailing", Subscribe("sailing")),
        ("SUB SAILING@lists.example.org Ada Lovelace", Subscribe(SAILING, "Ada Lovelace")),
        ("subscribe sailing anonymous", Subscribe("sailing")),
        ("subscribe me", Subscribe()),
        ("subscribe *", Unknown("subscribe *", "subscribe")),
        ("signoff sailing (NETWIDE", Unsubscribe("sailing")),
        ("set sailing nomail conceal", Set("sailing", (("mode", "none"), ("visible", "no")))),
        ("set * digest", one("mode", "digest", "*")),
        ("set nomail", one("mode", "none")),
        ("set name Ada Lovelace", one("name", "Ada Lovelace")),
        ("set sailing show", Which("sailing")),
        ("query sailing", Which("sailing")),
        ("query *", Which()),
        ("who sailing", Who("sailing")),
        ("change sailing ada@new.example", ChangeAddress("ada@new.example")),
        ("register Ada Lovelace", one("name", "Ada Lovelace")),
    ],
)
def test_a_line_for_the_whole_site(line: str, meant: Command):
    assert request.read(line) == meant


@pytest.mark.parametrize("subject", ["unsubscribe", "Re: unsubscribe", "AW: [sailing] Re[2]: unsubscribe"])
def test_the_subject_counts_and_prose_below_it_does_not(subject: str):
    assert request.parse(subject, "Thank you very much for all the fish", None, SAILING) == Request((Unsubscribe(),))


def test_a_command_in_subject_and_text_is_one():
    assert request.parse("which", "which\nhelp\nwhich", None).commands == (Which(), Help())


def test_a_forwarded_subject_is_no_command():
    assert request.parse("Fwd: unsubscribe", "help", None, SAILING).commands == (Help(),)


def test_a_subject_that_says_nothing_is_told_only_when_there_is_no_text():
    assert request.parse("What now", "", None).commands == (Unknown("What now"),)
    assert request.parse("What now", "help", None).commands == (Help(),)
    assert request.parse("", "", None).commands == ()


@pytest.mark.parametrize("end", ["end", "STOP", "-", "Quit."])
def test_nothing_counts_below_an_end(end: str):
    assert request.parse("", f"which\n{end}\nunsubscribe", None, SAILING).commands == (Which(),)


def test_at_most_twenty_commands_are_read():
    lines = "\n".join(f"info group{n}" for n in range(30))
    said = request.parse("", lines, None)
    assert len(said.commands) == request.MAX_COMMANDS
    assert said.more
    assert not request.parse("", "\n".join(f"info group{n}" for n in range(20)), None).more


def test_reading_ends_where_nothing_makes_sense():
    said = request.parse("", "bla one\nbla two\nbla three\nbla four\nbla five\nbla six\nunsubscribe", None, SAILING)
    assert len(said.commands) == request.MAX_UNKNOWN
    assert Unsubscribe() not in said.commands


WORDS = st.sampled_from(
    [
        "subscribe",
        "unsubscribe",
        "set",
        "which",
        "who",
        "help",
        "confirm",
        "address",
        "end",
        "sessions",
        "mode",
        "none",
        "each",
        "digest",
        "own",
        "posts",
        "copies",
        "no",
        "yes",
        "name",
        "region",
        "language",
        "de",
        "*",
        "sailing",
        "sailing@lists.example.org",
        "ada@a.example",
        "please",
        "me",
        "=",
        "-",
        ">",
        ":",
        "Re:",
        "quiet",
        "off",
    ]
)
LINES = st.lists(st.lists(WORDS | st.text(max_size=8), max_size=8).map(" ".join), max_size=30).map("\n".join)


@given(st.text(max_size=100), LINES | st.none(), LINES | st.none(), st.sampled_from(["", SAILING]))
def test_whatever_is_said_is_a_short_list_of_commands(subject, plain, html, scope):
    said = request.parse(subject, plain, html, scope)
    assert len(said.commands) <= request.MAX_COMMANDS
    assert len(set(said.commands)) == len(said.commands)
    for command in said.commands:
        assert "\n" not in written(command)


@given(LINES)
@example("subscribe [ please")
def test_our_own_spelling_is_read_as_the_same_command(line):
    for command in request.parse("", line, None).commands:
        if not isinstance(command, NotHere | Unknown) and not getattr(command, "address", ""):
            again = request.read(written(command))
            assert again == command or getattr(command, "digest", False)


def test_a_megabyte_of_commands_takes_no_time():
    began = time.process_time()
    request.parse("set " * 300_000, "set own " * 200_000, "<b>set = " * 100_000)
    request.parse("", "x=" * 500_000 + "\n" + "set mode " * 100_000, None)
    assert time.process_time() - began < 2
