"""Metrics that every service has. Label sets are bounded: a server's name, never an address.

What has labels is there from the start, at 0: a first event that also made its series would be no
increase to whoever reads them.
"""

from typing import get_args

import structlog
from prometheus_client import Counter, Gauge

from shared.errors import Server, Unavailable

HEALTHY = Gauge("minutebook_healthy", "1 while /healthz answers 200, 0 while it answers 503.")
RECONNECTS = Counter("minutebook_reconnects_total", "Attempts to reach a server again.", ["server"])
for _server in get_args(Server):
    RECONNECTS.labels(_server)

# Too early is possible, too: two clocks are compared.
LATENESS_BUCKETS_S = (
    -5.0, -1.0, -0.1, -0.01,
    0.001, 0.0025, 0.005, 0.01, 0.02, 0.035, 0.05, 0.075, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 2.0, 5.0,
    15.0, 60.0,
)  # fmt: skip

log = structlog.get_logger()


def reconnecting(error: Unavailable, *, attempt: int) -> None:
    """Count and report one more attempt to reach the server that `error` names."""
    RECONNECTS.labels(error.server).inc()
    log.warning("reconnecting", server=error.server, detail=error.detail, attempt=attempt)
