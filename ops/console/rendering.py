"""Templates, and how values are written: everything is escaped, foreign text stays in its place."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ops.wording import age, count, moment, visible

HERE = Path(__file__).parent
MINUS = "\N{MINUS SIGN}"
NOTHING = "\N{EN DASH}"


def amount(value: int | str | None) -> str:
    """Return minor units with digits in groups: `1,900`, and a real minus sign."""
    if value is None:
        return NOTHING
    return f"{int(value):,}".replace("-", MINUS)


def change(value: int | str | None) -> str:
    """Return a difference with its sign; 0 without one."""
    return NOTHING if value is None else f"{int(value):+,}".replace("-", MINUS).replace("+0", "0")


def clock(at: datetime | None) -> str:
    """Return the time of day in UTC: `02:10:00`."""
    return NOTHING if at is None else at.astimezone(UTC).strftime("%H:%M:%S")


def environment() -> Environment:
    """Return the templates' environment."""
    made = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    filters: dict[str, Any] = {
        "age": age, "amount": amount, "change": change, "clock": clock, "moment": moment,
        "visible": visible,
    }  # fmt: skip
    made.filters.update(filters)
    made.globals["count"] = count
    return made
