"""Servers that say of themselves what a KeyDB says that is not at hand here; they can nothing else.

Neither of the servers under test has an active-replica mode, or is too old.
"""

import contextlib
import socketserver
from collections.abc import Iterator
from functools import partial
from typing import BinaryIO, cast

from tests.support.beside import beside

INFO = (
    b"# Server\r\nredis_version:6.3.4\r\n# Memory\r\nmaxmemory_policy:noeviction\r\n"
    b"# Persistence\r\naof_enabled:1\r\n# Replication\r\nrole:active-replica\r\n"
    b"master_global_link_status:up\r\nconnected_masters:1\r\n"
)


OLD = INFO.replace(b"6.3.4", b"6.0.16").replace(b"active-replica", b"master")


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    info = INFO


class _Handler(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        info = cast("_Server", self.server).info
        while request := _request(cast("BinaryIO", self.rfile)):
            if request[0].upper() == b"INFO":
                self.wfile.write(b"$%d\r\n%s\r\n" % (len(info), info))
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
def active_replica(info: bytes = INFO) -> Iterator[str]:
    """Serve while inside; yields the URL. `info` is what it answers to INFO."""
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.info = info
        with beside(partial(server.serve_forever, 0.05), server.shutdown):
            yield f"redis://127.0.0.1:{server.server_address[1]}/0"
