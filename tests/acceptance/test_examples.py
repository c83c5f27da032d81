"""Each example that is shipped sends a transaction to the stack, and reads the balance."""

import os
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from tests.support import node_packages
from tests.support.containers import ROOT
from tests.support.eventually import eventually
from tests.support.keydb_snapshot import at_next_boundary
from tests.support.stack import USER, Stack

EXAMPLES = ROOT / "examples"
RUN_TIMEOUT_S = 120.0
SENT = "SELECT transaction_value FROM historical_transactions WHERE message_id = %s"


def environment(stack: Stack) -> dict[str, str]:
    """Return the settings that examples read."""
    login = f"{USER}:{stack.rabbitmq_password}@127.0.0.1"
    keydb = stack.container("keydb").name
    return {
        "PATH": os.environ["PATH"],
        "RABBITMQ_URL": f"amqp://{login}:{stack.port('rabbitmq', 5672)}/%2F",
        "RABBITMQ_MANAGEMENT_URL": f"http://{login}:{stack.port('rabbitmq', 15672)}",
        "KEYDB_URL": f"redis://127.0.0.1:{stack.port('keydb', 6379)}/0",
        # A client is not at hand everywhere; the server's container has one.
        "REDIS_CLI": f"docker exec -i {keydb} keydb-cli",
    }


def run(stack: Stack, folder: Path, *command: str) -> str:
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment(stack),
        capture_output=True,
        check=False,
        text=True,
        timeout=RUN_TIMEOUT_S,
    )
    assert done.returncode == 0, done
    return done.stdout.strip()


def commands(language: str) -> tuple[Path, list[str], list[str]]:
    """Return where a language's examples are, and how its producer and its reader are run."""
    if language == "python":
        return EXAMPLES / "python", [sys.executable, "send.py"], [sys.executable, "read.py"]
    if language == "node":
        folder = node_packages.installed(EXAMPLES / "node")
        return folder, ["node", "send.mjs"], ["node", "read.mjs"]
    return EXAMPLES / "shell", ["./send.sh"], ["./read.sh"]


@pytest.mark.parametrize(("provider", "language"), [(91, "python"), (92, "node"), (93, "shell")])
def test_what_an_example_sends_counts_once_and_is_what_its_reader_shows(
    running: Stack, conn: psycopg.Connection, provider: int, language: str
) -> None:
    folder, send, read = commands(language)
    key = f"{provider}_{language}"
    conn.execute("INSERT INTO initial_data VALUES (%s, %s, 1000)", [provider, language])

    confirmed, identity = run(running, folder, *send, str(provider), "600").split()
    again = run(running, folder, *send, str(provider), "600", identity)

    assert (confirmed, again) == ("confirmed", f"confirmed {identity}")
    eventually(lambda: conn.execute(SENT, [identity]).fetchall() == [(600,)])
    assert at_next_boundary(running, key) == {key: "1600"}
    assert "1600" in run(running, folder, *read, key)


@pytest.mark.parametrize("language", ["python", "node", "shell"])
def test_an_example_that_cannot_send_says_so_by_its_exit_code(
    running: Stack, language: str
) -> None:
    folder, send, _ = commands(language)
    nowhere = dict.fromkeys(("RABBITMQ_URL", "RABBITMQ_MANAGEMENT_URL"), "amqp://127.0.0.1:9")

    done = subprocess.run(
        [*send, "1", "600"],
        cwd=folder,
        env=environment(running) | nowhere,
        capture_output=True,
        check=False,
        timeout=RUN_TIMEOUT_S,
    )

    assert done.returncode != 0
    assert b"confirmed" not in done.stdout


@pytest.mark.parametrize("language", ["python", "node", "shell"])
def test_an_example_without_arguments_says_how_it_is_called(language: str) -> None:
    folder, *programs = commands(language)

    for program in programs:
        done = subprocess.run(
            program, cwd=folder, capture_output=True, check=False, timeout=RUN_TIMEOUT_S
        )

        assert done.returncode != 0
        assert done.stderr.startswith(b"usage: "), done
        assert not done.stdout
