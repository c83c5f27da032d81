"""The first page where there are several shards: what is of all of them, joined.

Each shard is asked by itself, as its own page would. Services are asked once: OPS_SERVICES does not
say whose they are.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

from ops.console import each_shard, flow, operations, rendering, servers, verdict
from ops.console.each_shard import EachShard
from ops.console.poll import Found, Part, Poll
from ops.console.sections import Sections, not_compared
from ops.console.settings import ConsoleSettings
from ops.status.core import Finding, assess, of_services
from ops.status.snapshot import Down, Snapshot
from shared.errors import Refusal, Unavailable

EACH = ("postgres", "rabbitmq", "keydb", "known", "queue", "ticks", "compared", "doctor")
"""Questions about each shard."""
ONCE = ("services", "metrics")


@dataclass(frozen=True, slots=True)
class _One:
    """What one poll found of a shard."""

    number: int
    snapshot: Snapshot
    findings: list[Finding]
    poll: Poll

    @property
    def name(self) -> str:
        return f"shard {self.number}"

    @property
    def place(self) -> dict[str, Any]:
        """What a template needs to lead to its own page."""
        return {"number": self.number, "root": f"/shards/{self.number}"}


class AllShards:
    """The questions of a poll of all of them, and the values of each section's template."""

    def __init__(self, each: Sequence[tuple[ConsoleSettings, Sections]]) -> None:
        """`each` is of one shard, in their order."""
        self._each = each
        self._shards = EachShard(len(each))
        self._drift: float | None = None

    def parts(self) -> dict[str, Part]:
        """Return the questions, by name."""
        found: dict[str, Part] = {}
        for number, (_, sections) in enumerate(self._each):
            parts = sections.parts()
            found |= {f"{number} {name}": parts[name] for name in EACH}
            found |= {name: parts[name] for name in ONCE}
        return found

    def views(self, poll: Poll) -> Mapping[str, Mapping[str, Any]]:
        """Return the values of each section's template."""
        now = datetime.now(UTC)
        each = [self._one(poll, number) for number in range(len(self._each))]
        if poll["metrics"].value is not None:  # else what was known last
            self._drift = operations.drift_of(poll["metrics"].value)
        common = [*operations.drifting(self._drift), *of_services(each[0].snapshot)]
        verdicts = [
            verdict.view(one.snapshot, one.findings, now, not_compared=not_compared(one.poll))
            for one in each
        ]
        return {
            "verdict": verdict.joined(verdicts, common),
            "flow": {"each": [_flow(one) for one in each], "services": each[0].snapshot.services},
            "ticks": {"each": [self._ticks(one, now) for one in each]},
            "dead_letters": _dead_letters(each),
            "operations": {"past": False, "count": len(each)},
        }

    def past(self, at: datetime) -> Mapping[str, Mapping[str, Any]]:
        """Return what is kept of a past time. Raises `Unavailable`, `Refusal` if no shard knows."""
        questions = {
            number: partial(sections.past, at) for number, (_, sections) in enumerate(self._each)
        }
        answers = self._shards.ask(questions, time.monotonic() + each_shard.WITHIN_S)
        then: list[dict[str, Any]] = []
        errors: list[Refusal | Unavailable] = []
        for number, found in answers.items():
            place = {"number": number, "root": rendering.place(0, number)["root"]}
            if isinstance(found, (Refusal, Unavailable)):
                errors.append(found)
                then.append(place | {"tick": None, "error": str(found), "cells": []})
            else:
                then.append(place | dict(found["ticks"]) | dict(found["verdict_past"]))
        if len(errors) == len(then):
            raise errors[0]
        return {
            "verdict_past": {"at": at, "each": then, "error": ""},
            "ticks": {"each": then},
            "operations": {"past": True, "count": len(then)},
        }

    def close(self) -> None:
        """Ask nothing any more."""
        self._shards.close()

    def _one(self, poll: Poll, number: int) -> _One:
        chosen, sections = self._each[number]
        own = {name: poll[f"{number} {name}"] for name in EACH}
        sub = replace(poll, parts=own | {name: poll[name] for name in ONCE})
        snapshot = servers.snapshot(chosen, sub)
        of_all = list(of_services(snapshot))
        found = [*sections.findings(sub), *(one for one in assess(snapshot) if one not in of_all)]
        about = [replace(one, about=f"shard {number}, {one.about}") for one in found]
        return _One(number, snapshot, about, sub)

    def _ticks(self, one: _One, now: datetime) -> dict[str, Any]:
        found: Found = one.poll["ticks"]
        _, sections = self._each[one.number]
        view = sections.ticks_view(found.value or [], one.snapshot.interval_s, now)
        return one.place | view | {"error": found.error}


def _flow(one: _One) -> dict[str, Any]:
    """Return the figures of a shard by the names of the boxes, and which of them is wrong."""
    own = [replace(each, about=each.about.partition(", ")[2]) for each in one.findings]
    boxes = flow.view(one.snapshot, own, [], one.poll["queue"].value)["boxes"]
    wrong = any(each.level == "wrong" for each in own)
    return one.place | {"boxes": {each.name: each for each in boxes}, "wrong": wrong}


def _dead_letters(each: Sequence[_One]) -> dict[str, Any]:
    groups = [
        {"shard": one.number, "root": one.place["root"], "of": group}
        for one in each
        if not isinstance(one.snapshot.postgres, Down)
        for group in one.snapshot.postgres.dead
    ]
    down = {
        one.name: one.snapshot.postgres.error
        for one in each
        if isinstance(one.snapshot.postgres, Down)
    }
    return {"groups": groups, "down": down}
