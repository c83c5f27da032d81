"""A finding: what is not as it must be, and when that began as far as anybody can tell."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Difference:
    """`at_s` is monotonic; None where nothing tells."""

    text: str
    at_s: float | None = None
