"""What is measured, and what came out."""

import statistics
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Scenario(StrEnum):
    FANOUT = "fanout"
    BIG = "big"
    SUSTAINED = "sustained"
    INTAKE = "intake"
    LATENCY = "latency"
    FAR = "far"


@dataclass(frozen=True, slots=True)
class Case:
    """One line of a table.  `style` is one of the program's own ways to deliver."""

    scenario: Scenario
    program: str = "listserv"
    style: str = "personal"
    members: int = 1000
    signed: bool = True
    engine: str = "sqlite"
    processes: int = 1
    posts: int = 1
    sessions: int = 1
    authenticate: bool = False

    @property
    def ours(self) -> bool:
        return self.program == "listserv"

    @property
    def name(self) -> str:
        """How to tell it from the other lines of its table."""
        words = [self.program]
        if self.scenario is not Scenario.INTAKE or not self.ours:
            words.append(self.style)
        if self.ours:
            words += [] if self.signed else ["unsigned"]
            words.append(self.engine)
            words += [f"{self.processes} processes"] if self.processes > 1 else []
            words += ["authenticated"] if self.authenticate else []
        return " ".join(words)

    @property
    def size(self) -> int:
        """What grows from line to line."""
        return self.sessions if self.scenario is Scenario.INTAKE else self.members


Figures = dict[str, float]


@dataclass(frozen=True, slots=True)
class Result:
    """A case with the figures of its runs, and what went wrong in them."""

    case: Case
    runs: list[Figures] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def median(self, figure: str) -> float | None:
        """None where it was not measured."""
        found = [run[figure] for run in self.runs if figure in run]
        return statistics.median(found) if found else None

    @property
    def figures(self) -> list[str]:
        return list(self.runs[0]) if self.runs else []


@dataclass(slots=True)
class Outcome:
    """A whole benchmark."""

    command: str
    machine: dict[str, Any]
    results: list[Result] = field(default_factory=list)
    signatures: list[float] = field(default_factory=list)  # one before each run
    ceiling: Figures = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)

    @property
    def signature(self) -> float:
        """Seconds of processor time for 1,000 RSA-2048 signatures."""
        return statistics.median(self.signatures)

    @property
    def faults(self) -> list[str]:
        return [
            f"{each.case.scenario} {each.case.size:,} {each.case.name}: {fault}"
            for each in self.results
            for fault in each.faults
        ]
