"""What is checked: the intact protocol within stated bounds, and mutants with one guard taken out.

A mutant is the test of the model: it must break the very property that its guard is there for.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Property = Literal[
    "no_loss", "no_double_count", "no_write_back_in_time", "no_mixed_ticks", "eventually_truth",
]  # fmt: skip
Part = Literal["ingest", "fold", "publish", "feed", "notifier"]

PROPERTIES: Mapping[Part, tuple[Property, ...]] = {
    "ingest": ("no_loss", "no_double_count"),
    "fold": ("no_loss", "no_double_count"),
    "publish": ("no_write_back_in_time", "no_mixed_ticks", "eventually_truth"),
    "feed": ("no_loss", "no_mixed_ticks", "eventually_truth"),
    "notifier": ("no_loss", "no_double_count"),
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

    @property
    def live(self) -> bool:
        """Say whether runs without end are looked at, too."""
        return "LIVE" in self.bounds

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
SPLIT: Mapping[str, int | None] = {
    "SPLIT": None, "NO_LATE": None, "TICKS": 2, "LOST_EVER": 2, "FAULTS": 1,
}  # fmt: skip
LIVE: Mapping[str, int | None] = {"LIVE": None, "NO_LATE": None, "TICKS": 1, "FAULTS": 1}

# The longest first, so that no core is left with one of them at the end.
INTACT = (
    Check("publish", "publish", "2 crashes, failovers or lost stores", ON_TIME),
    Check("fold_failover", "fold", "2 failovers or crashes", FAILOVER),
    Check("publish_split", "publish", "two live primaries, and one of them stays", SPLIT),
    Check("publish_late", "publish", "1 fault; scripts run after they were given up",
          {"TICKS": 2, "FAULTS": 1}),
    Check("fold_elsewhere", "fold", "restored in another cluster, and 1 crash", ELSEWHERE),
    Check("fold", "fold", "2 crashes, 4 ticks, a rollback"),
    Check("publish_chunks", "publish", "1 fault, 2 ticks, each in two scripts",
          {"NO_LATE": None, "CHUNKED": None, "TICKS": 1, "FAULTS": 1}),
    Check("ingest", "ingest", "2 crashes or lost connections"),
    Check("publish_late_twice", "publish", "2 faults, 2 ticks; such late scripts", {"TICKS": 1}),
    Check("publish_for_ever", "publish", "1 fault, 2 ticks; runs without end, too", LIVE),
    Check("feed", "feed", "2 crashes, failovers or feeds that froze; 4 ticks"),
    Check("notifier", "notifier", "2 crashes, lost connections or failovers; 4 ticks"),
)  # fmt: skip

Guards = Mapping[str, tuple[Property, str]]
"""What must break without a guard, and what the protocol then does, by the guard's name."""

INGEST: Guards = {
    "ack_after_commit": ("no_loss", "acknowledges what it takes, before the commit"),
    "identity": ("no_double_count", "inserts whatever comes: no unique identity"),
}
FOLD: Guards = {
    "in_progress": ("no_loss", "reads above xmax only, as if ids became visible in order"),
    "memory_checked": ("no_double_count", "does not compare memory's base with the newest tick"),
}
FOLD_FAILOVER: Guards = {
    "lock_before_snapshot": ("no_double_count", "reads the newest tick before it has the lock"),
    "memory_forgotten": ("no_double_count", "keeps memory over a lost connection"),
}
FOLD_ELSEWHERE: Guards = {
    "same_cluster": ("no_loss", "uses a snapshot of another cluster"),
}
PUBLISH: Guards = {
    "compare_and_set": ("no_write_back_in_time", "the script sets without comparing"),
    "token": ("no_mixed_ticks", "knows a watermark by its epoch alone"),
    "values_at_epoch": ("no_mixed_ticks", "sends the newest values, also of a later tick"),
    "must_wait": ("no_write_back_in_time", "replaces an unknown watermark of a higher epoch"),
    "epoch_above_keydb": ("eventually_truth", "numbers a tick above Postgres's alone"),
    "removals": ("no_mixed_ticks", "sends everything, and removes nothing"),
    "keys_with_watermark": (
        "no_mixed_ticks",
        "reads which keys are there apart from the watermark",
    ),
}
PUBLISH_SPLIT: Guards = {
    "token_of_a_split": ("no_mixed_ticks", "knows a tick of two primaries by its epoch alone"),
}
PUBLISH_FOR_EVER: Guards = {
    "tick_first": ("eventually_truth", "tries KeyDB again before it looks for a tick, without end"),
}
FEED: Guards = {
    "move_after_confirm": ("no_loss", "moves its position before anything is confirmed"),
    "closed_after_confirm": ("no_loss", "sends tick.closed before the events are confirmed"),
    "all_confirmed": (
        "no_loss",
        "goes on to another tick, and forgets that a tick.closed is not confirmed",
    ),
    "move_compared": ("eventually_truth", "moves its position wherever that is meanwhile"),
    "follower_token": ("eventually_truth", "knows a tick that it published by its epoch alone"),
    "lost_remembered": (
        "eventually_truth",
        "forgets that it published a lost tick before all is told again",
    ),
    "previous_compared": ("no_mixed_ticks", "(a consumer) does not look at previous_id"),
    "events_by_tick": ("no_mixed_ticks", "(a consumer) counts events before their tick is closed"),
}
NOTIFIER: Guards = {
    "position_with_work": ("no_loss", "commits its position apart from the notifications"),
    "position_compared": ("no_double_count", "moves its position wherever that is meanwhile"),
    "note_after_confirm": ("no_loss", "notes as sent what is not confirmed"),
}


def _mutants(part: Part, guards: Guards, bounds: Mapping[str, int | None]) -> list[Check]:
    return [Check(guard, part, about, bounds, breaks) for guard, (breaks, about) in guards.items()]


MUTANTS = (
    *_mutants("ingest", INGEST, {}),
    *_mutants("fold", FOLD, {}),
    *_mutants("fold", FOLD_FAILOVER, FAILOVER),
    *_mutants("fold", FOLD_ELSEWHERE, ELSEWHERE),
    *_mutants("publish", PUBLISH, ON_TIME),
    *_mutants("publish", PUBLISH_SPLIT, SPLIT),
    *_mutants("publish", PUBLISH_FOR_EVER, LIVE),
    *_mutants("feed", FEED, {}),
    *_mutants("notifier", NOTIFIER, {}),
)
