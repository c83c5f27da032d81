"""What the feed counts, beside what every follower does."""

from prometheus_client import Counter, Histogram

from services.feed.core import BALANCE, CLOSED, PROVIDER, TRANSACTION

EVENTS = Counter(
    "minutebook_feed_events_total",
    "Events of ticks that were published whole and confirmed.",
    ["about"],
)
for _about in (TRANSACTION, PROVIDER, BALANCE):
    EVENTS.labels(_about)
TICK_SECONDS = Histogram(
    "minutebook_feed_tick_seconds",
    f"Reading and publishing a tick, to the confirm of {CLOSED}; the mean of ticks in one go.",
    buckets=(0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0),
)
