"""Ads from the shell; what they do in posts is in tests/features."""

from tests.cli.shell import Shell

SAILING = ("group", "create", "sailing@lists.example", "--owner", "ada@a.example")
BOATS = ("ad", "add", "--title", "Boats for hire", "--text", "A day at sea")


def test_an_ad_is_added_and_shown_with_all_that_was_said_of_it(shells: Shell) -> None:
    shells.ok(*SAILING)
    html = shells.file("ad.html", '<p>See <a href="https://boats.example/">us</a></p>\r\n')
    said = (*BOATS, "--advertiser", "Boats & Co", "--group", "sailing", "--topic", "boats", "--from", "2026-11-22")
    assert "sailing@lists.example" in shells.ok(*said, "--html", html, "--until", "2026-12-24")
    [listed] = shells.json("ad", "list")
    added = listed.pop("added")
    assert added.endswith("Z")
    assert listed == {
        "id": 1, "state": "running", "title": "Boats for hire", "text": "A day at sea",
        "html": '<p>See <a href="https://boats.example/">us</a></p>', "advertiser": "Boats & Co",
        "groups": ["sailing@lists.example"], "topics": ["boats"], "from": "2026-11-22", "until": "2026-12-24",
    }  # fmt: skip
    assert shells.json("ad", "show", "1")["title"] == "Boats for hire"
    assert "Advertisement: Boats for hire\n(Boats & Co)\n\nA day at sea" in shells.ok("ad", "show", "1")
    assert [line["groups"] for line in shells.log("ad.added")] == [["sailing@lists.example"]]


def test_html_that_could_do_harm_is_refused_in_one_line_that_names_it(shell: Shell) -> None:
    html = shell.file("ad.html", '<p>Hi</p><img src="https://track.example/p.gif">')
    [line] = shell.fails(*BOATS, "--html", html)
    assert line.startswith("Error: HTML: <img> is not allowed; allowed are a, b,")
    assert shell.json("ad", "list") == []


def test_a_file_that_is_not_there_or_not_utf_8_is_said(shell: Shell) -> None:
    assert "No such file" in shell.fails(*BOATS, "--html", str(shell.folder / "none.html"))[0]
    assert "not UTF-8" in shell.fails(*BOATS, "--html", shell.file("ad.html", b"\xff\xfe"))[0]


def test_an_ad_for_an_unknown_group_is_refused(shell: Shell) -> None:
    shell.ok(*SAILING)
    assert shell.fails(*BOATS, "--group", "sailling")[0].endswith("did you mean sailing@lists.example?")


def test_a_date_that_is_none_is_wrong_usage(shell: Shell) -> None:
    assert shell.run(*BOATS, "--from", "tomorrow").exit_code == 2


def test_pausing_resuming_and_removing_say_what_is_so_now(shell: Shell) -> None:
    shell.ok(*BOATS)
    assert shell.ok("ad", "pause", "1") == "ad 1 paused\n"
    assert shell.ok("ad", "pause", "1") == "ad 1 was paused already\n"
    assert shell.json("ad", "show", "1")["state"] == "paused"
    assert shell.ok("ad", "resume", "1") == "ad 1 runs again\n"
    assert shell.ok("ad", "remove", "1") == "ad 1 removed\n"
    assert shell.fails("ad", "remove", "1", "2") == [
        f"Error: there is no ad {id}; `listserv ad list` shows all" for id in (1, 2)
    ]
    assert len(shell.log("ad.paused")) == 1
    assert len(shell.log("ad.removed")) == 1


def test_a_report_of_an_unknown_ad_is_one_line_and_of_none_an_empty_array(shell: Shell) -> None:
    assert len(shell.fails("ad", "report", "7")) == 1
    assert shell.json("ad", "report") == []


def test_a_day_that_is_none_is_said_in_words(shell: Shell) -> None:
    said = shell.run(*BOATS, "--from", "tomorrow")
    assert said.exit_code == 2
    assert "“tomorrow” is no day; write it as 2026-11-22" in said.stderr
