"""What is known of a run at its end, and what is left behind of one that failed."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from tests.faults.difference import Difference
from tests.faults.fault import title
from tests.faults.logs import folder, keep_all_logs
from tests.faults.sequence import Strike
from tests.support.stack import Stack

SHOWN_MAX = 30


@dataclass
class Run:
    """What is known of a run at its end."""

    strikes: list[Strike]
    facts: list[str] = field(default_factory=list)
    differences: list[Difference] = field(default_factory=list)
    per_s: float = 0.0
    """Messages published while the broker could be reached."""
    look_s: float = 0.0
    """Between two looks of the outside reader, the median."""
    around: dict[Difference, list[str]] = field(default_factory=dict)

    def every_s(self) -> float:
        """Return the time from fault to fault, on the average."""
        return (self.strikes[-1].begun_s - self.strikes[0].begun_s) / max(len(self.strikes) - 1, 1)

    def overlapping(self) -> int:
        """Return how many faults struck while one before them still went on."""
        earlier = accumulate((one.ended_s for one in self.strikes), max)
        return sum(
            later.begun_s < ended_s
            for ended_s, later in zip(earlier, self.strikes[1:], strict=False)
        )

    def right(self) -> bool:
        """Say whether nothing was found, and no fault failed but by missing its moment."""
        return not self.differences and all(one.missed or not one.error for one in self.strikes)

    def describe(self) -> str:
        """Return the result: facts, then what was found, each with the faults around it."""
        flight = sum(one.in_flight for one in self.strikes)
        lines = [
            (
                f"{len(self.strikes)} faults, one every {self.every_s():.1f} s, {flight} in flight,"
                f" {self.overlapping()} beside another"
            )
        ]
        lines += self.facts
        lines += [f"failed to strike: {one.describe()}" for one in self.strikes if one.error]
        lines += [f"{len(self.differences)} differences"]
        for one in self.differences[:SHOWN_MAX]:
            lines += [one.text, f"    around: {', '.join(self.around[one]) or 'no fault'}"]
        return "\n".join(lines)


def leave(stack: Stack, seed: int, result: Run) -> None:
    """Write down the sequence, all logs and what was found."""
    path = folder(stack)
    sequence = [f"{one.number} {one.begun_s:.2f} {one.describe()}" for one in result.strikes]
    (path / "sequence.txt").write_text("\n".join([f"seed {seed}", *sequence, ""]))
    found = [f"{one.at_s} {one.text}\n    {result.around[one]}" for one in result.differences]
    (path / "differences.txt").write_text("\n".join([result.describe(), "", *found, ""]))
    keep_all_logs(stack)


def pairs(strikes: Sequence[Strike]) -> Counter[str]:
    """Count what struck by part and fault."""
    return Counter(title(one.fault) for one in strikes if not one.error)
