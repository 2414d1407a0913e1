"""What this server promises of its speed, as ratios that hold on any machine, and whether they were kept."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tests.bench.case import Result, Scenario

SIZE = 10_000  # members, where one size is meant
MANY = 100_000
FLAT = 0.10


@dataclass(frozen=True, slots=True)
class Bound:
    """`measured` is None where a part of it was not measured."""

    what: str
    measured: float | None
    limit: float
    least: bool = False  # else the most that it may be

    @property
    def verdict(self) -> str:
        if self.measured is None:
            return "not measured"
        kept = self.measured >= self.limit if self.least else self.measured <= self.limit
        return "ok" if kept else "MISSED"

    @property
    def cells(self) -> tuple[str, str, str, str]:
        measured = "–" if self.measured is None else f"{self.measured:.3g}"
        return self.what, measured, f"{'≥' if self.least else '≤'} {self.limit:.3g}", self.verdict


@dataclass(frozen=True, slots=True)
class _Measured:
    """Medians by what they are of."""

    results: Sequence[Result]

    def of(self, figure: str, **which: object) -> float | None:
        """Of the only case that is so; of several, that of the most members."""
        found = self._all(figure, which)
        return max(found, key=lambda each: each.case.members).median(figure) if found else None

    def most(self, figure: str, **which: object) -> float | None:
        """Of several cases, the one in which it is most."""
        return max((each.median(figure) or 0 for each in self._all(figure, which)), default=None)

    def _all(self, figure: str, which: dict[str, object]) -> list[Result]:
        return [
            each
            for each in self.results
            if all(getattr(each.case, name) == value for name, value in which.items()) and each.median(figure)
        ]


def bounds(results: Sequence[Result], signature: float) -> Iterator[Bound]:
    """All of them.  Ours are those on SQLite with one delivery process, where nothing else is said.

    Intake is with as many processes as is best: Postfix takes mail with as many as there are sessions.
    """
    measured = _Measured(results)
    usual = {"program": "listserv", "engine": "sqlite", "processes": 1, "signed": True}
    fanout = {**usual, "scenario": Scenario.FANOUT, "members": SIZE}
    cost, rate = "cpu_per_1000_s", "deliveries_per_s"

    def other(
        figure: str, program: str, style: str, scenario: Scenario = Scenario.FANOUT, **which: object
    ) -> float | None:
        return measured.of(figure, program=program, style=style, scenario=scenario, **which)

    personal, verp = measured.of(cost, style="personal", **fanout), measured.of(cost, style="verp", **fanout)
    single, fifty = other(cost, "postfix", "single"), other(cost, "postfix", "by fifty")
    yield Bound("personal: CPU ÷ that of as many RSA-2048 signatures", _ratio(personal, signature), 1.6)
    yield Bound("personal: CPU ÷ Postfix, one recipient, unsigned", _ratio(personal, single), 0.7)
    yield Bound(
        "personal: CPU ÷ Mailman 3, individual", _ratio(personal, other(cost, "mailman3", "individual")), 1 / 30
    )
    two = measured.of(rate, style="personal", **{**fanout, "processes": 2})
    yield Bound(
        "personal, 2 processes: copies/s ÷ Postfix, one recipient",
        _ratio(two, other(rate, "postfix", "single")),
        1.7,
        True,
    )
    yield Bound("verp: CPU ÷ mlmmj, own VERP", _ratio(verp, other(cost, "mlmmj", "own verp")), 0.8)
    bulk = measured.of(rate, style="bulk", **fanout)
    yield Bound("bulk: copies/s ÷ Postfix by fifty", _ratio(bulk, other(rate, "postfix", "by fifty")), 5, True)
    yield Bound("bulk: CPU ÷ Postfix by fifty", _ratio(measured.of(cost, style="bulk", **fanout), fifty), 0.1)
    engine = {"program": "listserv", "engine": "sqlite"}
    for authenticate, limit in ((False, 1.5), (True, 1.0)):
        intake = {"scenario": Scenario.INTAKE, "sessions": 10}
        ours = measured.most("posts_per_s", **engine, **intake, authenticate=authenticate)
        hold = measured.of("posts_per_s", program="postfix", **intake)
        what = "with authentication" if authenticate else "without authentication"
        yield Bound(f"intake, 10 sessions, {what}: posts/s ÷ Postfix on hold", _ratio(ours, hold), limit, True)
    for figure, limit in (("first_p50_ms", 10), ("first_p99_ms", 30)):
        what = f"end of DATA to first copy, {'median' if 'p50' in figure else 'p99'}, ms"
        yield Bound(what, measured.of(figure, **usual, scenario=Scenario.LATENCY), limit)
    yield Bound("personal: change of CPU per copy from 1,000 to 100,000 members", _spread(measured, usual), FLAT)
    most = {"program": "listserv", "scenario": Scenario.FANOUT, "members": MANY}
    yield Bound("memory of the largest process at 100,000 members, MB", measured.of("rss_mb", **most), 150)
    big = [each.median("rss_mb") or 0 for each in results if each.case.scenario is Scenario.BIG and each.case.ours]
    yield Bound("memory of the largest process with a post of 1 MB, MB", max(big, default=None), 150)
    far = measured.of("wall_s", **usual, scenario=Scenario.FAR)
    yield Bound(
        "far relay: wall ÷ Postfix, one recipient", _ratio(far, other("wall_s", "postfix", "single", Scenario.FAR)), 0.8
    )
    postgresql = measured.of(cost, style="personal", **{**fanout, "engine": "postgresql"})
    yield Bound("personal: CPU with PostgreSQL, without its server's, ÷ with SQLite", _ratio(postgresql, personal), 1.4)


def _ratio(ours: float | None, theirs: float | None) -> float | None:
    return ours / theirs if ours and theirs else None


def _spread(measured: _Measured, usual: dict[str, object]) -> float | None:
    """How far the cost at the largest size is from that at the smallest."""
    which = {**usual, "scenario": Scenario.FANOUT, "style": "personal"}
    few, many = (measured.of("cpu_per_1000_s", **which, members=members) for members in (1_000, MANY))
    return abs(many / few - 1) if few and many else None
