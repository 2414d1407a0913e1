"""Groups from the shell."""

import sqlite3

import pytest

from listserv.model import setting
from tests.cli.shell import Shell

SAILING = ("group", "create", "sailing@lists.example", "--owner", "ada@a.example")
POST = "From: Bob <bob@b.example>\nTo: sailing@lists.example\nSubject: Wind\nMessage-ID: <1@b.example>\n\nHello\n"


def test_a_group_has_its_owner_by_role_only_and_nobody_is_written_to(shells: Shell) -> None:
    shells.ok(*SAILING, "--owner", "bo@b.example", "--title", "Sailing")
    rows = {row["address"]: row for row in shells.json("member", "list", "sailing")}
    assert {key: (row["role"], row["mode"]) for key, row in rows.items()} == {
        "ada@a.example": ("owner", "none"),
        "bo@b.example": ("owner", "none"),
    }
    assert shells.json("queue", "status")["due"] == 0
    assert [line["owner"] for line in shells.log("group.created")] == ["ada@a.example"]
    assert [line["member"] for line in shells.log("member.changed")] == ["bo@b.example"]


@pytest.mark.parametrize(
    ("kind", "posting"), [("discussion", "members"), ("announce", "moderators"), ("blog", "owners")]
)
def test_the_kind_says_who_may_post(shell: Shell, kind: str, posting: str) -> None:
    shell.ok(*SAILING, "--kind", kind)
    assert shell.json("group", "show", "sailing")["posting"] == posting


def test_a_setting_beats_what_the_kind_would_choose(shell: Shell) -> None:
    shell.ok(*SAILING, "--kind", "announce", "--set", "posting=anyone")
    assert shell.json("group", "show", "sailing")["posting"] == "anyone"


def test_all_faults_of_a_new_group_are_said_at_once_and_nothing_is_made(shell: Shell) -> None:
    said = shell.fails(
        "group", "create", "sailing-owner@elsewhere.example", "--owner", "nobody", "--owner", "a@lists.example",
        "--set", "modrated=yes", "--set", "archive=public", "--set", "posting=all",
    )  # fmt: skip
    assert len(said) == 7
    assert "elsewhere.example is not one of [site] domains" in said[0]
    assert "-owner at the end is a door" in said[1]
    assert said[2] == "Error: --owner nobody: not an e-mail address"
    assert "mail would go in circles" in said[3]
    assert said[4] == "Error: modrated: no such setting; did you mean moderated?"
    assert "not built yet" in said[5]
    assert said[6] == "Error: posting: “all” is not accepted; write members, anyone, moderators or owners"
    assert shell.json("group", "list") == []


def test_two_groups_of_one_address_are_one_too_many(shell: Shell) -> None:
    shell.ok(*SAILING)
    address = "Sailing@LISTS.example"
    said = shell.fails("group", "create", address, "--owner", "x@x.example")
    assert said == [f"Error: {address}: there is a group of this address already"]


def test_a_name_is_enough_while_only_one_group_is_called_so(shell: Shell) -> None:
    shell.ok(*SAILING)
    assert shell.json("group", "show", "SAILING")["address"] == "sailing@lists.example"
    shell.ok("group", "create", "sailing@other.example", "--owner", "ada@a.example")
    (said,) = shell.fails("group", "show", "sailing")
    assert said == "Error: sailing: which one? sailing@lists.example, sailing@other.example"
    assert shell.json("group", "show", "sailing@other.example")["address"] == "sailing@other.example"


def test_an_unknown_group_is_told_from_a_mistyped_one(shell: Shell) -> None:
    assert shell.fails("group", "show", "x") == [
        "Error: x: there is no such group; make one with `listserv group create ADDRESS --owner ADDR`"
    ]
    shell.ok(*SAILING)
    assert shell.fails("group", "show", "sailng") == [
        "Error: sailng: there is no such group; did you mean sailing@lists.example?"
    ]


def test_group_show_names_every_setting_with_default_and_meaning(shell: Shell) -> None:
    shell.ok(*SAILING, "--moderated")
    shown = shell.ok("group", "show", "sailing")
    about = shell.json("group", "show", "sailing")
    for name, meaning in setting.HELP.items():
        assert meaning in shown
        assert name in about["settings"]
    assert about["moderated"] is True
    assert about["settings"]["moderated"]["value"] is True
    assert about["settings"]["moderated"]["default"] is False
    assert "(not yet: members, public)" in about["settings"]["archive"]["meaning"]


def test_settings_change_together_or_not_at_all(shells: Shell) -> None:
    shells.ok(*SAILING)
    said = shells.fails("group", "set", "sailing", "moderated=yes", "language=xx", "max_message_bytes=1G")
    assert "language: “xx” has no templates here" in said[0]
    assert "is more than [smtp] max_message_bytes" in said[1]
    assert shells.json("group", "show", "sailing")["moderated"] is False
    shells.ok(
        "group", "set", "sailing", "Moderated=ON", "max-message-bytes=2M", "topics=Boats, wind,boats", "title=A=B"
    )
    about = shells.json("group", "show", "sailing")
    assert (about["moderated"], about["max_message_bytes"], about["topics"]) == (True, 2 * 1024**2, ["boats", "wind"])
    assert about["title"] == "A=B"
    (line,) = shells.log("group.changed")
    assert set(line["changes"]) == {"title", "moderated=yes", "max_message_bytes=2097152", "topics=boats, wind"}


def test_setting_what_is_so_already_is_no_change(shell: Shell) -> None:
    shell.ok(*SAILING)
    shell.ok("group", "set", "sailing", "moderated=no", "archive=none", "listed=no")
    assert shell.log("group.changed") == []


@pytest.mark.parametrize(
    ("pair", "fault"),
    [
        ("title=a\nBcc: x@y.example", "line ends and control characters"),
        ("subject_tag=\x1b[31m", "line ends and control characters"),
        ("footer=a\x00b", "line ends and control characters"),
        ("title=" + "x" * 101, "at most 100 characters"),
        ("listed=yes", "not built yet"),
        ("max_message_bytes=-1", "write a number of bytes"),
        ("max_message_bytes=1e3", "write a number of bytes"),
        ("topics=a,b\rc", "line ends and control characters"),
        ("language=../../etc", "write a language"),
        ("kind=blog", "no such setting"),
    ],
)
def test_a_value_that_cannot_be_is_refused(shell: Shell, pair: str, fault: str) -> None:
    shell.ok(*SAILING)
    (said,) = shell.fails("group", "set", "sailing", pair)
    assert fault in said
    assert said.isprintable()


def test_a_footer_may_have_several_lines(shell: Shell) -> None:
    shell.ok(*SAILING)
    shell.ok("group", "set", "sailing", "footer=one\r\ntwo\n")
    assert shell.json("group", "show", "sailing")["footer"] == "one\ntwo"


def test_what_is_no_key_and_value_is_wrong_usage(shell: Shell) -> None:
    shell.ok(*SAILING)
    result = shell.run("group", "set", "sailing", "moderated")
    assert (result.exit_code, "is not KEY=VALUE" in result.stderr) == (2, True)


def test_a_group_is_deleted_only_when_somebody_says_so(shell: Shell) -> None:
    shell.ok(*SAILING)
    result = shell.run("group", "delete", "sailing", stdin="n\n")
    assert result.exit_code == 1
    assert "0 members, 1 admin, 0 held" in result.stderr
    assert len(shell.json("group", "list")) == 1
    assert "is deleted: 1 place, 0 held, 0 copies given up" in shell.ok("group", "delete", "sailing", stdin="y\n")
    assert shell.json("group", "list") == []
    assert [line["members"] for line in shell.log("group.deleted")] == [1]


def test_a_group_with_copies_under_way_is_deleted_only_with_drop(shells: Shell) -> None:
    shells.ok(*SAILING)
    shells.ok("member", "add", "sailing", "bob@b.example", "--confirmed")
    shells.ok("post", "sailing", shells.file("post.eml", POST))
    (said,) = shells.fails("group", "delete", "sailing", "--yes")
    assert "1 post and 0 copies" in said
    assert "--drop" in said
    shells.ok("group", "delete", "sailing", "--yes", "--drop")
    assert shells.json("group", "list") == []
    assert "dropped" in [event["what"] for event in shells.json("trace", "<1@b.example>")["events"]]


def test_copies_given_up_with_their_group_are_counted(shells: Shell) -> None:
    shells.ok(*SAILING)
    shells.ok("member", "add", "sailing", "bob@b.example")
    shells.ok("group", "delete", "sailing", "--yes", "--drop")
    account = shells.json("queue", "status")["conservation"]["copies"]
    assert account == {"entered": 1, "dropped": 1, "missing": 0}


def test_a_title_cannot_speak_to_the_terminal(shell: Shell) -> None:
    """Even one that came into the database by another way."""
    shell.ok(*SAILING)
    database = sqlite3.connect(shell.folder / "listserv.db")
    database.execute("""UPDATE groups SET policy = '{"title": "\\u001b[31m\\u202ered\\u0085"}'""")
    database.commit()
    database.close()
    assert shell.ok("group", "list").replace("\n", "").isprintable()
    raw = shell.ok("group", "list", "--json")
    assert raw.replace("\n", "").isprintable()
    assert shell.json("group", "list")[0]["title"] == "\x1b[31m\u202ered\x85"


@pytest.mark.parametrize("command", ["create", "list", "show", "set", "delete"])
def test_each_command_has_help_with_an_example(shell: Shell, command: str) -> None:
    assert f"listserv group {command}" in shell.ok("group", command, "--help")


def test_a_setting_is_called_everywhere_what_people_write(shell: Shell) -> None:
    shell.ok(*SAILING)
    assert "sailing@lists.example: from is author" in shell.ok("group", "set", "sailing", "from=author")
    about = shell.json("group", "show", "sailing")
    assert (about["from"], about["settings"]["from"]["value"], about["settings"]["from"]["default"]) == (
        "author",
        "author",
        "auto",
    )
    assert "from_" not in str(about)
    assert shell.log("group.changed")[-1]["changes"] == ["from=author"]
    assert "did you mean from?" in shell.fails("group", "set", "sailing", "from_=auto")[0]


def test_who_has_no_terminal_is_told_how_to_delete(shell: Shell) -> None:
    shell.ok(*SAILING)
    said = shell.fails("group", "delete", "sailing", stdin="")
    assert "Delete sailing@lists.example with 0 members, 1 admin, 0 held?" in said[0]
    assert said[1] == "Error: sailing@lists.example is not deleted; --yes does it without asking"
