"""The examples that post by HTTP: they try again under the same key until there is an answer."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import http_gateway, node_packages, outages, servers
from tests.support.containers import ROOT
from tests.support.eventually import eventually
from tests.support.http_gateway import WRITER

EXAMPLES = ROOT / "examples"
COMMANDS = {
    "python": [sys.executable, str(EXAMPLES / "python" / "post.py")],
    "shell": [str(EXAMPLES / "shell" / "post.sh")],
    "node": ["node", str(EXAMPLES / "node" / "post.mjs")],
}
FILES = {
    "sent.json": '[{"id": 1, "value": "600"}, {"id": 2, "value": -1}]',
    "sent.ndjson": '{"id": 1, "value": 600}\n{"id": 2, "value": -1}\n',
    "sent.csv": "id,value\n1,600\n2,-1\n",
}
ITEMS = [{"id": 1, "value": 600}, {"id": 2, "value": -1}]


@pytest.fixture(scope="module")
def vhost(rabbitmq_server: servers.Rabbitmq) -> Iterator[str]:
    with rabbitmq_server.vhost(queue_type="classic") as url:
        with http_gateway.queues(url):
            pass  # a connection that nobody reads would be lost
        yield url


def start(language: str, path: Path, port: int, *key: str) -> "subprocess.Popen[str]":
    """Start an example that posts a file to the gateway at a port."""
    if language == "node":
        node_packages.require()
    given = {"GATEWAY_URL": f"http://127.0.0.1:{port}", "GATEWAY_TOKEN": WRITER}
    return subprocess.Popen(
        [*COMMANDS[language], str(path), *key],
        env={**os.environ, **given},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("language", COMMANDS)
def test_each_format_is_posted_also_while_the_gateway_is_not_there_yet(
    vhost: str, tmp_path: Path, language: str
) -> None:
    port = outages.free_port()
    started = []
    for name, text in FILES.items():
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        started.append(start(language, path, port, f"{language}-{name}"))
    with (
        http_gateway.accepting(vhost, GATEWAY_PORT=str(port)),
        http_gateway.queues(vhost) as queues,
    ):
        ended = [(one.communicate(timeout=60), one.returncode) for one in started]
        assert [code for _, code in ended] == [0, 0, 0], ended
        came = {one["request"]: one["items"] for one in queues.all()}
        assert came == {f"{language}-{name}": ITEMS for name in FILES}


@pytest.mark.parametrize("language", COMMANDS)
def test_what_is_refused_is_said_and_not_tried_again(
    vhost: str, tmp_path: Path, language: str
) -> None:
    path = tmp_path / "sent.json"
    path.write_text('{"id": 1, "value": 6.0}', encoding="utf-8")
    with http_gateway.accepting(vhost) as gateway:
        process = start(language, path, gateway.port)
        stdout, stderr = process.communicate(timeout=60)

        assert process.returncode == 1
        assert "unfit_items" in stdout + stderr
        eventually(lambda: gateway.program.logs().count('"unfit_items"') == 1)
