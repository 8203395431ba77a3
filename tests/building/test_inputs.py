"""Vectors, attributes and ids from one table, row-aligned."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import vsearch
from vsearch.building.inputs.packed_bits import unpack_bits
from vsearch.building.inputs.rows import InputArguments, Inputs, open_inputs
from vsearch.errors import InputError, VsearchWarning

ROWS = 50
X = np.random.default_rng(0).normal(size=(ROWS, 8)).astype(np.float32)
FRAME = pd.DataFrame({"sku": [f"s{k}" for k in range(ROWS)], "embedding": list(X), "price": range(ROWS)})
TABLE = pa.Table.from_pandas(FRAME).replace_schema_metadata()


def opened(embeddings: object, scratch: Path, metric: Any = "cosine", **arguments: Any) -> Inputs:
    return open_inputs(embeddings, InputArguments(**arguments), metric, scratch)


def parquet(folder: Path, table: pa.Table = TABLE, name: str = "p.parquet") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, folder / name, row_group_size=17)
    return folder / name


def ipc(folder: Path, compression: str | None = None) -> Path:
    with pa.ipc.new_file(
        folder / "p.arrow", TABLE.schema, options=pa.ipc.IpcWriteOptions(compression=compression)
    ) as sink:
        sink.write_table(TABLE, max_chunksize=20)
    return folder / "p.arrow"


def shards(folder: Path, count: int = 3) -> Path:
    size = -(-ROWS // count)
    for number in range(count):
        parquet(folder, TABLE.slice(number * size, size), f"train-{number:05d}-of-{count:05d}.parquet")
    return folder


WAYS: dict[str, Callable[[Path], object]] = {
    "pandas": lambda _: FRAME,
    "shuffled index": lambda _: FRAME.set_index(pd.Index([7] * ROWS)),
    "pyarrow": lambda _: TABLE,
    "chunked": lambda _: pa.concat_tables([TABLE.slice(low, 9) for low in range(0, ROWS, 9)]),
    "batch": lambda _: TABLE.to_batches()[0],
    "reader": lambda _: TABLE.to_reader(13),
    "polars": lambda _: pl.from_pandas(FRAME),
    "mapping": lambda _: {"sku": FRAME["sku"], "embedding": X, "price": range(ROWS)},
    "mapping of lists": lambda _: FRAME.to_dict("list"),
    "parquet": parquet,
    "parquet text": lambda folder: str(parquet(folder)),
    "parquet::column": lambda folder: f"{parquet(folder)}::embedding",
    "arrow": ipc,
    "compressed arrow": lambda folder: ipc(folder, "zstd"),
    "folder": lambda folder: shards(folder / "data"),
    "nested folder": lambda folder: shards(folder / "a" / "b").parents[1],
    "glob": lambda folder: str(shards(folder) / "train-*.parquet"),
    "list of files": lambda folder: sorted(shards(folder).glob("*.parquet")),
}


@pytest.mark.parametrize("way", WAYS)
def test_one_table_is_enough(way: str, tmp_path: Path, scratch: Path) -> None:
    for options in ({"id": "sku"}, {"ids": "sku"}, {"vectors": "embedding", "id": "sku"}):
        found = opened(WAYS[way](tmp_path), scratch, **options)
        np.testing.assert_array_equal(found.vectors.read(0, ROWS), X)
        assert found.columns is not None
        assert found.columns.read(0, ROWS).to_pydict() == {"sku": FRAME["sku"].tolist(), "price": list(range(ROWS))}
        assert found.ids.take(np.array([49, 0])).to_pylist() == ["s49", "s0"]


def test_columns_may_be_chosen(tmp_path: Path, scratch: Path) -> None:
    path = parquet(tmp_path)
    found = opened(path, scratch, attributes=["price"], id="sku")
    assert found.columns is not None
    assert found.columns.schema.names == ["price"]
    assert found.ids.take(np.array([3])).to_pylist() == ["s3"]
    assert opened(path, scratch, attributes=[]).columns is None
    other = opened(path, scratch, attributes={"x": list(range(ROWS))}, id="sku")
    assert other.columns is not None
    assert other.columns.schema.names == ["x"]
    with pytest.raises(InputError, match="no column 'cost' besides the vectors; the others are: sku, price"):
        opened(path, scratch, attributes=["cost"])


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary(), pa.binary(16)])
@pytest.mark.parametrize("apart", [False, True])
def test_ids_of_bytes_are_uuids_wherever_they_are(
    tmp_path: Path, scratch: Path, kind: pa.DataType, apart: bool
) -> None:
    """In the table of the embeddings and in another one, though other attributes of bytes become base64."""
    keys = pa.array([bytes([number] * 16) for number in range(ROWS)], kind)
    if apart:
        found = opened(np.eye(ROWS, dtype=np.float32), scratch, attributes=pa.table({"key": keys}), id="key")
    else:
        found = opened(parquet(tmp_path, TABLE.append_column("key", keys)), scratch, id="key")
    assert found.ids.take(np.array([17])).to_pylist() == ["11111111-1111-1111-1111-111111111111"]


def test_ids_of_other_bytes_are_refused(scratch: Path) -> None:
    keys = pa.table({"key": [bytes([number]) for number in range(ROWS)]})
    with pytest.raises(InputError, match="binary ids must be 16 bytes each"):
        opened(np.eye(ROWS, dtype=np.float32), scratch, attributes=keys, id="key")


def test_ids_may_be_a_column_that_no_attribute_is(tmp_path: Path, scratch: Path) -> None:
    keys = pa.array([bytes([number] * 16) for number in range(ROWS)])
    odd = pa.array([[b"x"]] * ROWS)
    table = TABLE.append_column("key", keys).append_column("odd", odd)
    with pytest.warns(VsearchWarning, match="left out of the attributes: odd"):
        found = opened(parquet(tmp_path, table), scratch, id="key")
    assert found.ids.take(np.array([17])).to_pylist() == ["11111111-1111-1111-1111-111111111111"]


@pytest.mark.parametrize(
    ("table", "options", "message"),
    [
        (
            TABLE.append_column("other", TABLE["embedding"]),
            {},
            r"several vector columns \(embedding, other\); name one",
        ),
        (TABLE.drop_columns(["embedding"]), {}, "no column is a list .*the columns are: sku .*string, price int64"),
        (TABLE, {"vectors": "price"}, "column 'price' is int64, not a list"),
        (TABLE, {"vectors": "absent"}, "no column 'absent'.*the columns are: sku, embedding, price"),
        (
            TABLE.rename_columns(["a", "b", "b"]),
            {"vectors": "b"},
            "several columns are named 'b'; the columns are: a, b, b",
        ),
        (TABLE, {"id": "absent"}, "no attribute column 'absent'"),
        (TABLE, {"id": "sku", "ids": "sku"}, "pass only one of them"),
        (TABLE, {"missing": "drop"}, "missing must be 'error' or 'skip', got 'drop'"),
        (TABLE, {"vectors": 1}, "vectors must be the name of a column"),
        (X, {"vectors": "embedding"}, "names a column, but embeddings of type ndarray have none"),
        (TABLE.rename_columns(["a", "embedding", "a"]), {}, "2 columns are named 'a'"),
        (pa.table({"v": pa.array([[1, 2]]), "w": ["x"]}), {}, "; v can be used if named with vectors="),
    ],
)
def test_tables_that_are_refused(table: object, options: dict[str, Any], message: str, scratch: Path) -> None:
    with pytest.raises(InputError, match=message):
        opened(table, scratch, **options)


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (
            lambda folder: (shards(folder) / "train-00001-of-00003.parquet").unlink(),
            "1 of 3 shards are missing, such as train-00001",
        ),
        (
            lambda folder: parquet(shards(folder), TABLE, "test-00000-of-00001.parquet"),
            "the splits test, train; name one",
        ),
        (lambda folder: shards(shards(folder), 2), "several sets of shards"),
        (lambda folder: folder.mkdir(), "contains no .parquet or .arrow or .feather file"),
        (lambda folder: parquet(folder / "_temporary"), "no .parquet or"),
        (
            lambda folder: (parquet(folder), parquet(folder, pa.table({"sku": [[1]]}), "q.parquet")),
            "q.parquet: its columns are not compatible",
        ),
    ],
)
def test_folders_that_are_refused(
    prepare: Callable[[Path], object], message: str, tmp_path: Path, scratch: Path
) -> None:
    prepare(tmp_path / "data")
    with pytest.raises(InputError, match=message):
        opened(tmp_path / "data", scratch)


def test_files_are_taken_in_the_order_of_their_numbers_and_fitted_to_each_other(tmp_path: Path, scratch: Path) -> None:
    for number in (10, 9, 2):
        table = pa.table(
            {"v": [[float(number), 1.0]], "n": pa.array([number], pa.int32() if number == 2 else pa.int64())}
        )
        if number == 9:
            table = table.append_column("extra", pa.array(["only here"]))
        if number == 10:
            table = table.select(["n", "v"])
        parquet(tmp_path / "data", table, f"part-{number}.parquet")
    (tmp_path / "data" / "_SUCCESS").write_bytes(b"")
    found = opened(tmp_path / "data", scratch)
    assert found.vectors.read(0, 3)[:, 0].tolist() == [2, 9, 10]
    assert found.columns is not None
    assert found.columns.read(0, 3).to_pydict() == {"n": [2, 9, 10], "extra": [None, "only here", None]}


SERIES: dict[str, Callable[[], object]] = {
    "pandas": lambda: FRAME["embedding"],
    "pandas of lists": lambda: pd.Series(X.tolist()),
    "pandas of arrow": lambda: TABLE["embedding"].to_pandas(types_mapper=pd.ArrowDtype),
    "polars": lambda: pl.from_pandas(FRAME)["embedding"],
    "polars arrays": lambda: pl.Series(X),
    "objects": FRAME["embedding"].to_numpy,
    "list of arrays": FRAME["embedding"].tolist,
    "list of lists": X.tolist,
    "tuple": lambda: tuple(X),
    "chunks": lambda: TABLE["embedding"],
}


@pytest.mark.parametrize("name", SERIES)
def test_a_column_by_itself(name: str, scratch: Path) -> None:
    found = opened(SERIES[name](), scratch)
    np.testing.assert_array_equal(found.vectors.read(0, ROWS), X)
    assert found.columns is None


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32, np.int64, np.uint16])
def test_integers(dtype: type, tmp_path: Path, scratch: Path) -> None:
    numbers = np.random.default_rng(1).integers(0 if dtype == np.uint16 else -128, 128, (ROWS, 8)).astype(dtype)
    np.save(tmp_path / "x.npy", numbers)
    table = pa.table({"v": pa.FixedSizeListArray.from_arrays(pa.array(numbers.reshape(-1)), 8)})
    for given in (numbers, tmp_path / "x.npy", numbers.tolist(), pd.Series(numbers.tolist()), iter([numbers])):
        np.testing.assert_array_equal(opened(given, scratch).vectors.read(0, ROWS), numbers)
    np.testing.assert_array_equal(opened(table, scratch, vectors="v").vectors.read(0, ROWS), numbers)
    np.testing.assert_array_equal(opened(table["v"], scratch).vectors.read(0, ROWS), numbers)


def test_packed_bits(tmp_path: Path) -> None:
    bits = np.random.default_rng(2).integers(0, 2, (ROWS, 64)).astype(np.uint8)
    packed = np.packbits(bits, axis=1)
    signed = (packed.astype(np.int16) - 128).astype(np.int8)
    np.testing.assert_array_equal(unpack_bits(packed), bits * 2.0 - 1)
    np.testing.assert_array_equal(unpack_bits(signed), bits * 2.0 - 1)
    distances = (bits[:, None, :] != bits[None, :, :]).sum(2)
    for number, given in enumerate(
        (packed, signed, pd.Series(list(packed)), pa.table({"v": pa.array(signed.tolist(), pa.list_(pa.int8()))}))
    ):
        index = vsearch.build(given, tmp_path / str(number), packed=True, metric="ip", rerank="float32")
        hits = index.search(vsearch.unpack_bits(packed), k=5, exact=True)
        found = np.take_along_axis(distances, hits.ids, 1)
        np.testing.assert_array_equal(found, np.sort(distances, axis=1)[:, :5])
    for bad, message in ((X, "got float32"), (X.astype(np.float16), "got fractions")):
        with pytest.raises(InputError, match=message):
            vsearch.build(bad, tmp_path / "bad", packed=True)


BAD = {
    3: None,
    10: [1.0, 2.0],
    11: [],
    20: [np.nan] * 8,
    21: [np.inf] + [0.0] * 7,
    22: [1e39] + [0.0] * 7,
    30: [0.0] * 8,
}
HOLED = pa.table(
    {
        "sku": FRAME["sku"],
        "embedding": pa.array([BAD.get(k, row) for k, row in enumerate(X.tolist())], pa.list_(pa.float64())),
        "price": range(ROWS),
    }
)
MISSING: dict[str, Callable[[Path], object]] = {
    "pyarrow": lambda _: HOLED,
    "pandas": lambda _: HOLED.to_pandas(),
    "polars": lambda _: pl.from_arrow(HOLED),
    "parquet": lambda folder: parquet(folder, HOLED),
    "reader": lambda _: HOLED.to_reader(7),
    "mapping": lambda _: {name: HOLED[name] for name in HOLED.column_names},
}


@pytest.mark.slow
@pytest.mark.parametrize("way", MISSING)
@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_rows_without_a_vector_are_skipped_in_step(way: str, metric: str, tmp_path: Path) -> None:
    bad = set(BAD) - ({30} if metric == "l2" else set())
    good = [k for k in range(ROWS) if k not in bad]
    with pytest.warns(
        VsearchWarning, match=rf"{len(bad)} rows have no usable vector .*1 NULL.*'s3', 's10', 's11', 's20'.*skipped"
    ):
        index = vsearch.build(MISSING[way](tmp_path), tmp_path / "index", id="sku", missing="skip", metric=metric)
    assert len(index) == len(good)
    assert sum(index.info()["skipped"].values()) == len(bad)
    vectors = np.where(np.arange(ROWS)[:, None] == 30, 0, X)[good]
    hits = index.search(vectors, k=1, columns=["price"])
    usable = [place for place, k in enumerate(good) if k != 30]
    assert hits.ids[usable, 0].tolist() == [f"s{good[place]}" for place in usable]
    found = index.get([f"s{k}" for k in good])
    assert found.column("price").to_pylist() == good
    with pytest.raises(InputError, match="no row has the id s20"):
        index.get(["s20"])


@pytest.mark.parametrize("way", MISSING)
def test_rows_without_a_vector_are_counted_and_named(way: str, tmp_path: Path) -> None:
    message = r"3 rows have no usable vector \(1 NULL, 2 not of 8 dimensions\): 's3', 's10', 's11'; .*missing='skip'"
    if way == "pandas":  # whose NaN is NULL, in lists too
        message = r"4 rows have no usable vector \(1 NULL, 2 not of 8 dimensions, 1 with NULL or NaN\): 's3', .*'s20'; "
    with pytest.raises(InputError, match=message):
        vsearch.build(MISSING[way](tmp_path), tmp_path / "index", id="sku")
    assert not (tmp_path / "index").exists() or not list((tmp_path / "index").rglob("*.arrow"))


def test_numbers_that_are_not_finite_are_counted_and_named(tmp_path: Path) -> None:
    vectors = X.copy()
    vectors[[4, 40, 44], 2] = np.nan
    vectors[5] = 0
    ids = [f"k{number}" for number in range(ROWS)]
    for given in (vectors, [vectors[:30], vectors[30:]], pd.Series(list(vectors)), vectors.tolist()):
        with pytest.raises(InputError, match=r"3 rows have .*3 with .*NaN.: 'k4', 'k40', 'k44'; .*skip"):
            vsearch.build(given, tmp_path / "index", ids=ids, overwrite=True)
        with pytest.warns(VsearchWarning, match="4 rows have no usable vector .3 with .*NaN, 1 of zeros"):
            index = vsearch.build(given, tmp_path / "index", {"n": range(ROWS)}, ids, missing="skip", overwrite=True)
        assert index.get(["k3", "k6", "k49"]).column("n").to_pylist() == [3, 6, 49]
        assert len(index) == ROWS - 4


def test_row_numbers_of_what_is_left_are_consecutive(tmp_path: Path) -> None:
    vectors = X.copy()
    vectors[0] = np.nan
    with pytest.warns(VsearchWarning, match="1 row has no usable vector .1 with NaN.: 0; skipped"):
        index = vsearch.build(vectors, tmp_path / "index", {"n": range(ROWS)}, missing="skip")
    assert index.get([0, 48]).column("n").to_pylist() == [1, 49]


def test_nothing_is_left(tmp_path: Path) -> None:
    for given in (np.full((3, 4), np.nan), pd.Series([None, None]), [None, [np.nan]]):
        with pytest.raises(InputError, match=r"no row|none are left|no usable"):
            vsearch.build(given, tmp_path / "index", missing="skip")


def test_ids_of_skipped_rows_may_be_missing_or_repeat(tmp_path: Path) -> None:
    vectors = X[:5].copy()
    vectors[[1, 3]] = np.nan
    with pytest.warns(VsearchWarning, match="2 rows have"):
        index = vsearch.build(vectors, tmp_path / "index", ids=["a", None, "b", "a", "c"], missing="skip")
    assert index.get(["a", "b", "c"]).num_rows == 3


@pytest.mark.slow
def test_documents_of_one_table(tmp_path: Path) -> None:
    matrices = [X[low : low + 5] for low in range(0, ROWS, 5)]
    frame = pd.DataFrame(
        {"page": [f"p{k}" for k in range(10)], "patches": [m.tolist() for m in matrices], "year": range(10)}
    )
    path = parquet(tmp_path, pa.Table.from_pandas(frame))
    for number, given in enumerate((frame, pa.Table.from_pandas(frame), path, pl.from_pandas(frame))):
        index = vsearch.build_documents(given, None, tmp_path / str(number), id="page", codebook=8, dimensions=16)
        hits = index.search_documents(matrices[4], k=1, where="year = 4", columns=["page"])
        assert hits.ids.tolist() == [["p4"]]
        assert index.info()["attributes"] == {"page": "string", "year": "int64"}


def test_plans_take_the_same(tmp_path: Path) -> None:
    path = parquet(tmp_path)
    plan = vsearch.plan(path, vectors="embedding", id="sku")
    assert (plan.rows, plan.dimensions) == (ROWS, 8)
    assert plan.bytes_per_vector["attributes"] > 0
    assert plan.bytes_per_vector["ids"] == 8
    assert vsearch.plan(np.zeros((ROWS, 8), np.uint8), packed=True).dimensions == 64


@pytest.mark.parametrize("kind", ["frame", "table", "reader", "parquet", "polars", "mapping"])
def test_other_vectors_are_no_attributes(kind: str, tmp_path: Path, scratch: Path) -> None:
    rng = np.random.default_rng(3)
    table = (
        TABLE.append_column("image", pa.array(rng.normal(size=(ROWS, 40)).tolist()))
        .append_column("place", pa.array(rng.normal(size=(ROWS, 2)).tolist()))
        .append_column("sizes", pa.array([[number] * (number % 4) for number in range(ROWS)]))
    )
    given: object = {
        "frame": table.to_pandas,
        "table": lambda: table,
        "reader": lambda: table.to_reader(7),
        "parquet": lambda: parquet(tmp_path, table),
        "polars": lambda: pl.from_arrow(table),
        "mapping": lambda: {name: table[name] for name in table.column_names},
    }[kind]()
    message = r"left out of the attributes as vectors: embedding \(lists of 8 numbers\), image \(lists of 40 numbers\)"
    with pytest.warns(VsearchWarning, match=message):
        found = opened(X, scratch, attributes=given)
    assert found.columns is not None
    assert found.columns.schema.names == ["sku", "price", "place", "sizes"]
    assert found.columns.read(9, 10)["price"].to_pylist() == [9]
    assert found.columns.read(0, ROWS).num_rows == ROWS


def test_jaccard_is_refused_with_a_way_to_have_it(tmp_path: Path) -> None:
    packed = np.packbits(np.random.default_rng(0).random((40, 64)) < 0.3, axis=1)
    with pytest.raises(InputError, match=r"metric must be one of cosine, ip, l2, hamming.*metric='hamming' and rerank"):
        vsearch.build(packed, tmp_path / "i", packed=True, metric="jaccard")


@pytest.mark.parametrize("rerank", ["int8", "float16", "float32"])
def test_scores_of_bits_are_hamming_distances(tmp_path: Path, rerank: str) -> None:
    rng = np.random.default_rng(0)
    bits = rng.random((1500, 128)) < rng.random((1500, 1))  # from none to all of them
    index = vsearch.build(np.packbits(bits, axis=1), tmp_path / "i", packed=True, metric="l2", rerank=rerank)
    hits = index.search(vsearch.unpack_bits(np.packbits(bits[:20], axis=1)), k=1500, exact=True)
    np.testing.assert_array_equal(np.rint(hits.scores / 4), (bits[hits.ids] != bits[:20, None]).sum(axis=2))
