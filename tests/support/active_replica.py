"""A server that says of itself what a KeyDB 6.3 in active-replica mode says; it can nothing else.

Neither of the servers under test has that mode.
"""

import contextlib
import socketserver
import threading
from collections.abc import Iterator
from typing import BinaryIO, cast

INFO = (
    b"# Server\r\nredis_version:6.3.4\r\n# Memory\r\nmaxmemory_policy:noeviction\r\n"
    b"# Persistence\r\naof_enabled:1\r\n# Replication\r\nrole:active-replica\r\n"
    b"master_global_link_status:up\r\nconnected_masters:1\r\n"
)


class _Handler(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        while request := _request(cast("BinaryIO", self.rfile)):
            if request[0].upper() == b"INFO":
                self.wfile.write(b"$%d\r\n%s\r\n" % (len(INFO), INFO))
            else:
                self.wfile.write(b"+OK\r\n")


def _request(stream: BinaryIO) -> list[bytes]:
    # The protocol: an array of so many strings, each with its length before it.
    words = []
    for _ in range(int(stream.readline().strip(b"*\r\n") or 0)):
        length = int(stream.readline().strip(b"$\r\n"))
        words.append(stream.read(length + 2)[:-2])
    return words


@contextlib.contextmanager
def active_replica() -> Iterator[str]:
    """Serve while inside; yields the URL."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"redis://127.0.0.1:{server.server_address[1]}/0"
        finally:
            server.shutdown()
            thread.join()
