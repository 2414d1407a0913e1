"""The moderation queue from the shell."""

import json

import pytest

from listserv.store import editions, holds, posts
from listserv.store.schema import deliveries as copies
from tests.cli.shell import Shell

GROUP = ("group", "create", "sailing@lists.example", "--owner", "ada@a.example", "--moderated")
EVIL = (
    b"From: Bob <bob@b.example>\r\nTo: sailing@lists.example\r\nSubject: \x1b[31mred =?utf-8?q?=1B]0;x=07?=\r\n"
    b"Message-ID: <evil@b.example>\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n"
    b"--x\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nhello\x1b[2J\xe2\x80\xae\tworld\r\n    indented\r\n"
    b'--x\r\nContent-Type: image/png; name="a\x07.png"\r\n\r\nPNG\r\n--x--\r\n'
)


def mail(number: int, author: str = "bob@b.example") -> bytes:
    head = f"From: {author}\nTo: sailing@lists.example\nSubject: Wind {number}\nMessage-ID: <{number}@b.example>\n"
    return f"{head}\nHello\n".encode()


@pytest.fixture
def sailing(shell: Shell) -> Shell:
    shell.ok(*GROUP)
    shell.ok("member", "add", "sailing", "bob@b.example", "--confirmed")
    return shell


def held(shell: Shell, number: int = 1) -> None:
    for each in range(1, number + 1):
        shell.ok("post", "sailing", "-", stdin=mail(each))


def state(shell: Shell, id: int) -> tuple[str, str]:
    """Of the hold, and of its post."""
    node = shell.node()
    try:
        found = node.db.read_now(holds.get, id)
        assert found is not None
        assert found.post_id is not None
        return found.state.value, node.db.read_now(posts.get, found.post_id).state
    finally:
        node.close()


def test_the_list_says_who_what_why_and_since_when(sailing: Shell) -> None:
    held(sailing, 2)
    rows = sailing.json("hold", "list", "sailing")
    assert [row["subject"] for row in rows] == ["Wind 1", "Wind 2"]
    assert rows[0].items() >= {"id": 1, "group": "sailing@lists.example", "author": "bob@b.example"}.items()
    assert rows[0]["reasons"] == ["every post to this group waits for an admin"]
    assert rows[0]["since"].endswith("Z")
    assert "Wind 2" in sailing.ok("hold", "list")
    sailing.ok("group", "create", "other@lists.example", "--owner", "ada@a.example")
    assert sailing.json("hold", "list", "other") == []
    assert sailing.ok("hold", "list", "other") == "none\n"
    assert "there is no such group" in sailing.fails("hold", "list", "nosuch")[0]


def test_a_decision_is_one_persons_and_the_second_learns_so(shells: Shell) -> None:
    shells.ok(*GROUP)
    shells.ok("member", "add", "sailing", "bob@b.example", "--confirmed")
    held(shells, 3)
    assert shells.ok("hold", "approve", "1") == "hold 1: approved: Wind 1 by bob@b.example\n"
    assert shells.ok("hold", "reject", "2", "--reason", "Too windy") == "hold 2: rejected: Wind 2 by bob@b.example\n"
    assert shells.ok("hold", "discard", "3") == "hold 3: discarded: Wind 3 by bob@b.example\n"
    assert [state(shells, id) for id in (1, 2, 3)] == [
        ("approved", "due"),
        ("rejected", "rejected"),
        ("discarded", "discarded"),
    ]
    (said,) = shells.fails("hold", "discard", "1")
    assert said.startswith("Error: hold 1: was approved by the operator on ")
    assert said.endswith("; nothing has changed")
    assert shells.json("hold", "list") == []
    assert [len(shells.log(f"hold.{word}")) for word in ("approved", "rejected", "discarded")] == [1, 1, 1]


def test_the_author_reads_the_reason(sailing: Shell) -> None:
    held(sailing)
    sailing.ok("hold", "reject", "1", "--reason", "Too windy today")
    node = sailing.node()
    try:

        def letters(tx):  # type: ignore[no-untyped-def]
            rows = tx.execute(copies.select().where(copies.c.recipient == "bob@b.example")).all()
            return [editions.load(tx, row.edition_id, "lists.example") for row in rows]

        assert any(b"Too windy today" in letter.body for letter in node.db.read_now(letters))
    finally:
        node.close()


def test_an_undo_makes_it_wait_again(sailing: Shell) -> None:
    held(sailing)
    assert sailing.fails("hold", "undo", "1") == ["Error: hold 1: cannot be taken back: it still waits"]
    sailing.ok("hold", "discard", "1")
    assert sailing.ok("hold", "undo", "1") == "hold 1: waits again: Wind 1 by bob@b.example\n"
    assert state(sailing, 1) == ("open", "held")
    sailing.ok("hold", "approve", "1")
    assert sailing.fails("hold", "undo", "1") == ["Error: hold 1: cannot be taken back: it was approved"]


def test_each_id_has_its_line_and_one_failure_stops_nobody(sailing: Shell) -> None:
    held(sailing, 2)
    result = sailing.run("hold", "approve", "1", "77", "2")
    assert result.exit_code == 1
    assert [line[:16] for line in result.stdout.splitlines()] == ["hold 1: approved", "hold 2: approved"]
    assert result.stderr == "Error: hold 77: there is no such hold; see `listserv hold list`\n"
    assert sailing.run("hold", "approve", "x").exit_code == 2


def test_a_held_message_is_shown_and_never_obeyed(sailing: Shell) -> None:
    sailing.ok("post", "sailing", sailing.file("evil.eml", EVIL))
    for command in (("show", "1"), ("list",), ("show", "1", "--json"), ("list", "--json")):
        assert sailing.ok("hold", *command).replace("\n", "").isprintable()
    shown = sailing.ok("hold", "show", "1")
    assert "hello" in shown
    assert "    indented" in shown
    assert "[image/png " in shown
    about = sailing.json("hold", "show", "1")
    assert about["text"].splitlines()[0] == "hello\x1b[2J\u202e\tworld"
    assert [part["type"] for part in about["parts"]] == ["text/plain", "image/png"]
    assert about["header"][0] == {"name": "from", "value": "Bob <bob@b.example>"}
    assert about["state"] == "open"


def test_the_raw_message_is_what_came(sailing: Shell) -> None:
    sailing.ok("post", "sailing", sailing.file("evil.eml", EVIL))
    assert sailing.run("hold", "show", "1", "--raw").stdout_bytes == EVIL


def test_a_text_in_html_alone_can_be_read(sailing: Shell) -> None:
    head = "From: bob@b.example\nTo: sailing@lists.example\nSubject: x\nContent-Type: text/html\n"
    html = f"{head}\n<p>Some <b>bold</b> words</p><script>no</script>\n"
    sailing.ok("post", "sailing", "-", stdin=html)
    shown = sailing.ok("hold", "show", "1")
    assert "Some bold words" in shown
    assert "<p>" not in shown


def test_a_hold_that_is_not_there(sailing: Shell) -> None:
    assert sailing.fails("hold", "show", "9") == ["Error: hold 9: there is no such hold; see `listserv hold list`"]


def test_mail_to_the_operators_waits_in_a_list_of_its_own(shells: Shell) -> None:
    """[site] operators is empty: what comes to postmaster@ is kept here."""
    from datetime import UTC, datetime

    from listserv.flows import reading, receiving
    from listserv.model.envelope import Envelope, Peer

    envelope = Envelope("x@x.example", ("postmaster@lists.example",), Peer("192.0.2.1"), datetime.now(UTC))
    head = b"From: x@x.example\r\nTo: postmaster@lists.example\r\nSubject: Spam\r\nMessage-ID: <m@x.example>\r\n"
    message = head + b"\r\nHelp\r\n"
    node = shells.node()
    try:
        read = reading.read(message, envelope, "lists.example")
        node.db.write_now(receiving.take, node.site, envelope, read)
    finally:
        node.close()
    (row,) = shells.json("hold", "list", "-")
    assert (row["group"], row["subject"]) == ("-", "Spam")
    assert [each["id"] for each in shells.json("hold", "list")] == [row["id"]]
    assert "Help" in shells.ok("hold", "show", str(row["id"]))
    (said,) = shells.fails("hold", "approve", str(row["id"]))
    assert "mail to the operators" in said
    shells.ok("hold", "discard", str(row["id"]))
    assert shells.json("hold", "list", "-") == []
    assert "was discarded before" in shells.fails("hold", "discard", str(row["id"]))[0]
    assert [line["message_id"] for line in shells.log("hold.discarded")] == ["<m@x.example>"]


def test_json_of_an_empty_list_is_an_empty_array(sailing: Shell) -> None:
    assert json.loads(sailing.ok("hold", "list", "--json")) == []


@pytest.mark.parametrize("command", ["list", "show", "approve", "reject", "discard", "undo"])
def test_each_command_has_help_with_an_example(shell: Shell, command: str) -> None:
    assert f"listserv hold {command}" in shell.ok("hold", command, "--help")
