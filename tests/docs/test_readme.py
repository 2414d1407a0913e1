"""README.md, CHANGELOG.md and docs/ say what is so: paths, commands, keys, settings, figures, and what is not built."""

import ast
import os
import re
import shlex
from dataclasses import fields
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import get_args

import click
import pytest

import listserv
from listserv import settings
from listserv.cli.main import Lazy
from listserv.flows import (
    addressing,
    budgeting,
    commanding,
    delivering,
    expiring,
    guessing,
    holding,
    joining,
    objecting,
)
from listserv.mail import phrases, recipient, trace
from listserv.mail.request import MAX_COMMANDS
from listserv.model import request, setting
from listserv.model.group import DEFAULTS
from listserv.net.gate import Limits
from listserv.rules import pace
from listserv.settings import Settings
from listserv.store import queue
from listserv.workers import loop, reception, recorder

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
TEXTS = {
    path.relative_to(ROOT).as_posix(): path.read_text("utf-8")
    for path in (ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md")))
}
EVERY_TEXT = pytest.mark.parametrize("name", TEXTS)

CODE = re.compile(r"`([^`\n]+)`")
TOP = ("listserv/", "config/", "docs/", "tests/", "scripts/", ".ci/")
KEY = re.compile(r"\[([a-z_]+)\] ([a-z_]+)")


def section(title: str) -> str:
    """What README says under this heading."""
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", README, re.MULTILINE | re.DOTALL)
    assert found, title
    return found[1]


def rows(text: str) -> list[list[str]]:
    """The cells of the tables in a text, without their heads."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    heads = {number - 1 for number, line in enumerate(lines) if set(line) <= set("| -")}
    return [row for number, row in enumerate(cells) if number not in heads and number - 1 not in heads]


def quoted(text: str) -> list[str]:
    """What stands in code: between backticks on one line, and the lines of fenced blocks."""
    blocks = re.findall(r"^```\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    rest = re.sub(r"^```\n.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    return [*CODE.findall(rest), *(line for block in blocks for line in block.splitlines() if line)]


@EVERY_TEXT
def test_every_path_that_is_named_is_there(name: str) -> None:
    named = {word for code in quoted(TEXTS[name]) for word in code.split() if word.startswith(TOP)}
    named |= {(ROOT / name).parent.joinpath(to).as_posix() for to in re.findall(r"\]\(([^)#:]+)\)", TEXTS[name])}
    gone = sorted(path for path in named if not (ROOT / path).exists())
    assert not gone
    programs = [path for path in named if path.startswith(("scripts/", ".ci/"))]
    assert all(os.access(ROOT / path, os.X_OK) for path in programs)


def test_readme_names_a_file_for_every_change_and_its_words_are_in_it() -> None:
    changes = rows(section("Where to change what"))
    assert len(changes) >= 25
    for what, where in changes:
        assert any(word.startswith(TOP) for word in CODE.findall(where)), what
        for word, file in re.findall(r"`(\w+)` in `([\w/]+\.py)`", where):
            assert word in names(file), f"{word} in {file}"


@cache
def names(file: str) -> frozenset[str]:
    """What a module defines at its top level."""
    tree = ast.parse((ROOT / file).read_text("utf-8"))
    made = [node.name for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef)]
    for node in tree.body:
        targets = (
            [node.target] if isinstance(node, ast.AnnAssign) else node.targets if isinstance(node, ast.Assign) else []
        )
        made += [target.id for target in targets if isinstance(target, ast.Name)]
    return frozenset(made)


def commands(text: str) -> list[list[str]]:
    """The words of every `listserv …` in a text."""
    said = [code.removeprefix(".venv/bin/") for code in quoted(text)]
    return [shlex.split(code)[1:] for code in said if code.startswith("listserv ")]


def fault(words: list[str]) -> str | None:
    """Why a command could not be typed like this, or None.  Its arguments are not looked at, its options are."""
    command: click.Command = Lazy("listserv")
    context = click.Context(command)
    while isinstance(command, click.Group) and words:
        found = command.get_command(context, words[0])
        if found is None:
            return f"no command {words[0]}"
        command, words = found, words[1:]
    options = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    unknown = [word for word in words if word.startswith("--") and word not in options and word != "--help"]
    return f"no option {unknown[0]}" if unknown else None


@EVERY_TEXT
def test_every_command_that_is_shown_can_be_typed(name: str) -> None:
    found = [" ".join(words) for words in commands(TEXTS[name]) if words and words[0] != "COMMAND" and fault(words)]
    assert not found


def test_readme_shows_commands_at_all() -> None:
    assert len(commands(README)) >= 15
    assert fault(["group", "nonsense"]) == "no command nonsense"
    assert fault(["member", "add", "sailing", "--unheard-of"]) == "no option --unheard-of"


@EVERY_TEXT
def test_every_key_of_the_configuration_that_is_named_is_there(name: str) -> None:
    known = {(each.name, key.name) for each in fields(Settings) for key in fields(each.type)}  # type: ignore[arg-type]
    named = {match for code in quoted(TEXTS[name]) for match in KEY.findall(code)}
    assert named <= known


def test_readme_lists_the_settings_of_groups_with_their_defaults() -> None:
    said = {}
    for names_, default, _ in rows(section("Groups")):
        said |= dict.fromkeys(CODE.findall(names_), default.strip("`").replace("empty", ""))
    assert said == {name: setting.written(setting.value(DEFAULTS, name)) for name in setting.NAMES}


def test_readme_says_what_is_not_built_and_nothing_else() -> None:
    said = {CODE.findall(row[0])[0] for row in rows(section("What it cannot do yet"))}
    keys = {"[{}] {}".format(*name.split(".")) for name in settings.NOT_YET}
    values = {f"{name}={value}" for name, values in setting.NOT_YET.items() for value in values}
    modes = {f"mode={mode}" for mode in setting.MODES_NOT_YET}
    assert said == keys | values | modes


def test_readme_names_every_command() -> None:
    commands = section("Groups").partition("**Commands by mail.**")[2].partition("**Moderating by mail.**")[0]
    named = {word for code in CODE.findall(commands) for word in re.split(r"[ |]", code)}
    verbs = {command: command.__name__.lower() for command in get_args(request.Command)}
    verbs |= {request.AddAddress: "add", request.RemoveAddress: "remove", request.ChangeAddress: "change"}
    verbs |= {request.EndSessions: "end sessions", request.Lists: "", request.NotHere: "", request.Unknown: ""}
    assert {word for said in verbs.values() for word in said.split()} <= named


def test_readme_names_every_word_that_an_admin_may_answer() -> None:
    moderating = section("Groups").partition("**Moderating by mail.**")[2].partition("**Ads.**")[0]
    assert set(phrases.ANSWERS) <= {word for code in CODE.findall(moderating) for word in code.split()}


def test_the_figures_of_readme_are_those_of_the_code() -> None:
    assert MAX_COMMANDS == addressing.MOST == 20
    assert commanding.ANSWERS.burst == timedelta(hours=24) / commanding.ANSWERS.every == 10
    assert addressing.OBJECT_WITHIN.days == 14
    assert holding.HOLD_FOR.days == holding.UNDO_FOR.days == joining.UNDO_WITHIN.days == 14
    assert holding.ANNOUNCED_SINGLY == 5
    assert expiring.TRACE_FOR.days == 7
    limits, said = Limits(), {row[0]: row[1] for row in rows(section("Limits and promises"))}
    assert f"for {expiring.SEEN_FOR.days} days" in said["the same post again"]
    assert f"(`[relay] connections`, {Settings.default(ROOT).relay.connections})" in said["copies after `kill -9`"]
    assert f"and {recorder.UNRECORDED} more copies" in said["copies after `kill -9`"]
    slowest = queue.LEASE.seconds + loop.NAP
    assert f"after {queue.LEASE.seconds} to {slowest:.0f} s" in said["back under way after a crash"]
    assert f"{limits.max_message_bytes:,} bytes" in said["a message"]
    assert f"header {limits.max_header_bytes:,} bytes and {limits.max_header_fields:,} fields" in said["a message"]
    assert f"{trace.MAX_HOPS} hops" in said["a message"]
    assert f"{limits.max_recipients:,}" in said["a session"]
    assert f"{limits.idle_timeout:,.0f} s of silence, {limits.session_timeout:,.0f} s" in said["a session"]
    assert f"{limits.max_errors} errors" in said["a session"]
    assert f"for {delivering.PATIENCE.days} days" in said["a delivery"]
    assert "30 s, 2, 5, 15, 30 min, then 1, 2 and every 4 h" in said["a delivery"]
    assert [step.seconds for step in delivering.LADDER] == [30, 120, 300, 900, 1800, 3600, 7200, 14400]
    assert f"± {delivering.JITTER:.0%}".replace("%", " %") in said["a delivery"]
    assert f"{reception.CROWDED:,}" in said["the queue"]
    most, minutes = DEFAULTS.pace, pace.WITHIN // timedelta(minutes=1)
    assert (
        f"{most} answers to a group in {minutes} minutes, {pace.alike(most)} of them on one subject"
        in said["an author"]
    )
    assert f"{recipient.MAX_GROUP_OCTETS} characters" in said["a group's name"]
    assert f"at most one in {budgeting.MAIL.every.total_seconds() / 3600:.0f} hours" in said["questions to one mailbox"]
    assert f"void after {objecting.ANSWER_WITHIN.days} days" in said["questions to one mailbox"]
    assert f"then none for {objecting.REST.days} days" in said["questions to one mailbox"]
    assert f"{budgeting.FATE.burst} about what was decided" in said["notices to one member"]
    assert budgeting.FATE.burst * budgeting.FATE.every == budgeting.MAIL.every == timedelta(days=1)
    of_a_network = said["unproven requests from one network"]
    assert f"{budgeting.NETWORK.burst} at once" in of_a_network
    assert f"one more every {budgeting.NETWORK.every.seconds // 60} minutes" in of_a_network
    wrong = f"{guessing.WRONG} in {guessing.WITHIN.seconds // 60} minutes"
    assert wrong in said["confirmations that do not exist"]
    assert f"{budgeting.DOMAIN.burst} at once" in said["unproven requests of one domain"]


def test_the_map_of_the_house_names_every_module_under_its_package() -> None:
    drawn: dict[str, set[str]] = {"": set()}
    package = ""
    for line in (listserv.__doc__ or "").splitlines():
        if head := re.match(r"    (\w+)(/?)", line):
            package = head[1] if head[2] else ""
        drawn.setdefault(package, set()).update(re.findall(r"\w+", line))
    house = ROOT / "listserv"
    for path in house.rglob("*.py"):
        where = path.relative_to(house).parts
        if path.stem.startswith("__") or "migrations" in where:
            continue
        assert path.stem in drawn.get(where[0] if len(where) > 1 else "", set()), path
    assert {path.name for path in house.iterdir() if (path / "__init__.py").exists()} == set(drawn) - {""}


@EVERY_TEXT
def test_every_option_of_a_script_that_is_shown_is_one(name: str) -> None:
    for code in quoted(TEXTS[name]):
        script, *words = code.split() or [""]
        if script.startswith("scripts/"):
            known = re.findall(r"--[a-z-]+", (ROOT / script).read_text("utf-8"))
            assert not [word for word in words if word.startswith("--") and word not in known], code


def test_readme_is_short_enough_to_be_read() -> None:
    assert len(README.splitlines()) <= 300
