"""KeyDB's side: the watermark, the set of our keys, and the one script that changes them.

KeyDB is changed only by `publish.lua`, which compares the watermark before it sets anything. All
values are absolute, so a repetition is harmless.
"""

import contextlib
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from services.syncer.core import (
    KEYS_PER_SCRIPT_MAX,
    PARTIAL_PREFIX,
    ObservedWatermark,
    Publication,
    Watermark,
    parse_watermark,
)
from shared import keydb
from shared.errors import Unavailable
from shared.shard import ONLY, Shard

WATERMARK_KEY = "minutebook:watermark"
KEYS_KEY = "minutebook:keys"
FIELDS = ["epoch", "token", "boundary", "applied_at_s"]
KEYS_PER_READ_MAX = 1000
"""How many values are read at once: KeyDB answers nobody else meanwhile."""
SCRIPT = (Path(__file__).parent / "publish.lua").read_text(encoding="utf-8")
HINT = '{"tick":"%s","epoch":%d,"changed":%d}'
"""What subscribers are told. It is not the data: that is in the keys."""

Change = tuple[str, str | None]
"""A key, and its value; None: the key is removed."""


class WatermarkChanged(Exception):
    """KeyDB shows another watermark than was read: another syncer published, or KeyDB was reset."""


@dataclass(frozen=True, slots=True)
class ScriptResult:
    """What the script did (see there), and when the tick was applied, by KeyDB's clock."""

    outcome: Literal["applied", "done", "fenced"]
    applied_at_s: float


class Projection:
    """One KeyDB, reached by one connection."""

    def __init__(
        self,
        client: keydb.Client,
        *,
        chunk: int = KEYS_PER_SCRIPT_MAX,
        shard: Shard = ONLY,
    ) -> None:
        """`chunk` is the number of keys that one script changes at most."""
        self._client = client
        self._script = client.register_script(SCRIPT)
        self._chunk = chunk
        self._watermark_key, self._keys_key = shard.key(WATERMARK_KEY), shard.key(KEYS_KEY)
        self._hint = f'{HINT[:-1]},"shard":{shard.number}}}' if shard.split else HINT
        self._checked = False

    def read(self) -> ObservedWatermark:
        """Return the watermark that KeyDB shows.

        Raises `Unavailable`, and at the first command `Refusal` of a server that would lose keys.
        """
        try:
            with self._asking():
                if not self._checked:
                    keydb.check_server(self._client)
                fields = self._client.hmget(self._watermark_key, FIELDS)
            self._checked = True
        except Unavailable as error:
            if not keydb.wrong_type(error):
                raise
            fields = [None] * len(FIELDS)  # somebody's key: the script takes it for missing, too
        return parse_watermark(*map(_text, fields))

    def apply(self, publication: Publication) -> ScriptResult:
        """Take KeyDB to the publication's target, or find it there, or be fenced.

        Mostly it is one chunk. Above the limit of keys each chunk but the last one sets a claim in
        place of the watermark; a crash in between leads to a full send. Raises `Unavailable`: then
        anything from nothing to all may have been applied.
        """
        changes: list[Change] = [*publication.values.items()]
        changes += [(key, None) for key in publication.removals]
        observed = publication.observed
        expected = (observed.raw_epoch, observed.raw_token)
        at = 0
        while True:
            is_last = at + self._chunk >= len(changes)
            target = publication.target if is_last else _claim(observed)
            hint = self._hint % (target.boundary, target.epoch, len(changes)) if is_last else ""
            result = self._run(expected, target, changes[at : at + self._chunk], hint)
            if is_last or result.outcome == "fenced":
                return result
            expected = (str(target.epoch), target.token)
            at += self._chunk

    def invalidate_watermark(self, observed: ObservedWatermark) -> ObservedWatermark | None:
        """Replace the watermark by a claim and return that; None if it is not `observed` any more.

        Balances stay; the next tick sends everything. Raises `Unavailable`.
        """
        claim = _claim(observed)
        if self._run((observed.raw_epoch, observed.raw_token), claim, []).outcome == "fenced":
            return None
        return ObservedWatermark(str(claim.epoch), claim.token, claim)

    def keys(self, observed: ObservedWatermark) -> set[str]:
        """Return the names of the keys that are ours, while the watermark is `observed`.

        Both are one read. Read apart, the names could be those of a KeyDB that was emptied, and
        then sent a script that makes it show `observed` again: keys that should not exist would
        stay. Raises `WatermarkChanged`, and `Unavailable`.
        """
        return set(map(_text, self._ask_while(observed, "SMEMBERS", self._keys_key) or ()))

    def values(
        self, observed: ObservedWatermark, keys: Iterable[str]
    ) -> Iterator[dict[str, str | None]]:
        """Yield what `keys` hold, part by part, all while the watermark is `observed`.

        No key at all is one part, too. Raises `WatermarkChanged`, and `Unavailable`.
        """
        wanted = list(keys)
        for at in range(0, max(len(wanted), 1), KEYS_PER_READ_MAX):
            part = wanted[at : at + KEYS_PER_READ_MAX]
            # MGET wants at least one key; that of the set is no value, and dropped.
            _, *values = self._ask_while(observed, "MGET", self._keys_key, *part)
            yield dict(zip(part, values, strict=True))

    def _run(
        self, expected: tuple[str, str], target: Watermark, changes: list[Change], hint: str = ""
    ) -> ScriptResult:
        values = {key: value for key, value in changes if value is not None}
        removals = [key for key, value in changes if value is None]
        names = (self._watermark_key, self._keys_key, *values, *removals)
        keys: list[str | bytes] = [*map(_bytes, names)]
        about = [*expected, str(target.epoch), target.token, target.boundary, hint]
        args: list[str | bytes] = [*map(_bytes, about), str(len(values)), *values.values()]
        with self._asking():
            outcome, applied_at_s = self._script(keys, args)
        return ScriptResult(outcome, float(applied_at_s or 0.0))

    def _ask_while(self, observed: ObservedWatermark, *command: str) -> Any:  # noqa: ANN401 - whatever it answers
        """Return a reply, None for a key of another type, read together with the watermark."""
        with self._asking(), self._client.pipeline(transaction=True) as pipe:
            pipe.hmget(self._watermark_key, FIELDS[:2])
            pipe.execute_command(*command)  # type: ignore[no-untyped-call]
            replies = pipe.execute(raise_on_error=False)
            pair, reply = map(keydb.unless_wrong_type, replies)
        if tuple(map(_text, pair or (None, None))) != (observed.raw_epoch, observed.raw_token):
            raise WatermarkChanged
        return reply

    @contextlib.contextmanager
    def _asking(self) -> Iterator[None]:
        try:
            with keydb.translating(self._client):
                yield
        except Unavailable:
            self._checked = False  # what answers next may be another server
            raise


def _claim(observed: ObservedWatermark) -> Watermark:
    """Return a watermark that no database knows, under the epoch that is shown."""
    shown = observed.watermark or Watermark(0, "")
    return Watermark(shown.epoch, f"{PARTIAL_PREFIX}{uuid.uuid4()}", shown.boundary)


def _bytes(text: str) -> bytes:
    # What others wrote need not be UTF-8. It is read with surrogates, so goes back as it came; the
    # client's own packer (hiredis) cannot encode those.
    return text.encode("utf-8", "surrogateescape")


def _text(reply: bytes | str | None) -> str:
    # The client decodes every reply; its stubs cannot know.
    return str(reply or "")
