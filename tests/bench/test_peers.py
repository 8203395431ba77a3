from __future__ import annotations

import numpy as np

from bench.building import Stages
from bench.peers import faiss_ivf
from bench.peers.faiss_ivf import FaissIvf, together
from bench.peers.protocol import Setting, Task


def test_tables_of_queries_searched_together_stay_below_two_gigabytes():
    assert together(0, 1024) > 1e9
    many = together(1536, 1024)
    assert many * 1024 * 1536 < 2**31 <= (many + 1) * 1024 * 1536
    assert together(1 << 20, 1 << 20) == 1


def test_faiss_answers_alike_when_it_gets_its_queries_in_parts(tmp_path, monkeypatch):
    base = np.random.default_rng(0).standard_normal((3000, 32), dtype=np.float32)
    index = FaissIvf("rabitq", "RaBitQfs").build(Task(base, "ip", 1, tmp_path))
    setting = Setting({"nprobe": 4, "refine": 8})
    whole = index.configure(setting)(base[:50], 10)
    monkeypatch.setattr(faiss_ivf, "LARGEST_TABLES", 7 * 4 * 128)
    assert together(index.table_bytes, 4) == 7
    np.testing.assert_array_equal(index.configure(setting)(base[:50], 10), whole)


def test_stages_add_up_their_time():
    stages = Stages()
    for stage in ("train", "train", "assign", "train"):
        stages(stage, 0, 1)
    stages.close()
    assert set(stages.spent) == {"open", "train", "assign"}
    assert all(processor >= 0 and wall > 0 for processor, wall in stages.spent.values())
