"""`python -m tests.faults.proxy_server`: a proxy between each service and each server.

Runs in a container of our own image beside the stack. Orders come over the control port, one JSON
line to a connection; the answer is a line with the number of hits, once the order was carried out
or its time is over. It is at work once that port is open.
"""

import json
import re
import socketserver
import threading
import time

from tests.support.disturbances import Disturbance, Kind
from tests.support.tcp_proxy import TcpProxy

CONTROL_PORT = 7000
ANYWHERE = "0.0.0.0"  # noqa: S104 - in a container the published port decides who reaches it
UPSTREAMS = {
    "ingest-postgres": (7001, ("postgres", 5432)),
    "ingest-rabbitmq": (7002, ("rabbitmq", 5672)),
    "syncer-postgres": (7003, ("postgres", 5432)),
    "syncer-rabbitmq": (7004, ("rabbitmq", 5672)),
    "syncer-keydb": (7005, ("keydb", 6379)),
    "ticker-rabbitmq": (7006, ("rabbitmq", 5672)),
    "feed-postgres": (7007, ("postgres", 5432)),
    "feed-rabbitmq": (7008, ("rabbitmq", 5672)),
    "notifier-postgres": (7009, ("postgres", 5432)),
    "notifier-rabbitmq": (7010, ("rabbitmq", 5672)),
    "tracker-postgres": (7011, ("postgres", 5432)),
    "tracker-rabbitmq": (7012, ("rabbitmq", 5672)),
    "gateway-rabbitmq": (7013, ("rabbitmq", 5672)),
}
"""As compose.proxies.yaml has them."""


class Control(socketserver.ThreadingTCPServer):
    """Hands orders on to proxies."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, proxies: dict[str, TcpProxy]) -> None:
        super().__init__((ANYWHERE, CONTROL_PORT), Steering)
        self.proxies = proxies


class Steering(socketserver.StreamRequestHandler):
    """One order."""

    server: Control

    def handle(self) -> None:
        line = self.rfile.readline()
        if line:
            order = json.loads(line)
            hits = carry_out(self.server.proxies[order.pop("proxy")], **order)
            self.wfile.write(json.dumps({"hits": hits}).encode() + b"\n")


def carry_out(
    proxy: TcpProxy, *, kind: Kind, pattern: str, within_s: float, each_way_s: float = 0.0
) -> int:
    """Have `proxy` do it; returns how often `pattern` was met."""
    text = re.compile(pattern.encode("latin-1"), re.DOTALL)
    ends_at = time.monotonic() + within_s
    wanted = proxy.disturb(Disturbance(kind, text, each_way_s, ends_at))
    wanted.done.wait(within_s)
    proxy.disturb_no_more(wanted)
    return wanted.hits


def serve() -> None:
    """Serve until killed."""
    proxies = {
        name: TcpProxy(upstream, (ANYWHERE, port)) for name, (port, upstream) in UPSTREAMS.items()
    }
    for proxy in proxies.values():
        threading.Thread(target=proxy.serve, daemon=True).start()
    with Control(proxies) as control:
        control.serve_forever()


if __name__ == "__main__":
    serve()
