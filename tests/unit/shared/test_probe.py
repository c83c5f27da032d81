"""The container's health check asks the service as it listens, and nobody else."""

import socket
import threading
import urllib.request

import pytest

from ops.status import replicas
from shared import health, probe
from shared.health import Health

HOST = "127.0.0.1"


def test_the_probe_exits_0_when_healthy_and_1_when_not_or_when_nobody_answers(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    state = Health()
    with health.serving(state, HOST, 0) as port:
        monkeypatch.setenv("METRICS_PORT", str(port))
        assert probe.main() == 0
        state.problem("writer", "postgres: gone")
        assert probe.main() == 1
        healthy, unhealthy = capsys.readouterr().out.splitlines()
        assert "postgres: gone" not in healthy
        assert "postgres: gone" in unhealthy
    assert probe.main() == 1


@pytest.mark.parametrize("said", [b"", b"SSH-2.0-other\r\n"])
def test_who_answers_something_else_is_not_healthy(
    said: bytes, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def answer(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(1000)
            connection.sendall(said)

    with socket.create_server((HOST, 0)) as listener:
        monkeypatch.setenv("METRICS_PORT", str(listener.getsockname()[1]))
        thread = threading.Thread(target=answer, args=[listener])
        thread.start()
        assert probe.main() == 1
        thread.join()
    assert said.decode().strip() in capsys.readouterr().out


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"])
def test_the_probe_asks_directly_whatever_proxy_the_environment_names(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.setenv(name, f"http://{HOST}:9")
    monkeypatch.setattr(urllib.request, "_opener", None)  # it remembers the proxies of its making
    with health.serving(Health(), HOST, 0) as port:
        monkeypatch.setenv("METRICS_PORT", str(port))
        assert probe.main() == 0
        (asked,) = replicas.ask([(HOST, port)])
        assert (asked.error, asked.problems) == ("", {})


@pytest.mark.parametrize(
    ("host", "asked"),
    [("0.0.0.0", "127.0.0.1"), ("::", "::1"), ("::1", "::1"), ("127.0.0.2", "127.0.0.2")],  # noqa: S104 - what is tested
)
def test_the_probe_asks_where_the_service_listens(
    host: str, asked: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    state = Health()
    state.problem("writer", f"listens on {host}")
    monkeypatch.setenv("METRICS_HOST", host)
    with health.serving(state, host, 0) as port:
        monkeypatch.setenv("METRICS_PORT", str(port))
        assert probe.main() == 1
        assert f"listens on {host}" in capsys.readouterr().out
    assert probe.main() == 1
    assert asked in capsys.readouterr().out


def test_the_probe_asks_for_life_where_it_is_told_to(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    state = Health(lambda: now[0], stuck_s=5)
    state.problem("writer", "rabbitmq: gone")
    state.turn(health.MAIN)
    with health.serving(state, HOST, 0) as port:
        monkeypatch.setenv("METRICS_PORT", str(port))
        assert (probe.main(), probe.main("/livez")) == (1, 0)
        now[0] = 6.0
        assert probe.main("/livez") == 1


def test_the_probe_without_its_settings_says_which_one_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("METRICS_PORT", raising=False)
    assert probe.main() == 2
    assert capsys.readouterr().err.startswith("setting METRICS_PORT: ")
