"""The consent record from the shell: whose word it was, who is left out, and what a change by hand looks like."""

import os
import pwd
import sqlite3

import pytest

from listserv.access_log.line import Way
from listserv.flows import objecting
from listserv.flows.site import Act
from tests.cli.shell import Shell

GROUP = ("group", "create", "sailing@lists.example", "--owner", "ada@a.example")


@pytest.fixture
def sailing(shell: Shell) -> Shell:
    shell.ok(*GROUP)
    return shell


def record(shell: Shell, address: str) -> list[dict[str, object]]:
    found: list[dict[str, object]] = shell.json("member", "show", "sailing", address)["consent"]
    return found


def test_the_record_says_whose_word_it_was(sailing: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SUDO_USER", raising=False)
    user = pwd.getpwuid(os.getuid()).pw_name
    sailing.ok("member", "add", "sailing", "bob@b.example", "--confirmed")
    (row,) = record(sailing, "bob@b.example")
    assert (row["step"], row["way"], row["group"]) == ("joined", "shell", "sailing@lists.example")
    assert row["facts"] == {"word": "the operator's", "user": user}

    monkeypatch.setenv("SUDO_USER", "olga")
    sailing.ok("member", "import", "sailing", sailing.file("people.csv", "cy@c.example\n"), "--confirmed")
    (row,) = record(sailing, "cy@c.example")
    assert row["facts"] == {"word": "the operator's", "user": "olga", "file": "people.csv"}
    shown = sailing.ok("member", "show", "sailing", "cy@c.example")
    assert "joined by shell; word: the operator's; user: olga; file: people.csv" in shown

    sailing.ok("member", "set", "sailing", "cy@c.example", "role=moderator")
    assert [row["step"] for row in record(sailing, "cy@c.example")] == ["joined", "role"]

    # of who has gone it is there too
    sailing.ok("member", "remove", "sailing", "cy@c.example")
    gone = sailing.json("member", "record", "sailing", "cy@c.example")
    assert [row["step"] for row in gone] == ["joined", "role", "removed"]
    assert len(sailing.ok("member", "record", "sailing", "cy@c.example").splitlines()) == 3
    (why,) = sailing.fails("member", "record", "sailing", "nobody@n.example")
    assert "nothing is on record" in why


def test_who_never_wants_mail_is_left_out_of_an_import_and_counted(sailing: Shell) -> None:
    node = sailing.node()
    node.db.write_now(
        lambda tx: objecting.never_again(Act(tx, node.site, node.clock(), node.site.who(Way.MAIL)), "nina@n.example")
    )
    node.close()
    file = sailing.file("people.txt", "bob@b.example\nNina@N.example\n")
    said = sailing.ok("member", "import", "sailing", file, "--confirmed")
    assert "1 added, 1 left out who never want to be written to again" in said
    (why,) = sailing.fails("member", "add", "sailing", "nina@n.example", "--confirmed")
    assert "never wants to be written to again" in why
    with sqlite3.connect(sailing.folder / "listserv.db") as database:
        assert "nina" not in "\n".join(database.iterdump()).lower()


def test_who_was_asked_something_today_is_invited_tomorrow(sailing: Shell) -> None:
    sailing.ok("group", "create", "rowing@lists.example", "--owner", "ada@a.example")
    sailing.ok("member", "add", "sailing", "bob@b.example")
    (why,) = sailing.fails("member", "add", "rowing", "bob@b.example")
    assert "had a question from us in the last 24 hours" in why


def test_a_change_by_hand_is_found_and_named(sailing: Shell) -> None:
    sailing.ok("member", "add", "sailing", "bob@b.example", "cy@c.example", "--confirmed")
    assert sailing.ok("db", "verify") == "consent record: 3 rows, each as it was written\n"
    assert sailing.json("db", "verify") == {"sound": True, "rows": 3}
    assert "consent record: its newest 3 rows are as they were written" in sailing.run("check", "--no-dns").stdout
    with sqlite3.connect(sailing.folder / "listserv.db") as database:
        database.execute("UPDATE consents SET at = '2020-01-01 00:00:00.000000' WHERE id = 2")
    (said,) = sailing.fails("db", "verify")
    assert said.startswith("Error: consent record, row 2: it does not follow from the row before it")
    checked = sailing.run("check", "--no-dns")
    assert checked.exit_code == 1
    assert "WRONG   consent record: row 2" in checked.stdout
