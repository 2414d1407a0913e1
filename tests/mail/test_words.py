"""Encoded words and charsets."""

from email.header import decode_header, make_header

import pytest
from hypothesis import given
from hypothesis import strategies as st

from listserv.mail import words


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (b"Sunday", "Sunday"),
        (b"=?utf-8?q?Gr=C3=BC=C3=9Fe_aus?= Kiel", "Grüße aus Kiel"),
        (b"=?UTF-8?B?R3LDvMOfZQ==?=", "Grüße"),
        (b"=?utf-8?b?R3LDvMOfZQ?=", "Grüße"),
        (b"=?utf-8*de?q?Gr=C3=BC=C3=9Fe?=", "Grüße"),
        (b"=?iso-8859-1?q?Gr=FC=DFe?=  =?utf-8?q?_aus?=", "Grüße aus"),
        (b"=?utf-8?b?R3LD?= =?utf-8?b?vMOfZQ==?=", "Grüße"),
        (b"a =?utf-8?q?b?= c", "a b c"),
        (b"=?utf-8?q?a b?=", "a b"),
        (b"=?iso-2022-jp?b?GyRCMyQbKEI=?=", "海"),
        (b"=?iso-8859-1?q?=93quoted=94?=", "“quoted”"),
        (b"=?gb2312?b?1tDOxA==?=", "中文"),
        (b"=?x-unheard-of?q?Gr=C3=BC=C3=9Fe?=", "Grüße"),
        (b"=?x-unheard-of?q?Gr=FC=DFe?=", "Grüße"),
        (b"=?rot13?q?nqn?=", "nqn"),
        (b"=?unicode_escape?q?=5Cx?=", "\\x"),
        (b"=?utf-8?x?a?=", "=?utf-8?x?a?="),
        (b"=?utf-8?q?never closed", "=?utf-8?q?never closed"),
        ("raw Grüße".encode(), "raw Grüße"),
        ("raw Grüße".encode("latin-1"), "raw Grüße"),
        (b"=?utf-8?q?a=0D=0ABcc:_b=00=E2=80=A8c?=", "a  Bcc: b  c"),
        (b"a\r\n b\tc\x7f\xc2\x85d", "a   b c  d"),
    ],
)
def test_a_header_is_shown_as_its_writer_meant_it(value, shown):
    assert words.text(value) == shown


def test_a_long_header_is_cut():
    assert words.text(b"x" * 2_000) == "x" * 999 + "…"
    assert words.text(b"x" * 20, limit=10) == "x" * 9 + "…"


@given(st.binary(max_size=300))
def test_nothing_raises_and_nothing_that_is_shown_ends_a_line(value):
    assert words.printable(words.text(value))


@given(st.binary(max_size=60), st.text(max_size=60))
def test_no_charset_raises(data, charset):
    assert isinstance(words.decode(data, charset), str)


def test_names_of_charsets_fill_no_cache():
    import encodings

    before = len(encodings._cache)  # type: ignore[attr-defined]  # what an attacker would fill
    for number in range(100):
        assert words.codec(f"x-invented-{number}") is None
    assert len(encodings._cache) == before  # type: ignore[attr-defined]


def test_every_charset_in_the_table_exists_and_is_fit_for_mail():
    for codec in set(words._CODECS.values()):
        assert b"abc".decode(codec, "replace") or codec in ("utf_16", "utf_32")
    assert not {"punycode", "idna", "unicode_escape", "rot_13"} & set(words._CODECS.values())


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=200))
def test_encoded_words_are_short_and_decode_to_what_they_were(text):
    encoded = words.encode(text)
    assert encoded.isascii()
    assert all(len(word) <= 75 for word in encoded.split(" "))
    assert str(make_header(decode_header(encoded))) == text
    assert words.text(encoded.encode(), limit=10_000) == words.clean(text).strip()
