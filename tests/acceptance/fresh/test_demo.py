"""`make demo` as a person runs it, under a project name of its own."""

import re
import signal
import socket
import subprocess
from collections.abc import Iterator

import docker
import pytest

from tests.support import demo_run, stack
from tests.support.containers import ROOT
from tests.support.eventually import eventually
from tests.support.stack import Stack


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that some other program has."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield int(listener.getsockname()[1])


def test_the_demo_shows_600_more_every_time_it_is_run(
    fresh: Stack, engine: docker.DockerClient
) -> None:
    def image() -> str | None:
        return engine.images.get(stack.OUR_IMAGE).id

    before = image()

    first = demo_run.run(fresh)
    again = demo_run.run(fresh)

    after = image()
    stack.build(engine)
    # Otherwise compose would replace the containers of other workers' stacks.
    assert {before, after, image()} == {before}

    assert first.returncode == 0, first.stdout
    assert re.search(r"1_Visa\W+-\W+1900\W+1900", first.stdout)
    assert re.search(r"2_Mastercard\W+-\W+1800\W+1800", first.stdout)
    assert re.search(r"written \d+\.\d ms after the boundary", first.stdout)
    assert f"http://127.0.0.1:{fresh.port('rabbitmq', 15672)}" in first.stdout
    assert f"http://127.0.0.1:{fresh.port('syncer', 9103)}/metrics" in first.stdout
    assert again.returncode == 0, again.stdout
    assert re.search(r"1_Visa\W+1900\W+2500\W+2500", again.stdout)
    assert re.search(r"2_Mastercard\W+1800\W+1800\W+1800", again.stdout)
    with fresh.postgres() as conn:  # an id given by the table follows those of the example
        conn.execute("INSERT INTO initial_data (provider_name, initial_value) VALUES ('Amex', 0)")
    assert "\x1b" not in first.stdout  # no terminal, hence plain lines
    assert not any(
        secret in first.stdout for secret in (fresh.postgres_password, fresh.rabbitmq_password)
    )


def test_tables_that_are_somebody_s_and_have_no_provider_1_are_left_alone(fresh: Stack) -> None:
    fresh.compose("run", "--rm", "migrate")
    with fresh.postgres() as conn:
        conn.execute("INSERT INTO initial_data VALUES (61, 'Own', 70)")

        answer = demo_run.run(fresh)

        assert answer.returncode == 1, answer.stdout
        assert "no provider 1" in answer.stdout
        assert conn.execute("SELECT id FROM initial_data").fetchall() == [(61,)]
        assert conn.execute("SELECT FROM historical_transactions").fetchall() == []


@pytest.mark.parametrize("setting", ["POSTGRES_PORT", "RABBITMQ_UI_PORT", "INGEST_METRICS_PORTS"])
def test_a_port_in_use_is_named_with_its_setting_before_anything_starts(
    fresh: Stack, taken: int, setting: str
) -> None:
    answer = demo_run.run(fresh, demo_run.COMMAND, **{setting: str(taken)})

    assert answer.returncode == 1, answer.stdout
    assert f"port {taken} " in answer.stdout
    assert f"set {setting} " in answer.stdout
    assert fresh.containers() == []


def test_an_interrupt_ends_the_demo_with_a_word_and_130(fresh: Stack) -> None:
    with subprocess.Popen(
        demo_run.COMMAND,
        cwd=ROOT,
        env=fresh.environment() | demo_run.ITS_IMAGE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as demo:
        eventually(fresh.containers)
        demo.send_signal(signal.SIGINT)
        said, _ = demo.communicate(timeout=60)

    assert demo.returncode == 130, said
    assert "interrupted" in said
    assert "Traceback" not in said
