"""What `send` and `load` answer: counts, and what to do about whatever was not confirmed."""

import shlex
from collections.abc import Iterator, Sequence
from typing import Any

from rich.text import Text

from ops.answer import Answer
from ops.sending.record import Record
from ops.sending.sender import Sender
from ops.sending.source import Source
from ops.wording import count, moment, visible
from shared import program

INVALID_SHOWN = 10


def document(sender: Sender) -> dict[str, Any]:
    """Return what became of the messages."""
    seconds = sender.seconds
    found: dict[str, Any] = {
        "confirmed": sender.confirmed,
        "unroutable": sender.fates["unroutable"],
        "refused": sender.fates["refused"],
        "undecided": len(sender.undecided),
        "seconds": round(seconds, 3),
        "per_second": round(sender.confirmed / seconds, 1) if seconds else 0.0,
    }
    if sender.failure is not None:
        found["error"] = {
            "kind": f"rabbitmq {sender.failure.state}",
            "detail": sender.failure.detail,
        }
    return found


def of_sources(sources: Sequence[Source], record: Record) -> dict[str, Any]:
    """Return what was found in the input, and whether it is on record."""
    invalid = [line for one in sources for line in one.invalid]
    return {
        "invalid": sum(one.invalid_lines for one in sources),
        "invalid_lines": [one._asdict() for one in invalid],
        "made_up_ids": sum(one.batch.made_up for one in sources),
        "batches": [
            {
                "batch": one.batch.name,
                "file": one.batch.file,
                "sha256": one.batch.sha256,
                "lines": one.batch.lines,
                "made_up_ids": one.batch.made_up,
            }
            for one in sources
        ],
        "recorded": bool(record.batches) and not record.trouble,
        "not_recorded": record.trouble,
        "resumed": [
            {"batch": one.name, "at": moment(one.at), "operator": visible(one.operator)}
            for one in record.resumed
        ],
    }


def answer(sender: Sender, found: dict[str, Any], queue: str) -> Answer:
    """Return the answer: exit 1 unless all was sent and confirmed, 3 if the broker stayed away."""
    unsent = found.get("invalid") or found.get("not_sent")
    code = program.EXIT_FINDING if unsent or not sender.complete else 0
    if sender.failure is not None:
        code = program.EXIT_UNREACHABLE
    # Not folded: what is to be typed next is copied from it.
    return Answer(found, Text("\n".join(_says(found, queue)), no_wrap=True), code)


def advice(sources: Sequence[Source], kept: str, flags: Sequence[str]) -> str:
    """Return how to have the rest sent; whatever of it has arrived is not counted twice.

    `kept` is the file of what was not confirmed, or empty; `flags` are options to be repeated.
    """
    if kept:
        return shlex.join(["ops", "send", *flags, "--file", kept])
    made_up = [one.batch for one in sources if one.batch.made_up]
    if len(sources) == 1 and made_up:
        return f"send the same again with {shlex.join(['--batch', made_up[0].name])}"
    return "send the same again" + (", files under the same names" if made_up else "")


def _says(found: dict[str, Any], queue: str) -> Iterator[str]:
    yield (
        f"{count(found['confirmed'], 'message')} confirmed in {found['seconds']} s"
        f" ({found['per_second']:,}/s)"
    )
    if found["unroutable"]:
        back = f"{found['unroutable']:,} came back: there is no queue {queue}"
        yield f"{back} (start ingest, or send them with --declare)"
    if found["refused"]:
        yield f"{found['refused']:,} refused by the broker"
    if found["undecided"]:
        yield f"{found['undecided']:,} may or may not have arrived"
    if found.get("not_sent"):
        yield f"{found['not_sent']:,} not sent yet"
    if "error" in found:
        yield f"gave up: {found['error']['detail']}"
    if found.get("unconfirmed_file"):
        yield f"{found['unconfirmed_lines']:,} not confirmed are in {found['unconfirmed_file']}"
    if found.get("unconfirmed_trouble"):
        yield f"what was not confirmed could not be written: {found['unconfirmed_trouble']}"
    yield from _of_input(found)
    for one in found.get("providers", ()):
        yield f"provider {one['provider']}: {one['messages']:,} messages, {one['amount']:+,}"
    if found.get("advice"):
        yield f"to go on: {found['advice']} (what has arrived already counts once)"


def _of_input(found: dict[str, Any]) -> Iterator[str]:
    for one in found.get("invalid_lines", ())[:INVALID_SHOWN]:
        where = f"{one['file']} line" if one["file"] else "line"
        yield visible(f"{where} {one['line']} was not sent: {one['why']}")
    if found.get("invalid", 0) > INVALID_SHOWN:
        yield f"and {found['invalid'] - INVALID_SHOWN:,} more lines (--json names 1,000 of a file)"
    if found.get("held_back"):
        yield "nothing was sent, since a line cannot be (--all-or-nothing): correct it, send all"
    elif found.get("invalid") and found["confirmed"]:
        yield "correct these lines in a file of their own and send that: the others are sent"
    for one in found.get("batches", ()):
        if one["made_up_ids"] and not found.get("held_back"):
            made_up = count(one["made_up_ids"], "identity", "identities")
            yield f"{made_up} made up: {visible(one['batch'])}:LINE"
    for one in found.get("resumed", ()):
        yield f"this goes on with batch {one['batch']}, begun {one['at']} by {one['operator']}"
    if found.get("not_recorded"):
        yield (
            "this sending is not on record, and whether it is a copy of an earlier one was not"
            f" looked up: {found['not_recorded']}"
        )
