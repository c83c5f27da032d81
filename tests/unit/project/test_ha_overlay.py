"""deploy/ha/compose.yaml held against compose.yaml: the same logins, on three hosts each."""

import re
from typing import Any

from ruamel.yaml import YAML

from tests.support.containers import ROOT

HOSTS = {
    "POSTGRES_DSN": r"@(postgres:5432),postgres-2:5432,postgres-3:5432/",
    "RABBITMQ_URL": r"@(rabbitmq:5672),rabbitmq-2:5672,rabbitmq-3:5672/",
}
LIMIT = "?connect_timeout=2"
SENTINELS = "redis+sentinel://sentinel:26379,sentinel-2:26379,sentinel-3:26379/minutebook/0"


def services(path: str) -> dict[str, Any]:
    found: dict[str, Any] = YAML(typ="rt").load(ROOT / path)["services"]
    return found


def targets(job: str) -> set[str]:
    """Return whom else a job of Prometheus asks where the overlay is."""
    (group,) = YAML(typ="rt").load(ROOT / f"deploy/ha/observe/{job}.yml")
    return set(group["targets"])


PLAIN, CLUSTERS = services("compose.yaml"), services("deploy/ha/compose.yaml")


def test_every_program_reaches_all_members_by_the_login_that_it_has_otherwise() -> None:
    for name, plain in PLAIN.items():
        for setting, hosts in HOSTS.items():
            address = (plain.get("environment") or {}).get(setting)
            if address is None:
                continue
            several = CLUSTERS[name]["environment"][setting]
            assert re.sub(hosts, r"@\1/", several).replace(LIMIT, "") == address
            assert re.search(hosts, several)


def test_whoever_reads_keydb_asks_the_sentinels() -> None:
    for name, plain in PLAIN.items():
        if "KEYDB_URL" in (plain.get("environment") or {}):
            assert SENTINELS in CLUSTERS[name]["environment"]["KEYDB_URL"]


def test_each_cluster_has_three_members_and_each_service_of_the_core_two() -> None:
    for server in ("postgres", "etcd", "rabbitmq", "keydb", "sentinel"):
        assert {server, f"{server}-2", f"{server}-3"} <= CLUSTERS.keys()
    replicas = {
        name: one["deploy"]["replicas"] for name, one in CLUSTERS.items() if "deploy" in one
    }
    assert replicas == {"ingest": 2, "ticker": 2, "syncer": 2}


def test_prometheus_asks_all_members_of_each_cluster() -> None:
    config = YAML(typ="rt").load(ROOT / "deploy/observe/prometheus.yml")
    asked = {
        job["job_name"]: str(job.get("file_sd_configs", "")) for job in config["scrape_configs"]
    }
    for job, file in (("rabbitmq", "rabbitmq"), ("rabbitmq-queues", "rabbitmq"),
                      ("postgres", "postgres"), ("keydb", "keydb")):  # fmt: skip
        assert f"/opt/minutebook-ha/{file}.yml" in asked[job]
    assert targets("rabbitmq") == {"rabbitmq-2:15692", "rabbitmq-3:15692"}
    for server, port, address in (
        ("postgres", 9187, "DATA_SOURCE_NAME"),
        ("keydb", 9121, "REDIS_ADDR"),
    ):
        for number in (2, 3):
            exporter = CLUSTERS[f"{server}-exporter-{number}"]
            assert f"@{server}-{number}:" in exporter["environment"][address]
            assert f"{server}-exporter-{number}:{port}" in targets(server)


def test_whoever_asks_the_management_page_gets_any_broker() -> None:
    for name, plain in PLAIN.items():
        page = (plain.get("environment") or {}).get("RABBITMQ_MANAGEMENT_URL")
        if page:
            ours = CLUSTERS[name]["environment"]["RABBITMQ_MANAGEMENT_URL"]
            assert ours == page.replace("@rabbitmq:", "@brokers:")
    for broker in ("rabbitmq", "rabbitmq-2", "rabbitmq-3"):
        assert CLUSTERS[broker]["networks"]["default"]["aliases"] == ["brokers"]


def test_each_setting_of_the_overlay_is_documented() -> None:
    ours = set(re.findall(r"\$\{([A-Z0-9_]+)", (ROOT / "deploy/ha/compose.yaml").read_text()))
    known = set(re.findall(r"\$\{([A-Z0-9_]+)", (ROOT / "compose.yaml").read_text()))
    said = (ROOT / "docs/ha.md").read_text()
    assert not {one for one in ours - known if f"`{one}`" not in said}
