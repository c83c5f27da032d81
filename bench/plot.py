"""A plot as SVG, drawn by hand: it needs no library, and a browser shows it."""

from collections.abc import Mapping, Sequence
from pathlib import Path

FOLDER = Path("build/bench")
WIDTH, HEIGHT, MARGIN = 900, 320, 50
COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd")


def write(name: str, title: str, series: Mapping[str, Sequence[float]]) -> Path:
    """Plot seconds, one dot each in their order, as milliseconds; returns the file."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = FOLDER / f"{name}.svg"
    path.write_text(svg(title, series), encoding="utf-8")
    return path


def svg(title: str, series: Mapping[str, Sequence[float]]) -> str:
    """Return the plot as text."""
    longest = max(len(values) for values in series.values())
    top_ms = max(max(values) for values in series.values()) * 1000 * 1.05
    parts = [_frame(title, longest, top_ms)]
    for place, (name, values) in enumerate(series.items()):
        colour = COLOURS[place % len(COLOURS)]
        dots = "".join(
            f'<circle cx="{_x(at, longest):.1f}" cy="{_y(value * 1000, top_ms):.1f}" r="2"/>'
            for at, value in enumerate(values)
        )
        parts.append(f'<g fill="{colour}" fill-opacity="0.7">{dots}</g>')
        parts.append(
            f'<text x="{WIDTH - MARGIN - 110 * place}" y="18" fill="{colour}"'
            f' text-anchor="end">● {name}</text>'
        )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}"'
        f' font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="white"/>'
        f"{''.join(parts)}</svg>\n"
    )


def _frame(title: str, longest: int, top_ms: float) -> str:
    step = next(step for step in (1, 2, 5, 10, 20, 50, 100, 200, 500, 10**9) if top_ms / step <= 8)
    lines = "".join(
        f'<path d="M{MARGIN} {_y(ms, top_ms):.1f}H{WIDTH - MARGIN}" stroke="#ddd"/>'
        f'<text x="{MARGIN - 6}" y="{_y(ms, top_ms) + 4:.1f}" text-anchor="end">{ms}</text>'
        for ms in range(0, int(top_ms) + 1, step)
    )
    return (
        f'{lines}<text x="{MARGIN}" y="18">{title}</text>'
        f'<text x="{WIDTH - MARGIN}" y="{HEIGHT - 15}" text-anchor="end">{longest} ticks</text>'
    )


def _x(at: int, longest: int) -> float:
    return MARGIN + at / max(1, longest - 1) * (WIDTH - 2 * MARGIN)


def _y(ms: float, top_ms: float) -> float:
    return HEIGHT - MARGIN - ms / top_ms * (HEIGHT - 2 * MARGIN)
