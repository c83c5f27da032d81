"""The broker's start script refuses settings of which it could make no users."""

import subprocess

import pytest

from tests.support.containers import ROOT

SETTINGS = {"RABBITMQ_USER": "user", "RABBITMQ_PASSWORD": "password", "INGEST_QUEUE": "q"}


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"RABBITMQ_USER": ""}, "RABBITMQ_USER: must be set"),
        ({"RABBITMQ_PASSWORD": ""}, "RABBITMQ_PASSWORD must be set"),
        ({"INGEST_QUEUE": ""}, "INGEST_QUEUE: must be set"),
        ({"RABBITMQ_USER": "ops"}, "RABBITMQ_USER is the name of a service's user"),
        ({"RABBITMQ_USER": "feed"}, "RABBITMQ_USER is the name of a service's user"),
        ({"RABBITMQ_USER": "console"}, "RABBITMQ_USER is the name of a service's user"),
        ({"RABBITMQ_USER": "tracker"}, "RABBITMQ_USER is the name of a service's user"),
        ({"RABBITMQ_QUEUE_MAX_BYTES": "1G"}, "RABBITMQ_QUEUE_MAX_BYTES must be a number"),
        ({"INGEST_QUEUE": "a\\Eb"}, "a name holds a backslash"),
        ({"RABBITMQ_OPS_PASSWORD": "a\nb"}, "RABBITMQ_OPS_PASSWORD holds a control character"),
        ({"RABBITMQ_INGEST_PASSWORD_FILE": "/nowhere"}, "/nowhere"),
    ],
)
def test_what_cannot_be_is_refused_with_its_name_before_the_broker_starts(
    settings: dict[str, str], why: str
) -> None:
    done = subprocess.run(
        ["bash", ROOT / "deploy/rabbitmq/start.sh"],
        env={"PATH": "/usr/bin:/bin"} | SETTINGS | settings,
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip

    assert done.returncode != 0
    assert why in done.stderr
