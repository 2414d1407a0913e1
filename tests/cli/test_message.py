"""`post` and `explain`: messages from a file."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from listserv.rules import RULES
from listserv.store import schema
from tests.cli.shell import Shell
from tests.kit.nameserver import nameserver

GROUP = ("group", "create", "sailing@lists.example", "--owner", "ada@a.example")
POST = (
    "From: Bob <bob@b.example>\nTo: sailing@lists.example\nSubject: Wind\nMessage-ID: <1@b.example>\n\nHello\n.\nbye\n"
)


@pytest.fixture
def sailing(shell: Shell) -> Shell:
    shell.ok(*GROUP)
    shell.ok("member", "add", "sailing", "bob@b.example", "--confirmed")
    return shell


def stored(shell: Shell) -> list[bytes]:
    node = shell.node()
    try:
        return [
            bytes(c) for c in node.db.read_now(lambda tx: tx.execute(select(schema.messages.c.content)).scalars().all())
        ]
    finally:
        node.close()


def numbers(shell: Shell) -> dict[str, int]:
    """How many rows each table has."""
    node = shell.node()
    try:
        tables = schema.metadata.sorted_tables
        return node.db.read_now(
            lambda tx: {t.name: tx.execute(select(func.count()).select_from(t)).scalar_one() for t in tables}
        )
    finally:
        node.close()


def test_a_posted_file_is_a_post_with_crlf(shells: Shell) -> None:
    shells.ok(*GROUP)
    shells.ok("member", "add", "sailing", "bob@b.example", "--confirmed")
    said = shells.ok("post", "sailing", shells.file("m.eml", POST))
    assert said == "250 2.0.0 accepted as post 1 of sailing@lists.example\n"
    assert stored(shells) == [POST.replace("\n", "\r\n").encode()]
    assert shells.ok("post", "sailing", "-", stdin=POST).endswith("(known already)\n")
    (line,) = shells.log("post.accepted")
    assert line["way"] == "shell"
    assert line["mail_from"] == "bob@b.example"


def test_crlf_stays_and_a_last_line_end_is_added(sailing: Shell) -> None:
    sailing.ok("post", "sailing", "-", stdin=POST.replace("\n", "\r\n").rstrip().encode())
    assert stored(sailing) == [POST.replace("\n", "\r\n").encode()]


@pytest.mark.parametrize(
    ("content", "reply"),
    [
        (POST.encode() + b"a\0b\n", "550 5.5.2"),
        (POST.encode() + b"a\rb\n", "550 5.5.2"),
        (POST.encode() + b"x" * 1000 + b"\n" * 11_000_000, "552 5.3.4"),
        (b"X: y\n" * 1_100 + POST.encode(), "552 5.3.4"),
    ],
    ids=["NUL", "bare CR", "too big", "too many fields"],
)
def test_what_the_listener_refuses_is_refused_here(sailing: Shell, content: bytes, reply: str) -> None:
    path = sailing.file("bad.eml", content)
    (said,) = sailing.fails("post", "sailing", path)
    assert said.startswith(f"Error: {reply}")
    about = sailing.json("explain", "sailing", path)
    assert (about["verdict"], about["rules"][0]["rule"]) == ("reject", "listener")
    assert about["reply"].startswith(reply)
    assert stored(sailing) == []


def test_a_refusal_of_the_group_is_exit_1(sailing: Shell) -> None:
    hops = "Received: by hop.example; Sun, 22 Nov 2026 10:00:00 +0000\n" * 51
    (said,) = sailing.fails("post", "sailing", "-", stdin=hops + POST)
    assert said == "Error: 554 5.4.6 this message has 51 hops: a mail loop"


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"no header", b"\xff\xfe\xfd", b"From: a@b.example\nFrom: c@d.example\n\nx", b"." * 3000]
)
def test_whatever_is_posted_gets_one_line(sailing: Shell, content: bytes) -> None:
    path = sailing.file("odd.eml", content)
    result = sailing.run("post", "sailing", path)
    assert len(result.output.splitlines()) == 1
    assert result.output.strip().isprintable()
    assert sailing.run("explain", "sailing", path).exit_code == (0 if content.strip() else 1)


def test_explaining_changes_nothing(shells: Shell) -> None:
    shells.ok(*GROUP)
    path = shells.file("m.eml", POST)
    before = numbers(shells)
    for more in ((), ("--trusted",), ("--json",)):
        shells.ok("explain", "sailing", path, *more)
    assert numbers(shells) == before


def explained(shell: Shell, content: str, *more: str) -> Any:
    return shell.json("explain", "sailing", shell.file("m.eml", content), *more)


def test_the_verdict_is_that_of_mail_from_outside(sailing: Shell) -> None:
    stranger = POST.replace("bob@b", "eve@e")
    about = explained(sailing, stranger)
    assert about["verdict"] == "reject"
    assert about["reply"].startswith("550 5.7.1 the author is not a member of sailing@lists.example; to join, write to")
    assert [rule["rule"] for rule in about["rules"]] == ["stranger"]
    assert (about["facts"]["author"], about["facts"]["member"]) == ("eve@e.example", None)
    assert explained(sailing, stranger, "--trusted")["verdict"] == "hold"


def test_every_rule_that_spoke_is_named_with_its_words(sailing: Shell) -> None:
    sailing.ok("group", "set", "sailing", "moderated=yes")
    sailing.ok("member", "set", "sailing", "bob@b.example", "moderated=yes")
    about = explained(sailing, POST.replace("To: sailing", "To: rowing").replace("Wind", "unsubscribe"))
    assert about["verdict"] == "hold"
    assert {rule["rule"]: rule["verdict"] for rule in about["rules"]} == dict.fromkeys(
        ("moderated_group", "moderated_member", "no_explicit_recipient", "administrative_words"), "hold"
    )
    assert all(rule["says"] for rule in about["rules"])
    assert {rule["rule"] for rule in about["rules"]} < {rule.__name__ for rule in RULES}
    assert about["facts"]["member"] == "member, moderated"


def test_an_honest_post_is_accepted_and_no_rule_spoke(sailing: Shell) -> None:
    about = explained(sailing, POST)
    assert (about["verdict"], about["rules"]) == ("accept", [])
    shown = sailing.ok("explain", "sailing", str(sailing.folder / "m.eml"))
    assert "accept" in shown
    assert "bob@b.example" in shown


def test_it_says_whose_from_members_see_and_why(sailing: Shell) -> None:
    copies = explained(sailing, POST)["copies"]
    assert copies["from"] == "Bob <bob@b.example>"
    assert "not looked up" in copies["because"]
    assert (copies["changed"], copies["left_out"]) == ([], [])
    sailing.ok("group", "set", "sailing", "from=group", "subject_tag=[sail]")
    copies = explained(sailing, POST)["copies"]
    assert copies["from"] == "Bob via sailing <sailing@lists.example>"
    assert copies["because"].startswith("from=group")
    assert copies["changed"] == ["subject"]


def test_a_robot_is_discarded_and_a_repeat_is_known(sailing: Shell) -> None:
    about = explained(sailing, "Auto-Submitted: auto-replied\n" + POST)
    assert (about["verdict"], about["rules"][0]["rule"]) == ("discard", "robot")
    sailing.ok("post", "sailing", "-", stdin=POST)
    again = explained(sailing, POST)
    assert again["verdict"] == "repeat"
    assert again["reply"].endswith("(known already)")


def test_the_verdict_is_what_then_happens(sailing: Shell) -> None:
    """What a trusted peer would be told is what `post` is told."""
    variants = [
        POST,
        "List-Id: <x.y>\n" + POST,
        POST.replace("bob@b", "eve@e"),
        "Auto-Submitted: auto-replied\n" + POST,
    ]
    for number, text in enumerate(variants):
        mine = text.replace("<1@", f"<{number}@")
        said = explained(sailing, mine, "--trusted")
        reply = sailing.run("post", "sailing", "-", stdin=mine).output
        assert {"accept": "accepted", "hold": "held", "discard": "does not distribute"}[said["verdict"]] in reply


def test_a_subject_cannot_speak_to_the_terminal(sailing: Shell) -> None:
    evil = POST.replace("Wind", "\x1b[31m \u202e =?utf-8?q?=1B]0;x=07?=").replace("Bob", "\x9bX")
    path = sailing.file("m.eml", evil)
    for more in ((), ("--json",)):
        assert sailing.ok("explain", "sailing", path, *more).replace("\n", "").isprintable()
    assert sailing.run("post", "sailing", path).output.strip().isprintable()


def test_a_file_or_a_group_that_is_not_there(sailing: Shell) -> None:
    for command in ("post", "explain"):
        missing = sailing.run(command, "sailing", str(sailing.folder / "nosuch.eml"))
        assert (missing.exit_code, "nosuch.eml" in missing.stderr) == (2, True)
        assert sailing.run(command, "sailing", str(sailing.folder)).exit_code == 2
        assert "there is no such group" in sailing.fails(command, "rowing", sailing.file("m.eml", POST))[0]


@pytest.mark.parametrize("command", ["post", "explain"])
def test_each_command_has_help_with_an_example(shell: Shell, command: str) -> None:
    assert f"listserv {command} sailing message.eml" in shell.ok(command, "--help")


def test_explain_says_who_wrote_it_and_why(sailing: Shell) -> None:
    with nameserver() as dns:
        dns.zone('b.example TXT "v=spf1 ip4:192.0.2.1 -all"\n_dmarc.b.example TXT "v=DMARC1; p=quarantine"')
        config = Path(sailing.config)
        config.write_text(f'{config.read_text()}\n[dns]\nservers = ["{dns.setting}"]\n')
        here = replace(sailing, environment={})
        file = here.file("m.eml", POST)
        found = here.json("explain", "sailing", file, "--ip", "192.0.2.1")["evidence"]
        assert (found["proof"], found["dmarc_policy"]) == ("proven", "quarantine")
        assert found["results"].startswith("lists.example; spf=pass smtp.mailfrom=b.example")
        assert here.json("explain", "sailing", file, "--ip", "192.0.2.9")["evidence"]["proof"] == "refuted"
        said = here.ok("explain", "sailing", file, "--ip", "192.0.2.9", "--mail-from", "", "--helo", "b.example")
        assert re.search(r"^proof +refuted$", said, re.MULTILINE)
        assert re.search(r"^why +SPF fail: b\.example from 192\.0\.2\.9$", said, re.MULTILINE)
        assert "  refuted: b.example publishes DMARC" in said
        # without an address SPF says nothing, and a message from the shell is nobody's proof
        assert here.json("explain", "sailing", file)["evidence"]["proof"] == "unknown"
        here.ok("post", "sailing", file)
    assert here.run("explain", "sailing", file, "--ip", "nonsense").exit_code == 2
    assert sailing.json("explain", "sailing", file)["evidence"]["results"] == ""  # nothing is asked


def test_a_post_that_its_author_is_asked_about_is_explained_so(sailing: Shell) -> None:
    asking = replace(sailing, environment={**sailing.environment, "LISTSERV_SMTP__UNKNOWN_AUTHORS": '"hold"'})
    about = explained(asking, POST)
    assert (about["verdict"], [rule["rule"] for rule in about["rules"]]) == ("ask", ["unproven_author"])
    assert "until its author has confirmed it" in about["reply"]
    path = asking.file("m.eml", POST)
    assert asking.ok("post", "sailing", path).startswith("250 2.0.0 held until bob@b.example")
    (held,) = asking.json("hold", "list")
    assert (held["waits_for"], held["reasons"]) == ("author", ["nothing proves that its author wrote it"])
    # the operator can let it through, or throw it away; its author is not written to about that
    assert "approved" in asking.ok("hold", "approve", str(held["id"]))


@pytest.mark.parametrize("command", ["post", "explain"])
def test_nothing_is_no_message(sailing: Shell, command: str) -> None:
    assert sailing.fails(command, "sailing", "-", stdin="\n") == ["Error: standard input: there is no message in it"]
