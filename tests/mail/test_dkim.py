"""Signatures of others: dkimpy's own vectors, what counts and what does not, and bodies hashed as dkimpy does it."""

import hashlib
import time
from base64 import b64encode
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import dkim as dkimpy
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from dkim.canonicalization import CanonicalizationPolicy, Relaxed, Simple
from hypothesis import given
from hypothesis import strategies as st

from listserv.mail import dkim, header, message
from listserv.mail import results as authentication_results
from listserv.mail.dkim import Verdict
from listserv.mail.evidence import dkim_result
from listserv.mail.lookups import NOTHING, Answer, Known, Question, Silence
from tests.net.checking import letter

VECTORS = Path(__file__).parent / "dkimpy"
NOW = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)
RFC6376 = (
    "MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQiY/J16JYi0Qvx/byYzCNb3W91"
    "y3FutACDfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3Ip3G+2kryOTIKT+l/K4w3QIDAQAB"
)
GMAIL = (
    "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA1Kd87/UeJjenpabgbFwh+eBCsSTrqmwIYYvywlbhbqoo2DymndFkbjOVIPIldNs/m40K"
    "F+yzMn1skyoxcTUGCQs8g3FgD2Ap3ZB5DekAo5wMmk4wimDO+U8QzI3SD07y2+07wlNWwIt8svnxgdxGkVbbhzY8i+RQ9DpSVpPbF7ykQxtKXkv/"
    "ahW3KjViiAH+ghvvIhkx4xYSIc9oSwVmAl5OctMEeWUwg8Istjqz8BZeTWbf41fbNhte7Y+YqZOwq1Sd0DbvYAD9NOZK9vlfuac0598HY+vtSBcz"
    "UiKERHv1yRbcaQtZFh5wtiRrN04BLUTD21MycBX5jYchHjPY/wIDAQAB"
)


def vector(name: str) -> bytes:
    return (VECTORS / name).read_bytes()


def crlf(content: bytes) -> bytes:
    return content.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def verdicts(content: bytes, records: dict[str, bytes], domain: str = "a.example") -> list[Verdict]:
    """What each signature of this message is worth, with these key records; "?" is silence."""

    def ask(question: Question) -> Known:
        assert question.kind == "TXT"
        record = records.get(question.name)
        if record is None:
            return NOTHING
        return Silence("silent") if record == b"?" else Answer((record,))

    parsed = message.parse(content)
    found = dkim.signatures(parsed, domain)
    body = dkim.hashed(parsed, found)
    return [dkim.verify(parsed, each, body, NOW, ask) for each in found]


def results(content: bytes, records: dict[str, bytes], domain: str = "a.example") -> list[str]:
    return [each.result for each in verdicts(content, records, domain)]


@pytest.mark.parametrize(
    ("name", "key", "record", "expected"),
    [
        ("rfc6376.signed.rsa.msg", "test._domainkey.football.example.com", f"v=DKIM1; k=rsa; p={RFC6376}", "pass"),
        ("rfc6376.signed.rsa.msg", "test._domainkey.football.example.com", "@badk.txt", "permerror"),
        ("rfc6376.signed.rsa.msg", "test._domainkey.football.example.com", "@badversion.txt", "permerror"),
        ("rfc6376.signed.rsa.msg", "test._domainkey.football.example.com", "@test_bad.txt", "permerror"),
        ("rfc6376.signed.rsa.msg", "elsewhere", "", "permerror"),
        ("rfc6376.signed.no_t.msg", "test._domainkey.football.example.com", f"v=DKIM1; p={RFC6376}", "fail"),
        ("test2.message", "20120113._domainkey.gmail.com", f"k=rsa; p={GMAIL}", "pass"),
        ("ed25519test2.msg", "sed._domainkey.test.ex", "@eximtest.dns", "pass"),
        ("test.message.baddomain", "elsewhere", "", "neutral"),
    ],
)
def test_dkimpys_vectors(name: str, key: str, record: str, expected: str) -> None:
    published = vector(record[1:]).strip() if record.startswith("@") else record.encode()
    assert results(crlf(vector(name)), {key: published}) == [expected]


def test_the_example_of_rfc_8463_has_two_valid_signatures() -> None:
    records = {
        "brisbane._domainkey.football.example.com": b"k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=",
        "test._domainkey.football.example.com": f"k=rsa; p={RFC6376}".encode(),
    }
    assert results(crlf(vector("rfc6376.signed.msg")), records) == ["pass", "pass"]


@pytest.mark.parametrize("canonical", [(a, b) for a in (b"simple", b"relaxed") for b in (b"simple", b"relaxed")])
@pytest.mark.parametrize(
    ("key", "record"),
    [
        ("1024_testkey.key", "1024_testkey_wo_markers.pub.txt"),
        ("1024_testkey.key", "1024_testkey_wo_markers.pub.rsa.txt"),
        ("2048_testkey.key", "2048_testkey_wo_markers.pub.txt"),
        ("2048_testkey.key", "2048_testkey_wo_markers.pub.rsa.txt"),
        ("2048_testkey_PKCS8.key", "2048_testkey_PKCS8.key.pub.txt"),
    ],
)
def test_what_dkimpy_signs_is_valid(key: str, record: str, canonical: tuple[bytes, bytes]) -> None:
    content = crlf(vector("test.message"))
    signature = dkimpy.sign(content, b"test", b"example.com", vector(key), canonicalize=canonical)
    records = {"test._domainkey.example.com": vector(record).strip()}
    assert results(signature + content, records, "example.com") == ["pass"]
    assert results(signature + content + b"more\r\n", records, "example.com") == ["fail"]


@cache
def private(bits: int) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


def pem(bits: int = 1024) -> bytes:
    traditional = serialization.PrivateFormat.TraditionalOpenSSL
    return private(bits).private_bytes(serialization.Encoding.PEM, traditional, serialization.NoEncryption())


def record(bits: int = 1024, tags: str = "") -> bytes:
    kind = serialization.PublicFormat.SubjectPublicKeyInfo
    return f"v=DKIM1; {tags}p=".encode() + b64encode(
        private(bits).public_key().public_bytes(serialization.Encoding.DER, kind)
    )


def signed(content: bytes, domain: bytes = b"a.example", selector: bytes = b"s1", **options: Any) -> bytes:
    options = {"include_headers": [b"from", b"subject", b"date"], "canonicalize": (b"relaxed", b"relaxed"), **options}
    field: bytes = dkimpy.sign(content, selector, domain, pem(), **options)
    return field + content


S1 = "s1._domainkey.a.example"
WHOLE = signed(letter())


@pytest.mark.parametrize(
    ("content", "published", "expected", "why"),
    [
        (WHOLE, record(), "pass", ""),
        (WHOLE, record(tags="k=rsa; s=email; t=y; h=sha256; "), "pass", ""),
        (WHOLE, b"?", "temperror", "silent"),
        (WHOLE, b"v=DKIM1; p=", "permerror", "withdrawn"),
        (WHOLE, record(tags="s=tlsrpt; "), "permerror", "something else"),
        (WHOLE, record(tags="h=sha1; "), "permerror", "other hashes"),
        (WHOLE, record(tags="k=ed25519; "), "permerror", "another kind"),
        (WHOLE, record(tags="n=" + "x" * 5000 + "; "), "permerror", "too long"),
        (WHOLE, record(1280), "fail", "another key"),
        (WHOLE.replace(b"A walk", b"A swim"), record(), "fail", "header was changed"),
        (WHOLE.replace(b"Shall we", b"Must we"), record(), "fail", "body was changed"),
        (WHOLE.replace(b"From: ada", b"From: eve"), record(), "fail", "header was changed"),
        (b"From: eve@e.example\r\n" + WHOLE, record(), "fail", "header was changed"),
        (WHOLE.replace(b"\r\nFrom:", b"\r\nFrom: eve@e.example\r\nFrom:"), record(), "fail", "header was changed"),
        (WHOLE.replace(b"a=rsa-sha256", b"a=rsa-sha1"), record(), "policy", "SHA-1"),
        (WHOLE.replace(b"h=from : subject", b"h=to : subject"), record(), "permerror", "does not sign From"),
        (WHOLE.replace(b"v=1;", b"v=2;"), record(), "neutral", "cannot be read"),
        (WHOLE.replace(b"d=a.example", b"d=a_b..example"), record(), "neutral", ""),
        (signed(letter(), length=True), record(), "pass", ""),
        (signed(letter(), length=True) + b"And buy this.\r\n", record(), "policy", "only the beginning"),
        (signed(letter(), identity=b"ada@mail.a.example"), record(), "pass", ""),
        (signed(letter(), identity=b"ada@mail.a.example"), record(tags="t=s; "), "permerror", "not for subdomains"),
        (signed(letter(), identity=b"ada@a.example"), record(tags="t=s; "), "pass", ""),
        (signed(letter(text=b"")), record(), "pass", ""),
    ],
)
def test_what_counts_and_what_does_not(content: bytes, published: bytes, expected: str, why: str) -> None:
    (verdict,) = verdicts(content, {S1: published})
    assert (verdict.result, why in verdict.why) == (expected, True), verdict.why


def test_a_signature_that_has_expired_is_worth_nothing() -> None:
    def until(moment: datetime) -> bytes:
        """Signed by hand: dkimpy writes no x=."""
        tags = f"v=1; a=rsa-sha256; c=simple/simple; d=a.example; s=s1; x={int(moment.timestamp())}; h=from; bh="
        unsigned = b"DKIM-Signature: " + tags.encode() + b64encode(hashlib.sha256(b"Hi\r\n").digest()) + b";\r\n b="
        value = private(1024).sign(b"From: ada@a.example\r\n" + unsigned, PKCS1v15(), hashes.SHA256())
        return unsigned + b64encode(value) + b"\r\nFrom: ada@a.example\r\n\r\nHi\r\n"

    assert results(until(datetime(2026, 11, 27, tzinfo=UTC)), {S1: record()}) == ["pass"]
    assert results(until(datetime(2026, 11, 26, 11, 0, tzinfo=UTC)), {S1: record()}) == ["fail"]


def test_keys_below_1024_bits_count_for_nothing() -> None:
    weak = (
        "MFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBANmBe10IgY+u7h3enWTukkqtUD5PR52Tb/mPfjC0QJTocVBq6Za/PlzfV+Py92VaCak19F4WrbVT"
    )
    (verdict,) = verdicts(WHOLE, {S1: f"k=rsa; p={weak}K5Gg5tW220MCAwEAAQ==".encode()})
    assert verdict.result in ("permerror", "policy")


def test_five_signatures_are_looked_at_and_the_authors_own_first() -> None:
    content = signed(letter())
    for number in range(12):
        content = signed(content, b"e%d.example" % number)
    found = dkim.signatures(message.parse(content), "mail.a.example")
    assert [each.domain for each in found] == ["a.example", "e11.example", "e10.example", "e9.example", "e8.example"]


@pytest.mark.parametrize(
    "field",
    [
        b"DKIM-Signature: v=1; a=rsa-sha256; d=a.example; s=s1; bh=x; h=from; b=" + b"\r\n " * 20_000 + b"x",
        b"DKIM-Signature: v=1; a=rsa-sha256; d=a.example; s=s1; bh=YQ==; b=YQ==; h=from:" + b":".join(
            b"x%d" % number for number in range(1_000)
        ),
        b"DKIM-Signature: v=1; a=rsa-sha256; d=a.example; s=s1; bh=YQ==; h=from; b=YQ==; x=" + b"9" * 6_000,
        b"DKIM-Signature: " + b";b=a" * 15_000,
        b"DKIM-Signature: " + b"v=1; " * 1_500,
    ],
)  # fmt: skip
def test_what_was_made_to_be_slow_is_quick(field: bytes) -> None:
    content = (field + b"\r\n") * 5 + b"X: y\r\n" * 800 + letter()
    began = time.process_time()
    assert set(results(content, {S1: record()})) <= {"neutral", "permerror", "fail"}
    assert time.process_time() - began < 1.0


LINES = st.lists(
    st.lists(st.sampled_from([b" ", b"\t", b"a", b"  ", b"word", b"\xc3\xa4", b"\r", b"."]), max_size=6).map(b"".join),
    max_size=12,
)


@given(LINES, st.booleans(), st.sampled_from([7, 65_536]))
def test_bodies_are_hashed_as_dkimpy_hashes_them(lines: Sequence[bytes], ends: bool, chunk: int) -> None:
    body = b"\r\n".join(lines) + b"\r\n" * ends
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dkim, "_CHUNK", chunk)
        for ours, theirs in ((dkim.relaxed, Relaxed), (dkim.simple, Simple)):
            canonical = theirs.canonicalize_body(body)
            assert ours(body) == (hashlib.sha256(canonical).digest(), len(canonical))


@pytest.mark.parametrize("line", [b" " * 65_000, b" " * 998, b"\t a" * 300, b"", b"x" * 65_000])
def test_a_megabyte_is_hashed_in_no_time(line: bytes) -> None:
    """dkimpy takes 7 s for 64 kB of blanks."""
    body = (line + b"\r\n") * (1_000_000 // (len(line) + 2))
    began = time.process_time()
    dkim.relaxed(body)
    assert time.process_time() - began < 0.5


TAGS = [
    *(b"v=1", b"a=rsa-sha256", b"d=a.example", b"s=s1", b"h=from", b"bh=YQ==", b"b=YQ==", b"l=1"),
    *(b"x=1", b"c=relaxed", b"c=/", b"=", b"\xff", b"i=@a.example", b"t=9", b"q=x"),
]


@given(st.lists(st.sampled_from(TAGS) | st.binary(max_size=6)))
def test_whatever_signature_comes_it_has_a_result(tags: list[bytes]) -> None:
    field = b"DKIM-Signature: " + b"; ".join(tags).replace(b"\n", b"").replace(b"\r", b"") + b"\r\n"
    found = verdicts(field + letter(), {S1: record()})
    assert all(each.result != "pass" for each in found)
    said = authentication_results.written("lists.example", [dkim_result(each, is_one_of_many=True) for each in found])
    assert header.results_field(said)


CONTENTS = st.lists(
    st.sampled_from(
        [b" ", b"\t", b"a", b"  ", b"word", b"\xc3\xa4", b"\r\n ", b"\n\t", b"\r", b";", b"=", b"b=", b" b =YQ\r\n =="]
    ),
    max_size=8,
).map(b"".join)  # fmt: skip
NAMES = st.sampled_from([b"From", b"to", b"X-Y", b"subject", b"SUBJECT", b"Received"])


@given(
    st.lists(st.tuples(NAMES, st.sampled_from([b"", b" ", b"\t "]), CONTENTS), max_size=10),
    st.lists(NAMES.map(bytes.lower) | st.just(b"absent"), min_size=1, max_size=10),
    st.lists(CONTENTS, min_size=3, max_size=3),
)
def test_relaxed_headers_are_hashed_as_dkimpy_hashes_them(
    fields: list[tuple[bytes, bytes, bytes]], signed: list[bytes], odd: list[bytes]
) -> None:
    own = b"DKIM-Signature:" + odd[0] + b"; b=" + odd[1] + b"; c=relaxed/relaxed;" + odd[2] + b"\r\n"
    post = message.parse(own + b"".join(b"%b%b:%b\r\n" % each for each in fields) + b"\r\n")
    tags = {b"h": b":".join(signed), b"c": b"relaxed"}
    signature = dkim.Signature(post.fields[0], "a.example", "s1", tags)
    names = [*signed, *(name for name in dkim._ONCE if name in signed)]
    pairs = [dkim._pair(each) for each in post.fields if each.name.encode() in names]
    digest = hashlib.sha256()
    policy = CanonicalizationPolicy.from_c_value(b"relaxed")
    dkimpy.hash_headers(digest, policy, policy.canonicalize_headers(pairs), names, dkim._pair(signature.field), tags)
    assert dkim._header_hash(post, signature) == digest.digest()
