"""A file of what the broker did not confirm, with identities: `ops send --file` takes it back."""

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path

import msgspec

from ops.files import gone_with_container
from ops.sending.producer import Outgoing
from shared.errors import Refusal


class Unconfirmed:
    """Takes messages one by one; without a file it takes and forgets them."""

    def __init__(self, file: FileIO | None) -> None:
        """`file` is not buffered: an error comes with the line that it is about."""
        self._file = file
        self.lines = 0
        self.trouble = ""
        """Why the file does not hold all."""

    def add(self, message: Outgoing) -> None:
        """Keep a message: body and identity byte for byte. A full disk ends nothing."""
        if self._file is None:
            return
        body = base64.b64encode(message.body).decode()
        fields = {"message_id": message.message_id, "body_base64": body}
        line = msgspec.json.encode(fields) + b"\n"
        self.lines += 1
        try:
            if self._file.write(line) < len(line):
                self.trouble = "no space left"
        except OSError as error:
            self.trouble = str(error.strerror)


@contextmanager
def kept(path: str | None, *, in_container: bool) -> Iterator[Unconfirmed]:
    """Make a new file before anything is sent; it is gone again if nothing was put into it.

    Raises `Refusal` if it cannot be made, would be gone with our container, or is there already:
    it may hold what is not sent yet.
    """
    if path is None:
        yield Unconfirmed(None)
        return
    if in_container and gone_with_container(Path(path)):
        raise Refusal(f"{path} would be gone with this container: mount a folder (run -v)")
    try:
        file = FileIO(path, "x")
    except OSError as error:
        raise Refusal(f"{path} cannot be made: {error.strerror}") from error
    found = Unconfirmed(file)
    try:
        with file:
            yield found
    finally:
        if not found.lines:
            Path(path).unlink()
