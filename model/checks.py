"""What is checked: the intact protocol within stated bounds, and mutants with one guard taken out.

A mutant is the test of the model: it must break the very property that its guard is there for.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Property = Literal[
    "no_loss", "no_double_count", "no_write_back_in_time", "no_mixed_ticks", "eventually_truth",
]  # fmt: skip
Part = Literal["ingest", "fold", "publish"]

PROPERTIES: Mapping[Part, tuple[Property, ...]] = {
    "ingest": ("no_loss", "no_double_count"),
    "fold": ("no_loss", "no_double_count"),
    "publish": ("no_write_back_in_time", "no_mixed_ticks", "eventually_truth"),
}


@dataclass(frozen=True, slots=True)
class Check:
    """One search: of which part, within which bounds, and which property must break, if any.

    `bounds` are the model's #defines; those without a value switch something on.
    """

    name: str
    part: Part
    about: str
    bounds: Mapping[str, int | None] = field(default_factory=dict)
    breaks: Property | None = None

    def defines(self) -> list[str]:
        """Return the arguments that the preprocessor takes."""
        given = [
            f"-D{name}" if value is None else f"-D{name}={value}"
            for name, value in self.bounds.items()
        ]
        return [*given, f"-DMUTANT_{self.name.upper()}"] if self.breaks else given


FAILOVER: Mapping[str, int | None] = {"FAILOVER": None, "TICKS": 2, "ROLLBACKS": 0}
ELSEWHERE: Mapping[str, int | None] = {"ELSEWHERE": None, "TICKS": 2, "ROLLBACKS": 0}
ON_TIME: Mapping[str, int | None] = {"NO_LATE": None, "TICKS": 2}

# The longest first, so that no core is left with one of them at the end.
INTACT = (
    Check("publish", "publish", "2 crashes, failovers or lost stores", ON_TIME),
    Check("fold_failover", "fold", "2 failovers or crashes", FAILOVER),
    Check("publish_late", "publish", "1 fault; scripts run after they were given up",
          {"TICKS": 2, "FAULTS": 1}),
    Check("fold_elsewhere", "fold", "restored in another cluster, and 1 crash", ELSEWHERE),
    Check("fold", "fold", "2 crashes, 4 ticks, a rollback"),
    Check("publish_chunks", "publish", "1 fault, 2 ticks, each in two scripts",
          {"NO_LATE": None, "CHUNKED": None, "TICKS": 1, "FAULTS": 1}),
    Check("ingest", "ingest", "2 crashes or lost connections"),
)  # fmt: skip

MUTANTS = (
    Check("ack_after_commit", "ingest", "acknowledges what it takes, before the commit",
          breaks="no_loss"),
    Check("identity", "ingest", "inserts whatever comes: no unique identity",
          breaks="no_double_count"),
    Check("in_progress", "fold", "reads above xmax only, as if ids became visible in order",
          breaks="no_loss"),
    Check("lock_before_snapshot", "fold", "reads the newest tick before it has the lock",
          FAILOVER, breaks="no_double_count"),
    Check("memory_checked", "fold", "does not compare memory's base with the newest tick",
          breaks="no_double_count"),
    Check("memory_forgotten", "fold", "keeps memory over a lost connection",
          FAILOVER, breaks="no_double_count"),
    Check("same_cluster", "fold", "uses a snapshot of another cluster",
          ELSEWHERE, breaks="no_loss"),
    Check("compare_and_set", "publish", "the script sets without comparing",
          ON_TIME, breaks="no_write_back_in_time"),
    Check("token", "publish", "knows a watermark by its epoch alone",
          ON_TIME, breaks="no_mixed_ticks"),
    Check("values_at_epoch", "publish", "sends the newest values, also of a later tick",
          ON_TIME, breaks="no_mixed_ticks"),
    Check("must_wait", "publish", "replaces an unknown watermark of a higher epoch",
          ON_TIME, breaks="no_write_back_in_time"),
    Check("epoch_above_keydb", "publish", "numbers a tick above Postgres's alone",
          ON_TIME, breaks="eventually_truth"),
    Check("removals", "publish", "sends everything, and removes nothing",
          ON_TIME, breaks="no_mixed_ticks"),
    Check("keys_with_watermark", "publish", "reads which keys are there apart from the watermark",
          ON_TIME, breaks="no_mixed_ticks"),
)  # fmt: skip
