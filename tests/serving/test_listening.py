"""Sockets that several processes share."""

from __future__ import annotations

import pickle
import socket

import pytest

pytest.importorskip("uvicorn")

from vsearch.serving import listening
from vsearch.serving.listening import ListeningConfig, listen


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


class Processes:
    """The supervisor of uvicorn since it runs the application itself."""

    def __init__(self, config, sockets):
        self.config, self.sockets = config, sockets

    def run(self):
        for bound in self.sockets:
            bound.close()
        runs.append(self)


class OlderProcesses(Processes):
    """The supervisor of uvicorn 0.31, which is told what to run in each process."""

    def __init__(self, config, target, sockets):
        super().__init__(config, sockets)
        self.target = pickle.loads(pickle.dumps(target))


runs: list[Processes] = []


@pytest.mark.parametrize("supervisor", [Processes, OlderProcesses])
def test_every_supervisor_gets_what_it_takes(supervisor, monkeypatch):
    monkeypatch.setattr(listening, "Multiprocess", supervisor)
    runs.clear()
    listen("vsearch.serving.app:from_environment", workers=2, host="127.0.0.1", port=0)
    assert [run.config.workers for run in runs] == [2]
    assert len(runs[0].sockets) == 1
    if supervisor is OlderProcesses:
        assert runs[0].target.__name__ == "run"
