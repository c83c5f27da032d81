"""What the tracker counts."""

from typing import get_args

from prometheus_client import Counter, Gauge, Histogram

from shared.amqp.confirms import Failure

REQUESTS = Counter(
    "minutebook_requests_total",
    "Messages of the queue requests, by what they were: a new request, one repeated, another one"
    " under a key that is taken, a question, or none that can be read.",
    ["outcome"],
)
ITEMS = Counter(
    "minutebook_request_items_published_total",
    "Items that were published to ingest and confirmed; a repetition counts again.",
)
DECIDED = Counter("minutebook_requests_decided_total", "Requests decided, by state.", ["state"])
SECONDS = Histogram(
    "minutebook_request_seconds",
    "From the acceptance of a request until each of its items is decided.",
    buckets=(0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0),
)
OPEN = Gauge(
    "minutebook_requests_open",
    "Requests with items that are neither rows nor dead letters, as of the last tick.",
)
OLDEST_OPEN = Gauge(
    "minutebook_request_oldest_open_seconds",
    "Age of the oldest of them, as of the last tick; 0 without one.",
)
REPLIES = Counter("minutebook_request_replies_total", "Replies that the broker confirmed.")
NOT_TAKEN = Counter(
    "minutebook_request_replies_not_taken_total",
    "Replies that no queue took: it is gone (unroutable), full (refused), or no reply queue.",
    ["error"],
)
DECIDE_SECONDS = Histogram(
    "minutebook_tracker_look_seconds", "Looking at what became of all open requests, at a tick."
)

for _outcome in ("accepted", "repeated", "conflict", "question", "unfit"):
    REQUESTS.labels(_outcome)
for _state in ("done", "failed"):
    DECIDED.labels(_state)
for _error in (*get_args(Failure), "not_a_reply_queue"):
    NOT_TAKEN.labels(_error)
