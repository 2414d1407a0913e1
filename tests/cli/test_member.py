"""Members from the shell."""

import csv
import io
import sqlite3
import time

import pytest

from tests.cli.shell import Shell

GROUP = ("group", "create", "sailing@lists.example", "--owner", "ada@a.example")


@pytest.fixture
def sailing(shell: Shell) -> Shell:
    shell.ok(*GROUP)
    return shell


@pytest.fixture
def sailings(shells: Shell) -> Shell:
    shells.ok(*GROUP)
    return shells


def places(shell: Shell) -> dict[str, tuple[str, str]]:
    return {row["address"]: (row["role"], row["mode"]) for row in shell.json("member", "list", "sailing")}


def test_a_confirmed_person_is_in_at_once_and_nobody_is_written_to(sailings: Shell) -> None:
    sailings.ok("member", "add", "sailing", "Bob@B.example", "--confirmed", "--name", "Bob Roberts")
    about = sailings.json("member", "show", "sailing", "bob@b.example")
    assert (about["address"], about["name"], about["role"], about["mode"]) == (
        "Bob@b.example", "Bob Roberts", "member", "each",
    )  # fmt: skip
    assert about["how"] == "added by the operator, consent on record elsewhere"
    assert sailings.json("queue", "status")["due"] == 0
    assert [line["member"] for line in sailings.log("member.joined")] == ["bob@b.example"]


def test_without_consent_there_is_one_invitation_and_no_member_yet(sailings: Shell) -> None:
    assert "is invited" in sailings.ok("member", "add", "sailing", "bob@b.example")
    assert list(places(sailings)) == ["ada@a.example"]
    assert sailings.json("queue", "status")["due"] == 1
    (said,) = sailings.fails("member", "add", "sailing", "bob@b.example")
    assert "was invited in the last 14 days and has not said yes" in said
    assert sailings.json("queue", "status")["due"] == 1


def test_each_address_has_its_line_and_one_failure_stops_nobody(sailing: Shell) -> None:
    sailing.ok("member", "ban", "sailing", "eve@e.example")
    people = ("bob@b.example", "nonsense", "x@lists.example", "eve@e.example", "cy@c.example")
    result = sailing.run("member", "add", "sailing", *people, "--confirmed")
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        "bob@b.example: is in sailing@lists.example",
        "cy@c.example: is in sailing@lists.example",
    ]
    said = result.stderr.splitlines()
    assert said[0] == "Error: nonsense: not an e-mail address"
    assert "x@lists.example: is at one of our own domains" in said[1]
    assert "eve@e.example: is banned from" in said[2]
    assert set(places(sailing)) == {"ada@a.example", "bob@b.example", "cy@c.example"}


def test_being_in_already_is_an_answer_and_no_error(sailing: Shell) -> None:
    sailing.ok("member", "add", "sailing", "bob@b.example", "--confirmed")
    for again in (("--confirmed",), ()):
        assert "already; nothing has changed" in sailing.ok("member", "add", "sailing", "BOB@b.example", *again)
    assert len(sailing.log("member.joined")) == 1


def test_an_owner_gets_posts_after_being_added(sailing: Shell) -> None:
    sailing.ok("member", "add", "sailing", "ada@a.example", "--confirmed")
    assert places(sailing) == {"ada@a.example": ("owner", "each")}


def test_one_name_is_one_persons(sailing: Shell) -> None:
    assert sailing.run("member", "add", "sailing", "a@x.example", "b@x.example", "--name", "A").exit_code == 2


def test_a_mode_that_is_not_built_is_refused(sailing: Shell) -> None:
    assert sailing.run("member", "add", "sailing", "b@b.example", "--mode", "digest").exit_code == 2
    sailing.ok("member", "add", "sailing", "b@b.example", "--confirmed")
    (said,) = sailing.fails("member", "set", "sailing", "b@b.example", "mode=digest")
    assert said == "Error: mode: digest is not built yet; accepted: each, none"


def test_a_members_settings_change_together_or_not_at_all(sailings: Shell) -> None:
    sailings.ok("member", "add", "sailing", "bob@b.example", "--confirmed")
    said = sailings.fails("member", "set", "sailing", "bob@b.example", "role=admin", "mod=yes", "name=Bob")
    assert said == [
        "Error: role: “admin” is not accepted; write member, moderator or owner",
        "Error: mod: no such setting; did you mean mode?",
    ]
    sailings.ok(
        "member", "set", "sailing", "bob@b.example", "role=moderator", "moderated=yes", "name=Bob R.", "mode=none"
    )
    about = sailings.json("member", "show", "sailing", "bob@b.example")
    assert (about["name"], about["role"], about["mode"], about["moderated"]) == ("Bob R.", "moderator", "none", True)
    (line,) = sailings.log("member.changed")
    assert set(line["changes"]) == {"name", "role=moderator", "mode=none", "moderated=yes"}


def test_wishes_and_the_person_are_set_and_shown_too(sailings: Shell) -> None:
    sailings.ok("member", "add", "sailing", "bob@b.example", "--confirmed")
    said = sailings.ok(
        *("member", "set", "sailing", "bob@b.example", "own_posts=no", "copies=no", "visible=yes"),
        *("language=DE", "region=Bavaria", "country=Germany"),
    )
    assert "bob@b.example: own_posts is no" in said
    about = sailings.json("member", "show", "sailing", "bob@b.example")
    assert (about["own_posts"], about["copies"], about["visible"]) == (False, False, True)
    assert (about["region"], about["country"], about["language"]) == ("Bavaria", "Germany", "de")
    (line,) = sailings.log("member.changed")
    assert set(line["changes"]) == {"own_posts=no", "copies=no", "visible=yes", "language=de", "region", "country"}
    (fault,) = sailings.fails("member", "set", "sailing", "bob@b.example", "language=xx")
    assert fault == "Error: language: “xx” is not accepted; there are no texts in it here"


def test_a_name_is_one_line_without_control_characters(sailing: Shell) -> None:
    for name in ("a\nb", "\x1b[31m", "x" * 201):
        (said,) = sailing.fails("member", "set", "sailing", "ada@a.example", f"name={name}")
        assert said.startswith("Error: name: ")
        sailing.fails("member", "add", "sailing", "bob@b.example", "--confirmed", "--name", name)
    assert list(places(sailing)) == ["ada@a.example"]


def test_the_last_owner_stays(sailing: Shell) -> None:
    (said,) = sailing.fails("member", "set", "sailing", "ada@a.example", "role=moderator")
    assert "is the last owner" in said
    assert "is the last owner" in sailing.fails("member", "remove", "sailing", "ada@a.example")[0]
    assert "take the role first" in sailing.fails("member", "ban", "sailing", "ada@a.example")[0]
    assert places(sailing) == {"ada@a.example": ("owner", "none")}
    sailing.ok("member", "add", "sailing", "bob@b.example", "--confirmed")
    sailing.ok("member", "set", "sailing", "bob@b.example", "role=owner")
    sailing.ok("member", "set", "sailing", "ada@a.example", "role=member")
    assert places(sailing)["ada@a.example"] == ("member", "none")


def test_who_is_removed_is_out_and_not_written_to(sailing: Shell) -> None:
    sailing.ok("member", "add", "sailing", "bob@b.example", "--confirmed")
    assert (
        sailing.ok("member", "remove", "sailing", "bob@b.example") == "bob@b.example: is out of sailing@lists.example\n"
    )
    assert sailing.fails("member", "remove", "sailing", "bob@b.example") == [
        "Error: bob@b.example: is not in sailing@lists.example"
    ]
    assert sailing.json("queue", "status")["due"] == 0
    assert [line["member"] for line in sailing.log("member.removed")] == ["bob@b.example"]


def test_a_banned_member_is_out_until_unbanned_and_added(sailing: Shell) -> None:
    sailing.ok("member", "add", "sailing", "eve@e.example", "--confirmed")
    assert "and out of it" in sailing.ok("member", "ban", "sailing", "EVE@e.example")
    assert "is banned already" in sailing.fails("member", "ban", "sailing", "eve@e.example")[0].replace(
        "from sailing@lists.example ", ""
    )
    assert sailing.fails("member", "show", "sailing", "eve@e.example") == [
        "Error: eve@e.example is banned from sailing@lists.example"
    ]
    assert sailing.json("group", "show", "sailing")["banned"] == ["eve@e.example"]
    sailing.ok("member", "unban", "sailing", "eve@e.example")
    assert (
        "is not banned from sailing@lists.example; nothing has changed"
        in sailing.fails("member", "unban", "sailing", "eve@e.example")[0]
    )
    sailing.ok("member", "add", "sailing", "eve@e.example", "--confirmed")
    assert "eve@e.example" in places(sailing)


def test_csv_is_read_as_spreadsheets_write_it(sailings: Shell) -> None:
    rows = ("Name;E-Mail;mode;role;moderated;Tags", '"Ada; L.";ada@a.example;each;;;x', "", "# no")
    text = "\ufeff" + "\r\n".join((*rows, "Bob;Bob@B.example;none;moderator;yes;", ""))
    result = sailings.run("member", "import", "sailing", sailings.file("p.csv", text), "--confirmed")
    assert result.exit_code == 0
    assert result.stdout == "sailing@lists.example: 2 added\n"
    assert result.stderr.endswith("columns that are not read: tags\n")
    assert places(sailings) == {"ada@a.example": ("owner", "each"), "Bob@b.example": ("moderator", "none")}
    names = {row["address"]: (row["name"], row["moderated"]) for row in sailings.json("member", "list", "sailing")}
    assert names == {"ada@a.example": ("Ada; L.", False), "Bob@b.example": ("Bob", True)}


def test_one_address_a_line_is_enough(sailing: Shell) -> None:
    text = "# people\nbob@b.example\r\nCy <cy@c.example>\r  \r\nBOB@b.example\n"
    said = sailing.ok("member", "import", "sailing", "-", "--confirmed", stdin=text)
    assert said == "sailing@lists.example: 2 added, 1 named more than once\n"
    assert sailing.json("member", "show", "sailing", "cy@c.example")["name"] == "Cy"


def test_every_broken_line_is_named_and_nobody_is_added(sailing: Shell) -> None:
    lines = [
        "email,name,mode",
        "good@g.example,Good,each",
        "nonsense,B,each",
        '"open@o.example,B,each',
        "x@lists.example,B,each",
        "dig@d.example,B,digest",
        "m@m.example,B,maybe",
        "long@l.example,B,each,and,more",
        "\x1b[2J@evil.example,B,each",
        "n@n.example,\x07bell,each",
        "x" * 20_000,
    ]
    path = sailing.file("wrong.csv", "\n".join(lines))
    said = sailing.fails("member", "import", "sailing", path, "--confirmed")
    wanted = [
        "line 3: “nonsense” is not an e-mail address",
        "line 4: broken quotation marks",
        "line 5: x@lists.example is at one of our own domains",
        "line 6: mode: digest is not built yet; accepted: each, none",
        "line 7: mode: “maybe” is not accepted; write each or none",
        "line 8: 5 columns where the header has 3",
        "line 9: “ [2J@evil.example” is not an e-mail address",
        "line 10: name: line ends and control characters are not accepted",
        "line 11: a line of 20000 characters",
    ]
    assert len(said) == len(wanted) + 1
    for line, part in zip(said, wanted, strict=False):
        assert line.startswith(f"Error: {path}, {part}")
        assert line.isprintable()
    assert "nobody was added" in said[-1]
    assert list(places(sailing)) == ["ada@a.example"]


def test_broken_lines_are_left_out_when_told_so(sailing: Shell) -> None:
    result = sailing.run("member", "import", "sailing", "-", "--confirmed", "--skip-broken", stdin="x\nbob@b.example\n")
    assert result.exit_code == 0
    assert result.stderr == "Error: standard input, line 1: “x” is not an e-mail address\n"
    assert "bob@b.example" in places(sailing)


def test_columns_without_a_header_are_explained(sailing: Shell) -> None:
    said = sailing.fails("member", "import", "sailing", "-", "--confirmed", stdin="bob@b.example,Bob\n")
    assert "begin the file with a line of their names: email,name,mode" in said[0]


@pytest.mark.parametrize("content", [b"bob@b.example\n\xff\xfe\n", b"\xff\xfeb\0o\0b\0"])
def test_what_is_not_utf8_is_said_with_its_line(sailing: Shell, content: bytes) -> None:
    said = sailing.fails("member", "import", "sailing", sailing.file("x.csv", content), "--confirmed")
    assert f"line {content.count(10, 0, 15) + 1 if content.startswith(b'bob') else 1}: not UTF-8" in said[0]


def test_an_empty_file_adds_nobody(sailing: Shell) -> None:
    for text in ("", "\n\n# only this\n", "email,name\n"):
        assert sailing.ok("member", "import", "sailing", "-", "--confirmed", stdin=text).endswith(": 0 added\n")


def test_an_import_without_consent_invites(sailing: Shell) -> None:
    result = sailing.run("member", "import", "sailing", "-", stdin="email,name\nbob@b.example,Bob\nada@a.example,\n")
    assert result.stdout == "sailing@lists.example: 2 invited\n"
    assert sailing.json("queue", "status")["due"] == 2
    again = sailing.run("member", "import", "sailing", "-", stdin="bob@b.example\n")
    assert again.stdout == "sailing@lists.example: 0 invited, 1 left out\n"
    said = sailing.fails("member", "import", "sailing", "-", stdin="email,role\nx@x.example,owner\n")
    assert "line 2: x@x.example: an invitation carries no role" in said[0]


def test_who_is_banned_is_left_out_of_an_import(sailings: Shell) -> None:
    sailings.ok("member", "ban", "sailing", "eve@e.example")
    result = sailings.run("member", "import", "sailing", "-", "--confirmed", stdin="Eve@e.example\nbob@b.example\n")
    assert result.stdout == "sailing@lists.example: 1 added, 1 banned\n"
    assert "eve@e.example: is banned" in result.stderr
    assert set(places(sailings)) == {"ada@a.example", "bob@b.example"}


def test_what_is_exported_can_be_imported(sailings: Shell) -> None:
    sailings.ok("member", "add", "sailing", "bob@b.example", "--confirmed", "--name", 'Bob "B", the = second')
    sailings.ok("member", "set", "sailing", "bob@b.example", "role=moderator", "moderated=yes")
    text = sailings.ok("member", "export", "sailing")
    assert next(csv.reader(io.StringIO(text))) == ["email", "name", "role", "mode", "moderated", "joined"]
    sailings.ok("group", "create", "copy@lists.example", "--owner", "z@z.example")
    sailings.ok("member", "import", "copy", "-", "--confirmed", stdin=text)
    there = sailings.json("member", "list", "copy")
    kept = [{k: v for k, v in row.items() if k != "joined"} for row in sailings.json("member", "list", "sailing")]
    assert [{k: v for k, v in row.items() if k != "joined"} for row in there if row["address"] != "z@z.example"] == kept
    assert [line["members"] for line in sailings.log("group.exported")] == [2]
    assert sum(line["members"] for line in sailings.log("group.imported")) == 2


def test_thousands_are_imported_listed_and_exported_in_order(sailings: Shell) -> None:
    """In several transactions and pages; the second import finds them all there."""
    people = [f"p{number:05}@d{number % 50}.example" for number in range(5_000)]
    rows = (f"{address},Name of {address}" for address in reversed(people))
    path = sailings.file("many.csv", "\n".join(("email,name", *rows)))
    began = time.process_time()
    assert sailings.ok("member", "import", "sailing", path, "--confirmed").endswith(": 5000 added\n")
    assert time.process_time() - began < 10  # 0.3 s measured; 100 000 are to take well under 30
    assert sailings.ok("member", "import", "sailing", path, "--confirmed").endswith(": 0 added, 5000 in already\n")
    listed = [(row["address"], row["name"]) for row in sailings.json("member", "list", "sailing")]
    assert listed == [("ada@a.example", ""), *((address, f"Name of {address}") for address in people)]
    assert len(sailings.ok("member", "export", "sailing").splitlines()) == 5_002


def test_a_name_cannot_speak_to_the_terminal(sailing: Shell) -> None:
    """Even one that came into the database by another way."""
    database = sqlite3.connect(sailing.folder / "listserv.db")
    database.execute("UPDATE accounts SET name = ?", ("\x1b]0;owned\x07\u202e\x9b31m",))
    database.commit()
    database.close()
    for command in (("list", "sailing"), ("show", "sailing", "ada@a.example")):
        for more in ((), ("--json",)):
            assert sailing.ok("member", *command, *more).replace("\n", "").isprintable()


@pytest.mark.parametrize("command", ["add", "remove", "list", "show", "set", "ban", "unban", "import", "export"])
def test_each_command_has_help_with_an_example(shell: Shell, command: str) -> None:
    assert f"listserv member {command} sailing" in shell.ok("member", command, "--help")
