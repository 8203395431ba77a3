from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from bench.live import HEADER, main, write
from bench.live_data import Bucket, Result, Row, measured
from bench.live_reading import State
from bench.report import rows
from vsearch.storage import open_store
from vsearch.storage.files.naming import manifest_path


def test_requests_are_counted_by_kind_and_bytes_by_folder():
    store = Bucket(open_store("memory://bench/live"))
    with measured(store) as spent:
        store.put("segments/a", b"12345")
        store.put(manifest_path(1), b"12")
        store.list("manifest")
        store.get("segments/a", start=1, stop=3)
    assert spent.requests == "2 writes, 1 lists, 1 reads"
    assert (spent.read, spent.written) == (2, {"segments": 5, "manifest": 2})
    assert store.manifests == 1
    with measured(store) as spent:
        pass
    assert (spent.requests, spent.written) == ("0 writes, 0 lists, 0 reads", {})


def test_the_cost_of_a_fresh_build_is_taken_at_equal_recall():
    state = State("", None, [], np.arange(3), None, 0.95)
    state.recalls, state.times = [0.98, 0.9], [30.0, 20.0]
    state.fresh_times = [[40.0, 20.0], [10.0, 20.0]]  # by setting and repetition
    np.testing.assert_allclose(state.ratios(), [30 / np.exp(np.interp(0.95, [0.9, 0.98], np.log([10, 40]))), 1])


def test_lines_of_a_part_take_the_place_of_those_before(tmp_path):
    given = SimpleNamespace(results=tmp_path / "results.md", repetitions=1, timed=1)
    data = SimpleNamespace(name="some", rows=5, dimensions=2, metric="ip", queries=[0])
    setup = SimpleNamespace(collection=SimpleNamespace(data=data))
    for part, measured_text in (("merge", "a"), ("append", "b"), ("merge", "c")):
        write(given, setup, part, Result([Row(part, "what", "asked", measured_text, met=False)]))
    lines = rows(given.results, "live some")
    assert [line[:4] for line in lines] == [["append", "what", "asked", "b"], ["merge", "what", "asked", "c"]]
    assert all(len(line) == len(HEADER) for line in lines)


@pytest.mark.slow
def test_parts_say_what_they_found(tmp_path):
    random = np.random.default_rng(0)
    np.save(tmp_path / "base.npy", random.standard_normal((2000, 16), dtype=np.float32))
    np.save(tmp_path / "queries.npy", random.standard_normal((20, 16), dtype=np.float32))
    results = tmp_path / "results.md"
    parts = ["append", "refresh"]  # the others take their time
    sizes = ["--large", "3000x16", "--appends", "3", "--batch", "10", "--timed", "5", "--repetitions", "1"]
    main([str(tmp_path), "--parts", ",".join(parts), "--results", str(results), *sizes])
    lines = rows(results, f"live {tmp_path.name}")
    assert {line[0] for line in lines} == set(parts)
    requests = [line[3] for line in lines if line[0] == "append"]
    assert all(text.startswith("2 writes, 1 lists, ") for text in requests)
