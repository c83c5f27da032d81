"""What the syncer's reconciler says without having looked."""

import math
import threading
from typing import Never

from prometheus_client import REGISTRY

from reconciliation import metrics
from reconciliation.reconciler import Reconciler


def unreached() -> Never:
    raise AssertionError


def test_who_stands_by_says_nothing_of_what_it_once_found() -> None:
    metrics.reconciled(3, 0.1)
    assert REGISTRY.get_sample_value("minutebook_drift_providers") == 3
    Reconciler(unreached, unreached, 1, threading.Event()).stood_by()
    assert math.isnan(REGISTRY.get_sample_value("minutebook_drift_providers") or 0.0)
