"""What is an e-mail address and what is not: tables, properties, and email-validator as a second opinion."""

import time

import pytest
from email_validator import EmailNotValidError, validate_email
from hypothesis import example, given
from hypothesis import strategies as st

from listserv.model.address import MAX_OCTETS, Address, domain_name, is_plain, parse

L63 = "a" * 63

ADDRESSES = [
    # text, local, domain
    ("ada@a.example", "ada", "a.example"),
    ("Ada.Lovelace+lists@A.Example", "Ada.Lovelace+lists", "a.example"),
    ("!#$%&'*+/=?^_`{|}~-@a.example", "!#$%&'*+/=?^_`{|}~-", "a.example"),
    ('"ada lovelace"@a.example', '"ada lovelace"', "a.example"),
    (r'"a\"b\\c"@a.example', r'"a\"b\\c"', "a.example"),
    ('"a@b"@a.example', '"a@b"', "a.example"),
    ('""@a.example', '""', "a.example"),
    ("ada@localhost", "ada", "localhost"),
    ("ada@a.test", "ada", "a.test"),
    ("ada@a-b.c--d.example", "ada", "a-b.c--d.example"),
    ("ada@1.2.example", "ada", "1.2.example"),
    ("ada@bücher.example", "ada", "xn--bcher-kva.example"),
    ("ada@BÜCHER.example", "ada", "xn--bcher-kva.example"),
    ("ada@xn--bcher-kva.example", "ada", "xn--bcher-kva.example"),
    ("ada@例え。テスト", "ada", "xn--r8jz45g.xn--zckzah"),
    ("ädä@a.example", "ädä", "a.example"),
    ("ada@[192.0.2.1]", "ada", "[192.0.2.1]"),
    ("ada@[IPv6:2001:DB8:0::1]", "ada", "[IPv6:2001:db8::1]"),
    ("ada@[ipv6:::1]", "ada", "[IPv6:::1]"),
    (f"{'a' * 64}@a.example", "a" * 64, "a.example"),
    (f"ada@{L63}.example", "ada", f"{L63}.example"),
]

NO_ADDRESSES = [
    "", "@", "ada", "ada@", "@a.example", " ada@a.example", "ada@a.example ", "ada @a.example", "ada@ a.example",
    "ada@a.example\n", "ada@a.example\r\nBcc: eve@e.example", "ada\0@a.example", "ada\x7f@a.example",
    "ada\x85@a.example", "ada\u2028@a.example", "ada\ud800@a.example", '"ada\n"@a.example', '"ada\x00"@a.example',
    ".ada@a.example", "ada.@a.example", "a..da@a.example", "a,da@a.example", "a:da@a.example", "a;da@a.example",
    "<ada@a.example>", "Ada <ada@a.example>", "ada@a.example, bob@b.example", "ada(comment)@a.example",
    "ada@bob@a.example", '"ada@a.example', 'ada"@a.example', '"a"b"@a.example', '"ada\\"@a.example', '"ada"x@a.example',
    "ada@a..example", "ada@.example", "ada@a.example.", "ada@-a.example", "ada@a-.example", "ada@a_b.example",
    "ada@a/b.example", "ada@a example", f"ada@{'a' * 64}.example", f"{'a' * 65}@a.example", f"{'ä' * 33}@a.example",
    f"ada@{'.'.join([L63] * 4)}", "ada@[192.0.2.256]", "ada@[192.0.2]", "ada@[192.0.2.1", "ada@192.0.2.1]", "ada@[]",
    "ada@[IPv6:]", "ada@[IPv6:2001:db8::g]", "ada@[2001:db8::1]", "ada@[x]", "ada@[192.0.2.1]x",
    "ada@[IPv6:fe80::1%eth0]", "ada@[IPv6:::1%> NOTIFY=NEVER]", "ada@[IPv6:::1%>, <eve]",
]  # fmt: skip


@pytest.mark.parametrize(("text", "local", "domain"), ADDRESSES)
def test_these_are_addresses(text: str, local: str, domain: str) -> None:
    assert parse(text) == Address(local, domain)


@pytest.mark.parametrize("text", NO_ADDRESSES)
def test_these_are_none(text: str) -> None:
    assert parse(text) is None


def test_the_longest_address_fits_into_a_path_and_no_longer_one() -> None:
    local, rest = "a" * 64, ".".join([L63, L63, L63])
    fits = f"{local}@{rest}"[: MAX_OCTETS - 8] + ".example"
    assert len(fits) == MAX_OCTETS
    assert parse(fits) is not None
    assert parse(fits.replace("@", "@b")) is None


def test_two_spellings_of_a_mailbox_have_one_key_and_keep_their_own_writing() -> None:
    one, other = parse("Ada@A.example"), parse("aDA@a.EXAMPLE")
    assert one is not None
    assert other is not None
    assert one.key == other.key == "ada@a.example"
    assert (str(one), str(other)) == ("Ada@a.example", "aDA@a.example")


PIECES = st.text(
    st.sampled_from('aB1.@"\\-_+[]<>,;:()% \t\r\n\0äßİſ例。\u00ad\u200b\u2028\ud800') | st.characters(), max_size=30
)
TEXTS = st.text() | PIECES | st.builds("{}@{}".format, PIECES, PIECES) | st.builds("a@{}".format, st.text())


@given(TEXTS)
@example("a@İ.example")
@example("a@[IPv6:::1%x]")
def test_whatever_the_text_is_an_address_is_safe_in_a_path_and_means_itself(text: str) -> None:
    known = parse(text)
    assert not is_plain(text) or (text.isascii() and str(known) == text)
    if known is None:
        return
    assert parse(str(known)) == known
    assert len(str(known).encode()) <= MAX_OCTETS
    assert not set(str(known)) & set("\r\n\0\x7f\x85\u2028\u2029")
    assert known.domain.isascii()
    assert known.domain == known.domain.strip()
    assert not set(known.domain) & set(' <>,;@"\\()')
    assert known.local.startswith('"') or not set(known.local) & set(' <>,;:@"\\()[]')


@given(st.text(max_size=300))
def test_a_domain_is_made_of_labels(text: str) -> None:
    known = domain_name(text)
    if known is not None:
        assert domain_name(known) == known
        assert len(known) <= 253
        for label in known.split("."):
            assert 1 <= len(label) <= 63
            assert set(label) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
            assert label.strip("-") == label


LOCALS = st.from_regex(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]{1,66}", fullmatch=True)
DOMAINS = st.from_regex(r"[a-z0-9-]{1,64}(\.[a-z0-9-]{1,20}){1,3}", fullmatch=True)


@given(LOCALS, DOMAINS)
def test_email_validator_thinks_the_same_of_plain_addresses(local: str, domain: str) -> None:
    # it refuses besides, on purpose, what is no name of the public DNS: those are ordinary here
    text = f"{local}@{domain}.com"
    known = parse(text)
    assert is_plain(text) is (known is not None)
    if _second_opinion(text):
        assert known is not None
    elif "--" not in domain:  # labels with hyphens in the third and fourth place, and A-labels that are none
        assert known is None


def _second_opinion(text: str) -> bool:
    try:
        validate_email(text, check_deliverability=False, strict=True, test_environment=True)
    except EmailNotValidError:
        return False
    return True


def test_no_text_takes_long() -> None:
    began = time.process_time()
    for piece in ("a", ".", "@", '"', "\\", "a.", "ä", '"\\', "-", "[", "xn--"):
        for text in (piece * 100_000, f"a@{piece * 100_000}", f'"{piece * 100_000}"@a.example'):
            parse(text)
    assert time.process_time() - began < 5
