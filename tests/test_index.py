"""The public interface: an index is built, opened and searched, and describes itself."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import vsearch
from tests.indexes import METRICS, best, brute_force, check_exact, clustered, files_of, rows, same, table, unit
from vsearch.storage.snapshots.kinds import PARTITIONS


def test_what_is_built_is_what_is_opened(tmp_path):
    built = vsearch.build(rows(), tmp_path / "index", attributes=table())
    opened = vsearch.open(tmp_path / "index")
    assert len(built) == len(opened) == 300
    assert built.info() == opened.info()
    assert repr(opened) == f"<vsearch.Index {opened.info()['url']} snapshot 1: 300 x 8 cosine>"
    query = clustered(5, 8, seed=1)
    same(built.search(query), opened.search(query))
    assert vsearch.verify(tmp_path / "index").ok


def test_opening_reads_no_codes(tmp_path):
    vsearch.build(rows(3000, 32), tmp_path / "index", attributes=table(3000))
    index = vsearch.open(tmp_path / "index")
    read = index._snapshot.bytes_fetched()
    assert read < index.info()["bytes"] / 10
    index.search(clustered(1, 32), where="number < 10", columns=["name"])
    assert index._snapshot.bytes_fetched() > read


@pytest.mark.parametrize("place", ["folder", "path", "url"])
def test_places(tmp_path, place):
    folder = tmp_path / "a b" / "index"
    url = {"folder": str(folder), "path": folder, "url": folder.as_uri()}[place]
    vsearch.build(rows(), url)
    assert vsearch.open(url).search(rows()[:3], k=1).ids.tolist() == [[0], [1], [2]]
    assert (folder / "manifest").is_dir()


@pytest.mark.slow
@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("metric", METRICS)
def test_same_seed_same_answers(tmp_path, metric):
    queries, found = clustered(20, seed=1), []
    for name, seed in (("one", 5), ("two", 5), ("three", 6)):
        index = vsearch.build(clustered(1500), tmp_path / name, metric=metric, seed=seed, bits=2.0, shards=2)
        found.append((index.search(queries), index.info()["settings"]))
    same(found[0][0], found[1][0])
    assert found[0][1] == found[1][1]
    assert found[0][1] != found[2][1]


@pytest.mark.slow
def test_kinds_of_embeddings(tmp_path):
    """Whatever they come as, the answers are those of the same float32 rows."""
    whole = np.round(clustered(400, 12) * 10 + 100).clip(0, 255).astype(np.uint8)
    floats = whole.astype(np.float32)
    np.save(tmp_path / "floats.npy", floats)
    np.save(tmp_path / "bytes.npy", whole)
    listed = pa.FixedSizeListArray.from_arrays(pa.array(floats.ravel()), 12)
    pq.write_table(pa.table({"id": range(400), "vector": listed}), tmp_path / "table.parquet")
    memory_map = np.lib.format.open_memmap(tmp_path / "floats.npy", mode="r")
    kinds = {
        "float32": floats,
        "float16": floats.astype(np.float16),
        "float64": floats.astype(np.float64),
        "uint8": whole,
        "fortran": np.asfortranarray(floats),
        "strided": np.repeat(floats, 2, axis=0)[::2],
        "big-endian": floats.astype(">f4"),
        "memory map": memory_map,
        "npy": tmp_path / "floats.npy",
        "npy of bytes": str(tmp_path / "bytes.npy"),
        "parquet": tmp_path / "table.parquet",
        "parquet column": f"{tmp_path / 'table.parquet'}::vector",
        "batches": (floats[start : start + 33] for start in range(0, 400, 33)),
        "lists": [floats[:100].tolist(), floats[100:].tolist()],
    }
    queries, wanted = floats[::40], None
    for name, given in kinds.items():
        index = vsearch.build(given, tmp_path / name, metric="l2", rerank="float32", partitions=5)
        hits = index.search(queries, exact=True)
        wanted = wanted or hits
        same(hits, wanted)
    check_exact(wanted, "l2", brute_force("l2", queries, floats), 1e-5 * unit("l2", queries, floats), 10)


def test_input_is_left_alone(tmp_path):
    vectors, attributes = rows(), table()
    before = vectors.copy()
    vectors.setflags(write=False)
    vsearch.build(vectors, tmp_path / "index", attributes=attributes, metric="cosine")
    np.testing.assert_array_equal(vectors, before)
    assert attributes.equals(table())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("metric", "rerank", "bits", "ids"),
    [("cosine", "int8", 1.0, None), ("l2", None, 4.0, "name"), ("ip", "float32", 8.0, None)],
)
def test_bytes_add_up_to_the_files(tmp_path, metric, rerank, bits, ids):
    url = tmp_path / "index"
    index = vsearch.build(rows(), url, attributes=table(), metric=metric, rerank=rerank, bits=bits, ids=ids, shards=2)
    info = index.info()
    on_disk = sum(path.stat().st_size for path in files_of(url) if path.parent.name != "manifest")
    assert info["bytes"] == on_disk == vsearch.verify(url).bytes
    parts = info["bytes_per_vector_by_part"]
    assert sum(parts.values()) * 300 == pytest.approx(on_disk)
    assert ("rerank" in parts) == (rerank is not None)
    vector = sum(parts[name] for name in ("codes", "rows", "rerank", "ids", "partitions", "checksums") if name in parts)
    assert info["bytes_per_vector"] == pytest.approx(vector)
    expected = {
        "rows": 300, "dimensions": 8, "metric": metric, "quantizer": "osq", "bits": bits, "rerank": rerank,
        "shards": 2, "seed": 0, "snapshot": 1, "attributes": {"number": "int64", "name": "string"},
    }  # fmt: skip
    assert {name: info[name] for name in expected} == expected
    assert info["settings"]["recall"] > 0


def test_partition_tables_hold_nothing_that_no_reader_needs(tmp_path):
    index = vsearch.build(rows(), tmp_path / "index", attributes=table(), shards=2)
    for shard in index.snapshot.manifest.shards:
        names = {array.name for array in shard.files[PARTITIONS].arrays}
        assert names == {"rows", "radius", "factor_scale", "first_factor_scale", "rerank_scale"}


def test_code_bytes_are_those_of_the_budget(tmp_path):
    """Per vector: the bits asked for, two bytes of factor, and under int8 a byte per dimension and its scale."""
    index = vsearch.build(clustered(4096, 64), tmp_path / "index", bits=1.0, partitions=1)
    parts = index.info()["bytes_per_vector_by_part"]
    assert index.info()["code_bytes"] <= 10
    assert parts["codes"] < index.info()["code_bytes"] * 1.1
    assert parts["rows"] == pytest.approx(4, rel=0.1)
    assert parts["rerank"] == pytest.approx(64, rel=0.05)
    assert index.info()["bytes_per_vector"] < 90


def test_best_of_helpers_is_what_it_says():
    """The reference itself: ties to the lower row, -1 where the allowed rows end."""
    scores = np.array([[1.0, 3.0, 3.0, 2.0]])
    assert best("ip", scores, 5, np.array([True, True, True, False])).tolist() == [[1, 2, 0, -1, -1]]
    assert best("l2", scores, 2).tolist() == [[0, 3]]
