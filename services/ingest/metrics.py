"""What ingest counts."""

from typing import get_args

from prometheus_client import Counter, Gauge, Histogram

from services.ingest.service import Outcome
from shared.unfit import TransactionReason

ROWS = Counter("minutebook_ingest_rows_total", "Messages that became rows.")
DUPLICATES = Counter("minutebook_ingest_duplicates_total", "Messages that were processed before.")
REDELIVERED = Counter("minutebook_ingest_redelivered_total", "Messages delivered again.")
DEAD_LETTERS = Counter(
    "minutebook_dead_letters_total", "Messages that became dead letters.", ["reason"]
)
for _reason in get_args(TransactionReason):
    DEAD_LETTERS.labels(_reason)
UNACKNOWLEDGED = Gauge(
    "minutebook_ingest_in_hand_messages", "Messages received and not yet acknowledged or let go."
)
OLDEST_WAITING = Gauge(
    "minutebook_oldest_waiting_seconds", "For how long a message has waited for its provider."
)
RELEASED = Counter(
    "minutebook_ingest_promoted_total", "Waiting messages that became rows with their provider."
)
COMMIT_SECONDS = Histogram(
    "minutebook_ingest_commit_seconds",
    "One batch, from its first statement to its commit.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0),
)
LATENCY_SECONDS = Histogram(
    "minutebook_ingest_latency_seconds",
    "From the arrival of a batch's oldest message to its commit.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0),
)
BATCH_MESSAGES = Histogram(
    "minutebook_ingest_batch_messages",
    "Messages in one commit.",
    buckets=(1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 10000),
)


def note_batch(outcome: Outcome, *, commit_s: float, latency_s: float) -> None:
    """Note one committed batch."""
    ROWS.inc(outcome.inserted)
    DUPLICATES.inc(outcome.duplicates)
    for reason, count in outcome.dead.items():
        DEAD_LETTERS.labels(reason).inc(count)
    COMMIT_SECONDS.observe(commit_s)
    LATENCY_SECONDS.observe(latency_s)
    BATCH_MESSAGES.observe(outcome.messages())
