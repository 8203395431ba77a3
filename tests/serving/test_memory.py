"""What a server keeps of the snapshots of a changing index is bounded."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("uvicorn")

import vsearch
from tests.indexes import clustered
from vsearch.serving import app
from vsearch.serving.endpoint import Endpoint
from vsearch.serving.memory import LEAST, SHARE, machine_bytes, role_megabytes
from vsearch.serving.settings import ServerSettings

WIDTH = 64


@pytest.mark.parametrize(("memory", "bounded"), [(1, True), (1000, False)])
def test_older_snapshots_make_room(memory, bounded):
    url = f"memory://serving-memory-{memory}/i"
    vsearch.build(clustered(2000, WIDTH), url)
    endpoint = Endpoint(url, writable=True, memory=memory)

    def answered(path, **body):
        status, answer = endpoint.answer("POST", path, {}, json.dumps(body).encode())
        assert status == 200, answer
        return answer

    evicted = []
    for number in range(6):
        vector = clustered(1, WIDTH, seed=number)[0].tolist()
        snapshot = answered("/rows", rows=[{"vector": vector}])["snapshot"]
        found = answered("/search", vector=vector, k=1, at_least=snapshot)
        assert found["hits"][0][0]["id"] == 2000 + number
        stats = endpoint._invoker.worker("serve-coordinator").loader.retention.stats()
        assert stats.bytes <= memory * 1_000_000 // 2 or stats.entries == 1
        evicted.append(stats.evictions)
    assert (evicted[-1] > 0) == bounded


def test_the_share_of_a_role(tmp_path, monkeypatch):
    total = machine_bytes()
    assert total > 1 << 28
    limit, none = tmp_path / "limit", tmp_path / "none"
    limit.write_text("300000000\n")
    none.write_text("max\n")
    assert machine_bytes([none, tmp_path / "absent", limit]) == 300_000_000
    assert machine_bytes([none]) >= total
    assert role_megabytes(1, 1) == max(LEAST, total // SHARE // 1_000_000)
    assert role_megabytes(1000, 256) == LEAST
    made = []
    monkeypatch.setattr(app, "Endpoint", lambda *_, memory, **__: made.append(memory))
    monkeypatch.setattr("vsearch.serving.memory.machine_bytes", lambda: 64 * 10**9)
    app.make_app(ServerSettings.of(["a=a", "b=b"], "127.0.0.1", {}, writable=False, processes=4))
    assert made == [2000, 2000]
