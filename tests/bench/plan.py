"""Which cases are measured: what was asked for, thinned to those that tell something of their own."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product

from tests.bench.case import Case, Scenario

STYLES = ("personal", "verp", "bulk")
ENGINES = ("sqlite", "postgresql")
MEMBERS = (1_000, 10_000, 100_000)
SESSIONS = (1, 10, 50)
PROCESSES = (1, 2)
# Each other program's own ways to deliver.
PEERS = {"postfix": ("single", "by fifty"), "mlmmj": ("own verp",), "mailman3": ("individual",)}
MOST_MEMBERS = {"postfix": 10_000, "mlmmj": 10_000, "mailman3": 1_000}  # at more, they take many minutes
INTAKE_POSTS = 1_000


@dataclass(frozen=True, slots=True)
class Asked:
    """What the command line asks for; `every`: all combinations of it."""

    scenarios: tuple[Scenario, ...] = tuple(Scenario)
    members: tuple[int, ...] = MEMBERS
    styles: tuple[str, ...] = STYLES
    signed: tuple[bool, ...] = (True, False)
    engines: tuple[str, ...] = ENGINES
    processes: tuple[int, ...] = PROCESSES
    sessions: tuple[int, ...] = SESSIONS
    authenticate: tuple[bool, ...] = (False, True)
    peers: tuple[str, ...] = ()
    runs: int = 3
    posts: int = 0  # 0: as many as the scenario has
    every: bool = False


QUICK = Asked(
    scenarios=(Scenario.FANOUT, Scenario.INTAKE, Scenario.LATENCY),
    members=(1_000, 10_000),
    signed=(True,),
    engines=("sqlite",),
    processes=(1,),
    sessions=(10,),
    authenticate=(False,),
)


def cases(asked: Asked, scenario: Scenario) -> list[Case]:
    """In the order in which each round measures them: ours and those of the other programs in turn."""
    few = min(1_000, *asked.members)
    match scenario:
        case Scenario.FANOUT:
            found = [case for case in _fanout(asked) if asked.every or _tells(case, asked)]
            return sorted(found, key=lambda case: case.members) + _peers(asked, Case(scenario), asked.members)
        case Scenario.BIG:
            return list(_ours(asked, Case(scenario, members=few), [style for style in asked.styles if style != "verp"]))
        case Scenario.SUSTAINED:
            case = Case(scenario, members=100, posts=asked.posts or 100, sessions=4)
            return [*_ours(asked, case, ("personal",)), *_peers(asked, case, (100,))]
        case Scenario.INTAKE:
            return list(_intake(asked))
        case Scenario.LATENCY:
            return list(_ours(asked, Case(scenario, members=10, posts=asked.posts or 100), ("personal",)))
        case Scenario.FAR:
            case = Case(scenario, members=few)
            return [*_ours(asked, case, ("personal",)), *_peers(asked, case, (few,))]


def _fanout(asked: Asked) -> Iterator[Case]:
    axes = (asked.members, asked.processes, asked.engines, asked.styles, asked.signed)
    for members, processes, engine, style, signed in product(*axes):
        yield Case(Scenario.FANOUT, "listserv", style, members, signed, engine, processes)


def _tells(case: Case, asked: Asked) -> bool:
    """What is usual at all sizes; another signature, engine or number of processes at one size, and each alone."""
    unusual = (case.signed != asked.signed[0], case.processes != asked.processes[0], case.engine != asked.engines[0])
    if not any(unusual):
        return True
    size = max((members for members in asked.members if members <= 10_000), default=min(asked.members))
    return sum(unusual) == 1 and case.members == size and (case.style != "verp" or unusual[2])


def _ours(asked: Asked, case: Case, styles: Sequence[str]) -> Iterator[Case]:
    for engine, style in product(asked.engines, styles):
        yield replace(case, engine=engine, style=style, processes=asked.processes[0])


def _peers(asked: Asked, case: Case, sizes: tuple[int, ...]) -> list[Case]:
    """The other programs at what they can do in reasonable time: mlmmj and Mailman wait for each far reply in turn."""
    found = []
    for peer in asked.peers:
        for style, members in product(PEERS[peer], sizes):
            posts = min(case.posts, 5) if peer == "mailman3" else case.posts
            if members <= MOST_MEMBERS[peer] and not (case.scenario is Scenario.FAR and peer != "postfix"):
                found.append(replace(case, program=peer, style=style, members=members, posts=posts, engine=""))
    return found


def _intake(asked: Asked) -> Iterator[Case]:
    base = Case(Scenario.INTAKE, members=1, posts=asked.posts or INTAKE_POSTS)
    for sessions in asked.sessions:
        for engine, authenticate, processes in product(asked.engines, asked.authenticate, asked.processes):
            if processes <= sessions:
                yield replace(base, engine=engine, authenticate=authenticate, sessions=sessions, processes=processes)
        if "postfix" in asked.peers:
            yield replace(base, program="postfix", style="hold", engine="", sessions=sessions)
