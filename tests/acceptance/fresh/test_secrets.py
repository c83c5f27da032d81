"""Passwords from files only, as docker secrets: no container's environment holds one."""

import json
from pathlib import Path

from tests.support.containers import ROOT
from tests.support.eventually import eventually
from tests.support.keydb_snapshot import at_next_boundary
from tests.support.stack import FOLLOWERS, PROGRAMS, Stack, publish

OVERRIDE = ROOT / "deploy" / "secrets" / "compose.yaml"
ASK_EXPORTER = """
import urllib.request
for line in urllib.request.urlopen("http://postgres-exporter:9187/metrics", timeout=30):
    if line.startswith(b"pg_up "):
        print(line.decode().strip())
"""
BESIDE = (*FOLLOWERS, "gateway", "console")
TOKEN = "a-token-from-a-file"
LOGINS = {"migrate": "user"} | {name: name for name in ("ingest", "syncer", *BESIDE, "ops")}


def write_secrets(folder: Path, secrets: dict[str, str]) -> None:
    for name, secret in secrets.items():
        (folder / name.lower()).write_text(f"{secret}\n")
    for service, login in LOGINS.items():
        password = secrets.get(f"POSTGRES_{login.upper()}_PASSWORD", secrets["POSTGRES_PASSWORD"])
        dsn = f"postgresql://{login}:{password}@postgres:5432/minutebook"
        (folder / f"{service}_postgres_dsn").write_text(dsn)
    for service in (*PROGRAMS, *BESIDE, "ops"):
        password = secrets[f"RABBITMQ_{service.upper()}_PASSWORD"]
        at_broker = f"{service}:{password}@rabbitmq"
        (folder / f"{service}_rabbitmq_url").write_text(f"amqp://{at_broker}:5672/%2F")
        (folder / f"{service}_rabbitmq_management_url").write_text(f"http://{at_broker}:15672")
    (folder / "console_password").write_text(secrets["CONSOLE_PASSWORD"])
    (folder / "gateway_tokens").write_text(f"file:{TOKEN}:read\n")
    folder.chmod(0o755)
    for path in folder.iterdir():
        path.chmod(0o444)


def test_the_stack_works_with_its_secrets_in_files_only(fresh: Stack, tmp_path: Path) -> None:
    write_secrets(tmp_path, fresh.secrets)
    fresh.overrides.append(OVERRIDE)
    fresh.settings["SECRETS"] = str(tmp_path)

    fresh.up()
    fresh.up(*BESIDE)

    with fresh.postgres() as conn:
        conn.execute("INSERT INTO initial_data VALUES (81, 'Filed', 1000)")
        publish(fresh, b'{"id": 81, "value": 600}')
        count = "SELECT count(*) FROM historical_transactions"
        eventually(lambda: conn.execute(count).fetchone() == (1,))
    assert at_next_boundary(fresh, "81_Filed") == {"81_Filed": "1600"}
    fresh.up("postgres-exporter")
    exported = ["python", "-c", ASK_EXPORTER]
    eventually(lambda: fresh.container("ingest").exec_run(exported).output == b"pg_up 1\n", 60)
    for service in ("migrate", "rabbitmq", "postgres-exporter", *PROGRAMS, *BESIDE):
        inspected = json.dumps(fresh.container(service).attrs)
        assert not [name for name, secret in fresh.secrets.items() if secret in inspected]
        assert TOKEN not in inspected
