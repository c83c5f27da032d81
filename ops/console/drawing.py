"""Lines and cells as SVG: attributes only, since the page's policy forbids styles in place."""

import math
from collections.abc import Sequence

WIDTH, HEIGHT = 100, 24
DECADES = 5
"""A cell's height is the logarithm of its lateness, from 1 ms to 100 s."""


def points(values: Sequence[float | None]) -> list[str]:
    """Return the lines of an SVG polyline in a box of 100 x 24; a None interrupts it."""
    known = [one for one in values if one is not None]
    if not known:
        return []
    low, high = min(known), max(known)
    step = WIDTH / max(1, len(values) - 1)
    lines: list[list[str]] = [[]]
    for place, value in enumerate(values):
        if value is None:
            lines.append([])
            continue
        share = float((value - low) / (high - low)) if high > low else 0.5
        lines[-1].append(f"{place * step:.1f},{HEIGHT - 2 - share * (HEIGHT - 4):.1f}")
    return [" ".join(one) for one in lines if len(one) > 1]


def area(values: Sequence[int]) -> str:
    """Return the points of an SVG polygon from 0 up to the largest value."""
    top = max(*values, 1) if len(values) > 1 else max(values[0], 1)
    step = WIDTH / max(1, len(values) - 1)
    line = [
        f"{place * step:.1f},{HEIGHT * (1 - one / top):.1f}" for place, one in enumerate(values)
    ]
    return " ".join([f"0,{HEIGHT}", *line, f"{WIDTH},{HEIGHT}"])


def log_share(seconds: float) -> float:
    """Return how high a lateness is: 0 for 1 ms, 0.6 for 1 s, 1 for 100 s."""
    return min(1.0, max(0.0, math.log10(max(seconds, 0.001) * 1000) / DECADES))
