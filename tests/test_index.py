"""The facade: what is built is what is opened, asked and got back."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import vsearch
from tests.indexes import METRICS, best, brute_force, check_exact, clustered, unit


def table(n=300):
    return pa.table({"number": np.arange(n), "name": [f"row {i}" for i in range(n)]})


def rows(n=300, d=8):
    return clustered(n, d)


def files_of(folder):
    return sorted(path for path in Path(folder).rglob("*") if path.is_file())


def same(one, two):
    np.testing.assert_array_equal(one.ids, two.ids)
    np.testing.assert_array_equal(one.scores, two.scores)


# -- build and open


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


@pytest.mark.parametrize("metric", METRICS)
def test_same_seed_same_answers(tmp_path, metric):
    queries, found = clustered(20, seed=1), []
    for name, seed in (("one", 5), ("two", 5), ("three", 6)):
        index = vsearch.build(clustered(1500), tmp_path / name, metric=metric, seed=seed, bits=2.0, shards=2)
        found.append((index.search(queries), index.info()["settings"]))
    same(found[0][0], found[1][0])
    assert found[0][1] == found[1][1]
    assert found[0][1] != found[2][1]


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


# -- odd data

ODD = {
    "one row": lambda: rows(1),
    "two rows": lambda: rows(2),
    "fewer rows than dimensions": lambda: clustered(5, 40),
    "one dimension": lambda: clustered(200, 1),
    "two dimensions": lambda: clustered(200, 2),
    "all zero": lambda: np.zeros((50, 6), np.float32),
    "constant": lambda: np.full((300, 6), 3.25, np.float32),
    "mostly duplicates": lambda: np.repeat(rows(6), 100, axis=0),
    "some zero rows": lambda: rows() * (np.arange(300) % 2)[:, None].astype(np.float32),
    "dead dimensions": lambda: np.concatenate([rows(), np.zeros((300, 20), np.float32)], axis=1),
    "constant dimensions": lambda: np.concatenate([rows(), np.full((300, 20), 7, np.float32)], axis=1),
    "one-hot": lambda: np.eye(60, dtype=np.float32),
    "far from the origin": lambda: rows() + np.float32(1000),
    "tiny": lambda: rows() * np.float32(1e-12),
    "huge": lambda: rows() * np.float32(1e12),
    "unlike lengths": lambda: rows() * np.geomspace(1e-6, 1e6, 300, dtype=np.float32)[:, None],
    "an outlier": lambda: np.concatenate([rows(), np.full((1, 8), 1e6, np.float32)]),
    "rows in dimensions of their own": lambda: np.concatenate(
        [np.pad(rows(400, 16), ((0, 0), (0, 16))), np.pad(rows(4, 16), ((0, 0), (16, 0)))]
    ),
}


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("kind", ODD)
def test_odd_data(tmp_path, kind, metric):
    vectors = ODD[kind]()
    bits, shards = ((0.25, 1), (1.0, 1), (4.0, min(2, len(vectors))))[METRICS.index(metric)]
    rerank = ("int8", "float32", "float16")[(list(ODD).index(kind) + METRICS.index(metric)) % 3]
    vsearch.build(vectors, tmp_path / "index", metric=metric, bits=bits, shards=shards, rerank=rerank)
    index = vsearch.open(tmp_path / "index")
    queries, k = vectors[:: max(1, len(vectors) // 7)], 10
    true = brute_force(metric, queries, vectors)
    # of the residual, which is at most as long as the two farthest vectors are apart; and rounding
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1)
    own = np.linalg.norm(queries.astype(np.float64), axis=1)[:, None]
    spread = 2.0 if metric == "cosine" else 2 * np.linalg.norm(vectors - vectors.mean(axis=0), axis=1).max()
    reach = 1.0 if metric == "cosine" else own if metric == "ip" else 2 * spread
    allowed = {"int8": 0.02, "float16": 2e-3, "float32": 0}[rerank] * reach * spread + 1e-5 * np.maximum(
        unit(metric, queries, vectors), unit(metric, queries, np.full((1, vectors.shape[1]), lengths.max() / 10))
    )
    check_exact(index.search(queries, k=k, exact=True), metric, true, allowed * np.ones_like(true), k)
    hits = index.search(queries, k=k)
    found = min(k, len(vectors))
    assert (hits.ids[:, :found] >= 0).all()
    assert (hits.ids[:, found:] == -1).all()
    assert index.tune(0.9, k=3).reached
    assert index.recall(k=3).recall >= 0.85


# -- ids


def test_row_numbers(tmp_path):
    index = vsearch.build(rows(), tmp_path / "index")
    assert index.info()["id_type"] == "row"
    assert index.search(rows()[:5], k=1).ids.tolist() == [[i] for i in range(5)]


def test_integer_ids(tmp_path):
    ids = np.random.default_rng(0).permutation(np.arange(300) * 2**53 // 7 - 2**40)
    index = vsearch.build(rows(), tmp_path / "index", ids=ids, shards=2)
    hits = index.search(rows()[:5], k=2)
    assert hits.ids.dtype == np.int64
    np.testing.assert_array_equal(hits.ids[:, 0], ids[:5])
    assert index.search(rows()[0], k=301).ids[0, -1] == -1


@pytest.mark.parametrize("give", [list, np.array, pa.array], ids=["list", "array", "arrow"])
def test_string_ids(tmp_path, give):
    names = [f"n°{i}" for i in range(300)]
    index = vsearch.build(rows(), tmp_path / "index", ids=give(names), shards=2)
    hits = index.search(rows()[:5], k=301)
    assert hits.ids.dtype == object
    assert hits.ids[:, 0].tolist() == names[:5]
    assert sorted(hits.ids[0, :300]) == sorted(names)
    assert hits.ids[0, 300] is None
    assert hits.to_arrow().column("id").type == pa.string()
    assert hits.to_arrow().num_rows == 5 * 300


def test_ids_from_an_attribute(tmp_path):
    index = vsearch.build(rows(), tmp_path / "index", attributes=table(), ids="name")
    assert index.search(rows()[7], k=1).ids[0, 0] == "row 7"


# -- get


@pytest.fixture(scope="module")
def numbered(tmp_path_factory):
    folder = tmp_path_factory.mktemp("get") / "index"
    return vsearch.build(rows(), folder, attributes=table(), ids=np.arange(300) * 10, shards=3, partitions=9)


def test_get(numbered):
    found = numbered.get([50, 10, 50, 2990])
    assert found.column_names == ["id", "number", "name"]
    assert found.to_pydict() == {
        "id": [50, 10, 50, 2990],
        "number": [5, 1, 5, 299],
        "name": ["row 5", "row 1", "row 5", "row 299"],
    }
    assert numbered.get(10).column("number").to_pylist() == [1]
    assert numbered.get(np.array([10, 20], np.uint16), columns=["name"]).to_pydict() == {
        "id": [10, 20],
        "name": ["row 1", "row 2"],
    }
    assert numbered.get([10], columns=[]).column_names == ["id"]
    assert numbered.get([]).num_rows == 0


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([10, 11], "no row has the id 11"),
        (["10"], "integer ids"),
        ([1.0], "integer ids"),
        ([None], "integer ids"),
        ([10, None], "integer ids"),
        (np.array([2**64 - 1], np.uint64), "no row has the id 18446744073709551615"),
        ([2**70], "id"),
        (-1, "no row has the id -1"),
    ],
)
def test_ids_that_are_not_there(numbered, ids, message):
    with pytest.raises(vsearch.InputError, match=message):
        numbered.get(ids)


def test_get_by_string(tmp_path):
    index = vsearch.build(rows(), tmp_path / "index", ids=[f"k{i}" for i in range(300)], attributes=table(), shards=2)
    assert index.get(["k9", "k1", "k9"]).column("number").to_pylist() == [9, 1, 9]
    assert index.get("k4").column("id").to_pylist() == ["k4"]
    for ids, message in (
        (["k4", "k999"], "no row has the id k999"),
        ([4], "string ids"),
        ([None], "string ids"),
        (["k4", None], "string ids"),
        ([b"k4"], "string ids"),
    ):
        with pytest.raises(vsearch.InputError, match=message):
            index.get(ids)


def test_get_without_attributes(tmp_path):
    index = vsearch.build(rows(), tmp_path / "index")
    assert index.get([3, 1]).to_pydict() == {"id": [3, 1]}


def test_attributes_with_our_names(tmp_path):
    attributes = pa.table({name: np.arange(300) + i for i, name in enumerate(("id", "score", "query", "rank"))})
    index = vsearch.build(rows(), tmp_path / "index", attributes=attributes, ids=np.arange(300) + 1000)
    hits = index.search(rows()[4], k=2, columns=["id", "score"], where="id >= 4").to_arrow()
    assert hits.column_names == ["query", "rank", "id", "score", "attribute.id", "attribute.score"]
    assert (hits.column("id")[0].as_py(), hits.column("attribute.id")[0].as_py()) == (1004, 4)
    found = index.get([1004])
    assert found.column_names == ["id", "attribute.id", "score", "query", "rank"]
    assert (found.column("id")[0].as_py(), found.column("attribute.id")[0].as_py()) == (1004, 4)


@pytest.mark.parametrize("ask", ["search", "get"])
def test_unknown_columns(numbered, ask):
    arguments = [[10]] if ask == "get" else [rows()[0]]
    for columns, message in (
        (["weight"], "no attribute column is called 'weight'; the index has number, name"),
        ("name", r"give \['name'\]"),
        ([3], "no attribute column is called 3"),
    ):
        with pytest.raises(vsearch.InputError, match=message):
            getattr(numbered, ask)(*arguments, columns=columns)


def test_a_column_twice(numbered):
    hits = numbered.search(rows()[0], k=2, columns=["name", "name"])
    assert hits.columns.num_rows == 2


# -- info


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


def test_code_bytes_are_those_of_the_budget(tmp_path):
    """Per vector: the bits asked for, two bytes of factor, and under int8 a byte per dimension and its scale."""
    index = vsearch.build(clustered(4096, 64), tmp_path / "index", bits=1.0, partitions=1)
    parts = index.info()["bytes_per_vector_by_part"]
    assert index.info()["code_bytes"] <= 10
    assert parts["codes"] < index.info()["code_bytes"] * 1.1
    assert parts["rows"] == pytest.approx(4, rel=0.1)
    assert parts["rerank"] == pytest.approx(64, rel=0.05)
    assert index.info()["bytes_per_vector"] < 90


# -- snapshots and overwriting


def test_overwriting_is_asked_for(tmp_path):
    url = tmp_path / "index"
    first = vsearch.build(rows(), url, attributes=table())
    before = files_of(url)
    with pytest.raises(vsearch.IndexExistsError, match="overwrite=True"):
        vsearch.build(rows(50), url)
    assert files_of(url) == before
    second = vsearch.build(clustered(100, 5), url, overwrite=True, metric="l2")
    # who has the old one open goes on reading it, and it can be opened by its number
    assert first.search(rows()[:4], k=1, columns=["name"]).ids.tolist() == [[0], [1], [2], [3]]
    old, new = vsearch.open(url, snapshot=1), vsearch.open(url)
    assert (len(old), len(new), len(second)) == (300, 100, 100)
    assert old.info() == first.info()
    same(old.search(rows()[:9]), first.search(rows()[:9]))
    assert new.info()["snapshot"] == 2
    assert [s.snapshot for s in new.snapshots()] == [1, 2]
    assert set(before) < set(files_of(url))


def test_the_old_one_answers_until_the_new_one_is_committed(tmp_path):
    url, seen = tmp_path / "index", []
    vsearch.build(rows(), url)

    def progress(stage, done, total):
        opened = vsearch.open(url)
        seen.append((stage, opened.info()["snapshot"], len(opened.search(rows()[0]).ids)))

    vsearch.build(rows(400), url, overwrite=True, progress=progress)
    assert {stage for stage, *_ in seen} >= {"train", "assign", "encode", "tune"}
    assert {snapshot for _, snapshot, _ in seen} == {1}
    assert len(vsearch.open(url)) == 400


def test_prune(tmp_path):
    url = tmp_path / "index"
    for n in (100, 110, 120):
        last = vsearch.build(rows(n), url, overwrite=True)
    report = vsearch.prune(url, keep=1)
    assert report.snapshots == (1, 2)
    assert [s.snapshot for s in last.snapshots()] == [3]
    assert sum(path.stat().st_size for path in files_of(url)) < 2 * last.info()["bytes"]
    assert vsearch.verify(url).ok
    assert (vsearch.open(url).search(rows()[:2]).ids >= 0).all()
    with pytest.raises(vsearch.IndexNotFoundError, match="no snapshot 1; there are: 3"):
        vsearch.open(url, snapshot=1)


def test_no_index(tmp_path):
    for place in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(vsearch.IndexNotFoundError, match="there is no index here"):
            vsearch.open(place)
    with pytest.raises(vsearch.IndexNotFoundError):
        vsearch.verify(tmp_path)
    assert list(tmp_path.iterdir()) == []


# -- builds that fail


class Stop(Exception):  # noqa: N818
    """Whatever may happen."""


@pytest.mark.parametrize("stage", ["train", "assign", "encode", "tune", "tuned"])
def test_a_build_that_dies_leaves_nothing_visible(tmp_path, stage):
    url = tmp_path / "index"

    def die(reached, done, total):
        if reached == stage.removesuffix("d") and (stage == "tuned") == (reached == "tune" and done == total):
            raise Stop

    with pytest.raises(Stop):
        vsearch.build(rows(), url, attributes=table(), shards=2, progress=die)
    with pytest.raises(vsearch.IndexNotFoundError):
        vsearch.open(url)
    # a rerun is not taken for overwriting, and what is left over belongs to nobody
    vsearch.build(rows(), url, attributes=table(), shards=2)
    index = vsearch.open(url)
    assert index.search(rows()[:3], k=1).ids.tolist() == [[0], [1], [2]]
    assert vsearch.verify(url).ok
    vsearch.prune(url, grace=0)
    on_disk = sum(path.stat().st_size for path in files_of(url) if path.parent.name != "manifest")
    assert on_disk == index.info()["bytes"]


def test_an_overwriting_build_that_dies_leaves_the_old_index(tmp_path):
    url = tmp_path / "index"
    first = vsearch.build(rows(), url).info()

    def batches():
        yield rows(100)
        raise Stop

    with pytest.raises(Stop):
        vsearch.build(batches(), url, overwrite=True)

    def die(stage, done, total):
        if stage == "encode":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        vsearch.build(rows(400), url, overwrite=True, progress=die)
    assert vsearch.open(url).info() == first
    assert vsearch.verify(url).ok


def test_a_build_that_is_killed(tmp_path):
    """The process is gone in the midst of it: no handler runs, nothing is closed."""
    url = tmp_path / "index"
    np.save(tmp_path / "rows.npy", rows())
    script = (
        "import os, sys, vsearch\n"
        "die = lambda stage, *_: os._exit(7) if stage == 'encode' else None\n"
        "vsearch.build(sys.argv[1], sys.argv[2], partitions=1, progress=die)\n"
    )
    command = [sys.executable, "-c", script, tmp_path / "rows.npy", url]
    done = subprocess.run(command, check=False, cwd=Path(__file__).parents[1], capture_output=True, text=True)
    assert done.returncode == 7, done.stderr
    with pytest.raises(vsearch.IndexNotFoundError):
        vsearch.open(url)
    assert len(vsearch.build(rows(), url)) == 300


# -- input that cannot be used

UNUSABLE = {
    "a vector": (np.zeros(5, np.float32), {}, "2-d|shape"),
    "three axes": (np.zeros((5, 4, 3), np.float32), {}, "2-d|shape"),
    "no rows": (np.zeros((0, 5), np.float32), {}, "no rows"),
    "no dimensions": (np.zeros((5, 0), np.float32), {}, "dimension"),
    "text": (np.array([["a", "b"]]), {}, "not supported|numbers"),
    "complex": (np.zeros((5, 3), complex), {}, "real numbers"),
    "unlike batches": ([np.zeros((5, 3), np.float32), np.zeros((5, 4), np.float32)], {}, "width"),
    "NaN": (np.where(np.arange(30) == 17, np.nan, 1).reshape(10, 3).astype(np.float32), {}, "row 5 holds NaN"),
    "infinity": (
        np.where(np.arange(30) == 29, np.inf, 1).reshape(10, 3).astype(np.float32),
        {},
        "row 9 holds infinity",
    ),
    "too large": (np.where(np.arange(30) == 4, 1e20, 1).reshape(10, 3).astype(np.float32), {}, "row 1 holds 1e\\+20"),
    "no file": ("nowhere.npy", {}, "nowhere.npy"),
    "unknown kind of file": ("README.md", {}, "README.md"),
    "a number": (7, {}, ""),
    "nothing": (None, {}, ""),
    "fewer attributes": (rows(), {"attributes": table(299)}, "299"),
    "more attributes": (rows(), {"attributes": table(301)}, "301"),
    "attributes of no table": (rows(), {"attributes": 5}, ""),
    "attributes of a strange type": (rows(), {"attributes": pa.table({"b": [b"x"] * 300})}, "b"),
    "fewer ids": (rows(), {"ids": range(299)}, "299 ids for 300"),
    "ids twice": (rows(), {"ids": [*range(299), 5]}, "5"),
    "string ids twice": (rows(), {"ids": [*map(str, range(299)), "5"]}, "5"),
    "NULL among ids": (rows(), {"ids": [*map(str, range(299)), None]}, ""),
    "ids of floats": (rows(), {"ids": np.arange(300) + 0.5}, "ids"),
    "ids of no attribute": (rows(), {"attributes": table(), "ids": "weight"}, "weight"),
    "metric": (rows(), {"metric": "hamming"}, "metric='hamming'.*cosine, ip, l2"),
    "quantizer": (rows(), {"quantizer": "zip"}, "quantizer='zip'"),
    "rerank": (rows(), {"rerank": "int4"}, "rerank='int4'.*int8, float16, float32"),
    "bits": (rows(), {"bits": 0.1}, "bits=0.1.*0.25 to 8"),
    "more bits": (rows(), {"bits": 9}, "bits=9.*0.25 to 8"),
    "no number of bits": (rows(), {"bits": "one"}, "bits='one'"),
    "bits that are no number": (rows(), {"bits": float("nan")}, "bits=nan"),
    "no partitions": (rows(), {"partitions": 0}, "partitions=0"),
    "more partitions than rows": (rows(), {"partitions": 301}, "partitions=301.*300"),
    "more shards than partitions": (rows(), {"partitions": 2, "shards": 3}, "shards=3 is more than partitions=2"),
    "half a shard": (rows(), {"shards": 0.5}, "shards=0.5"),
    "seed": (rows(), {"seed": -1}, "seed=-1"),
    "seed of no number": (rows(), {"seed": None}, "seed=None"),
    "options of S3": (rows(), {"endpoint": "http://127.0.0.1:1"}, "endpoint"),
}


@pytest.mark.parametrize("kind", UNUSABLE)
def test_unusable_input(tmp_path, kind):
    embeddings, options, message = UNUSABLE[kind]
    with pytest.raises(vsearch.InputError, match=message or None) as raised:
        vsearch.build(embeddings, tmp_path / "index", **options)
    assert str(raised.value)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "index" / "manifest").exists()
    with pytest.raises(vsearch.IndexNotFoundError):
        vsearch.open(tmp_path / "index")


@pytest.mark.parametrize("snapshot", [0, -1, 2, 10**30])
def test_no_such_snapshot(numbered, snapshot):
    with pytest.raises(vsearch.IndexNotFoundError, match="there is no snapshot"):
        vsearch.open(numbered.info()["url"], snapshot=snapshot)


def test_best_of_helpers_is_what_it_says():
    """The reference itself: ties to the lower row, -1 where the allowed rows end."""
    scores = np.array([[1.0, 3.0, 3.0, 2.0]])
    assert best("ip", scores, 5, np.array([True, True, True, False])).tolist() == [[1, 2, 0, -1, -1]]
    assert best("l2", scores, 2).tolist() == [[0, 3]]
