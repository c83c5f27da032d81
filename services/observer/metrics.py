"""What the observer counts."""

from typing import get_args

from prometheus_client import Counter, Gauge, Histogram

from services.observer.core import Outcome

SIGHTINGS = Counter(
    "minutebook_sightings_total",
    "Sightings settled, by what they led to: seen online, away (not online), retried (on their way"
    " to a queue that delays them), no_answer and unfit (dead letters).",
    ["outcome"],
)
LOOKUPS = Counter(
    "minutebook_lookups_total",
    "Questions to the API, by what it said: seen, away, error (no answer of use), silence (none).",
    ["outcome"],
)
SECONDS = Histogram(
    "minutebook_lookup_seconds",
    "How long the API took for a lookup, until it was given up otherwise.",
    buckets=(0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 5.0, 10.0, 30.0),
)
IN_FLIGHT = Gauge("minutebook_lookups_in_flight", "Lookups that have begun and not ended.")
PAUSED = Gauge(
    "minutebook_lookups_paused", "1 while the API answers nobody and no sighting is taken, else 0."
)
EXPIRED = Counter("minutebook_last_seen_expired_total", "Rows of last_seen removed as expired.")
REPLAYED = Counter(
    "minutebook_sightings_replayed_total", "Sightings that operators replayed, published again."
)

for _outcome in ("seen", "away", "retried", "no_answer", "unfit"):
    SIGHTINGS.labels(_outcome)
for _outcome in get_args(Outcome):
    LOOKUPS.labels(_outcome)
