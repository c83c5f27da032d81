"""What a check says."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Verdict = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Check:
    """One setting: what was found, and unless it is right what to change and why."""

    server: str
    name: str
    verdict: Verdict
    found: str
    advice: str = ""


def check(  # noqa: PLR0913 - a row of a table
    server: str, name: str, found: object, *, fail: bool = False, warn: bool = False, advice: str
) -> Check:
    """Return a check that fails, warns or passes; `advice` is given unless it passes."""
    verdict: Verdict = "fail" if fail else "warn" if warn else "ok"
    return Check(server, name, verdict, str(found), "" if verdict == "ok" else advice)


def skipped(server: str, name: str, why: str) -> Check:
    """Return a check that could not be made."""
    return Check(server, name, "warn", "not checked", why)


def failed(checks: Sequence[Check]) -> bool:
    """Say whether any check failed."""
    return any(one.verdict == "fail" for one in checks)
