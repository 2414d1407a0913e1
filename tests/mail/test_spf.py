"""SPF where its own suite (tests/net/test_spf_suite.py) is silent: identities, limits, and records made to hurt."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from listserv.mail import spf
from listserv.mail.lookups import NOTHING, Answer, Known, Missing, Question, Silence

Zone = dict[Question, Known]


def txt(**records: str) -> Zone:
    """`a_example="v=spf1 …"` is a TXT record of a.example."""
    return {Question(name.replace("_", "."), "TXT"): Answer((text.encode(),)) for name, text in records.items()}


def check(zone: Zone, mail_from: str = "ada@a.example", helo: str = "out.example", ip: str = "192.0.2.1") -> spf.Spf:
    return spf.check(ip, mail_from, helo, lambda question: zone.get(question, NOTHING))


def test_the_domain_of_a_quoted_local_part_is_the_last_one() -> None:
    zone = txt(good_example="v=spf1 +all", evil_example="v=spf1 -all")
    found = check(zone, '"x@good.example"@evil.example')
    assert (found.result, found.domain) == ("fail", "evil.example")


@pytest.mark.parametrize(
    ("mail_from", "helo", "domain", "identity"),
    [
        ("ada@A.Example", "x", "a.example", "mailfrom"),
        ("ada@bücher.example", "x", "xn--bcher-kva.example", "mailfrom"),
        ("", "Out.Example", "out.example", "helo"),
        ("", "[192.0.2.1]", "", "helo"),
        ("ada@[192.0.2.1]", "out.example", "", "mailfrom"),
    ],
)
def test_who_is_asked_about(mail_from: str, helo: str, domain: str, identity: str) -> None:
    found = check({}, mail_from, helo)
    assert (found.domain, found.identity, found.result) == (domain, identity, "none")


def test_ten_terms_may_ask_and_no_more() -> None:
    zone = txt(
        **{f"c{n}_example": f"v=spf1 include:c{n + 1}.example -all" for n in range(10)}, c10_example="v=spf1 +all"
    )
    assert check(zone, "ada@c0.example").result == "pass"
    assert check({**zone, **txt(x_example="v=spf1 include:c0.example -all")}, "ada@x.example").result == "permerror"


def test_two_void_lookups_are_forgiven() -> None:
    assert check(txt(a_example="v=spf1 a:x.example a:y.example +all")).result == "pass"
    found = check(txt(a_example="v=spf1 a:x.example a:y.example a:z.example +all"))
    assert (found.result, "void look-ups" in found.why) == ("permerror", True)


def test_what_is_wrong_is_said_without_the_strangers_words() -> None:
    for term in ("buy:now", "ip4:buy-now", "a:buy-now..", "include:buy.now.test", "exists:%{buy}"):
        found = check(txt(a_example=f"v=spf1 {term} -all"))
        assert found.result == "permerror"
        assert found.why
        assert "buy" not in found.why


def test_what_is_missing_is_said_and_mail_servers_are_missed_together() -> None:
    def ask(question: Question) -> Known:
        if question.kind == "TXT":
            return Answer((b"v=spf1 mx -all",))
        if question.kind == "MX":
            return Answer(hosts=((10, "m1.example"), (20, "m2.example")))
        raise Missing(question)

    with pytest.raises(Missing) as missed:
        spf.check("192.0.2.1", "ada@a.example", "x", ask)
    assert missed.value.questions == (Question("m1.example", "A"), Question("m2.example", "A"))


@pytest.mark.parametrize(
    "record",
    [
        "v=spf1 ip4:192.0.2.0/" + "9" * 4_500 + " -all",
        "v=spf1 a:" + "a." * 30_000 + "%{d} -all",
        "v=spf1 " + "exists:%{d}%{d}%{d}%{d}%{d}.example " * 100 + "-all",
        "v=spf1 " + "ip4:192.0.2.9 " * 280 + "-all",
        "v=spf1 redirect=a.example",
        "v=spf1 include:a.example -all",
        "v=spf1 a:%" + "{" * 3_000,
    ],
)
def test_a_record_that_was_made_to_hurt_does_not(record: str) -> None:
    began = time.process_time()
    assert check(txt(a_example=record)).result in ("permerror", "fail", "neutral")
    assert time.process_time() - began < 0.5


PIECES = [
    *("v=spf1", " ", "a", "mx", "ptr", "include:", "exists:", "redirect=", "exp=", "ip4:", "ip6:", "-all", "a.example"),
    *(
        "%{",
        "d",
        "p",
        "}",
        "%",
        "%{i}",
        "%{l1r+-/}",
        "192.0.2.1",
        "/24",
        "//64",
        "::1",
        ":",
        "=",
        "~",
        "?",
        ".",
        "\u00e4",
    ),
]
TEXTS = st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=15).map("".join)


@given(TEXTS, st.sampled_from(["192.0.2.1", "2001:db8::1"]))
def test_whatever_is_published_there_is_a_result(text: str, ip: str) -> None:
    record = "v=spf1 " + text

    def ask(question: Question) -> Known:
        if question.kind == "TXT":
            return Answer((record.encode("utf-8", "surrogatepass"),))
        return Silence("silent") if len(question.name) % 3 == 0 else Answer((ip.encode(),), ((10, "mx.example"),))

    found = spf.check(ip, "ada@a.example", "out.example", ask)
    assert found.result in ("none", "pass", "fail", "softfail", "neutral", "temperror", "permerror")


def test_a_domain_publishes_spf_or_not_or_nobody_says() -> None:
    def published(known: Known) -> bool | None:
        return spf.published("a.example", lambda _: known)

    assert published(Answer((b"x", b"V=SPF1 -all"))) is True
    assert published(Answer((b"v=spf1",))) is True
    assert published(Answer((b"v=spf10 -all", b"v=spf2.0/pra"))) is False
    assert published(NOTHING) is False
    assert published(Silence("silent")) is None


def test_the_same_answers_are_not_evaluated_again_and_other_ones_are() -> None:
    zone = txt(memory_example="v=spf1 include:other.example -all", other_example="v=spf1 ip4:192.0.2.1 -all")
    evaluated = []

    def count(*_: object) -> None:
        evaluated.append(1)

    with pytest.MonkeyPatch.context() as patch:
        old = spf._Query.check
        patch.setattr(spf._Query, "check", lambda self: (count(), old(self))[1])
        for sender in ("ada@memory.example", "bob@memory.example"):
            assert check(zone, sender).result == "pass"
        assert len(evaluated) == 1
        assert check(zone, "ada@memory.example", ip="192.0.2.2").result == "fail"
        assert len(evaluated) == 2
        assert check(txt(memory_example="v=spf1 -all"), "ada@memory.example").result == "fail"
        assert len(evaluated) == 3

        # what another local part or another HELO may change is asked each time
        macro = txt(memory_example="v=spf1 exists:%{l}.other.example -all")
        for sender in ("ada@memory.example", "ada@memory.example"):
            assert check(macro, sender).result == "fail"
        assert len(evaluated) == 5


def test_what_is_forgotten_by_the_cache_is_missed_though_it_was_concluded_from() -> None:
    zone = txt(memory_example="v=spf1 include:other.example -all", other_example="v=spf1 ip4:192.0.2.1 -all")
    assert check(zone, "ada@memory.example").result == "pass"

    def ask(question: Question) -> Known:
        raise Missing(question)

    with pytest.raises(Missing):
        spf.check("192.0.2.1", "ada@memory.example", "out.example", ask)
