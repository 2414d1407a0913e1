"""Every rule with every verdict it can give, and how a hearing goes."""

from dataclasses import replace
from datetime import UTC, datetime
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from listserv.model.account import Member
from listserv.model.address import Address
from listserv.model.envelope import Proof
from listserv.model.group import Group, Joining, Kind, Mode, Policy, Posting, Role, Strangers
from listserv.model.post import Accept, Ask, Discard, Hold, Reject, Verdict
from listserv.rules import RULES, Facts, Rule, authors, content, judge, pace
from listserv.rules.authors import MODERATION, REFUTED, UNPROVEN

ADA = Address("ada", "a.example")
WALKERS = Group(1, "walkers@lists.example", Kind.DISCUSSION)
NOW = datetime(2026, 11, 22, tzinfo=UTC)
MAX = 1000

JOIN = "the author is not a member of walkers@lists.example; to join, write to walkers-subscribe@lists.example"
ASK = "walkers-owner@lists.example reaches the admins"


def member(role: Role = Role.MEMBER, *, moderated: bool = False) -> Member:
    return Member(1, 1, "ada@a.example", "ada@a.example", "Ada", "", role, Mode.EACH, moderated, NOW, "test")


def facts(**changes: Any) -> Facts:
    """An ordinary post by a member; `changes` are facts, and in lower case too the group's policy."""
    policy = {key: changes.pop(key) for key in list(changes) if key in Policy.__slots__}
    group = replace(WALKERS, policy=Policy(**policy))
    ordinary: dict[str, Any] = {"size": 500, "author": ADA, "member": member()}
    return Facts(group=group, **{**ordinary, **changes})


STRANGER: dict[str, Any] = {"member": None}
FORGED: dict[str, Any] = {"proof": Proof.REFUTED, "is_believed": False, "why": ("SPF fails", "no DKIM signature")}
NOT_ACCEPTED: dict[str, Any] = {"proof": Proof.UNKNOWN, "is_believed": False}
FAST = "it came too fast after other answers of its author"
WHY = "SPF fails; no DKIM signature"
DISOWNED = "From names ada@a.example, and a.example does not vouch for that"

TABLE: list[tuple[Rule, dict[str, Any], Verdict | None]] = [
    # rule, what differs from an ordinary post, what the rule says
    (content.own_loop, {}, None),
    (content.own_loop, {"is_own_loop": True}, Discard("it has been through this group before")),
    (content.robot, {}, None),
    (content.robot, {"robot": ""}, None),
    (content.robot, {"robot": "precedence: bulk"}, Discard("sent by a machine: precedence: bulk")),
    (content.too_many_hops, {"hops": 50}, None),
    (content.too_many_hops, {"hops": 51}, Reject("5.4.6", "this message has 51 hops: a mail loop", code=554)),
    (content.too_big, {"size": 10**9}, None),
    (content.too_big, {"size": MAX, "max_message_bytes": MAX}, None),
    (
        content.too_big,
        {"size": MAX + 1, "max_message_bytes": MAX},
        Reject("5.3.4", "message of 1001 bytes; walkers@lists.example takes 1000", code=552),
    ),
    (authors.banned, {}, None),
    (authors.banned, {"is_banned": True, "peer_is_trusted": True}, Discard("its author is banned")),
    (authors.banned, {"is_banned": True}, Reject("5.7.1", "ada@a.example may not post to walkers@lists.example")),
    (authors.unclear_author, {}, None),
    (authors.unclear_author, {"author": None, "author_fault": "no From"}, Hold(("the author is unclear: no From",))),
    (authors.unproven_author, {}, None),
    (authors.unproven_author, {"author": None, **FORGED}, None),
    (authors.unproven_author, FORGED, Ask((f"{REFUTED}: {WHY}",))),
    (authors.unproven_author, {**FORGED, "why": ()}, Ask((REFUTED,))),
    (authors.unproven_author, {**FORGED, "peer_is_trusted": True}, Ask((f"{REFUTED}: {WHY}",))),
    (authors.unproven_author, {**FORGED, "posting": Posting.ANYONE}, Ask((f"{REFUTED}: {WHY}",))),
    (authors.unproven_author, {**FORGED, "member": member(Role.OWNER)}, Ask((f"{REFUTED}: {WHY}",))),
    (authors.unproven_author, NOT_ACCEPTED, Ask((UNPROVEN,))),
    (authors.unproven_author, {**FORGED, "posting": Posting.OWNERS}, Hold((f"{REFUTED}: {WHY}",))),
    (authors.unproven_author, {**FORGED, **STRANGER}, Hold((f"{REFUTED}: {WHY}",))),
    (authors.unproven_author, {**NOT_ACCEPTED, **STRANGER}, Hold((UNPROVEN,))),
    (
        authors.unproven_author,
        {**FORGED, **STRANGER, "posting": Posting.ANYONE},
        Reject("5.7.1", f"{DISOWNED}: {WHY}"),
    ),
    (
        authors.unproven_author,
        {**FORGED, **STRANGER, "posting": Posting.ANYONE, "peer_is_trusted": True},
        Hold((f"{REFUTED}: {WHY}",)),
    ),
    (authors.unproven_author, {**NOT_ACCEPTED, **STRANGER, "posting": Posting.ANYONE}, Hold((UNPROVEN,))),
    (authors.stranger, {}, None),
    (authors.stranger, {**STRANGER, **FORGED}, Reject("5.7.1", JOIN)),
    (
        authors.stranger,
        {**STRANGER, **FORGED, "strangers": Strangers.HOLD},
        Hold(("the author is not a member",)),
    ),
    (authors.stranger, {"author": None, **STRANGER}, None),
    (authors.stranger, STRANGER, Reject("5.7.1", JOIN)),
    (authors.stranger, {**STRANGER, "peer_is_trusted": True}, Hold(("the author is not a member",))),
    (authors.stranger, {**STRANGER, "strangers": Strangers.HOLD}, Hold(("the author is not a member",))),
    (authors.stranger, {**STRANGER, "posting": Posting.ANYONE}, None),
    (authors.stranger, {**STRANGER, "joining": Joining.MODERATED}, Reject("5.7.1", JOIN)),
    (authors.stranger, {**STRANGER, "joining": Joining.INVITE}, Reject("5.7.1", f"the author is not a member; {ASK}")),
    (authors.stranger, {**STRANGER, "joining": Joining.CLOSED}, Reject("5.7.1", f"the author is not a member; {ASK}")),
    (
        authors.stranger,
        {"posting": Posting.MODERATORS},
        Reject("5.7.1", f"only moderators may post to this group; {ASK}"),
    ),
    (authors.stranger, {"posting": Posting.MODERATORS, "member": member(Role.MODERATOR)}, None),
    (authors.stranger, {"posting": Posting.MODERATORS, "member": member(Role.OWNER)}, None),
    (
        authors.stranger,
        {"posting": Posting.OWNERS, "member": member(Role.MODERATOR), "strangers": Strangers.HOLD},
        Hold(("only owners may post to this group",)),
    ),
    (authors.stranger, {"posting": Posting.OWNERS, "member": member(Role.OWNER)}, None),
    (authors.moderated_group, {}, None),
    (authors.moderated_group, {"moderated": True}, Hold((MODERATION,))),
    (authors.moderated_group, {"moderated": True, "proof": Proof.PROVEN}, Hold((MODERATION,))),
    (authors.moderated_group, {"moderated": True, "proof": Proof.PROVEN, **STRANGER}, Hold((MODERATION,))),
    *(
        (
            authors.moderated_group,
            {"moderated": True, "member": member(role), "proof": proof},
            None if proof is Proof.PROVEN else Hold((MODERATION,)),
        )
        for role, proof in product((Role.MODERATOR, Role.OWNER), Proof)
    ),
    (authors.moderated_member, {}, None),
    (authors.moderated_member, STRANGER, None),
    (authors.moderated_member, {"member": member(moderated=True)}, Hold(("posts of this member wait for an admin",))),
    (content.looks_automatic, {}, None),
    (
        content.looks_automatic,
        {"looks_automatic": "subject: out of office"},
        Hold(("it looks like an automatic reply: subject: out of office",)),
    ),
    (content.from_another_list, {}, None),
    (content.from_another_list, {"is_from_a_list": True}, Hold(("it comes from another mailing list",))),
    (content.no_explicit_recipient, {}, None),
    (content.no_explicit_recipient, {"names_the_group": False}, Hold(("neither To nor Cc names the group",))),
    (content.too_many_recipients, {"recipients": 20}, None),
    (content.too_many_recipients, {"recipients": 21}, Hold(("To and Cc name 21 people, more than 20",))),
    (content.somebodys_right, {}, None),
    (
        content.somebodys_right,
        {"shows_a_right": True},
        Hold(("it shows a link of ours that acts for one person",)),
    ),
    (content.administrative_words, {}, None),
    (
        content.administrative_words,
        {"command": "unsubscribe"},
        Hold(("it looks like a command: “unsubscribe”",)),
    ),
    (pace.too_fast, {}, None),
    (pace.too_fast, {"lately": 23, "alike": 7}, None),
    (pace.too_fast, {"lately": 24}, Hold((f"{FAST}, 24 in 10 minutes",))),
    (pace.too_fast, {"lately": 24, "alike": 24}, Hold((f"{FAST}, 24 in 10 minutes",))),
    (pace.too_fast, {"lately": 8, "alike": 8}, Hold((f"{FAST} with this subject, 8 in 10 minutes",))),
    (pace.too_fast, {"lately": 24, "member": member(Role.OWNER)}, Hold((f"{FAST}, 24 in 10 minutes",))),
    (pace.too_fast, {"lately": 24, "pace": 25}, None),
    (pace.too_fast, {"lately": 999, "alike": 999, "pace": 0}, None),
    (pace.too_fast, {"lately": 1, "alike": 1, "pace": 2}, Hold((f"{FAST} with this subject, 1 in 10 minutes",))),
    (pace.too_fast, {"lately": 1, "pace": 1}, Hold((f"{FAST}, 1 in 10 minutes",))),
    (pace.too_fast, {"pace": 1}, None),
]


@pytest.mark.parametrize(
    ("rule", "changes", "verdict"), TABLE, ids=[f"{rule.__name__}-{n}" for n, (rule, _, _) in enumerate(TABLE)]
)
def test_a_rule_says_what_the_table_says(rule: Rule, changes: dict[str, Any], verdict: Verdict | None) -> None:
    assert rule(facts(**changes)) == verdict


def test_the_table_has_every_rule_speaking_and_silent() -> None:
    for rule in RULES:
        said = [verdict for tried, _, verdict in TABLE if tried is rule]
        assert None in said, rule.__name__
        assert any(verdict is not None for verdict in said), rule.__name__


def test_each_rule_is_asked_once() -> None:
    assert len(RULES) == len(set(RULES))


def test_what_could_make_a_loop_is_judged_before_anything_is_answered() -> None:
    names = [rule.__name__ for rule in RULES]
    silent = [names.index(name) for name in ("own_loop", "robot")]
    refusing = [names.index(name) for name in ("too_many_hops", "too_big", "banned", "unproven_author", "stranger")]
    holding = [names.index(name) for name in ("moderated_group", "moderated_member", "administrative_words")]
    assert max(silent) < min(refusing)
    assert max(refusing) < min(holding)


def test_an_ordinary_post_is_accepted_and_no_rule_speaks() -> None:
    judgement = judge(facts(), RULES)
    assert (judgement.verdict, judgement.by) == (Accept(), ())


def test_holds_pile_up_so_that_an_admin_reads_every_reason_once() -> None:
    doubtful = facts(
        moderated=True,
        member=member(moderated=True),
        looks_automatic="subject",
        is_from_a_list=True,
        names_the_group=False,
        recipients=99,
        command="help",
        lately=24,
    )
    judgement = judge(doubtful, RULES)
    assert judgement.verdict == Hold(
        (
            MODERATION,
            "posts of this member wait for an admin",
            "it looks like an automatic reply: subject",
            "it comes from another mailing list",
            "neither To nor Cc names the group",
            "To and Cc name 99 people, more than 20",
            "it looks like a command: “help”",
            f"{FAST}, 24 in 10 minutes",
        )
    )
    assert len(judgement.by) == 8


@pytest.mark.parametrize(
    ("changes", "by"),
    [
        ({"is_own_loop": True, "robot": "x", "hops": 99}, "own_loop"),
        ({"robot": "x", "is_banned": True}, "robot"),
        ({"is_banned": True, **STRANGER}, "banned"),
        ({**STRANGER, "moderated": True}, "stranger"),
        ({**FORGED, "moderated": True, "member": member(Role.OWNER)}, "unproven_author"),
        ({**FORGED, **STRANGER, "posting": Posting.ANYONE}, "unproven_author"),
        ({"hops": 99, "size": 2, "max_message_bytes": 1}, "too_many_hops"),
    ],
)
def test_the_first_who_does_not_hold_ends_the_hearing(changes: dict[str, Any], by: str) -> None:
    judgement = judge(facts(**changes), RULES)
    assert not isinstance(judgement.verdict, Hold | Accept)
    assert judgement.by == (by,)


def test_a_rejection_ends_the_hearing_even_after_a_hold() -> None:
    def doubts(facts: Facts) -> Verdict | None:
        return Hold(("a doubt",))

    def refuses(facts: Facts) -> Verdict | None:
        return Reject("5.7.1", "no")

    def accepts(facts: Facts) -> Verdict | None:
        return Accept()

    def never(facts: Facts) -> Verdict | None:
        raise AssertionError("the hearing was over")

    assert judge(facts(), [doubts, refuses, never]).verdict == Reject("5.7.1", "no")
    assert judge(facts(), [doubts, refuses, never]).by == ("doubts", "refuses")
    assert judge(facts(), [doubts, accepts, never]).verdict == Accept()


EVERYTHING = st.builds(
    Facts,
    group=st.builds(
        Group,
        id=st.just(1),
        address=st.just(WALKERS.address),
        kind=st.sampled_from(Kind),
        policy=st.builds(
            Policy,
            moderated=st.booleans(),
            posting=st.sampled_from(Posting),
            strangers=st.sampled_from(Strangers),
            joining=st.sampled_from(Joining),
            max_message_bytes=st.sampled_from([0, MAX]),
        ),
    ),
    size=st.integers(0, 2 * MAX),
    author=st.sampled_from([ADA, None]),
    proof=st.sampled_from(Proof),
    is_believed=st.booleans(),
    member=st.sampled_from(
        [None, *(member(role, moderated=moderated) for role in Role for moderated in (True, False))]
    ),
    is_banned=st.booleans(),
    peer_is_trusted=st.booleans(),
    hops=st.integers(0, 99),
    is_own_loop=st.booleans(),
    robot=st.sampled_from([None, "why"]),
    looks_automatic=st.sampled_from([None, "why"]),
    is_from_a_list=st.booleans(),
    names_the_group=st.booleans(),
    recipients=st.integers(0, 50),
    command=st.sampled_from([None, "help"]),
    lately=st.integers(0, 30),
    alike=st.integers(0, 30),
)


@given(EVERYTHING)
def test_whatever_the_facts_are_the_promises_hold(facts: Facts) -> None:
    judgement = judge(facts, RULES)
    verdict, policy = judgement.verdict, facts.group.policy
    if facts.is_own_loop or facts.robot:
        assert isinstance(verdict, Discard)
    elif facts.is_banned:
        assert isinstance(verdict, Reject | Discard)
    elif facts.member is None and policy.posting is not Posting.ANYONE:
        assert not isinstance(verdict, Accept)
    if facts.peer_is_trusted and isinstance(verdict, Reject):  # nothing that From says makes our own MTA write a bounce
        assert judgement.by[-1] in ("too_big", "too_many_hops")
    if isinstance(verdict, Accept):
        assert judgement.by == ()
        assert facts.author is not None
        assert facts.is_believed
        assert not policy.moderated or facts.proof is Proof.PROVEN
    if isinstance(verdict, Ask):
        assert facts.member is not None  # nobody else is ever written to
        assert not facts.is_believed
    if isinstance(verdict, Hold):
        assert len(verdict.reasons) == len(set(verdict.reasons)) == len(judgement.by)
        assert not any(reason.endswith(".") for reason in verdict.reasons)
