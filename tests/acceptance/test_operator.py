"""The operator's tool in the stack: `docker compose run --rm ops ...`."""

import json
import time
from typing import Any

from tests.support import secrets_exposed
from tests.support.eventually import eventually
from tests.support.stack import SERVERS, Stack

HEALTHY_S = 90
RUN_EVERY_S = 1.0
"""Each look is a container of its own, which takes over a second of processor."""


def ops(stack: Stack, *arguments: str) -> Any:
    """Run a command of the tool in a container; returns its JSON document, whatever its code."""
    return json.loads(
        stack.compose("run", "--rm", "--no-TTY", "--entrypoint", "sh", "ops", "-c",
                      f"python -m ops {' '.join(arguments)} --json || true")
        .strip()
        .splitlines()[-1]
    )  # fmt: skip


def test_the_tool_sees_a_stack_that_is_healthy_and_says_what_is_wrong_when_it_is_not(
    second: Stack,
) -> None:
    with second.postgres() as conn:
        conn.execute("DELETE FROM dead_letter")
        conn.execute("INSERT INTO initial_data VALUES (71, 'Operated', 0) ON CONFLICT DO NOTHING")
        conn.execute("SELECT minutebook_advance_sequence('initial_data')")
    eventually(lambda: not second.unhealthy(), HEALTHY_S)

    assert ops(second, "send", "71=600", "71=-100")["confirmed"] == 2
    eventually(lambda: balance(second) == ("500", True), HEALTHY_S, pause_s=RUN_EVERY_S)
    eventually(lambda: ops(second, "status")["ok"], HEALTHY_S, pause_s=RUN_EVERY_S)
    # The management page is some seconds behind.
    eventually(lambda: advice(second) == [], HEALTHY_S, pause_s=RUN_EVERY_S)
    second.compose("stop", "keydb", "ticker")

    seen = ops(second, "status")

    second.compose("start", "keydb", "ticker")
    assert not seen["ok"]
    assert "error" in seen["keydb"]
    assert any("docker compose ps keydb" in one["do"] for one in seen["findings"])
    eventually(lambda: ops(second, "status")["ok"], HEALTHY_S, pause_s=RUN_EVERY_S)


def advice(stack: Stack) -> list[dict[str, str]]:
    """Return what the doctor would have changed."""
    return [one for one in ops(stack, "doctor")["checks"] if one["verdict"] != "ok"]


def balance(stack: Stack) -> tuple[str | None, bool]:
    """Return what KeyDB shows of our provider, and whether that is what Postgres says."""
    (found,) = (one for one in ops(stack, "balances")["balances"] if one["provider_id"] == 71)
    return found["keydb"], found["same"]


def test_the_tool_says_in_words_what_a_person_reads(second: Stack) -> None:
    def said() -> str:
        return second.compose("run", "--rm", "--no-TTY", "ops", "status")

    eventually(lambda: "Everything is healthy." in said(), HEALTHY_S, pause_s=RUN_EVERY_S)
    assert time.strftime("%Y-", time.gmtime()) in said()


def test_the_tool_tells_no_password_whatever_goes_wrong(running: Stack) -> None:
    secret = running.postgres_password
    wrong = {
        "POSTGRES_DSN": f"postgresql://ops:{secret}@postgres/nothing",
        "RABBITMQ_URL": f"amqp://ops:{secret}@rabbitmq/nothing",
        "RABBITMQ_MANAGEMENT_URL": f"http://ops:{secret}@rabbitmq:15672/nothing",
        "KEYDB_URL": f"redis://ops:{secret}@keydb",
        "TICK_INTERVAL_SECONDS": f"redis://ops:{secret}@keydb",
    }
    script = ["python -m ops status --json", "python -m ops doctor"]
    script += [f"{name}={url} python -m ops doctor" for name, url in wrong.items()]
    script += [f"POSTGRES_DSN={wrong['POSTGRES_DSN']} python -m ops balances"]
    script += [f"RABBITMQ_URL={url} python -m ops send 1=1" for url in ("x", f"amqp://{secret}@x")]

    said = running.compose(
        "run", "--rm", "--no-TTY", "--entrypoint", "sh", "ops", "-c", "; ".join([*script, "true"])
    )

    assert said.count("setting ") == 3, said
    assert all(f"{server} answers: correct" in said for server in SERVERS), said
    assert not secrets_exposed.found_in(said, running.secrets)
