"""What the notifier counts."""

from typing import get_args

from prometheus_client import Counter, Gauge, Histogram

from shared.alert import CONDITIONS
from shared.amqp.confirms import Failure
from shared.tick import LATENESS_BUCKETS_S

WRITTEN = Counter(
    "minutebook_notifications_total", "Notifications written, once each.", ["condition"]
)
SENT = Counter(
    "minutebook_notifications_sent_total",
    "Notifications that the broker confirmed; a repetition counts again.",
)
NOT_TAKEN = Counter(
    "minutebook_notifications_not_taken_total",
    "Attempts that no queue took: none is bound (unroutable), or it is full (refused).",
    ["error"],
)
WAITING = Gauge(
    "minutebook_notifications_waiting",
    "Notifications that no queue took and that are tried again, as of the last tick.",
)
JUDGE_SECONDS = Histogram("minutebook_notifier_judge_seconds", "Judging the alerts at one tick.")
LATENESS = Histogram(
    "minutebook_notification_lateness_seconds",
    "From the boundary to the broker's confirm, by Postgres's clock.",
    buckets=LATENESS_BUCKETS_S,
)

for _condition in CONDITIONS:
    WRITTEN.labels(_condition)
for _error in get_args(Failure):
    NOT_TAKEN.labels(_error)
