"""Templates, and how values are written: everything is escaped, foreign text stays in its place."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ops.console.listing import Asked
from ops.wording import age, count, moment, visible

HERE = Path(__file__).parent
INTEGER = re.compile("-?[0-9]+")
MINUS = "\N{MINUS SIGN}"
NOTHING = "\N{EN DASH}"


Place = Mapping[str, Any]
"""Where a page stands: `root`, with which its addresses begin; of which `shard` it is, None of all;
how many `shards` there are, 0 where nothing is split; how `ops` is called there."""
ONLY: Place = {"root": "", "shard": None, "shards": 0, "ops": "ops"}


def place(shards: int, shard: int | None = None) -> Place:
    """Return the place of pages about one of several shards, or about all."""
    root = "" if shard is None else f"/shards/{shard}"
    ops = "ops" if shard is None else f"ops --shard {shard}"
    return {"root": root, "shard": shard, "shards": shards, "ops": ops}


def amount(value: int | str | None) -> str:
    """Return minor units with digits in groups: `1,900`, and a real minus sign."""
    if value is None:
        return NOTHING
    return f"{int(value):,}".replace("-", MINUS)


def change(value: int | str | None) -> str:
    """Return a difference with its sign; 0 without one."""
    return NOTHING if value is None else f"{int(value):+,}".replace("-", MINUS).replace("+0", "0")


def clock(at: datetime | None, now: datetime | None = None) -> str:
    """Return the time of day in UTC: `02:10:00`; with its date if that is not `now`'s."""
    if at is None:
        return NOTHING
    is_today = at.astimezone(UTC).date() == (now or datetime.now(UTC)).astimezone(UTC).date()
    return at.astimezone(UTC).strftime("%H:%M:%S" if is_today else "%Y-%m-%d %H:%M")


def seconds(span_s: float) -> str:
    """Return a span in whole seconds, as a countdown has it."""
    return age(float(int(span_s) + 1))


def second(at: datetime | None) -> str:
    """Return a time in UTC to the second."""
    return moment(at.replace(microsecond=0)) if at else NOTHING


def sign(value: int | str | None) -> str:
    """Return the class of a difference: `minus` of what is below 0."""
    return "minus" if value is not None and int(value) < 0 else ""


def amount_or_text(value: str | None) -> str:
    """Return a threshold: digits in groups if it is a whole number."""
    return amount(value) if value and INTEGER.fullmatch(value) else value or ""


def address(asked: Asked, **other: int | None) -> str:
    """Return the query that means a page of balances, or the `other` one beside it."""
    given: dict[str, Any] = {
        "at": asked.at and asked.at.isoformat(),
        "order": "" if asked.order == "id" else asked.order,
        "search": asked.search, "after": asked.after, **other,
    }  # fmt: skip
    return urlencode({name: one for name, one in given.items() if one not in ("", None)})


def lines(text: str) -> str:
    """Return foreign text with its line ends, and other control characters written out."""
    return "\n".join(visible(one) for one in text.split("\n"))


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
        "visible": visible, "seconds": seconds, "second": second, "sign": sign,
        "amount_or_text": amount_or_text, "address": address, "lines": lines,
    }  # fmt: skip
    made.filters.update(filters)
    made.globals["count"] = count
    made.globals["writes"] = False  # whoever lets anything be changed says so
    made.globals.update(ONLY)
    return made


def compile_all(templates: Environment) -> None:
    """Compile them, which takes longer than all else about a page, before anybody asks."""
    for name in templates.list_templates():
        templates.get_template(name)
