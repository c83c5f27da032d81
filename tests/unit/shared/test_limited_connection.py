"""Whether a server answers at all: asked without holding other threads up."""

import socket
from concurrent.futures import ThreadPoolExecutor

import pytest

from shared import limited_connection
from shared.limited_connection import SSL_REQUEST, is_answering


def test_who_is_asked_may_be_answered_for_by_a_thread_beside() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(1) as pool:
        server.settimeout(30)
        asked = pool.submit(is_answering, *server.getsockname())
        client, _ = server.accept()  # by this thread, which must not stand still meanwhile
        with client:
            assert client.recv(len(SSL_REQUEST)) == SSL_REQUEST
            client.sendall(b"N")
            assert asked.result(30)


def test_a_server_that_is_silent_or_gone_answers_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limited_connection, "ASK_WITHIN_S", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as server:
        where = server.getsockname()
        assert not is_answering(*where)

    assert not is_answering(*where)
