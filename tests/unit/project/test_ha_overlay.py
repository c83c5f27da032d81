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


def test_each_setting_of_the_overlay_is_documented() -> None:
    ours = set(re.findall(r"\$\{([A-Z0-9_]+)", (ROOT / "deploy/ha/compose.yaml").read_text()))
    known = set(re.findall(r"\$\{([A-Z0-9_]+)", (ROOT / "compose.yaml").read_text()))
    said = (ROOT / "docs/ha.md").read_text()
    assert not {one for one in ours - known if f"`{one}`" not in said}
