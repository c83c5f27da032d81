"""What a person writes as transactions, and the message each becomes. Pure."""

import base64
import csv
import hashlib
import uuid
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import msgspec

from services.ingest.body import Limits, Unfit, decode, read_object
from shared.amqp.producer import Outgoing

Identify = Callable[[int, bytes], str]
CSV_NEEDS = {"id", "value"}


class Invalid(NamedTuple):
    """What was not sent, and why; `line` counts from 1."""

    line: int
    why: str


class Draft(NamedTuple):
    """A body to be sent, where it stood, and the identity that came with it, if any."""

    line: int
    body: bytes
    message_id: str = ""


def random_identity(_line: int, _body: bytes) -> str:
    """Return what no other message was ever given."""
    return str(uuid.uuid4())


def content_identity(line: int, body: bytes) -> str:
    """Return the same for the same line of the same file: sent twice, it counts once."""
    return hashlib.sha256(b"%d %b" % (line, body)).hexdigest()


def from_arguments(texts: Iterable[str]) -> Iterator[Draft | Invalid]:
    """Read `PROVIDER=VALUE`, or a whole body as JSON."""
    for line, text in enumerate(texts, start=1):
        provider, equals, value = text.partition("=")
        if text.startswith("{"):
            yield Draft(line, text.encode())
        elif equals:
            yield _pair(line, provider, value, "")
        else:
            yield Invalid(line, f"{text!r} is neither PROVIDER=VALUE nor a JSON object")


def from_lines(lines: Iterable[bytes]) -> Iterator[Draft | Invalid]:
    """Read JSON lines: bodies as they are, or what `ops dead-letters export` wrote."""
    for line, text in enumerate(lines, start=1):
        body = text.strip()
        if body:
            yield _line(line, body)


def from_csv(lines: Iterable[str]) -> Iterator[Draft | Invalid]:
    """Read CSV with a header that names at least `id` and `value`, and perhaps `message_id`."""
    rows = csv.DictReader(lines)
    try:
        if not CSV_NEEDS.issubset(rows.fieldnames or ()):
            yield Invalid(1, "the header must name the columns id and value")
            return
        for row in rows:
            name = row.get("message_id") or ""
            yield _pair(rows.line_num, row["id"] or "", row["value"] or "", name)
    except (csv.Error, UnicodeDecodeError) as error:
        yield Invalid(rows.line_num + 1, f"not CSV in UTF-8 from here on: {error}")


def messages(
    drafts: Iterable[Draft | Invalid], identify: Identify, limits: Limits, *, checked: bool = True
) -> Iterator[Outgoing | Invalid]:
    """Give each draft an identity; unless told otherwise hold back what ingest would bury."""
    for draft in drafts:
        if isinstance(draft, Invalid):
            yield draft
            continue
        try:
            if checked:
                decode(draft.body, limits)
        except Unfit as unfit:
            yield Invalid(draft.line, f"{unfit.reason}: {unfit.error}")
        else:
            yield Outgoing(draft.body, draft.message_id or identify(draft.line, draft.body))


def delay_s(sent: int, elapsed_s: float, rate_per_s: float | None) -> float:
    """Return how long to wait before the next message so that `rate_per_s` is kept."""
    return 0.0 if rate_per_s is None else max(0.0, sent / rate_per_s - elapsed_s)


def body_of(provider: int, value: int) -> bytes:
    """Return a transaction as producers write it."""
    return msgspec.json.encode({"id": provider, "value": value})


def _pair(line: int, provider: str, value: str, message_id: str) -> Draft | Invalid:
    try:
        return Draft(line, body_of(int(provider), int(value)), message_id)
    except (ValueError, OverflowError):
        return Invalid(line, f"{provider!r} and {value!r} are not both integers")


def _line(line: int, body: bytes) -> Draft | Invalid:
    try:
        fields: Any = read_object(body)
    except Unfit:
        return Draft(line, body)  # said by whoever checks it, or sent as it is
    message_id = fields.get("message_id")
    message_id = message_id if isinstance(message_id, str) else ""
    if "body_base64" not in fields:
        return Draft(line, body, message_id)
    try:
        body = base64.b64decode(fields["body_base64"], validate=True)
    except (TypeError, ValueError):
        return Invalid(line, "body_base64 is not base64")
    return Draft(line, body, message_id)
