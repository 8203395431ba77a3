"""Sources that are dask collections: the same index as of their rows, resumed, and nothing left behind."""

from __future__ import annotations

import dask
import dask.bag
import distributed
import numpy as np
import pandas as pd
import pytest

import vsearch
from tests.cluster.conftest import check_no_orphans, check_same
from tests.indexes import clustered
from vsearch.cluster import collections
from vsearch.storage import open_store

dask_frames = pytest.importorskip("dask.dataframe")

ROWS, WIDTH = 3000, 8
OPTIONS = {"vectors": "v", "id": "key", "partitions": 12, "shards": 2, "seed": 7}


@pytest.fixture(scope="module")
def client():
    with distributed.Client(processes=False, n_workers=1, threads_per_worker=2, dashboard_address=":0") as opened:
        yield opened


@pytest.fixture(scope="module")
def rows():
    vectors = clustered(ROWS, WIDTH)
    return [
        {"key": f"row {n}", "v": vectors[n].tolist(), "n": n % 97, "s": f"word {n % 13}" if n >= 700 else None}
        for n in range(ROWS)  # the first partitions have no word at all
    ]


def frame_of(rows):
    frame = pd.DataFrame(rows)
    frame["v"] = [np.array(vector, np.float32) for vector in frame["v"]]
    return frame


@pytest.fixture(scope="module")
def reference(rows, tmp_path_factory):
    folder = tmp_path_factory.mktemp("reference")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vsearch.search.defaults.TUNING_QUERIES", 512)
        vsearch.build(frame_of(rows), folder / "frame", **OPTIONS)
        vsearch.build(rows, folder / "rows", **OPTIONS)
    return folder


def parts_of(rows, size=512):
    """Partitions with an empty one among them."""
    parts = [rows[start : start + size] for start in range(0, ROWS, size)]
    return [*parts[:2], [], *parts[2:]]


def delayed_frame(rows):
    parts = [dask.delayed(frame_of)(part) for part in parts_of(rows) if part]
    with dask.config.set({"dataframe.convert-string": False}):
        return dask_frames.from_delayed(parts, meta=frame_of(rows).iloc[:0], verify_meta=False)


def test_a_data_frame(client, rows, reference, tmp_path):
    stages = []
    index = vsearch.build(
        delayed_frame(rows), tmp_path / "i", client=client, progress=lambda stage, *_: stages.append(stage), **OPTIONS
    )
    check_same(reference / "frame", tmp_path / "i")
    check_no_orphans(open_store(tmp_path / "i"))
    assert stages[0] == "partitions"
    assert stages.count("partitions") == 7
    assert len(index) == ROWS


def test_a_data_frame_of_files(client, rows, reference, tmp_path):
    frame_of(rows).to_parquet(tmp_path / "rows.parquet", row_group_size=700)
    frame = dask_frames.read_parquet(tmp_path / "rows.parquet", split_row_groups=True)
    assert frame.npartitions > 1
    vsearch.build(frame, tmp_path / "i", client=client, **OPTIONS)
    check_same(reference / "frame", tmp_path / "i")


def test_lists_that_became_text_are_refused(client, rows, tmp_path):
    for options in (OPTIONS, {"partitions": 12}):
        frame = dask_frames.from_pandas(frame_of(rows)[["v", "key"]], 2)
        with pytest.raises(vsearch.InputError, match="convert-string"):
            vsearch.build(frame, tmp_path / "i", client=client, **options)


def test_a_bag(client, rows, reference, tmp_path):
    bag = dask.bag.from_delayed([dask.delayed(part) for part in parts_of(rows)])
    vsearch.build(bag, tmp_path / "i", client=client, **OPTIONS)
    check_same(reference / "rows", tmp_path / "i")
    check_no_orphans(open_store(tmp_path / "i"))


def test_what_was_interrupted_resumes(client, rows, reference, tmp_path, monkeypatch):
    bag = dask.bag.from_sequence(rows, npartitions=6)

    def interrupt(at):
        def report(stage, done, _):
            if (stage, done) == at:
                raise KeyboardInterrupt

        return report

    written = []
    write = collections.write_partition

    def counted(partition, url, storage, path, label):
        written.append(path)
        return write(partition, url, storage, path, label)

    monkeypatch.setattr(collections, "write_partition", counted)
    with pytest.raises(KeyboardInterrupt):
        vsearch.build(bag, tmp_path / "i", client=client, progress=interrupt(("partitions", 3)), **OPTIONS)
    assert collections.has_files(open_store(tmp_path / "i"), bag)
    with pytest.raises(KeyboardInterrupt):
        vsearch.build(bag, tmp_path / "i", client=client, progress=interrupt(("train", 1)), **OPTIONS)
    seen = len(written)
    stages = {}
    vsearch.build(
        bag, tmp_path / "i", client=client, progress=lambda stage, done, _: stages.setdefault(stage, done), **OPTIONS
    )
    assert len(written) == seen  # all were there
    assert stages["partitions"] == 6
    assert stages["train"] == 1  # it was done when the last run began
    check_same(reference / "rows", tmp_path / "i")
    check_no_orphans(open_store(tmp_path / "i"))


def test_an_append(client, rows, tmp_path):
    index = vsearch.build(rows[:2500], tmp_path / "i", **OPTIONS)
    bag = dask.bag.from_sequence(rows[2500:], npartitions=2)
    index.append(bag, vectors="v", id="key", client=client)
    assert len(index) == ROWS
    assert index.get(["row 2999"])["n"].to_pylist() == [2999 % 97]
    assert not collections.has_files(open_store(tmp_path / "i"), bag)
    with pytest.raises(vsearch.InputError, match="already"):
        index.append(bag, vectors="v", id="key", client=client)
    assert not collections.has_files(open_store(tmp_path / "i"), bag)
    with pytest.raises(vsearch.InputError, match="dask Bag needs client="):
        index.append(bag, vectors="v", id="key")


def test_what_cannot_be_used_leaves_nothing(client, rows, tmp_path):
    twice = dask.bag.from_sequence([*rows[:20], rows[3]], npartitions=2)
    numbers = dask.bag.from_sequence(range(10), npartitions=2)
    nothing = dask.bag.from_delayed([dask.delayed([])])
    unlike = dask.bag.from_sequence([{"v": [1.0, 2.0], "n": 1}, {"v": [1.0, 2.0], "n": "word"}], npartitions=2)
    for source, message in (
        (twice, "row 3"),
        (numbers, "partition [01] of the dask Bag"),
        (nothing, "no rows"),
        (unlike, "n"),
    ):
        with pytest.raises(vsearch.InputError, match=message):
            vsearch.build(source, tmp_path / "i", client=client, vectors="v", id="key" if source is twice else None)
        assert list(open_store(tmp_path / "i").list("jobs")) == []
    vsearch.build(rows[:100], tmp_path / "i", vectors="v", id="key")
    with pytest.raises(vsearch.IndexExistsError):
        vsearch.build(twice, tmp_path / "i", client=client, vectors="v", id="key")
    assert list(open_store(tmp_path / "i").list("jobs")) == []


def test_where_no_cluster_reads_it_a_collection_is_refused(rows, tmp_path):
    with pytest.raises(vsearch.InputError, match="dask DataFrame needs client="):
        vsearch.build(delayed_frame(rows), tmp_path / "i", **OPTIONS)
