"""Sockets that several processes share."""

from __future__ import annotations

import pickle
import socket

import pytest

pytest.importorskip("uvicorn")

from vsearch.serving.listening import ListeningConfig


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_connections_of_a_shared_socket_send_small_packets_at_once(host):
    config = ListeningConfig("vsearch.serving.app:from_environment", factory=True, host=host, port=0, workers=2)
    try:
        bound = config.bind_socket()
    except SystemExit:
        pytest.skip(f"no {host} on this machine")
    with bound:
        bound.listen()
        with socket.create_connection(bound.getsockname()[:2]), bound.accept()[0] as accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_it_reaches_processes_that_are_spawned():
    config = ListeningConfig("vsearch.serving.app:from_environment", factory=True, workers=2)
    assert pickle.loads(pickle.dumps(config)).workers == 2
