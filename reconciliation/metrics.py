"""What reconciliation counts. The gauge is NaN while this process does not know the answer."""

import math

from prometheus_client import Counter, Gauge, Histogram

OUTCOMES = ("clean", "drift", "failed")
BUCKETS_S = (0.05, 0.2, 0.5, 1, 2, 5, 10, 20, 60, 180, 900)

DRIFT_PROVIDERS = Gauge(
    "minutebook_drift_providers",
    "Providers on which the last reconciliation found no agreement; NaN before the first one.",
)
RECONCILIATIONS = Counter(
    "minutebook_reconciliations_total", "Reconciliations: clean, drift or failed.", ["outcome"]
)
RECONCILE_SECONDS = Histogram(
    "minutebook_reconcile_seconds", "Duration of a reconciliation.", buckets=BUCKETS_S
)


def reconciled(drifting: int, duration_s: float) -> None:
    """Note one reconciliation that came to an end."""
    DRIFT_PROVIDERS.set(drifting)
    RECONCILIATIONS.labels("drift" if drifting else "clean").inc()
    RECONCILE_SECONDS.observe(duration_s)


for outcome in OUTCOMES:
    RECONCILIATIONS.labels(outcome)  # shown from the start, as 0
DRIFT_PROVIDERS.set(math.nan)
