"""A file of what the broker did not confirm, with identities: `ops send --file` takes it back."""

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import msgspec

from shared.amqp.producer import Outgoing
from shared.errors import Refusal


class Unconfirmed:
    """Takes messages one by one; without a file it takes and forgets them."""

    def __init__(self, file: BinaryIO | None) -> None:
        self._file = file
        self.lines = 0

    def add(self, message: Outgoing) -> None:
        """Keep a message: body and identity byte for byte."""
        if self._file is not None:
            body = base64.b64encode(message.body).decode()
            line = {"message_id": message.message_id, "body_base64": body}
            self._file.write(msgspec.json.encode(line) + b"\n")
            self.lines += 1


@contextmanager
def kept(path: str | None) -> Iterator[Unconfirmed]:
    """Open a new file before anything is sent; it is gone again if all was confirmed.

    Raises `Refusal` if it cannot be made, or is there already: it may hold what is not sent yet.
    """
    if path is None:
        yield Unconfirmed(None)
        return
    try:
        file = Path(path).open("xb")  # noqa: SIM115 - closed below, after it was made
    except OSError as error:
        raise Refusal(f"nothing was sent: {path} cannot be made: {error.strerror}") from error
    with file:
        found = Unconfirmed(file)
        yield found
    if not found.lines:
        Path(path).unlink()
