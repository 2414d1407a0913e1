"""Cost against size as a picture: processor time for 1,000 copies, by the number of members."""

from collections.abc import Sequence
from html import escape
from math import floor, log10

from tests.bench.case import Result, Scenario

WIDTH, HEIGHT = 860, 480
LEFT, RIGHT, TOP, BOTTOM = 70, 330, 40, 50
COLOURS = ("#0b5fa5", "#c2410c", "#15803d", "#7c3aed", "#b91c1c", "#0f766e", "#a16207", "#be185d", "#475569")


def svg(results: Sequence[Result], signature: float) -> str:
    """Both axes by powers of ten; the dashed line is what 1,000 signatures cost."""
    lines = _lines(results)
    sizes = [size for points in lines.values() for size, _ in points] or [1]
    costs = [cost for points in lines.values() for _, cost in points] + [signature]
    across = _Axis(min(sizes), max(sizes), LEFT, WIDTH - RIGHT)
    up = _Axis(min(costs), max(costs), HEIGHT - BOTTOM, TOP)
    parts = [_text(LEFT, 22, "CPU seconds for 1,000 copies, by members of the group")]
    for tick in up.ticks:
        parts += [
            _line(LEFT, up.at(tick), WIDTH - RIGHT, up.at(tick), "#ddd"),
            _text(LEFT - 8, up.at(tick) + 4, f"{tick:g}", "end"),
        ]
    for size in sorted(set(sizes)):
        parts.append(_text(across.at(size), HEIGHT - BOTTOM + 22, f"{size:,}", "middle"))
    parts.append(_line(LEFT, up.at(signature), WIDTH - RIGHT, up.at(signature), "#000", "4 4"))
    labels = [(up.at(signature), "1,000 RSA-2048 signatures", "#000")]
    for number, (name, points) in enumerate(sorted(lines.items(), key=lambda line: -line[1][-1][1])):
        colour = COLOURS[number % len(COLOURS)]
        places = [(across.at(size), up.at(cost)) for size, cost in points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>' for x, y in places]
        labels.append((places[-1][1], name, colour))
    parts += _legend(labels)
    form = f'viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="13"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {form}>'
    return "\n".join([head, f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>', *parts, "</svg>"]) + "\n"


def _lines(results: Sequence[Result]) -> dict[str, list[tuple[int, float]]]:
    """Name → (members, cost), by members."""
    lines: dict[str, list[tuple[int, float]]] = {}
    for each in sorted(results, key=lambda each: each.case.members):
        cost = each.median("cpu_per_1000_s")
        if each.case.scenario is Scenario.FANOUT and cost:
            lines.setdefault(each.case.name, []).append((each.case.members, cost))
    return lines


class _Axis:
    """Values between two places, by their logarithm."""

    def __init__(self, least: float, most: float, begin: float, end: float) -> None:
        self._low, self._high = log10(least) - 0.1, log10(most) + 0.1
        self._begin, self._end = begin, end

    def at(self, value: float) -> float:
        return self._begin + (log10(value) - self._low) / (self._high - self._low) * (self._end - self._begin)

    @property
    def ticks(self) -> list[float]:
        """1, 2 and 5 times the powers of ten."""
        powers = range(floor(self._low), floor(self._high) + 1)
        return [
            each
            for power in powers
            for step in (1, 2, 5)
            if self._low <= log10(each := step * 10.0**power) <= self._high
        ]


def _legend(labels: Sequence[tuple[float, str, str]]) -> list[str]:
    """Names at the right, where their lines end, but never one over another."""
    parts, last = [], 0.0
    for y, name, colour in sorted(labels):
        last = max(y, last + 16)
        parts.append(_text(WIDTH - RIGHT + 12, last + 4, name, colour=colour))
    return parts


def _text(x: float, y: float, words: str, anchor: str = "start", colour: str = "#222") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{escape(words)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, dashes: str = "none") -> str:
    place = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    return f'<line {place} stroke="{colour}" stroke-dasharray="{dashes}"/>'
