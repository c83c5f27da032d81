"""An alert on a balance: of which provider, the condition, and when it is met. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

from pydantic import Field

from shared import settings
from shared.change_record import integer, one_of, present
from shared.json_object import a_kind
from shared.unfit import Unfit

Condition = Literal["below", "above", "change", "silent"]
CONDITIONS = get_args(Condition)
EACH_PROVIDER_MAX = 100
"""Alerts without a provider, at most: each of them is judged for every provider that changed."""
THRESHOLD_DIGITS_MAX = 38
WHOLE_NUMBER = re.compile(rf"-?[0-9]{{1,{THRESHOLD_DIGITS_MAX}}}", re.ASCII)
DAY_S = 86_400


class HistorySettings(settings.Settings):
    """How far back balances are known."""

    history_retention_days: int = Field(
        default=30, ge=1, le=3650, description="days for which ticks and past balances are kept"
    )

    @property
    def history_s(self) -> int:
        """The same in seconds."""
        return self.history_retention_days * DAY_S


@dataclass(frozen=True, slots=True)
class Alert:
    """`provider_id` None is each provider. Amounts are in minor units.

    `threshold` is None for `silent` only, `for_seconds` for all but `silent`.
    """

    provider_id: int | None
    condition: Condition
    threshold: int | None
    for_seconds: int | None


def read(fields: Mapping[str, Any], history_s: int) -> Alert:
    """Return the alert that a record or a request describes. Raises `Unfit`.

    `history_s` is how far back balances are known: for longer nobody could be said to be silent.
    """
    provider_id = present(fields, "provider_id")
    condition = cast("Condition", one_of(fields, "condition", CONDITIONS))
    if condition != "silent" and fields.get("for_seconds") is not None:
        raise Unfit("invalid_value", f"for_seconds is for silent, not for {condition}")
    silent_s = None
    if condition == "silent":
        silent_s = integer(present(fields, "for_seconds"), "for_seconds", 1, history_s - 1)
    return Alert(
        None if provider_id is None else integer(provider_id, "provider_id"),
        condition,
        _threshold(fields, condition),
        silent_s,
    )


def _threshold(fields: Mapping[str, Any], condition: Condition) -> int | None:
    """Return it exactly: an integer, or its digits as text. Of silent none is looked at."""
    if condition == "silent":
        return None
    found = present(fields, "threshold")
    if isinstance(found, bool) or not isinstance(found, int | str):
        raise Unfit("wrong_type", f"threshold is {a_kind(found)}, not an integer or its digits")
    digits = str(found)
    if not WHOLE_NUMBER.fullmatch(digits):
        if re.fullmatch(r"-?[0-9]+", digits, re.ASCII):
            raise Unfit("out_of_range", f"threshold has more than {THRESHOLD_DIGITS_MAX} digits")
        raise Unfit("invalid_value", "threshold is text that is no whole number")
    if condition == "change" and int(digits) < 1:
        raise Unfit("out_of_range", "threshold of change must be 1 or more")
    return int(digits)
