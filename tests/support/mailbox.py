"""A mail server of a test: it takes whatever it is sent, and keeps it."""

import contextlib
import socketserver
from collections.abc import Iterator
from email import message_from_bytes, policy
from email.message import EmailMessage

from tests.support.beside import beside


class Mailbox(socketserver.ThreadingTCPServer):
    """Speaks as much SMTP (RFC 5321) as a client needs."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self) -> None:
        """Listen on any free port of 127.0.0.1."""
        super().__init__(("127.0.0.1", 0), _Session)
        self.mails: list[EmailMessage] = []

    @property
    def url(self) -> str:
        """Return where a client sends mail to."""
        return f"smtp://127.0.0.1:{self.server_address[1]}"


class _Session(socketserver.StreamRequestHandler):
    server: Mailbox

    def handle(self) -> None:
        self._say("220 test")
        while line := self.rfile.readline():
            verb = line.split()[0].upper() if line.split() else b""
            if verb == b"DATA":
                self._say("354 go on")
                self._keep()
            elif verb == b"QUIT":
                self._say("221 bye")
                return
            else:
                self._say("250 ok")

    def _keep(self) -> None:
        lines: list[bytes] = []
        while (line := self.rfile.readline()) not in (b".\r\n", b""):
            lines.append(line)
        found = message_from_bytes(b"".join(lines), policy=policy.default)
        self.server.mails.append(found)
        self._say("250 kept")

    def _say(self, text: str) -> None:
        self.wfile.write(f"{text}\r\n".encode())


@contextlib.contextmanager
def opened() -> Iterator[Mailbox]:
    """Take mail while inside."""
    with Mailbox() as mailbox, beside(mailbox.serve_forever, mailbox.shutdown):
        yield mailbox
