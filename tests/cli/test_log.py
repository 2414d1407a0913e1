"""Searching the access log from the shell."""

from datetime import UTC, datetime, timedelta

import pytest

from listserv.cli.log import moment
from tests.cli.shell import Shell

NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("2026-11-20", datetime(2026, 11, 20, tzinfo=UTC)),
        ("2026-11-20T08:30", datetime(2026, 11, 20, 8, 30, tzinfo=UTC)),
        ("2026-11-20T08:30:00+02:00", datetime(2026, 11, 20, 6, 30, tzinfo=UTC)),
        ("2026-11-20T08:30:00Z", datetime(2026, 11, 20, 8, 30, tzinfo=UTC)),
        ("30m", NOW - timedelta(minutes=30)),
        ("2h", NOW - timedelta(hours=2)),
        ("3D", NOW - timedelta(days=3)),
        ("1w", NOW - timedelta(weeks=1)),
        ("yesterday", None),
        ("3y", None),
        ("-3d", None),
        ("", None),
    ],
)
def test_times_are_dates_or_how_long_ago(text: str, meant: datetime | None) -> None:
    assert moment(text, NOW) == meant


def test_conditions_are_all_met(shells: Shell) -> None:
    shells.ok("group", "create", "sailing@lists.example", "--owner", "ada@a.example")
    shells.ok("group", "create", "cooking@lists.example", "--owner", "bob@b.example")
    shells.ok("queue", "pause")

    def found(*conditions: str) -> list[str]:
        return [line["action"] for line in shells.json("log", "search", *conditions)]

    assert found() == ["group.created", "group.created", "delivery.paused"]
    assert found("--group", "sailing@lists.example") == ["group.created"]
    assert found("--action", "group", "--since", "1h") == ["group.created", "group.created"]
    assert found("--action", "delivery.paused") == ["delivery.paused"]
    assert found("--until", "1h") == []
    assert found("--ip", "192.0.2.0/24") == []
    assert found("--since", "2126-01-01") == []
    lines = shells.ok("log", "search", "--group", "sailing@lists.example").splitlines()
    assert len(lines) == 1
    assert lines[0].endswith("group.created    -               -  sailing@lists.example  way=shell owner=ada@a.example")
    assert shells.ok("log", "search", "--group", "sailing").splitlines() == lines
    assert shells.ok("log", "search", "--group", "gone@lists.example") == "none\n"
    assert "there is no such group" in shells.fails("log", "search", "--group", "nosuch")[0]


@pytest.mark.parametrize(
    "wrong", [("--since", "soon"), ("--ip", "300.1.1.1"), ("--action", "foo"), ("--nonsense", "x")]
)
def test_a_condition_that_means_nothing_is_wrong_usage(shell: Shell, wrong: tuple[str, str]) -> None:
    assert shell.run("log", "search", *wrong).exit_code == 2


def test_an_action_that_there_is_not_is_said_with_the_nearest(shell: Shell) -> None:
    assert "did you mean post.accepted?" in shell.run("log", "search", "--action", "post.acepted").stderr
    assert "docs/access-log.md lists all" in shell.run("log", "search", "--action", "xyzzy").stderr
    assert shell.ok("log", "search", "--action", "mail.to_owner") == "none\n"
