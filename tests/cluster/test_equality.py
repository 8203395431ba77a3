"""A build of many tasks writes the same index as a build in one process, byte for byte."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import vsearch
from tests.cluster.conftest import OPTIONS, ROWS, check_no_orphans, check_same, job_of, vectors
from vsearch.cluster.engines import SerialEngine
from vsearch.cluster.job import Columns
from vsearch.cluster.running import build_job
from vsearch.storage import open_store


def build(folder, job, **options):
    """Run a job in this process; returns the stages in the order in which they were done."""
    stages = []
    build_job(
        open_store(folder),
        job,
        SerialEngine(),
        storage={},
        source_storage={},
        overwrite=options.get("overwrite", False),
        progress=lambda stage, done, total: stages.append(stage) if done == total else None,
    )
    return stages


def test_tables_with_ids_and_attributes(parquet, reference, tmp_path) -> None:
    stages = build(tmp_path / "index", job_of(parquet))
    assert stages.count("split") > 1, "no partition was split: the data do not show much"
    check_same(reference, tmp_path / "index")
    check_no_orphans(open_store(tmp_path / "index"))
    found = vsearch.open(tmp_path / "index").search(vectors()[9000], k=1, where="n IS NOT NULL", columns=["s"])
    assert found.ids.tolist() == [["row 9000"]]


@pytest.mark.parametrize(
    ("metric", "quantizer", "bits", "rerank"),
    [("l2", "osq", 2.0, "auto"), ("ip", "pq", 1.0, "auto")],
)
def test_files_of_vectors(arrays, tmp_path, metric, quantizer, bits, rerank) -> None:
    vsearch.build(vectors(), tmp_path / "one", metric=metric, quantizer=quantizer, bits=bits, rerank=rerank, **OPTIONS)
    job = job_of(arrays, Columns(), metric=metric, quantizer=quantizer, bits=bits, rerank=rerank)
    build(tmp_path / "many", job)
    check_same(tmp_path / "one", tmp_path / "many")


def test_integer_ids_that_expire(tmp_path) -> None:
    rows = vectors()
    flat = pa.FixedSizeListArray.from_arrays(pa.array(rows.astype(np.float16).ravel()), rows.shape[1])
    ids = np.random.default_rng(0).permutation(ROWS).astype(np.int64) * 2**40
    expires = pa.array(np.full(ROWS, 4_000_000_000), pa.int64())
    pq.write_table(pa.table({"v": flat, "id": ids, "expires": expires, "unused": ids}), tmp_path / "rows.parquet")
    vsearch.build(
        tmp_path / "rows.parquet", tmp_path / "one", id="id", attributes=["expires"], ttl="expires", **OPTIONS
    )
    build(tmp_path / "many", job_of(tmp_path / "rows.parquet", Columns(None, "id", ("expires",)), ttl="expires"))
    check_same(tmp_path / "one", tmp_path / "many")


def test_a_column_that_is_left_out_is_told_again_when_the_build_goes_on(tmp_path) -> None:
    rows = vectors()[:600]
    flat = pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), rows.shape[1])
    second = pa.array(np.ones((600, 40), np.float32).tolist(), pa.list_(pa.float32()))
    pq.write_table(pa.table({"v": flat, "key": np.arange(600), "other": second}), tmp_path / "rows.parquet")
    with pytest.warns(vsearch.VsearchWarning, match="other"):
        vsearch.build(tmp_path / "rows.parquet", tmp_path / "one", vectors="v", id="key", **OPTIONS)
    for _ in range(2):
        with pytest.warns(vsearch.VsearchWarning, match="other"):
            build(tmp_path / "many", job_of(tmp_path / "rows.parquet"), overwrite=True)
    check_same(tmp_path / "one", tmp_path / "many")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"v": 17_000}, "row 17000 holds NaN"),
        ({"key": 17_000}, "'row 3' occur more than once"),
        ({"null": 17_000}, "rows from 16384 on.* row 616 is NULL"),
    ],
)
def test_unusable_rows_are_refused_and_nothing_is_left(parquet, tmp_path, change, message) -> None:
    whole = pq.read_table(parquet)
    rows, keys = vectors(), whole.column("key").to_pylist()
    if "v" in change:
        rows[17_000, 3] = np.nan
    else:
        keys[17_000] = "row 3" if "key" in change else None
    flat = pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), rows.shape[1])
    pq.write_table(pa.table({"v": flat, "key": keys}), tmp_path / "rows.parquet")
    with pytest.raises(vsearch.InputError, match=message):
        build(tmp_path / "index", job_of(tmp_path / "rows.parquet"))
    assert open_store(tmp_path / "index").list("") == []


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (Columns("w"), "no column 'w'"),
        (Columns("v", "nothing"), "no column 'nothing'"),
        (Columns("v", "key", ("nothing",)), "no column 'nothing'"),
        (Columns("n"), "not a list"),
    ],
)
def test_columns_that_do_not_exist_are_refused(parquet, tmp_path, columns, message) -> None:
    with pytest.raises(vsearch.InputError, match=message):
        build(tmp_path / "index", job_of(parquet, columns))
    assert open_store(tmp_path / "index").list("") == []


@pytest.mark.filterwarnings("ignore::vsearch.VsearchWarning")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"embeddings": vectors()}, "got ndarray"),
        ({"ids": np.arange(ROWS)}, "ids must name a column"),
        ({"attributes": pa.table({"a": [1]})}, "attributes must name columns"),
        ({"missing": "skip"}, "missing is not available"),
        ({"packed": True}, "packed is not available"),
        ({"spool": "s"}, "spool is not available"),
        ({"sparse": [{"a": 1.0}]}, "sparse must name a column"),
        ({"legs": {"other": 1}}, "legs is not available"),
        ({"client": 3}, "client must be"),
        ({"client": "local:0"}, "client must be.*got 'local:0'"),
        ({"source_storage": {}}, "source_storage"),
    ],
)
def test_what_only_one_process_can_do_is_refused_by_name(parquet, tmp_path, arguments, message) -> None:
    given = {"embeddings": parquet, "vectors": "v", "client": "local:1"} | arguments
    with pytest.raises(vsearch.InputError, match=message):
        vsearch.build(given.pop("embeddings"), tmp_path / "index", **given)


def test_an_attribute_that_cannot_hold_times_is_refused_before_rows_are_read(parquet, tmp_path) -> None:
    with pytest.raises(vsearch.InputError, match="ttl"):
        build(tmp_path / "index", job_of(parquet, ttl="s"))
    assert open_store(tmp_path / "index").list("") == []
