"""How times, ages and foreign text are written for people."""

from datetime import UTC, datetime

MINUTE_S, HOUR_S, DAY_S = 60, 3600, 86400
PRECISE_BELOW_S = 10


def age(seconds: float | None) -> str:
    """Return a span as a person says it: `12 ms`, `3.4 s`, `2 min 5 s`, `3 h 10 min`, `4 d 2 h`."""
    if seconds is None:
        return "-"
    sign, left = ("-", -seconds) if seconds < 0 else ("", seconds)
    if left < 1:
        millis = f"{left * 1000:.0f}"
        return f"{sign if millis != '0' else ''}{millis} ms"
    if left < PRECISE_BELOW_S:
        return f"{sign}{left:.1f} s"
    for unit, size, below, smaller in (
        ("s", 1, MINUTE_S, ""),
        ("min", MINUTE_S, HOUR_S, "s"),
        ("h", HOUR_S, DAY_S, "min"),
    ):
        if left < below:
            return sign + _two(left, unit, size, smaller)
    return sign + _two(left, "d", DAY_S, "h")


def moment(at: datetime | None) -> str:
    """Return a time in UTC to the millisecond, without what is zero."""
    if at is None:
        return "-"
    text = at.astimezone(UTC).isoformat(timespec="milliseconds" if at.microsecond else "seconds")
    return text.replace("+00:00", "Z")


def count(number: int, one: str, many: str = "") -> str:
    """Return `1 message`, `12,000 messages`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def digits(value: int | None) -> str:
    """Return its digits; 0 is a number, too."""
    return "-" if value is None else str(value)


def visible(text: str | None) -> str:
    """Return foreign text on one line, control characters written out: it goes to a terminal."""
    if text is None:
        return "-"
    return "".join(one if one.isprintable() else repr(one)[1:-1] for one in text)


def _two(seconds: float, unit: str, size: int, smaller: str) -> str:
    whole, rest = divmod(int(seconds), size)
    sizes = {"s": 1, "min": MINUTE_S, "h": HOUR_S}
    part = rest // sizes[smaller] if smaller else 0
    return f"{whole} {unit} {part} {smaller}" if part else f"{whole} {unit}"
