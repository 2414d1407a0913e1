"""Lines of the access log: what stands in them, what never does, and that the documentation knows every one."""

import inspect
import json
import re
import typing
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from listserv.access_log import events
from listserv.access_log.line import MAX_CHARACTERS, Line, Way, Who, rfc3339

AT = datetime(2026, 11, 22, 10, 11, 12, 345_678, UTC)
ADA = Who(Way.MAIL, "lists1", account="ada@a.example", ip="192.0.2.1")
DOCUMENT = Path(__file__).parents[2] / "docs" / "access-log.md"
EVENTS: dict[str, Callable[..., Line]] = {
    name: function
    for name, function in inspect.getmembers(events, inspect.isfunction)
    if function.__module__ == events.__name__ and not name.startswith("_") and "_" in name
}
SAMPLES: dict[object, object] = {str: "sample", int: 7, int | None: 7, tuple[str, ...]: ("sample",)}
HEAD = ("time", "action", "ip", "account", "group", "message_id", "post", "node", "way")


def own_fields(event: Callable[..., Line]) -> dict[str, object]:
    """The arguments that one event has besides time and person, with their types."""
    types = typing.get_type_hints(event)
    return {name: types[name] for name in inspect.signature(event).parameters if name not in ("at", "who")}


def made(event: Callable[..., Line]) -> Line:
    return event(AT, ADA, **{name: SAMPLES[kind] for name, kind in own_fields(event).items()})


def test_a_line_is_one_json_object_in_a_fixed_order() -> None:
    line = events.post_accepted(
        AT, ADA, group="sailing@lists.example", message_id="<1@a.example>", post=12, mail_from="ada@a.example", size=345
    )
    assert line.json() == (
        '{"time":"2026-11-22T10:11:12.345Z","action":"post.accepted","ip":"192.0.2.1","account":"ada@a.example",'
        '"group":"sailing@lists.example","message_id":"<1@a.example>","post":12,"node":"lists1","way":"mail",'
        '"mail_from":"ada@a.example","size":345}'
    )


def test_the_first_fields_are_always_there_and_of_the_others_those_with_something_to_say() -> None:
    line = events.group_deleted(AT, Who(Way.SHELL, "lists1"), group="sailing@lists.example", members=0)
    assert json.loads(line.json()) == {
        "time": "2026-11-22T10:11:12.345Z",
        "action": "group.deleted",
        "ip": "",
        "account": "",
        "group": "sailing@lists.example",
        "message_id": "",
        "post": None,
        "node": "lists1",
        "way": "shell",
        "members": 0,
    }
    asked = events.member_asked(AT, ADA, group="g@lists.example", member="ada@a.example", hold=None)
    assert "hold" not in json.loads(asked.json())


@pytest.mark.parametrize("name", EVENTS)
def test_every_event_writes_the_fields_of_its_signature_and_is_named_after_its_action(name: str) -> None:
    fields = list(json.loads(made(EVENTS[name]).json()))
    assert made(EVENTS[name]).action == name.replace("_", ".", 1)
    assert set(fields) == {*HEAD, *own_fields(EVENTS[name])}
    assert fields == sorted(fields, key=lambda field: HEAD.index(field) if field in HEAD else len(HEAD))


@pytest.mark.parametrize("name", EVENTS)
def test_no_event_has_room_for_a_secret_or_for_what_somebody_wrote(name: str) -> None:
    never = {
        "subject",
        "body",
        "text",
        "token",
        "tag",
        "secret",
        "password",
        "reason",
        "reasons",
        "path",
        "url",
        "name",
    }
    assert not never & set(own_fields(EVENTS[name]))


def test_the_documentation_lists_every_action_with_its_fields_and_its_meaning() -> None:
    expected = {
        event(name): (tuple(own_fields(function)), function.__doc__) for name, function in sorted(EVENTS.items())
    }
    rows = re.findall(
        r"^\| `([a-z]+\.[a-z_]+)` \| (.*?) \| (.*) \|$", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE
    )
    documented = {action: (tuple(re.findall(r"`(\w+)`", fields)), meaning) for action, fields, meaning in rows}
    assert documented == expected
    assert len(rows) == len(documented)


def event(name: str) -> str:
    return name.replace("_", ".", 1)


def test_times_are_written_in_utc_and_naive_ones_are_refused() -> None:
    berlin = datetime(2026, 11, 22, 0, 30, tzinfo=timezone(timedelta(hours=1)))
    assert rfc3339(berlin) == "2026-11-21T23:30:00.000Z"
    with pytest.raises(ValueError, match="no time zone"):
        events.help_asked(AT.replace(tzinfo=None), ADA, group="", message_id="").json()


@given(st.text(alphabet=st.characters(exclude_categories=())))
def test_whatever_a_stranger_writes_makes_one_line_that_can_be_read_back(text: str) -> None:
    written = events.help_asked(AT, ADA, group="g@lists.example", message_id=text).json()
    assert len(written.encode().splitlines()) == len(written.splitlines()) == 1
    assert not re.search("[\x00-\x1f\x7f-\x9f\u2028\u2029]|\\\\u00[01]", written)
    assert len(json.loads(written).get("message_id", "")) <= MAX_CHARACTERS


def test_an_endless_value_is_cut() -> None:
    line = events.member_changed(AT, ADA, group="x" * 70_000, member="", changes=("y" * 70_000,))
    assert len(line.json()) < 2 * MAX_CHARACTERS + 300


def test_all_actions_are_known() -> None:
    assert events.actions() == sorted(made(event).action for event in EVENTS.values())
