"""What the gateway counts. Nothing has labels that a caller could make up."""

from typing import get_args

from prometheus_client import Counter, Gauge, Histogram

from services.gateway.problems import Reason

BUCKETS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
KINDS = ("accept", "ask", "other")
"""What a request does: it writes, it asks, or it is about neither (health, documents, unknown)."""

REQUEST_SECONDS = Histogram(
    "minutebook_gateway_request_seconds",
    "From the head of a request to the end of its answer, event streams aside.",
    ["kind"],
    buckets=BUCKETS_S,
)
CONFIRM_SECONDS = Histogram(
    "minutebook_gateway_confirm_seconds",
    "From handing a message to the producer to the broker's confirm.",
    buckets=BUCKETS_S,
)
ITEMS = Counter(
    "minutebook_gateway_items_total", "Items accepted: of requests that the broker confirmed."
)
REFUSED = Counter(
    "minutebook_gateway_refused_total",
    "Requests answered with a problem, by its reason.",
    ["reason"],
)
IN_FLIGHT = Gauge(
    "minutebook_gateway_in_flight", "Requests that were read and wait for their confirm."
)
CONNECTIONS = Gauge("minutebook_gateway_connections", "Connections of clients that are open.")
STREAMS = Gauge("minutebook_gateway_streams", "Event streams that are open.")

SECONDS_OF = {kind: REQUEST_SECONDS.labels(kind) for kind in KINDS}
for _reason in get_args(Reason):
    REFUSED.labels(_reason)
