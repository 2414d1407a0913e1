"""The pure part of the relay: wire form, memory, replies."""

from hypothesis import given
from hypothesis import strategies as st

from listserv.net import transaction
from listserv.net.routes import Smarthost
from listserv.net.transaction import Halves, half, read_answer

CONTENT = st.lists(st.sampled_from([b".", b"..", b"\r\n", b"a", b"\xe9", b"\0"])).map(b"".join)
ANYTHING = st.lists(st.sampled_from([b".", b"\r", b"\n", b"a"])).map(b"".join)


@given(CONTENT)
def test_unstuffing_gives_the_content_back(content: bytes) -> None:
    made = half(content)
    whole = content if content.endswith(b"\r\n") or not content else content + b"\r\n"
    lines = made.wire.split(b"\r\n")
    assert not any(line == b"." for line in lines)
    assert b"\r\n".join(line.removeprefix(b".") for line in lines) == whole
    assert made.size == len(whole)
    assert made.ascii == content.isascii()


@given(ANYTHING)
def test_a_bare_cr_or_lf_is_a_value_error_and_nothing_else_is(content: bytes) -> None:
    bare = content.replace(b"\r\n", b"")
    try:
        half(content)
    except ValueError:
        assert b"\r" in bare or b"\n" in bare
    else:
        assert b"\r" not in bare
        assert b"\n" not in bare


def test_the_copies_of_one_edition_share_one_wire_form() -> None:
    halves = Halves()
    body = b".a\r\n" * 10
    assert halves.half(body) is halves.half(body)
    assert halves.half(bytes(bytearray(body))) == halves.half(body)


def test_halves_remember_a_bounded_number_of_bytes() -> None:
    halves = Halves()
    size = transaction.CACHE_BYTES // 4
    many = [bytes([number]) * size for number in range(65, 85)]
    for body in many:
        halves.half(body)
    assert [body[:1] for body, _ in halves._known.values()] == [b"Q", b"R", b"S", b"T"]
    halves.half(b"x" * (2 * transaction.CACHE_BYTES))
    assert len(halves._known) == 1
    halves.forget()
    assert halves._bytes == len(halves._known) == 0


def test_a_reply_is_one_clean_line_of_at_most_500_characters() -> None:
    answer = read_answer([b"550-5.7.1 no\x07\x1b[31m", b"550-5.7.1 not\tyou\xff", b"550"])
    assert str(answer) == "550 5.7.1 no [31m not you\ufffd"
    assert len(str(read_answer([b"250 " + b"x" * 30_000]))) == 500
    assert str(read_answer([b"250"])) == "250"


@given(st.binary(max_size=40).filter(lambda text: b"\n" not in text))
def test_any_reply_can_be_stored(text: bytes) -> None:
    assert str(read_answer([b"250 " + text])).isprintable()


def test_a_smarthost_is_named_as_the_configuration_writes_it() -> None:
    assert Smarthost("::1", 2525).name == "[::1]:2525"
