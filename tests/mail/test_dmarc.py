"""The tree walk, the policy and the alignment of RFC 9989, as tables written from its text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from listserv.mail import dmarc
from listserv.mail.lookups import NOTHING, Answer, Known, Question, Silence
from listserv.model.envelope import DmarcPolicy

Zone = dict[str, str]  # domain → its record; " | " between several, "?" is silence
LONG = "a.b.c.d.e.f.g.h.i.j.mail.example.com"


class Dns:
    """Answers from a zone and remembers what was asked."""

    def __init__(self, zone: Zone) -> None:
        self.zone = zone
        self.asked: list[str] = []

    def __call__(self, question: Question) -> Known:
        assert question.kind == "TXT"
        self.asked.append(question.name)
        said = self.zone.get(question.name.removeprefix("_dmarc."))
        if said is None:
            return NOTHING
        return Silence("silent") if said == "?" else Answer(tuple(each.encode() for each in said.split(" | ")))


P = "v=DMARC1; p=reject"
NONE, QUARANTINE, REJECT, UNKNOWN = DmarcPolicy.NONE, DmarcPolicy.QUARANTINE, DmarcPolicy.REJECT, DmarcPolicy.UNKNOWN


def test_the_walk_of_a_short_name_visits_every_name_above_it() -> None:
    assert dmarc.targets("a.mail.example.com") == ["a.mail.example.com", "mail.example.com", "example.com", "com"]
    assert dmarc.targets("com") == ["com"]


def test_the_walk_of_a_long_name_asks_eight_times() -> None:
    """RFC 9989 §4.10: its own example."""
    assert [question.name for question in dmarc.questions(LONG)] == [
        f"_dmarc.{LONG}",
        "_dmarc.g.h.i.j.mail.example.com",
        "_dmarc.h.i.j.mail.example.com",
        "_dmarc.i.j.mail.example.com",
        "_dmarc.j.mail.example.com",
        "_dmarc.mail.example.com",
        "_dmarc.example.com",
        "_dmarc.com",
    ]
    for labels in range(1, 60):
        assert len(dmarc.targets(".".join(["x"] * labels))) == min(labels, 8)


# author's domain, zone, does it exist, organizational domain, where the policy is, the dmarc_policy
WALKS: list[tuple[str, Zone, bool, str, str, DmarcPolicy]] = [
    # nothing anywhere: the domain is its own organization, and DMARC does not apply
    ("a.example.com", {}, True, "a.example.com", "", NONE),
    ("a.example.com", {}, False, "a.example.com", "", NONE),
    # its own record
    ("example.com", {"example.com": P}, True, "example.com", "example.com", REJECT),
    ("example.com", {"example.com": "v=DMARC1; p=quarantine"}, True, "example.com", "example.com", QUARANTINE),
    ("example.com", {"example.com": "v=DMARC1; p=none"}, True, "example.com", "example.com", NONE),
    (
        "example.com",
        {"example.com": "v=DMARC1; p=reject; sp=none; np=none"},
        True,
        "example.com",
        "example.com",
        REJECT,
    ),
    # inherited from the organization: sp, np, or p
    ("a.example.com", {"example.com": P}, True, "example.com", "example.com", REJECT),
    ("a.example.com", {"example.com": "v=DMARC1; p=none; sp=reject"}, True, "example.com", "example.com", REJECT),
    ("a.example.com", {"example.com": "v=DMARC1; p=reject; sp=none"}, True, "example.com", "example.com", NONE),
    ("a.example.com", {"example.com": "v=DMARC1; p=none; np=reject"}, True, "example.com", "example.com", NONE),
    ("a.example.com", {"example.com": "v=DMARC1; p=none; np=reject"}, False, "example.com", "example.com", REJECT),
    (
        "a.example.com",
        {"example.com": "v=DMARC1; p=none; sp=quarantine"},
        False,
        "example.com",
        "example.com",
        QUARANTINE,
    ),
    (
        "a.example.com",
        {"example.com": "v=DMARC1; p=none; sp=reject; np=none"},
        False,
        "example.com",
        "example.com",
        NONE,
    ),
    # the domain's own record comes before its organization's, and is judged by its p
    (
        "a.example.com",
        {"a.example.com": "v=DMARC1; p=none", "example.com": P},
        True,
        "example.com",
        "a.example.com",
        NONE,
    ),
    (
        "a.example.com",
        {"a.example.com": P, "example.com": "v=DMARC1; p=none"},
        True,
        "example.com",
        "a.example.com",
        REJECT,
    ),
    # the organization is the highest name with a record; one in between is not asked
    (
        "a.b.example.com",
        {"b.example.com": "v=DMARC1; p=none", "example.com": P},
        True,
        "example.com",
        "example.com",
        REJECT,
    ),
    # RFC 9989 §4.10.2: three examples of its own
    ("a.mail.example.com", {"mail.example.com": P, "example.com": P}, True, "example.com", "example.com", REJECT),
    (
        "a.mail.example.com",
        {"mail.example.com": "v=DMARC1; p=reject; psd=n", "example.com": "v=DMARC1; p=none"},
        True,
        "mail.example.com",
        "mail.example.com",
        REJECT,
    ),
    ("a.mail.example.com", {"com": "v=DMARC1; p=reject; psd=y"}, True, "example.com", "com", REJECT),
    # psd=y: a public suffix, whose own policy applies where the organization has none
    ("example.com", {"com": "v=DMARC1; p=none; sp=quarantine; psd=y"}, True, "example.com", "com", QUARANTINE),
    ("example.com", {"com": "v=DMARC1; p=none; np=reject; psd=y"}, False, "example.com", "com", REJECT),
    ("a.example.co.uk", {"co.uk": "v=DMARC1; p=reject; psd=y", "uk": P}, True, "example.co.uk", "co.uk", REJECT),
    (
        "a.example.co.uk",
        {"co.uk": "v=DMARC1; p=reject; psd=y", "example.co.uk": "v=DMARC1; p=none"},
        True,
        "example.co.uk",
        "example.co.uk",
        NONE,
    ),
    # a suffix that writes itself is its own organization
    ("co.uk", {"co.uk": "v=DMARC1; p=quarantine; psd=y"}, True, "co.uk", "co.uk", QUARANTINE),
    ("co.uk", {"co.uk": "v=DMARC1; p=quarantine; psd=y", "uk": P}, True, "co.uk", "co.uk", QUARANTINE),
    # between the suffix and the domain: a record that is not the organization's counts for nothing
    (
        "a.mail.example.com",
        {"mail.example.com": "v=DMARC1; p=none", "com": "v=DMARC1; p=reject; psd=y"},
        True,
        "example.com",
        "com",
        REJECT,
    ),
    # psd=n: an organization of its own, also below another one
    (
        "x.dept.example.com",
        {"dept.example.com": "v=DMARC1; p=quarantine; psd=n", "example.com": P},
        True,
        "dept.example.com",
        "dept.example.com",
        QUARANTINE,
    ),
    (
        "dept.example.com",
        {"dept.example.com": "v=DMARC1; p=none; psd=n", "example.com": P},
        True,
        "dept.example.com",
        "dept.example.com",
        NONE,
    ),
    # psd=u, or nonsense, says nothing
    ("a.example.com", {"example.com": "v=DMARC1; p=reject; psd=u"}, True, "example.com", "example.com", REJECT),
    ("a.example.com", {"example.com": "v=DMARC1; p=reject; psd=maybe"}, True, "example.com", "example.com", REJECT),
    # t=y: one level weaker
    ("example.com", {"example.com": "v=DMARC1; p=reject; t=y"}, True, "example.com", "example.com", QUARANTINE),
    ("example.com", {"example.com": "v=DMARC1; p=quarantine; t=y"}, True, "example.com", "example.com", NONE),
    ("example.com", {"example.com": "v=DMARC1; p=none; t=y"}, True, "example.com", "example.com", NONE),
    ("example.com", {"example.com": "v=DMARC1; p=reject; t=n"}, True, "example.com", "example.com", REJECT),
    (
        "a.example.com",
        {"example.com": "v=DMARC1; p=none; sp=reject; t=y"},
        True,
        "example.com",
        "example.com",
        QUARANTINE,
    ),
    (
        "a.example.com",
        {"example.com": "v=DMARC1; p=none; np=reject; t=y"},
        False,
        "example.com",
        "example.com",
        QUARANTINE,
    ),
    # pct is gone
    ("example.com", {"example.com": "v=DMARC1; p=reject; pct=0"}, True, "example.com", "example.com", REJECT),
    # several records are none; what is no DMARC record does not count
    ("a.example.com", {"a.example.com": f"{P} | {P}"}, True, "a.example.com", "", NONE),
    ("a.example.com", {"a.example.com": f"{P} | {P}", "example.com": P}, True, "example.com", "example.com", REJECT),
    ("example.com", {"example.com": f"{P} | v=spf1 -all | verification=1"}, True, "example.com", "example.com", REJECT),
    ("example.com", {"example.com": "p=reject; v=DMARC1"}, True, "example.com", "", NONE),
    ("example.com", {"example.com": "v=dmarc1; p=reject"}, True, "example.com", "", NONE),
    ("example.com", {"example.com": "v=DMARC10; p=reject"}, True, "example.com", "", NONE),
    # more than eight labels: what is between is never asked
    (LONG, {LONG: P}, True, LONG, LONG, REJECT),
    (LONG, {"f.g.h.i.j.mail.example.com": P}, True, LONG, "", NONE),
    (LONG, {"g.h.i.j.mail.example.com": P}, True, "g.h.i.j.mail.example.com", "g.h.i.j.mail.example.com", REJECT),
    (LONG, {"example.com": "v=DMARC1; p=none; sp=reject"}, True, "example.com", "example.com", REJECT),
    # RFC 9989 §5.1.7: a zone cut that is never found
    (
        "mail.a.b.c.d.e.f.g.example.com",
        {"b.c.d.e.f.g.example.com": "v=DMARC1; p=none; psd=n", "example.com": P},
        True,
        "example.com",
        "example.com",
        REJECT,
    ),
    # the DNS is silent: about the domain itself nothing is known; above it, no more than the organization is missing
    ("example.com", {"example.com": "?"}, True, "example.com", "", UNKNOWN),
    ("a.example.com", {"a.example.com": "?", "example.com": P}, True, "example.com", "example.com", UNKNOWN),
    ("a.example.com", {"a.example.com": P, "example.com": "?"}, True, "a.example.com", "a.example.com", REJECT),
    ("a.example.com", {"example.com": "?"}, True, "a.example.com", "", UNKNOWN),
    # a resolver that will not speak of a top-level domain takes nothing away
    ("example.com", {"example.com": P, "com": "?"}, True, "example.com", "example.com", REJECT),
    ("example.com", {"com": "?"}, True, "example.com", "", NONE),
]


@pytest.mark.parametrize(("domain", "zone", "exists", "organization", "at", "wanted"), WALKS)
def test_organization_policy_and_wish(
    domain: str, zone: Zone, exists: bool, organization: str, at: str, wanted: DmarcPolicy
) -> None:
    found = dmarc.walk(domain, Dns(zone))
    assert found.organization == organization
    assert (found.policy.domain if found.policy else "") == at
    assert dmarc.applicable(found, exists) is wanted


def test_there_are_enough_cases() -> None:
    assert len(WALKS) >= 40


SUFFIX = {"uk": "v=DMARC1; p=none; psd=y"}
ORG = {"example.com": P}
CUT = {"example.com": P, "dept.example.com": "v=DMARC1; p=none; psd=n"}

# author's domain, who vouches, zone, strict, is it aligned (None: the DNS left it open)
ALIGNED: list[tuple[str, str, Zone, bool, bool | None]] = [
    ("example.com", "example.com", {}, False, True),
    ("example.com", "example.com", ORG, True, True),
    ("a.example.com", "a.example.com", {"a.example.com": "?"}, False, True),
    # relaxed: the same organization, up, down and sideways
    ("a.example.com", "example.com", ORG, False, True),
    ("example.com", "a.example.com", ORG, False, True),
    ("a.example.com", "b.c.example.com", ORG, False, True),
    ("a.example.com", "b.example.com", {"a.example.com": P, "example.com": P}, False, True),
    # strict: the same domain only
    ("a.example.com", "example.com", ORG, True, False),
    ("example.com", "a.example.com", ORG, True, False),
    # without a record there is no organization to share (RFC 9989 §4.4.1: d=com never aligns)
    ("a.example.com", "example.com", {}, False, False),
    ("example.com", "a.example.com", {}, False, False),
    ("example.com", "com", {}, False, False),
    ("example.com", "com", ORG, False, False),
    # another organization
    ("example.com", "example.net", {**ORG, "example.net": P}, False, False),
    ("example.com", "badexample.com", ORG, False, False),
    ("example.com", "example.com.evil.test", {**ORG, "evil.test": P}, False, False),
    # below a public suffix
    ("example.uk", "other.uk", SUFFIX, False, False),
    ("a.example.uk", "b.example.uk", SUFFIX, False, True),
    ("a.example.uk", "uk", SUFFIX, False, False),
    # psd=n parts a department from its organization
    ("x.dept.example.com", "dept.example.com", CUT, False, True),
    ("x.dept.example.com", "example.com", CUT, False, False),
    ("example.com", "dept.example.com", CUT, False, False),
    ("a.example.com", "x.dept.example.com", CUT, False, False),
    # the DNS is silent: open where it could matter, and only there
    ("a.example.com", "b.example.com", {"example.com": "?"}, False, None),
    ("a.example.com", "b.example.com", {**ORG, "b.example.com": "?"}, False, None),
    ("a.example.com", "evil.test", {"example.com": "?"}, False, False),
    ("a.example.com", "evil.test", {**ORG, "evil.test": "?"}, False, False),
    ("a.example.com", "b.example.com", {"example.com": "?"}, True, False),
]


@pytest.mark.parametrize(("domain", "identifier", "zone", "strict", "expected"), ALIGNED)
def test_alignment(domain: str, identifier: str, zone: Zone, strict: bool, expected: bool | None) -> None:
    ask = Dns(zone)
    assert dmarc.aligned(dmarc.walk(domain, ask), identifier, ask, strict=strict) is expected


def test_a_strangers_domain_is_not_even_asked_about() -> None:
    ask = Dns(ORG)
    walk = dmarc.walk("example.com", ask)
    before = len(ask.asked)
    assert dmarc.aligned(walk, "evil.test", ask, strict=False) is False
    assert len(ask.asked) == before


@pytest.mark.parametrize(
    ("text", "applies", "p"),
    [
        ("v=DMARC1; p=reject", True, REJECT),
        ("v=DMARC1;p=REJECT;", True, REJECT),
        ("v = DMARC1 ; p = quarantine", True, QUARANTINE),
        ("v=DMARC1", False, NONE),
        ("v=DMARC1; p=rejct", False, NONE),
        ("v=DMARC1; p=rejct; rua=mailto:d@example.com", True, NONE),
        ("v=DMARC1; rua=mailto:d@example.com", True, NONE),
        ("v=DMARC1; rua=nowhere", False, NONE),
        ("v=DMARC1; p=reject; sp=nonsense", False, NONE),
        ("v=DMARC1; p=reject; np=nonsense; rua=mailto:d@example.com,mailto:e@example.com", True, NONE),
        ("v=DMARC1; p=reject; p=none", True, REJECT),
        ("v=DMARC1; p=reject; what; =x; ;; fo=1", True, REJECT),
    ],
)
def test_records(text: str, applies: bool, p: DmarcPolicy) -> None:
    found = dmarc.read("example.com", [text.encode()])
    assert found is not None
    assert (found.applies, found.p) == (applies, p)


def test_alignment_modes_and_what_does_not_apply() -> None:
    found = dmarc.read("example.com", [b"v=DMARC1; p=none; adkim=s; aspf=s"])
    assert found
    assert (found.strict_dkim, found.strict_spf) == (True, True)
    found = dmarc.read("example.com", [b"v=DMARC1; p=none; adkim=r; aspf=x"])
    assert found
    assert (found.strict_dkim, found.strict_spf) == (False, False)
    silent = dmarc.walk("example.com", Dns({"example.com": "v=DMARC1; p=rejct"}))
    assert dmarc.applicable(silent, exists=True) is NONE


@given(
    st.lists(st.binary(max_size=80) | st.just(b"v=DMARC1;") | st.just(b"v=DMARC1; p=reject; rua=mailto:x"), max_size=4)
)
def test_whatever_is_published_it_is_read(texts: list[bytes]) -> None:
    found = dmarc.read("example.com", texts)
    assert found is None or found.domain == "example.com"
