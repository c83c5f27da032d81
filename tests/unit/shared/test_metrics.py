"""Metrics, alert rules and dashboard name the same things; label sets are bounded."""

import importlib
import json
import re
from collections.abc import Iterator
from typing import Any, get_args

import pytest
from prometheus_client import REGISTRY
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.metrics_core import Metric

from services.gateway.metrics import KINDS
from services.gateway.problems import Reason as Refused
from services.notifier import intake
from services.observer.core import Outcome
from services.syncer.core import Cause
from services.syncer.metrics import REMOVING, Task
from shared.alert import CONDITIONS
from shared.amqp.confirms import Failure
from shared.errors import Server
from shared.follower_store import Reason as AnewReason
from shared.tick import LATENESS_BUCKETS_S
from shared.unfit import TransactionReason
from tests.support.containers import ROOT

OBSERVE = ROOT / "deploy" / "observe"
RULES = (OBSERVE / "alerts.yml").read_text()
DASHBOARD = json.loads((OBSERVE / "grafana" / "dashboards" / "minutebook.json").read_text())
# The contract: outside programs rely on these.
PROMISED = {
    "minutebook_ingest_rows_total", "minutebook_ingest_duplicates_total",
    "minutebook_ingest_redelivered_total", "minutebook_dead_letters_total",
    "minutebook_ingest_commit_seconds", "minutebook_ingest_latency_seconds",
    "minutebook_tick_lateness_seconds", "minutebook_fold_seconds",
    "minutebook_watermark_age_seconds", "minutebook_oldest_unfolded_seconds",
    "minutebook_fenced_writes_total", "minutebook_republished_total",
    "minutebook_reconnects_total", "minutebook_default_partition_rows",
    "minutebook_drift_providers",
}  # fmt: skip
CORE = ("ingest", "ticker", "syncer")
LABELS = {
    "minutebook_dead_letters_total": set(get_args(TransactionReason)),
    "minutebook_queue_messages_total": {
        "alerts",
        "notifications.delivered",
        "prices",
        "applied",
        "ignored",
        "unfit",
    },
    "minutebook_sightings_total": {"seen", "away", "retried", "no_answer", "unfit"},
    "minutebook_lookups_total": set(get_args(Outcome)),
    "minutebook_gateway_request_seconds": set(KINDS),
    "minutebook_gateway_refused_total": set(get_args(Refused)),
    "minutebook_notifications_total": set(CONDITIONS),
    "minutebook_notifications_not_taken_total": set(get_args(Failure)),
    "minutebook_requests_total": {"accepted", "repeated", "conflict", "question", "unfit"},
    "minutebook_requests_decided_total": {"done", "failed"},
    "minutebook_request_replies_not_taken_total": {*get_args(Failure), "not_a_reply_queue"},
    "minutebook_reconnects_total": set(get_args(Server)),
    "minutebook_follower_anew_total": set(get_args(AnewReason)),
    "minutebook_feed_events_total": {"transaction", "provider", "balance"},
    "minutebook_republished_total": set(get_args(Cause)) - {"next"},
    "minutebook_reconciliations_total": {"clean", "drift", "failed"},
    "minutebook_retention_failures_total": set(get_args(Task)),
    "minutebook_retention_overdue_seconds": set(REMOVING),
}
"""The values of the labels that each of these has; no other metric has any."""
NOT_OURS = {"up", "process_start_time_seconds", "process_resident_memory_bytes", "ALERTS"}
"""Prometheus makes the first and the last, its client library the others, about any process."""
NAME = re.compile(r"\b(?:minutebook|process)_\w+|\bup\b|\bALERTS\b")
PARTS = re.compile(r"_(bucket|sum|count)$")


def metrics() -> dict[str, MetricWrapperBase]:
    """Return the metrics of all services by the names that Prometheus shows."""
    for service in (*CORE, "feed", "notifier", "tracker", "gateway", "observer"):
        importlib.import_module(f"services.{service}.__main__")
    importlib.import_module("shared.follower")
    intake.count_from_nought()
    found = {one for one in REGISTRY._collector_to_names if isinstance(one, MetricWrapperBase)}  # noqa: SLF001 - the library has no way to list them
    return {shown(one): one for one in found if family(one).name.startswith("minutebook_")}


def family(metric: MetricWrapperBase) -> Metric:
    return next(iter(metric.collect()))


def shown(metric: MetricWrapperBase) -> str:
    return family(metric).name + ("_total" if family(metric).type == "counter" else "")


def panels(inside: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for panel in inside.get("panels", ()):
        yield panel
        yield from panels(panel)


def queries() -> list[str]:
    return [target["expr"] for one in panels(DASHBOARD) for target in one.get("targets", ())]


def rule_expressions() -> list[str]:
    return re.findall(r"^ +expr: (\|-\n(?: {10}.*\n)+|.*)", RULES, re.MULTILINE)


def named(expressions: list[str]) -> set[str]:
    """Return the names in PromQL; those of a histogram's parts count as the histogram's."""
    unquoted = [re.sub(r'"[^"]*"', "", one) for one in expressions]
    return {PARTS.sub("", name) for one in unquoted for name in NAME.findall(one)}


def test_every_metric_that_is_promised_is_in_code() -> None:
    assert set(metrics()) >= PROMISED


@pytest.mark.parametrize("expressions", [rule_expressions(), queries()], ids=["rules", "dashboard"])
def test_every_metric_that_rules_or_dashboard_name_is_in_code(expressions: list[str]) -> None:
    assert expressions
    assert named(expressions) <= set(metrics()) | NOT_OURS


def test_every_metric_in_code_is_in_the_rules_or_on_the_dashboard() -> None:
    assert set(metrics()) <= named(rule_expressions() + queries())


def test_labels_take_few_values_and_all_of_them_are_there_from_the_start() -> None:
    labelled = {name for name, one in metrics().items() if one._labelnames}  # noqa: SLF001 - as above

    assert labelled == set(LABELS)
    for name, values in LABELS.items():
        shown_as = {name, f"{name}_count"}  # the second is a histogram's
        samples = [one for one in family(metrics()[name]).samples if one.name in shown_as]
        assert {value for one in samples for value in one.labels.values()} >= values


def test_lateness_is_told_from_1_ms_to_beyond_1_s_and_too_early_as_well() -> None:
    assert min(bound for bound in LATENESS_BUCKETS_S if bound > 0) == 0.001
    assert {-1.0, 1.0} < set(LATENESS_BUCKETS_S)
    assert min(LATENESS_BUCKETS_S) < -1
    assert max(LATENESS_BUCKETS_S) > 1
    assert list(LATENESS_BUCKETS_S) == sorted(LATENESS_BUCKETS_S)


def test_no_two_panels_have_one_id_and_each_says_what_it_shows() -> None:
    found = list(panels(DASHBOARD))

    assert len({panel["id"] for panel in found}) == len(found)
    assert all(panel["title"] for panel in found)
