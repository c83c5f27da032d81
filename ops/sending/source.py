"""What is to be sent: read and checked to its end before any of it goes.

A file, or standard input, is copied first (to memory, above 8 MiB to TMPDIR): what is sent is what
was checked, even if the file is written to at the same time, and no input has to fit in memory.
"""

import contextlib
import hashlib
import os
import stat
import sys
import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, cast

from ops.sending import rows
from ops.sending.batch import Batch, Runs, default_name
from ops.sending.producer import Outgoing
from ops.sending.rows import Draft, Format, Invalid
from ops.wording import visible
from shared import json_object
from shared.errors import Refusal
from shared.shard import ONLY, Shard
from shared.transaction_body import Limits, decode
from shared.transaction_identity import check_identity
from shared.unfit import Unfit
from shared.unique_ids import time_ordered

IN_MEMORY_BYTES_MAX = 2**23
CHUNK_BYTES = 2**16
INVALID_KEPT_MAX = 1000
BODY_BYTES_MAX = 2**24
"""The most that ingest can be set to take. Above its own limit a broker closes the connection."""
IDS_REMEMBERED_MAX = 2_000_000
"""Of one command, to find one that comes twice: some 150 MB."""

Progress = Callable[[int], object]


@dataclass(frozen=True, slots=True)
class Rules:
    """How input is read, and what of it may be sent."""

    limits: Limits
    checked: bool = True
    kind: Format = "auto"
    ignored: Collection[str] = ()
    field: str = ""
    """Of the body, where ingest finds the identity; empty: it is the message's `message_id`."""
    queues: Collection[str] = ()
    """Where it all goes. A dead letter goes back to where it came from only: what others hold is
    not money."""
    shard: Shard = ONLY
    """By which, if there are several, each message finds its own."""


class Source:
    """One batch: lines to be sent, and what was found when they were checked."""

    def __init__(
        self, batch: Batch, drafts: Callable[[], Iterator[Draft | Invalid]], rules: Rules
    ) -> None:
        """`drafts` begins at the first line at each call."""
        self.batch = batch
        self.invalid: list[Invalid] = []
        """The first of the lines that are not sent; `invalid_lines` counts all."""
        self.invalid_lines = 0
        self._repeated: set[int] = set()
        self._drafts = drafts
        self._rules = rules

    def check(self, progress: Progress, ids: set[int]) -> None:
        """Look at every line; `ids` has the identities of the files before, and gets ours.

        Raises `Refusal` if the file as a whole cannot be understood.
        """
        runs, lines, made_up = Runs(), 0, 0
        like_made_up: list[int] = []
        try:
            for draft in self._drafts():
                found = self._message(draft)
                own = isinstance(draft, Draft) and bool(draft.message_id or self._rules.field)
                if isinstance(found, Outgoing) and own:
                    found = self._unless_repeated(draft.line, found, ids)
                if isinstance(found, Invalid):
                    self._hold_back(found)
                else:
                    lines += 1
                    if own and found.message_id.startswith(f"{self.batch.name}:"):
                        like_made_up.append(draft.line)
                    elif not own:
                        made_up += 1
                        runs.add(found.body)
                progress(1)
        except rows.Unreadable as error:
            raise Refusal(f"nothing was sent: {visible(self.batch.file)}, {error}") from error
        if made_up:  # else it is what an earlier sending left unconfirmed
            for line in like_made_up:
                lines -= 1
                self._repeated.add(line)
                self._hold_back(Invalid(line, "its identity is like those made up for other lines"))
        self.batch = replace(self.batch, lines=lines, made_up=made_up, runs=runs.kept())

    def messages(self) -> Iterator[Outgoing]:
        """Yield what can be sent, in order."""
        for draft in self._drafts():
            found = self._message(draft)
            if isinstance(found, Outgoing) and draft.line not in self._repeated:
                yield found

    def _message(self, draft: Draft | Invalid) -> Outgoing | Invalid:
        if isinstance(draft, Invalid):
            return draft
        rules = self._rules
        if draft.queue and draft.queue not in rules.queues:
            return Invalid(draft.line, f"a dead letter that came from {visible(draft.queue)}")
        found = message(
            draft, self.batch.name, rules.limits, checked=rules.checked, field=rules.field
        )
        if rules.shard.split and isinstance(found, Outgoing):
            return found._replace(routing_key=_route(found.body, rules))
        return found

    def _unless_repeated(self, line: int, message: Outgoing, ids: set[int]) -> Outgoing | Invalid:
        """Two transactions of one identity would count once without an error."""
        one = hash(message.message_id)
        if one in ids:
            self._repeated.add(line)
            return Invalid(line, "its identity is that of an earlier line")
        if len(ids) < IDS_REMEMBERED_MAX:
            ids.add(one)
        return message

    def _hold_back(self, line: Invalid) -> None:
        self.invalid_lines += 1
        if len(self.invalid) < INVALID_KEPT_MAX:
            self.invalid.append(line._replace(file=self.batch.file))


def typed(texts: Sequence[str], batch: str | None, message_id: str | None, rules: Rules) -> Source:
    """Return the transactions of a command line: unless named, each time a batch of their own."""

    def drafts() -> Iterator[Draft | Invalid]:
        for one in rows.from_arguments(texts, rules.ignored):
            if message_id is None or isinstance(one, Invalid):
                yield one
            else:
                yield one._replace(message_id=message_id)

    name = batch or f"send-{time_ordered().hex}"
    digest = hashlib.sha256("\0".join(texts).encode(errors="surrogateescape")).hexdigest()
    return Source(Batch(name, "", digest, typed=True), drafts, rules)


def opened(path: str, batch: str | None, rules: Rules, stack: ExitStack) -> Source:
    """Return the lines of a file, `-` for standard input; its copy goes with `stack`.

    Raises `Refusal` where it cannot be read or copied.
    """
    spool = stack.enter_context(tempfile.SpooledTemporaryFile(IN_MEMORY_BYTES_MAX))  # noqa: SIM115
    try:
        if path == "-":
            digest, regular = _copy(sys.stdin.buffer, spool), False
        else:
            with Path(path).open("rb") as file:
                digest = _copy(file, spool)
                regular = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
    except OSError as error:
        where = f"{path} cannot be read, or copied to {tempfile.gettempdir()}"
        raise Refusal(f"nothing was sent: {visible(where)}: {error.strerror}") from error
    # A pipe has no name by which it could be known again.
    file_name = os.fsencode(Path(path).name).decode(errors="backslashreplace") if regular else ""
    name = batch or default_name(file_name, digest)
    return Source(
        Batch(name, file_name, digest, named=batch is not None),
        lambda: rows.read(cast("BinaryIO", spool), rules.kind, rules.ignored),
        rules,
    )


def _copy(file: BinaryIO, spool: "tempfile.SpooledTemporaryFile[bytes]") -> str:
    """Return the SHA-256 of what was copied."""
    digest = hashlib.sha256()
    while chunk := file.read(CHUNK_BYTES):
        digest.update(chunk)
        spool.write(chunk)
    return digest.hexdigest()


def message(
    draft: Draft, batch: str, limits: Limits, *, checked: bool = True, field: str = ""
) -> Outgoing | Invalid:
    """Return what to send: without an identity of its own a line is known by batch and place.

    Unless not `checked`, what ingest would make a dead letter of is `Invalid`. Where ingest finds
    the identity in a `field` of the body, the body must have it, or a second copy would count.
    """
    identity = draft.message_id or f"{batch}:{draft.line}"
    if not checked:  # by ingest's limit; still, no broker takes any size
        limits = Limits(BODY_BYTES_MAX)
    try:
        if field:
            identity = _in_body(draft.body, field)
        check_identity(identity)
        decode(draft.body, limits)
    except Unfit as unfit:
        if checked or unfit.reason in ("bad_identity", "too_large"):
            return Invalid(draft.line, f"{unfit.reason}: {unfit.error}")
    return Outgoing(draft.body, identity)


def _route(body: bytes, rules: Rules) -> str:
    """Return a message's routing key; one that cannot be read is a dead letter wherever it goes."""
    provider_id = 0
    with contextlib.suppress(Unfit):
        provider_id, *_ = decode(body, Limits(BODY_BYTES_MAX))
    return rules.shard.route(provider_id)


def _in_body(body: bytes, field: str) -> str:
    found = json_object.read(body).get(field)
    if isinstance(found, int) and not isinstance(found, bool):
        return str(found)  # as ingest does
    if not isinstance(found, str) or not found:
        raise Unfit("bad_identity", f"no text in {field}, where INGEST_MESSAGE_ID has identities")
    return found
