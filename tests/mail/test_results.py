"""Authentication-Results: read strictly, believed only where our own mail servers can have written, written plainly."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from listserv.mail import header, message, results
from listserv.mail.results import Result
from tests.net.checking import letter

IDS = frozenset({"mx.example"})


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("mx.example; none", []),
        ("mx.example 1; none", []),
        ("MX.Example; SPF=Pass smtp.mailfrom=a.example", [("spf", "pass", [("smtp.mailfrom", "a.example")])]),
        ("mx.example; dkim=pass header.d=a.example; spf=fail",
         [("dkim", "pass", [("header.d", "a.example")]), ("spf", "fail", [])]),
        ("mx.example; dkim=pass (2048-bit key; unprotected) header.d=a.example header.i=@a.example header.b=Ab/+cd12;",
         [("dkim", "pass", [("header.d", "a.example"), ("header.i", "@a.example"), ("header.b", "Ab/+cd12")])]),
        ('(at) "mx.example" (last (of all)); dmarc = pass (p=none) header.from=a.example',
         [("dmarc", "pass", [("header.from", "a.example")])]),
        ('mx.example; spf=pass reason="said so; twice" smtp.mailfrom="odd; one"@a.example',
         [("spf", "pass", [("smtp.mailfrom", "odd; one@a.example")])]),
        ("mx.example; spf=pass smtp.mailfrom=bounces+ada=a.example@b.example",
         [("spf", "pass", [("smtp.mailfrom", "bounces+ada=a.example@b.example")])]),
        ("mx.example; dkim/1=pass header.d=a.example", [("dkim", "pass", [("header.d", "a.example")])]),
        # not by the grammar, so it says nothing
        ("", None),
        ("mx.example", None),
        ("mx.example;", None),
        ("mx.example 2; none", None),
        ("mx.example; none; spf=pass", None),
        ("mx.example; spf", None),
        ("mx.example; spf=pass nonsense", None),
        ("mx.example; spf=pass; what", None),
        ("mx.example; spf=pass smtp.mailfrom=", None),
        ("mx.example; spf=pass (never closed", None),
        ("mx.example; spf=pass closed twice)", None),
        ('mx.example; spf=pass "never closed', None),
        ("mx.example; ((((((((((spf=pass))))))))))", None),
        ("=; spf=pass", None),
        ("mx.example; dkim/2=pass", None),
    ],
)  # fmt: skip
def test_what_a_field_says(value: str, expected: list[tuple[str, str, list[tuple[str, str]]]] | None) -> None:
    found = results.read(value.encode())
    if expected is None:
        assert found is None
        return
    assert found == ("mx.example", tuple(Result(method, said, tuple(named)) for method, said, named in expected))


def test_the_domain_of_a_property_is_that_of_its_address() -> None:
    found = results.read(
        b'mx.example; spf=pass smtp.mailfrom="a@good.example"@evil.example; dkim=pass header.d=A.Example'
    )
    assert found
    spf, dkim = found[1]
    assert spf.domain("smtp.mailfrom") == "evil.example"
    assert dkim.domain("header.d") == "a.example"
    assert dkim.domain("header.i") == ""
    assert Result("spf", "pass", (("smtp.mailfrom", "<>"),)).domain("smtp.mailfrom") == ""


RECEIVED = "Received: from out.example by mx.example with ESMTP; Sun, 22 Nov 2026 10:00:00 +0000"
INSIDE = "Received: from mx.example by in.mx.example with LMTP; Sun, 22 Nov 2026 10:00:01 +0000"
OUTSIDE = "Received: from x by out.example with ESMTP; Sun, 22 Nov 2026 09:59:59 +0000"
OURS = "Authentication-Results: mx.example; dmarc=pass header.from=a.example"
OTHER = "Authentication-Results: other.example; dmarc=pass header.from=b.example"
FAILED = "Authentication-Results: mx.example; dmarc=fail header.from=a.example"
BROKEN = "Authentication-Results: mx.example; dmarc"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ([OURS], "pass"),
        ([OURS, RECEIVED], "pass"),
        ([RECEIVED, OURS], "pass"),
        ([INSIDE, RECEIVED, OURS], "pass"),
        ([RECEIVED, OTHER, OURS, OUTSIDE], "pass"),
        ([FAILED, OURS], "fail"),
        ([OUTSIDE, OURS], "pass"),  # whoever hands it in is trusted, whatever it calls itself
        ([RECEIVED, OUTSIDE, OURS], None),
        ([RECEIVED, OTHER], None),
        ([RECEIVED, BROKEN, OURS], None),  # the topmost decides, even if it says nothing
        ([], None),
    ],
)
def test_which_field_is_believed(fields: list[str], expected: str | None) -> None:
    found = results.believed(message.parse(letter("ada@a.example", *fields)), IDS)
    assert (found[1][0].result if found else None) == expected


def test_what_we_write_can_be_read_again() -> None:
    said = [Result("spf", "pass", (("smtp.mailfrom", "a.example"),)), Result("dkim", "none")]
    said.append(Result("x", "pass", (("policy.p", 'a "b"'),)))
    assert results.read(results.written("lists.example", said).encode()) == ("lists.example", tuple(said))
    assert results.written("lists.example", []) == "lists.example; none"


@pytest.mark.parametrize(
    "value",
    [
        "lists.example; dmarc=pass",
        "LISTS.example 1; dmarc=pass",
        '"lists.example"; dmarc=pass',
        '"lists\\.example"; dmarc=pass',
        "(a) lists.example; dmarc=pass",
        "(a(b(c)d)e)(f) lists.example; dmarc=pass",
        "\t(x\r\n y) lists.example;dmarc=pass",
        "lists.example",
    ],
)
def test_every_spelling_of_our_own_name_is_taken_out(value: str) -> None:
    parsed = message.parse(letter("ada@a.example", f"Authentication-Results:{value}"))
    kept = header.strip(parsed, {"lists.example"}, frozenset())
    assert "authentication-results" not in {field.name for field in kept}


def test_an_arc_chain_is_named_and_proves_nothing() -> None:
    seal = "ARC-Seal: i=2; a=rsa-sha256; d=big.example; s=k; t=1; cv=pass; b=x"
    said = results.arc(message.parse(letter("ada@a.example", seal, seal.replace("i=2", "i=1"))))
    assert said == "an ARC chain of 2, sealed last by big.example (cv=pass), proves nothing here"
    assert results.arc(message.parse(letter())) == ""


PIECES = [
    b"mx.example",
    b"; ",
    b"spf=pass",
    b" smtp.mailfrom=",
    b"a@b.example",
    b'"',
    b"(",
    b")",
    b"\\",
    b"=",
    b" 1",
    b"none",
]


@given(st.lists(st.sampled_from(PIECES) | st.binary(max_size=3), max_size=30).map(b"".join))
def test_whatever_stands_there_it_is_read_or_not(value: bytes) -> None:
    found = results.read(value)
    assert found is None or found[0] == found[0].lower()
    header.authserv_id(value)
