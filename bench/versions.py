"""What the figures were measured with."""

import json
import os
import platform
import shutil
import subprocess
from importlib.metadata import version

import psycopg

from bench.ground import Site
from bench.programs import NODE_FOLDER


def of(site: Site) -> dict[str, str]:
    """Return the version of everything that takes part, and the number of cores."""
    with psycopg.connect(site.postgres.dsn("postgres")) as conn:
        postgres = conn.info.parameter_status("server_version") or "?"
    broker = site.rabbitmq.manage("GET", "overview")
    return {
        "python": platform.python_version(),
        "pika": version("pika"),
        "psycopg": f"{version('psycopg')} ({psycopg.pq.__impl__})",
        "postgres": postgres,
        "keydb": _keydb(site),
        "rabbitmq": broker["rabbitmq_version"],
        "erlang": broker["erlang_version"],
        "node": _node(),
        "amqplib": _package("amqplib"),
        "pg": _package("pg"),
        "kernel": platform.release(),
        "machine": platform.machine(),
        "cpus": str(os.cpu_count()),
    }


def _keydb(site: Site) -> str:
    with site.keydb.client() as client:
        info: dict[str, str] = client.info("server")
    name = info.get("server_name", "keydb")
    return f"{name} {info.get(f'{name}_version', info['redis_version'])}"


def _node() -> str:
    if not shutil.which("node"):
        return "missing"
    return subprocess.run(
        ["node", "--version"], check=True, capture_output=True, text=True
    ).stdout.strip()


def _package(name: str) -> str:
    file = NODE_FOLDER / "node_modules" / name / "package.json"
    return str(json.loads(file.read_text())["version"]) if file.exists() else "missing"
