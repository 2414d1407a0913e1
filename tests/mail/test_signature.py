"""Our DKIM signature against the RFC's own examples, and against dkimpy as the verifier."""

import hashlib
import re
from contextlib import suppress
from datetime import UTC, datetime

import dkim
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from hypothesis import example, given
from hypothesis import strategies as st

from listserv.mail import message, signature
from listserv.mail.message import Field
from listserv.mail.signature import OVERSIGNED, SIGNED, Signer

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
DOMAIN, SELECTOR = "lists.example.org", "ls1"
PEM = signature.new_key()
KEY = signature.load_key(PEM)
SIGNER = Signer(KEY, DOMAIN, SELECTOR)

STAMP = message.parse(
    b"List-Unsubscribe: <https://lists.example.org/leave/aaabfvuhthal5tfuynsye>,\r\n"
    b"\t<mailto:sailing-unsubscribe+aaabfvuhthal5tfuynsye@lists.example.org>\r\n"
    b"List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n\r\n"
).fields

PLAIN = (
    b"Received: from a.example by lists.example.org; Fri, 2 Jan 2026 03:04:05 +0000\r\n"
    b"From: Ada <ada@a.example>\r\n"
    b"To: sailing@lists.example.org\r\n"
    b"Subject: Tomorrow's wind\r\n"
    b"Date: Fri, 2 Jan 2026 03:04:05 +0000\r\n"
    b"Message-ID: <1@a.example>\r\n"
    b"MIME-Version: 1.0\r\n"
    b"Content-Type: text/plain; charset=utf-8\r\n"
    b"List-Id: Sailing <sailing.lists.example.org>\r\n"
    b"Precedence: list\r\n"
    b"\r\n"
    b"West, five.\r\n"
)
HEAD = b"From: a@a.example\r\nSubject: x\r\n"
TRICKY = {
    "plain": PLAIN,
    "folded over many lines": b"From: a@a.example\r\nSubject: one\r\n two\r\n\tthree \t\r\n \t four\r\n\r\nbody\r\n",
    "folded before the first word": b"From:\r\n a@a.example\r\nSubject:\r\n\t\r\n x\r\n\r\nbody\r\n",
    "tabs and runs of blanks": b"From:\ta@a.example \r\nSubject: \t a \t\t b   c\t\r\nTo:x@a.example\r\n\r\nbody\r\n",
    "mixed case of names": b"fROM: a@a.example\r\nSUBJECT: x\r\nmime-VERSION: 1.0\r\n\r\nbody\r\n",
    "empty values": b"From: a@a.example\r\nSubject:\r\nReply-To: \r\nCc: \t\r\n\r\nbody\r\n",
    "repeated fields": b"To: 1\r\nFrom: a@a.example\r\nTo: 2\r\nSubject: x\r\nCc: 1\r\nTo: 3\r\nCc: 2\r\n\r\nbody\r\n",
    "two From": b"From: a@a.example\r\nFrom: b@a.example\r\nSubject: x\r\n\r\nbody\r\n",
    "no From": b"Subject: x\r\n\r\nbody\r\n",
    "nothing that is signed": b"X-Any: thing\r\n\r\nbody\r\n",
    "no fields": b"\r\nbody\r\n",
    "raw 8-bit": "From: Åsa <a@a.example>\r\nSubject: grüße\r\nTo: ".encode("latin-1")
    + "日本@例え.jp\r\n\r\nö\r\n".encode(),
    "several Received": b"Received: 1\r\nReceived: 2\r\nDKIM-Signature: v=1; b=x\r\nReceived: 3\r\n"
    + HEAD
    + b"\r\nbody\r\n",
    "colons and equal signs in values": b"From: a@a.example\r\nSubject: : b=1; h=from:to; bh=\r\n\r\nbody\r\n",
    "long field": HEAD + b"References:" + b" <0123456789@a.example>\r\n" * 500 + b"\r\nbody\r\n",
    "no body": HEAD + b"\r\n",
    "body is one line end": HEAD + b"\r\n\r\n",
    "body without a last line end": HEAD + b"\r\nbody",
    "blank lines at the end": HEAD + b"\r\nbody\r\n\r\n\r\n\r\n",
    "only blank lines": HEAD + b"\r\n\r\n\r\n\r\n",
    "blanks in lines at the end": HEAD + b"\r\nbody \r\n \r\n\t\r\n",
    "body that looks like a header": HEAD + b"\r\nFrom: b@a.example\r\n\r\nx\r\n",
    "NULs and 8-bit in the body": HEAD + b"\r\n\x00\xff\x80\r\n.\r\n..\r\n",
}


def copy_of(raw: bytes, stamp: tuple[Field, ...] = STAMP, signer: Signer = SIGNER) -> bytes:
    """A member's copy: signature, stamp, then the edition as it is."""
    edition = message.parse(raw)
    signed = signer.prepare(edition.fields, edition.body).sign(stamp, AT)
    return signed + b"".join(field.raw for field in stamp) + edition.head + b"\r\n" + edition.body


def verifies(raw: bytes) -> bool:
    """Whether one of its signatures holds."""
    records = {b"ls1._domainkey.lists.example.org.": signature.dns_record(KEY).encode()}
    for index in range(raw.count(b"DKIM-Signature:")):
        with suppress(dkim.DKIMException):
            if dkim.DKIM(raw).verify(index, dnsfunc=lambda name, timeout=5: records.get(name)):
                return True
    return False


@pytest.mark.parametrize("raw", TRICKY.values(), ids=TRICKY.keys())
def test_another_implementation_verifies_it(raw: bytes) -> None:
    assert verifies(copy_of(raw))


@pytest.mark.parametrize("raw", TRICKY.values(), ids=TRICKY.keys())
def test_the_stamp_may_stand_anywhere_in_the_header(raw: bytes) -> None:
    edition = message.parse(raw)
    signed = SIGNER.prepare(edition.fields, edition.body).sign(STAMP, AT)
    head = [field.raw for field in edition.fields]
    middle = len(head) // 2
    assert verifies(
        b"".join([*head[:middle], *(field.raw for field in STAMP), *head[middle:], signed, b"\r\n", edition.body])
    )


name = st.sampled_from(
    ["From", "Subject", "to", "CC", "References", "List-Help", "X-Other", "Received", "Content-Type"]
)
blank = st.sampled_from(["", " ", "\t", "  ", " \t ", "\r\n ", "\r\n\t", " \r\n \r\n\t"])
word = st.text(alphabet=st.characters(min_codepoint=0x21, exclude_categories=["Cs", "Cc", "Z"]), max_size=8)
value = st.lists(st.tuples(blank, word), max_size=6).map(lambda pairs: "".join(a + b for a, b in pairs))
headers = st.lists(st.tuples(name, value), max_size=8)
bodies = st.lists(st.sampled_from([b"\r\n", b"x", b" ", b"\t", b".", b"\xff", b"\x00", b"line\r\n"]), max_size=12)


@given(headers, bodies.map(b"".join))
@example([("Subject", " \r\n ")], b"\r\n" * 3)
def test_whatever_the_header_and_the_body_another_implementation_verifies_it(
    head: list[tuple[str, str]], body: bytes
) -> None:
    raw = "".join(f"{name}:{value}\r\n" for name, value in head).encode() + b"\r\n" + body
    assert verifies(copy_of(raw))


@given(
    headers,
    bodies.map(b"".join),
    st.lists(st.text(alphabet="abcdefghijklmnopqrstuvwxyz234567", min_size=1), max_size=3),
)
def test_a_form_filled_in_is_what_is_signed_one_by_one(
    head: list[tuple[str, str]], body: bytes, tags: list[str]
) -> None:
    raw = "".join(f"{name}:{value}\r\n" for name, value in head).encode() + b"\r\n" + body
    edition = message.parse(raw)
    prepared = SIGNER.prepare(edition.fields, edition.body)
    gap = b"aaabfvuhthal5tfuynsye"
    form = prepared.form(STAMP, gap)
    for tag in tags:
        own = tuple(Field(field.name, field.raw.replace(gap, tag.encode())) for field in STAMP)
        assert form.sign(tag.encode(), AT) == prepared.sign(own, AT)


def test_any_change_of_any_byte_breaks_it_but_for_what_is_not_signed() -> None:
    raw = copy_of(PLAIN)
    free = {at for start in (b"Received:", b"Precedence:") for at in span(raw, start, b"\r\n")}
    free |= set(span(raw, b"\tb=", b"=\r\n")[-4:])  # the last bits of base64 may mean nothing
    for at in sorted(set(range(0, len(raw), 2)) - free):
        if raw[at : at + 1] not in b" \t\r\n":
            other = b"0" if raw[at : at + 1] != b"0" else b"1"
            assert not verifies(raw[:at] + other + raw[at + 1 :]), raw[max(0, at - 10) : at + 10]
    assert verifies(raw.replace(b"Precedence: list", b"Precedence: junk").replace(b"Received: from", b"Received: form"))


def span(raw: bytes, start: bytes, end: bytes) -> range:
    at = raw.index(start)
    return range(at, raw.index(end, at) + 1)


@pytest.mark.parametrize("extra", OVERSIGNED)
@pytest.mark.parametrize("where", ["above", "below"])
def test_no_oversigned_field_can_be_added(extra: str, where: str) -> None:
    raw, added = copy_of(PLAIN), f"{extra}: added\r\n".encode()
    head, _, body = raw.partition(b"\r\n\r\n")
    changed = added + raw if where == "above" else head + b"\r\n" + added + b"\r\n" + body
    assert verifies(raw)
    assert not verifies(changed)


def test_fields_that_others_add_on_the_way_leave_it_valid() -> None:
    trace = b"Return-Path: <x@a.example>\r\nReceived: by mx\r\nAuthentication-Results: mx\r\nX-Spam: no\r\n"
    assert verifies(trace + copy_of(PLAIN))


def test_a_body_cannot_grow() -> None:
    assert verifies(copy_of(PLAIN) + b"\r\n\r\n")  # blank lines at the end are nobody's
    assert not verifies(copy_of(PLAIN) + b"more\r\n")


def test_what_is_signed_is_what_the_list_says() -> None:
    signed = re.search(rb"h=([^;]+);", copy_of(PLAIN))
    assert signed
    names = re.sub(rb"\s", b"", signed[1]).decode().split(":")
    present = ["list-id", "content-type", "mime-version", "message-id", "date", "subject", "to", "from"]
    assert names == [*present, "list-unsubscribe-post", "list-unsubscribe", *OVERSIGNED]
    assert not SIGNED & {"received", "return-path", "dkim-signature", "authentication-results", "precedence", "x-loop"}


def test_rfc_8058_is_met_both_fields_of_the_stamp_are_covered() -> None:
    raw = copy_of(PLAIN)
    assert not verifies(raw.replace(b"leave/aaab", b"leave/aaac"))
    assert not verifies(raw.replace(b"=One-Click", b"=Two-Click"))


def test_a_name_in_the_edition_and_in_the_stamp_is_refused() -> None:
    prepared = SIGNER.prepare([*message.parse(PLAIN).fields, *STAMP], b"")
    with pytest.raises(ValueError, match=r"list-unsubscribe, list-unsubscribe-post"):
        prepared.sign(STAMP, AT)


def test_copies_share_what_is_prepared_and_each_has_its_own_signature() -> None:
    edition = message.parse(PLAIN)
    prepared = SIGNER.prepare(edition.fields, edition.body)
    copies = []
    for member in (b"1", b"2", b"1"):
        stamp = message.parse(b"List-Unsubscribe: <mailto:leave+" + member + b"@lists.example.org>\r\n\r\n").fields
        copies.append(prepared.sign(stamp, AT) + stamp[0].raw + edition.head + b"\r\n" + edition.body)
    assert all(verifies(each) for each in copies)
    assert copies[0] == copies[2] != copies[1]


def test_without_a_stamp_it_signs_the_edition() -> None:
    assert verifies(copy_of(PLAIN, stamp=()))


@pytest.mark.parametrize("raw", TRICKY.values(), ids=TRICKY.keys())
def test_the_field_is_one_field_in_short_ascii_lines(raw: bytes) -> None:
    edition = message.parse(raw)
    signed = SIGNER.prepare(edition.fields, edition.body).sign(STAMP, AT)
    lines = signed.split(b"\r\n")
    assert lines.pop() == b""
    assert max(map(len, lines)) <= 78
    assert lines[0].startswith(b"DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/simple;")
    assert all(line.startswith(b"\t") for line in lines[1:])
    assert signed.isascii()
    assert b"t=1767323045;" in signed


def test_the_longest_domain_fits_into_a_line() -> None:
    domain = ".".join(["d" * 61] * 4)
    signer = Signer(KEY, domain, "s" * 63)
    signed = signer.prepare(message.parse(PLAIN).fields, b"").sign(STAMP, AT)
    assert max(map(len, signed.split(b"\r\n"))) < 998
    records = {f"{'s' * 63}._domainkey.{domain}.".encode(): signature.dns_record(KEY).encode()}
    assert dkim.verify(copy_of(PLAIN, signer=signer), dnsfunc=lambda name, timeout=5: records.get(name))


def test_a_naive_time_is_refused() -> None:
    with pytest.raises(ValueError, match="no time zone"):
        SIGNER.prepare((), b"").sign(STAMP, AT.replace(tzinfo=None))


# The forms, by the examples of RFC 6376 §3.4.5


def test_the_relaxed_header_of_the_rfc() -> None:
    a, b = message.parse(b"A: X\r\nB : Y\t\r\n\tZ  \r\n\r\n C \r\nD \t E\r\n").fields
    assert signature.relaxed(a) + signature.relaxed(b) == b"a:X\r\nb:Y Z\r\n"


@pytest.mark.parametrize(
    ("body", "simple"),
    [
        (b" C \r\nD \t E\r\n\r\n\r\n", b" C \r\nD \t E\r\n"),  # the RFC's own
        (b"", b"\r\n"),
        (b"\r\n", b"\r\n"),
        (b"\r\n\r\n", b"\r\n"),
        (b"x", b"x\r\n"),
        (b"x\r\n", b"x\r\n"),
        (b"x\r\n\r\ny\r\n\r\n", b"x\r\n\r\ny\r\n"),
        (b"\r\n\r\nx", b"\r\n\r\nx\r\n"),
        (b"x\r", b"x\r\r\n"),
        (b"x\n", b"x\n\r\n"),
        (b"x\r\r\n\r\n", b"x\r\r\n"),
        (b"x\r\n\n\r\n", b"x\r\n\n\r\n"),
    ],
)
def test_the_simple_body(body: bytes, simple: bytes) -> None:
    assert signature.body_hash(body) == hashlib.sha256(simple).digest()


def test_bombs_take_no_time() -> None:
    blanks = Field("subject", b"Subject:" + b" \t" * 50_000 + b"x\r\n")
    edition = [Field("from", b"From: a@a.example\r\n"), *[blanks] * 20]
    assert SIGNER.prepare(edition, b"\r\n" * 5_000_000).sign(STAMP, AT)  # a quadratic scan would not come back


# Keys


PKCS8, PKCS1 = serialization.PrivateFormat.PKCS8, serialization.PrivateFormat.TraditionalOpenSSL


def pem_of(
    key: rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey,
    form: serialization.PrivateFormat = PKCS8,
    password: bytes = b"",
) -> bytes:
    hidden = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, form, hidden)


@pytest.mark.parametrize("pem", [PEM, pem_of(KEY, PKCS1), PEM.replace(b"\n", b"\r\n")])
def test_both_forms_of_pem_are_read(pem: bytes) -> None:
    assert signature.load_key(pem).private_numbers() == KEY.private_numbers()


@pytest.mark.parametrize(
    ("pem", "says"),
    [
        (b"", "not a private key"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "not a private key"),
        (PEM.replace(b"M", b"N"), "not a private key"),
        (pem_of(KEY, password=b"sesame"), "encrypted"),
        (pem_of(KEY, PKCS1, b"sesame"), "encrypted"),
        (pem_of(ed25519.Ed25519PrivateKey.generate()), "not an RSA key"),
        (
            KEY.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.PKCS1),
            "not a private key",
        ),
    ],
)
def test_what_is_wrong_with_a_key_is_said_and_the_key_is_not(pem: bytes, says: str) -> None:
    with pytest.raises(ValueError, match=says) as fault:
        signature.load_key(pem)
    assert "\n" not in str(fault.value)
    assert PEM.decode().split("\n")[1] not in str(fault.value)


def test_a_key_that_receivers_would_ignore_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signature, "_KEY_BITS", range(3072, 4097))
    with pytest.raises(ValueError, match="2048 bits"):
        signature.load_key(PEM)
    with pytest.raises(ValueError, match="2048 bits"):
        Signer(KEY, DOMAIN, SELECTOR)


def test_a_new_key_is_a_new_one_of_2048_bits() -> None:
    assert KEY.key_size == 2048
    assert signature.new_key() != PEM


@pytest.mark.parametrize(
    ("domain", "selector"),
    [
        ("", "s"),
        ("Lists.example", "s"),
        ("a b", "s"),
        ("a;b", "s"),
        ("a\r\nb", "s"),
        ("münchen.example", "s"),
        ("a", ""),
        ("a", "s;t"),
    ],
)
def test_a_domain_or_selector_that_could_break_the_field_is_refused(domain: str, selector: str) -> None:
    with pytest.raises(ValueError, match="not a domain name"):
        Signer(KEY, domain, selector)


def test_the_record_is_what_a_resolver_makes_of_the_zone_line() -> None:
    line = signature.zone_line(KEY, DOMAIN, SELECTOR)
    name, _, rest = line.partition(" IN TXT ")
    strings = re.findall(r'"([^"]*)"', rest)
    assert name == signature.dns_name(DOMAIN, SELECTOR) + "."
    assert "".join(strings) == signature.dns_record(KEY)
    assert len(strings) > 1
    assert max(map(len, strings)) <= 255
    assert re.fullmatch(r"v=DKIM1; k=rsa; p=[A-Za-z0-9+/]+={0,2}", signature.dns_record(KEY))


def test_no_key_is_ever_shown() -> None:
    assert "RSA" not in repr(SIGNER)
