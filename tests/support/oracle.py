"""What must become of a message, worked out the slow and obvious way, without ingest's code."""

import json
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal

BODY_MAX = 65536
DEPTH_MAX = 500
INT64 = range(-(2**63), 2**63)

Verdict = tuple[int, int] | str
"""Provider and value, or the reason why there are none."""


class Digits(str):
    """An integer as it was written."""

    __slots__ = ()

    def number(self) -> int:
        """Return its value; one that is far too long is only known to be out of range."""
        return int(self) if len(self) < 100 else 2**64


@lru_cache(maxsize=10_000)
def body(text: bytes) -> Verdict:
    """Read a body: parse everything, then look at it."""
    if len(text) > BODY_MAX:
        return "too_large"
    try:
        found, repeated = parsed(text.decode("utf-8"))
    except UnicodeDecodeError:
        return "not_utf8"
    except ValueError:
        return "not_json"
    return "duplicate_key" if repeated else content(found)


def parsed(text: str) -> tuple[Any, list[str]]:
    """Return what a text says, its integers as `Digits`, and the keys that appear twice."""
    repeated: list[str] = []

    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        counts = Counter(name for name, _ in found)
        repeated.extend(name for name, count in counts.items() if count > 1)
        return dict(found)

    def refuse(name: str) -> None:
        raise ValueError(name)

    if text.count("[") + text.count("{") > DEPTH_MAX and too_deep(text):
        raise ValueError(text[:10])
    found = json.loads(
        text, object_pairs_hook=pairs, parse_int=Digits, parse_float=str, parse_constant=refuse
    )
    return found, repeated


def too_deep(text: str) -> bool:
    """Say whether brackets are nested too deep, those in strings left out."""
    depth, quoted, escaped = 0, False, False
    for one in text:
        if quoted:
            quoted = escaped or one != '"'
            escaped = one == "\\" and not escaped
        elif one == '"':
            quoted = True
        elif one in "[{":
            depth += 1
            if depth > DEPTH_MAX:
                return True
        elif one in "]}":
            depth -= 1
    return False


def content(found: Any) -> Verdict:
    """Say what a parsed body is."""
    if not isinstance(found, dict):
        return "not_object"
    if not {"id", "value"} <= set(found):
        return "missing_field"
    if not all(isinstance(found[name], Digits) for name in ("id", "value")):
        return "wrong_type"
    pair = (found["id"].number(), found["value"].number())
    return pair if all(one in INT64 for one in pair) else "out_of_range"


@dataclass(frozen=True, slots=True)
class Message:
    """A message with its properties as they are encoded, and whom these are meant to name.

    `identity` is None if they name nobody, and False if what they name is no identity.
    """

    text: bytes
    encoded: bytes
    identity: str | Literal[False] | None = None

    def verdict(self) -> Verdict:
        """Return what the message says by itself."""
        found = body(self.text)
        return "bad_identity" if self.identity is False and isinstance(found, tuple) else found


@dataclass
class Account:
    """What must be in the database once messages were stored in this order, and nothing else.

    Which rows and dead letters have an identity that ingest made up is told by None.
    """

    providers: Collection[int]
    rows: Counter[tuple[str | None, int, int]] = field(default_factory=Counter)
    dead_letters: Counter[tuple[str | None, str, bytes]] = field(default_factory=Counter)
    duplicates: int = 0
    _taken: dict[str, tuple[int, int]] = field(default_factory=dict)

    def take(self, message: Message) -> None:
        """Account for one message."""
        verdict, identity = message.verdict(), message.identity or None
        if isinstance(verdict, str):
            self._add_dead_letter(identity, verdict, message.text)
        elif verdict[0] not in self.providers:
            self._add_dead_letter(identity, "unknown_provider", message.text)
        elif identity is None or self._taken.setdefault(identity, verdict) is verdict:
            self.rows[identity, *verdict] += 1
        elif self._taken[identity] == verdict:
            self.duplicates += 1
        else:
            self._add_dead_letter(identity, "id_conflict", message.text)

    def _add_dead_letter(self, identity: str | None, reason: str, text: bytes) -> None:
        dead_letter = (identity, reason, text)
        if identity is None or dead_letter not in self.dead_letters:  # the same one twice is one
            self.dead_letters[dead_letter] += 1
