"""Times and text as people type them."""

import os
import re
from datetime import UTC, date, datetime, timedelta

import click

from shared import price
from shared.unfit import Unfit

REASON_LENGTH_MAX = 1000
AGO = re.compile(r"^([0-9]{1,6}) ?(s|m|h|d)( ago)?$")
SPAN = re.compile(r"^([0-9]{1,6}) ?(s|m|h|d)$")
PROVIDER = re.compile(r"^(-?[0-9]{1,19})(_.*)?$", re.DOTALL)
NEGATIVE = {"ignore_unknown_options": True}
"""Settings of a command in which a negative amount is an argument, not an option."""
UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


class Moment(click.ParamType[datetime]):
    """`2026-11-20T23:42`, UTC unless it says otherwise; or `90s`, `15m`, `2h ago`, `3d ago`."""

    name = "time"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        """Return a time in UTC; ends with a usage error otherwise."""
        if isinstance(value, datetime):
            return value
        text = str(value)
        try:
            if ago := AGO.match(text):
                return datetime.now(UTC) - timedelta(**{UNITS[ago[2]]: int(ago[1])})
            found = datetime.fromisoformat(text)
            return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
        except (ValueError, OverflowError):
            self.fail(f"{text!r} is not a time: 2026-11-20T23:42 (UTC), or 2h ago", param, ctx)


class Span(click.ParamType[timedelta]):
    """A length of time: `60s`, `15m`, `1h`, `1d`."""

    name = "span"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> timedelta:
        """Return it; ends with a usage error if it is none, or zero."""
        found = SPAN.match(str(value))
        if found is None or not int(found[1]):
            self.fail(f"{value!r} is not a span of time: 60s, 15m, 1h, 1d", param, ctx)
        return timedelta(**{UNITS[found[2]]: int(found[1])})


class Day(click.ParamType[date]):
    """A day in UTC: `2026-11-28`."""

    name = "day"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> date:
        """Return it; ends with a usage error otherwise."""
        try:
            return price.day(str(value), "it")
        except Unfit:
            self.fail(f"{value!r} is not a day: 2026-11-28", param, ctx)


class Currency(click.ParamType[str]):
    """The code of a currency: `EUR`."""

    name = "currency"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> str:
        """Return it in capitals, as prices have it; ends with a usage error otherwise."""
        try:
            return price.currency(str(value).upper())
        except Unfit:
            self.fail(f"{value!r} is not a currency: EUR", param, ctx)


class ProviderId(click.ParamType[int]):
    """The id of a provider, or the key that KeyDB shows it under: `1`, or `1_Visa`."""

    name = "provider"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        """Return the id; ends with a usage error otherwise."""
        found = PROVIDER.match(str(value))
        if found is None or not -(2**63) <= int(found[1]) < 2**63:
            self.fail(
                f"{value!r} is neither a provider's id nor its key (1, or 1_Visa)", param, ctx
            )
        return int(found[1])


class Words(click.ParamType[str]):
    """Text in UTF-8, as every server has it, whatever encoding the terminal is said to have."""

    name = "text"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> str:
        """Return the text; ends with a usage error if it is none."""
        try:
            return os.fsencode(str(value)).decode()
        except UnicodeError:
            self.fail("not UTF-8", param, ctx)


class Reason(Words):
    """Why an operator did something: what is kept for whoever asks later."""

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> str:
        """Return the text; ends with a usage error if it says nothing or is too long."""
        text = super().convert(value, param, ctx)
        if not text.strip() or len(text) > REASON_LENGTH_MAX or "\0" in text:
            self.fail(f"1 to {REASON_LENGTH_MAX} characters", param, ctx)
        return text
