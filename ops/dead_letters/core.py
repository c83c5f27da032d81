"""Which dead letters are meant, and what is shown of them. Pure."""

import base64
import contextlib
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Any

from shared import json_object
from shared.unfit import Unfit


@dataclass(frozen=True, slots=True)
class Choice:
    """Which dead letters: those that fit everything that is given."""

    ids: tuple[int, ...] = ()
    state: str | None = None
    reason: str | None = None
    provider: int | None = None
    since: datetime | None = None
    until: datetime | None = None
    queue: str | None = None

    @property
    def everything(self) -> bool:
        """Whether nothing narrows it."""
        return self == Choice()

    def as_detail(self) -> dict[str, str]:
        """Return, for the record, what was asked for besides ids."""
        # Not by `asdict`, which copies all ids for each dead letter.
        given = {one.name: getattr(self, one.name) for one in fields(self) if one.name != "ids"}
        return {name: str(one) for name, one in given.items() if one is not None}

    def parameters(self) -> dict[str, Any]:
        """Return what the SQL of `store` takes."""
        return asdict(self) | {"ids": list(self.ids) or None}


@dataclass(frozen=True, slots=True)
class StoredDeadLetter:
    """A row of `dead_letter`."""

    id: int
    message_id: str
    reason: str
    error: str
    state: str
    queue: str
    received_at: datetime
    provider_id: int | None
    value: int | None
    properties: dict[str, Any]
    body: bytes

    @property
    def provider(self) -> int | None:
        """The provider that it is about, as far as its body can be read."""
        if self.provider_id is not None:
            return self.provider_id
        with contextlib.suppress(Unfit):
            found = json_object.read(self.body).get("id")
            return found if isinstance(found, int) and not isinstance(found, bool) else None
        return None

    def as_line(self) -> dict[str, Any]:
        """Return all of it with keys that stay the same; the body byte for byte, in base64."""
        line = asdict(self) | {"provider_id": self.provider}
        line["body_base64"] = base64.b64encode(line.pop("body")).decode()
        return line


def preview(body: bytes, limit: int) -> str:
    """Return the beginning of a body for people."""
    text = body[:limit].decode(errors="backslashreplace")
    return text + ("…" if len(body) > limit else "")
