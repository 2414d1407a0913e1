"""Judgement: facts in, a verdict out; pure."""

from listserv.rules.authors import (
    banned,
    moderated_group,
    moderated_member,
    stranger,
    unclear_author,
    unproven_author,
)
from listserv.rules.content import (
    administrative_words,
    from_another_list,
    looks_automatic,
    no_explicit_recipient,
    own_loop,
    robot,
    somebodys_right,
    too_big,
    too_many_hops,
    too_many_recipients,
)
from listserv.rules.judge import Facts, Judgement, Rule, judge
from listserv.rules.pace import too_fast

__all__ = ["RULES", "Facts", "Judgement", "Rule", "judge"]

RULES: tuple[Rule, ...] = (
    own_loop,
    robot,
    too_many_hops,
    too_big,
    banned,
    unclear_author,
    unproven_author,
    stranger,
    moderated_group,
    moderated_member,
    looks_automatic,
    from_another_list,
    no_explicit_recipient,
    too_many_recipients,
    somebodys_right,
    administrative_words,
    too_fast,
)
