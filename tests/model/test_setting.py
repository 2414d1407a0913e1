"""Settings as text."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from listserv.model import setting
from listserv.model.group import DEFAULTS, Policy, Posting
from listserv.model.setting import Wrong


@pytest.mark.parametrize(
    ("text", "bytes_"),
    [
        ("0", 0),
        ("500000", 500_000),
        ("10_485_760", 10_485_760),
        ("500k", 512_000),
        ("10M", 10_485_760),
        ("10 MB", 10_485_760),
        ("1MiB", 1_048_576),
        ("1g", 1_073_741_824),
        ("12 bytes", 12),
        ("7b", 7),
    ],
)
def test_sizes_are_written_as_people_do(text: str, bytes_: int) -> None:
    assert setting.read("max_message_bytes", text) == bytes_


@pytest.mark.parametrize("text", ["", "M", "-1", "1.5M", "1e3", "ten", "1 1", "9" * 13, "²"])
def test_what_is_no_size_is_wrong(text: str) -> None:
    assert isinstance(setting.read("max_message_bytes", text), Wrong)


@pytest.mark.parametrize(("text", "number"), [("0", 0), (" 24 ", 24), ("007", 7), ("1000", 1000)])
def test_numbers_are_plain(text: str, number: int) -> None:
    assert setting.read("pace", text) == number


@pytest.mark.parametrize("text", ["", "-1", "1001", "24k", "1.5", "1e3", "off", "24/10", "9" * 99, "²", "٣", "1_0"])
def test_what_is_no_number_or_too_large_is_wrong(text: str) -> None:
    assert setting.read("pace", text) == Wrong(f"“{text}” is not accepted; write a number up to 1000")


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("moderated", "Yes", True),
        ("moderated", "off", False),
        ("posting", " Anyone ", Posting.ANYONE),
        ("topics", " Boats,wind ,, boats", ("boats", "wind")),
        ("topics", "", ()),
        ("title", "  Sailing ", "Sailing"),
        ("footer", "a\r\nb\n", "a\nb"),
        ("subject_tag", "[x]", "[x]"),
        ("archive", "none", "none"),
        ("language", "pt-BR", "pt-BR"),
    ],
)
def test_each_kind_of_setting_is_read(key: str, text: str, value: Any) -> None:
    assert setting.read(key, text) == value


@given(st.sampled_from([*setting.NAMES, "nosuch"]), st.text(max_size=300))
def test_no_text_is_ever_an_exception_and_what_is_read_can_be_written(key: str, text: str) -> None:
    value = setting.read(key, text)
    if isinstance(value, Wrong):
        assert value.why
    else:
        assert type(value) is type(setting.value(DEFAULTS, key))
        assert setting.read(key, setting.written(value)) == value


def test_all_faults_come_together_and_change_nothing() -> None:
    said = setting.changed(DEFAULTS, [("moderated", "x"), ("title", "T"), ("nosuch", ""), ("title", "U")])
    assert isinstance(said, tuple)
    assert [line.partition(":")[0] for line in said] == ["moderated", "nosuch", "title"]
    assert setting.changed(DEFAULTS, [("title", "T")]) == Policy(title="T")


@pytest.mark.parametrize("key", setting.NAMES)
def test_every_setting_has_a_meaning_and_says_what_it_accepts(key: str) -> None:
    assert setting.HELP[key]
    assert setting.accepted(key)
    assert setting.read(key, setting.written(setting.value(DEFAULTS, key))) == setting.value(DEFAULTS, key)
