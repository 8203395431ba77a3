from __future__ import annotations

import numpy as np
import pytest

from bench import bandwidth
from bench import lean_worker as worker
from bench.bandwidth import BATCH, Crashed, Process, Speed, ratio, table, verdicts
from bench.synthetic import random_bytes, write_random_codes


def test_an_index_of_random_codes_is_opened_and_scanned_whole(tmp_path):
    rows = write_random_codes(str(tmp_path / "codes"), 64, 5, dimensions=32)
    snapshot = worker.load(str(tmp_path / "codes"))
    assert rows == snapshot.manifest.rows == 320
    hits = worker.search(snapshot, np.ones((2, 32), np.float32), 7, nprobe=5)
    assert hits.stats.rows_scanned == 2 * rows
    assert (np.sort(hits.ids, axis=1)[:, 1:] > np.sort(hits.ids, axis=1)[:, :-1]).all()
    codes = snapshot.shards[0].arrays.first_codes
    assert codes.nbytes == rows * 4
    assert np.array_equal(codes.reshape(-1), random_bytes(rows * 4))


@pytest.mark.parametrize(("rows", "dimensions"), [(65, 32), (64, 24)])
def test_shapes_that_do_not_fill_blocks_are_refused(tmp_path, rows, dimensions):
    with pytest.raises(ValueError, match="multiple"):
        write_random_codes(str(tmp_path / "codes"), rows, 2, dimensions)


def test_a_reader_that_ends_early_is_a_line_of_the_results(tmp_path):
    process = Process.start("vsearch", tmp_path / "nowhere")
    with pytest.raises(Crashed, match="status 1"):
        process.answer()
    process.stop()


def test_ratios_and_verdicts_go_by_turns():
    assert ratio([1.0, 2.0, 4.0], [2.0, 4.0, 9.0]) == 2
    speeds = {
        "xor": Speed([0.9], None),
        "vsearch": Speed([1.0], [BATCH * 0.5]),
        "faiss-pq": Speed([1.1], [BATCH * 0.4]),
    }
    said = verdicts(speeds).splitlines()
    assert len(said) == 2
    assert said[0].endswith("0.94 (single), reached")
    assert said[1].endswith("1.10 and 0.80 (single, batch), missed")
    assert len(table(speeds, 1000).splitlines()) == 2 + len(speeds)
    assert verdicts({}) == ""


def test_the_plain_loop_is_a_plain_loop():
    words = np.arange(1000, dtype=np.uint64)
    assert bandwidth._xor(words) == np.bitwise_xor.reduce(words)
