"""How a release is made: migrations first, replacement one by one, replicas by the queue."""

import re

import pytest

from tests.support.helm_chart import ALL, PROGRAMS, SERVICES, library, render

helm = library("helm_python")
OBJECTS = render(ALL)


def test_migrations_run_before_each_install_and_upgrade() -> None:
    job = render().get("Job", "migrate")

    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    assert job["spec"]["template"]["spec"]["restartPolicy"] == "Never"
    lock_wait_s = 300
    assert job["spec"]["activeDeadlineSeconds"] > lock_wait_s
    assert render({"migrate": {"enabled": False}}).names("Job") == set()


@pytest.mark.parametrize("service", SERVICES)
def test_an_old_replica_goes_only_once_a_new_one_is_healthy(service: str) -> None:
    spec = OBJECTS.get("Deployment", service)["spec"]

    assert spec["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    assert spec["selector"]["matchLabels"].items() <= spec["template"]["metadata"]["labels"].items()


def test_as_it_comes_the_core_and_the_operators_tool_run() -> None:
    assert render().names("Deployment") == {"ingest", "ticker", "syncer", "ops"}


def test_what_prometheus_reads_has_the_jobs_that_the_alert_rules_know() -> None:
    monitor = OBJECTS.get("PodMonitor", "minutebook")["spec"]

    assert monitor["jobLabel"] == "app.kubernetes.io/component"
    for service in set(SERVICES) - {"ops"}:
        labels = OBJECTS.get("Deployment", service)["spec"]["template"]["metadata"]["labels"]
        assert labels[monitor["jobLabel"]] == service
        assert monitor["selector"]["matchLabels"].items() <= labels.items()


def test_keda_scales_ingest_by_the_queue_and_nobody_else_sets_its_replicas() -> None:
    scaled = OBJECTS.get("ScaledObject", "ingest")["spec"]
    named = render(ALL | {"settings": {"INGEST_QUEUE": "money"}}).get("ScaledObject", "ingest")

    assert "replicas" not in OBJECTS.get("Deployment", "ingest")["spec"]
    assert render().get("Deployment", "ingest")["spec"]["replicas"] == 2
    assert scaled["scaleTargetRef"]["name"] == "ingest"
    assert scaled["triggers"][0]["metadata"]["queueName"] == "incoming_transactions"
    assert named["spec"]["triggers"][0]["metadata"]["queueName"] == "money"


def test_a_shard_is_told_to_every_program_and_keda_looks_at_its_queue() -> None:
    found = render(ALL | {"shard": "1/2"})
    scaled = found.get("ScaledObject", "ingest")["spec"]

    assert {found.environment(program)["SHARD"] for program in PROGRAMS} == {"1/2"}
    assert scaled["triggers"][0]["metadata"]["queueName"] == "incoming_transactions.1"
    assert "SHARD" not in OBJECTS.environment("ingest")


def test_keda_is_refused_for_a_stream() -> None:
    with pytest.raises(helm.HelmError, match=re.escape("has no length to scale by")):
        render(ALL | {"settings": {"INGEST_STREAM": "s"}})


def test_an_image_may_be_named_by_its_digest() -> None:
    digest = f"sha256:{'0' * 64}"
    values = {"image": {"repository": "registry.example.org/minutebook", "digest": digest}}

    image = render(values).container("ingest")["image"]

    assert image == f"registry.example.org/minutebook@{digest}"
