from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import vsearch
from vsearch.errors import InputError, VsearchWarning
from vsearch.multivector.queries import prepare_queries, split_queries
from vsearch.multivector.sources import open_documents, open_saliency


class Tensor:
    """What a torch tensor looks like from outside."""

    def __init__(self, array: np.ndarray, dtype: str = "torch.float32") -> None:
        self.array, self.dtype, self.shape = array, dtype, array.shape

    def detach(self) -> Tensor:
        return self

    def cpu(self) -> Tensor:
        return self

    def float(self) -> Tensor:
        return Tensor(self.array.astype(np.float32))

    def numpy(self) -> np.ndarray:
        if "bfloat16" in self.dtype:
            msg = "Got unsupported ScalarType BFloat16"
            raise TypeError(msg)
        return self.array


@pytest.fixture
def matrices() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.standard_normal((length, 6)).astype(np.float32) for length in (3, 1, 5, 2)]


def padded(matrices: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    longest = max(map(len, matrices))
    block = np.zeros((len(matrices), longest, 6), np.float32)
    mask = np.zeros((len(matrices), longest), np.int64)
    for number, matrix in enumerate(matrices):
        block[number, : len(matrix)], mask[number, : len(matrix)] = matrix, 1
    return block, mask


def lists(matrices: list[np.ndarray]) -> pa.Array:
    return pa.array([matrix.tolist() for matrix in matrices], pa.list_(pa.list_(pa.float32(), 6)))


FORMS = {
    "list": lambda m: m,
    "iterator": iter,
    "nested lists": lambda m: [x.tolist() for x in m],
    "tensors": lambda m: [Tensor(x) for x in m],
    "bfloat16 tensors": lambda m: [Tensor(x, "torch.bfloat16") for x in m],
    "padded block": lambda m: padded(m)[0],
    "padded tensor": lambda m: Tensor(padded(m)[0]),
    "list of padded blocks": lambda m: [padded(m[:2])[0], padded(m[2:])[0]],
    "output object": lambda m: SimpleNamespace(embeddings=Tensor(padded(m)[0])),
    "mapping with mask": lambda m: {"token_embeddings": padded(m)[0], "attention_mask": padded(m)[1]},
    "mapping of a list": lambda m: {"token_embeddings": [Tensor(x) for x in m]},
    "arrow array": lists,
    "arrow chunks": lambda m: pa.chunked_array([lists(m[:1]), lists(m[1:])]),
    "arrow table": lambda m: pa.table({"name": ["a", "b", "c", "d"], "pages": lists(m)}),
    "sliced arrow": lambda m: pa.table({"pages": lists([m[0], *m])}).slice(1),
    "variable lists": lambda m: pa.array([x.tolist() for x in m], pa.list_(pa.list_(pa.float32()))),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_documents(form, matrices, tmp_path) -> None:
    documents = open_documents(FORMS[form](matrices), None, tmp_path)
    np.testing.assert_array_equal(documents.offsets, [0, 3, 4, 9, 11])
    vectors, offsets = documents.read(0, 4)
    np.testing.assert_array_equal(vectors, np.concatenate(matrices))
    vectors, offsets = documents.take(np.array([2, 0]))
    np.testing.assert_array_equal(vectors, np.concatenate([matrices[2], matrices[0]]))
    np.testing.assert_array_equal(offsets, [0, 5, 8])


def test_files_of_lists(matrices, tmp_path) -> None:
    table = pa.table({"pages": lists(matrices), "other": lists(matrices)})
    pq.write_table(table, tmp_path / "pages.parquet")
    with pa.OSFile(str(tmp_path / "pages.arrow"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    for name in ("pages.parquet", "pages.arrow"):
        documents = open_documents(f"{tmp_path / name}::other", None, tmp_path)
        np.testing.assert_array_equal(documents.read(0, 4)[0], np.concatenate(matrices))
        with pytest.raises(InputError, match="select one as path::column"):
            open_documents(str(tmp_path / name), None, tmp_path)


BAD_OFFSETS = {
    "must ascend, got 5, then 3 at document 1": [0, 5, 3, 11],
    "document 1 is empty": [0, 5, 5, 11],
    "must start at 0": [1, 5, 11],
    "end at the number of vectors, 11": [0, 5, 12],
    "one more than documents": [0.0, 11.0],
}


@pytest.mark.parametrize("message", BAD_OFFSETS)
def test_bad_offsets_are_named(message, matrices, tmp_path) -> None:
    with pytest.raises(InputError, match=message):
        open_documents(np.concatenate(matrices), np.array(BAD_OFFSETS[message]), tmp_path)


def test_bad_documents_are_named(matrices, tmp_path) -> None:
    with pytest.raises(InputError, match="document 1 must have vectors of 6 dimensions like the others, got 5"):
        open_documents([matrices[0], matrices[1][:, :5]], None, tmp_path)
    with pytest.raises(InputError, match="document 1 is empty"):
        open_documents([matrices[0], matrices[1][:0]], None, tmp_path)
    with pytest.raises(InputError, match="document 1 is empty"):
        open_documents(np.stack([matrices[0], 0 * matrices[0]]), None, tmp_path)
    with pytest.raises(InputError, match="NaN"):
        open_documents([matrices[0], np.full((2, 6), np.nan, np.float32)], None, tmp_path)
    with pytest.raises(InputError, match="no rows"):
        open_documents([], None, tmp_path)
    with pytest.raises(InputError, match="need offsets"):
        open_documents(matrices[0], None, tmp_path)
    with pytest.raises(InputError, match="row 1 is NULL"):
        open_documents(pa.array([[[1.0, 2.0]], None], pa.list_(pa.list_(pa.float32()))), None, tmp_path)
    with pytest.raises(InputError, match="2 dimensions like the others, got 3"):
        open_documents(pa.array([[[1.0, 2.0]], [[1.0, 2.0, 3.0]]], pa.list_(pa.list_(pa.float32()))), None, tmp_path)
    with pytest.raises(InputError, match="must have one of token_embeddings"):
        open_documents({"logits": matrices[0]}, None, tmp_path)
    for nonsense in (7, b"vectors", None):
        with pytest.raises(InputError, match="must be an array with offsets, or a list of matrices"):
            open_documents(nonsense, None, tmp_path)


def test_vectors_that_are_too_large_are_refused_before_they_are_trained_on(matrices, tmp_path) -> None:
    large = [*matrices[:-1], matrices[-1] * np.float32(1e30)]
    with pytest.raises(vsearch.InputError, match="ip takes numbers up to 1e15"):
        vsearch.build_documents(large, None, tmp_path / "i")


def test_saliency_in_both_forms_and_wrong() -> None:
    offsets = np.array([0, 2, 5])
    flat = np.arange(5) / 5
    np.testing.assert_array_equal(open_saliency(flat, offsets), flat)
    np.testing.assert_array_equal(open_saliency([Tensor(flat[:2]), flat[2:]], offsets), flat)
    np.testing.assert_array_equal(open_saliency(flat.tolist(), offsets), flat)
    for wrong, message in (
        (flat[:4], "each of the 5 vectors"),
        ([flat[:2], flat[2:4]], "document 1"),
        ([flat[:2]], "got 1 for"),
        (np.where(flat > 0.5, np.nan, flat), "vector 3 must be finite"),
        ("nowhere.npy", "no such file"),
    ):
        with pytest.raises(InputError, match=message):
            open_saliency(wrong, offsets)


def test_a_build_that_is_refused_leaves_nothing(collection, tmp_path) -> None:
    vectors, offsets = collection.vectors, collection.offsets
    for options, message in (
        ({"saliency": collection.saliency[:-1], "keep": 0.5}, "each of the"),
        ({"keep": 0.5}, "needs the saliency"),
        ({"keep": 0}, "keep must be"),
        ({"pool": 0.5}, "pool must be"),
        ({"residual_bits": 3}, "residual_bits must be"),
        ({"candidates": "hnsw"}, "candidates must be"),
        ({"store": "int8"}, "store must be"),
        ({"dimensions": 0}, "dimensions must be"),
        ({"attributes": collection.attributes.slice(1)}, "rows"),
    ):
        with pytest.raises(InputError, match=message):
            vsearch.build_documents(vectors, offsets, tmp_path / "index", **options)
    assert not list((tmp_path / "index").glob("manifest/*"))


def test_queries_in_every_form() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.standard_normal((3, 6)).astype(np.float32), rng.standard_normal((2, 6)).astype(np.float32)
    block, mask = padded([first, second])
    for form, many in (
        (first, 1),
        (first.tolist(), 1),
        (Tensor(first, "torch.bfloat16"), 1),
        ([first, second], 2),
        ([Tensor(first), Tensor(second)], 2),
        (block, 2),
        (SimpleNamespace(embeddings=Tensor(block)), 2),
        ({"token_embeddings": block, "attention_mask": mask}, 2),
    ):
        found = split_queries(form)
        assert len(found) == many
        np.testing.assert_allclose(found[0], first, rtol=1e-6)
        assert many == 1 or np.allclose(found[1], second)


def test_bad_queries_are_named() -> None:
    query = np.ones((3, 6), np.float32)
    for given, message in (
        (np.ones((3, 5)), "6 dimensions"),
        (np.ones((0, 6)), "at least one vector"),
        ([query, np.full((1, 6), np.nan)], "query 1: vector 0 contains NaN"),
        (query * 1e15, "query 0 is too large"),
        ([query, query * 1e38], "query 1 is too large"),
        ([], "at least one query"),
        (["text"], "query"),
    ):
        with pytest.raises(InputError, match=message):
            prepare_queries(given, None, 1.0, 6)
    with pytest.raises(InputError, match="needs the saliency"):
        prepare_queries(query, None, 0.5, 6)
    with pytest.raises(InputError, match="query_keep must be"):
        prepare_queries(query, None, 2, 6)
    with pytest.raises(InputError, match="3 finite numbers"):
        prepare_queries(query, np.ones(2), 0.5, 6)
    queries, places = prepare_queries(query, np.array([0.1, 0.9, 0.5]), 0.6, 6)
    assert queries[0].shape == (2, 6)
    np.testing.assert_array_equal(places[0], [1, 2])


def spoiled(matrices: list[np.ndarray]) -> list:
    """Eight documents, of which those numbered 1, 3, 4 and 6 have no usable vectors."""
    nan, inf = matrices[2].copy(), matrices[3].copy()
    nan[1, 2], inf[0, 0] = np.nan, np.inf
    return [matrices[0], None, matrices[1], np.empty((0, 6), np.float32), nan, matrices[2], inf, matrices[3]]


def as_offsets(documents: list) -> tuple[np.ndarray, np.ndarray]:
    whole = [np.empty((0, 6), np.float32) if document is None else document for document in documents]
    return np.concatenate(whole), np.concatenate([[0], np.cumsum([len(document) for document in whole])])


def as_column(documents: list) -> pa.Table:
    values = [None if document is None else document.tolist() for document in documents]
    return pa.table({"pages": pa.array(values, pa.list_(pa.list_(pa.float32())))})


SPOILED = {
    "list": lambda documents, _: (documents, None),
    "iterator": lambda documents, _: (iter(documents), None),
    "offsets": lambda documents, _: as_offsets(documents),
    "table": lambda documents, _: (as_column(documents), None),
    "series": lambda documents, _: (pytest.importorskip("pandas").Series(documents), None),
    "polars": lambda documents, _: (pytest.importorskip("polars").from_arrow(as_column(documents)), None),
    "parquet": lambda documents, folder: (pq.write_table(as_column(documents), folder / "p.parquet"), None),
}


@pytest.mark.parametrize("form", SPOILED)
def test_documents_without_usable_vectors_are_skipped_in_step(tmp_path, matrices, form):
    given, offsets = SPOILED[form](spoiled(matrices), tmp_path)
    given = tmp_path / "p.parquet" if form == "parquet" else given
    ids = [f"d{number}" for number in range(8)]
    saliency = [None if document is None else np.arange(len(document)) for document in spoiled(matrices)]
    with pytest.warns(
        VsearchWarning, match="^documents: 4 documents have no usable vectors .*'d1', 'd3', 'd4', 'd6'; skipped"
    ):
        index = vsearch.build_documents(
            given,
            offsets,
            tmp_path / "index",
            missing="skip",
            ids=ids,
            attributes={"n": range(8)},
            saliency=saliency,
            keep=0.5,
            store="float32",
        )
    skipped = {"NULL": 1, "without vectors": 1} if form != "offsets" else {"without vectors": 2}
    assert index.info()["skipped"] == skipped | {"with NaN": 1, "with numbers that are infinite or too large": 1}
    for number, matrix in zip((0, 2, 5, 7), matrices, strict=True):
        hits = index.search_documents(matrix[len(matrix) // 2 :], k=4, candidates="all", exact=True, columns=["n"])
        assert hits.ids[0, 0] == f"d{number}"
        assert hits.columns["n"][0].as_py() == number
        assert set(hits.ids[0]) == {"d0", "d2", "d5", "d7"}
        salient = matrix[len(matrix) // 2 :]  # half of them, rounded up
        np.testing.assert_allclose(hits.scores[0, 0], np.square(salient).sum(), rtol=1e-5)


def test_documents_of_another_width_and_ragged_ones_are_skipped(tmp_path, matrices):
    ragged = pa.array(
        [[[1.0] * 6], [[1.0] * 6, [2.0]], [[3.0] * 6, None], [[1.0] * 4], [[2.0] * 6]], pa.list_(pa.list_(pa.float32()))
    )
    table = pa.table({"pages": ragged, "n": range(5)})
    with pytest.warns(VsearchWarning, match="3 documents have no usable vectors .*: 1, 2, 3; skipped"):
        index = vsearch.build_documents(table, None, tmp_path / "table", missing="skip")
    assert index.info()["rows"] == 2
    assert sorted(index.search_documents(np.ones((1, 6)), k=2, columns=["n"]).columns["n"].to_pylist()) == [0, 4]
    listed = [matrices[0].tolist(), [[1.0], [1.0, 2.0]], np.ones((2, 5)), matrices[1]]
    with pytest.warns(
        VsearchWarning, match="1 with vectors of different lengths, 1 not of 6 dimensions.: 1, 2; skipped"
    ):
        vsearch.build_documents(listed, None, tmp_path / "list", missing="skip")


@pytest.mark.parametrize("form", [form for form in SPOILED if form != "parquet"])
def test_documents_without_usable_vectors_are_errors_otherwise(tmp_path, matrices, form):
    given, offsets = SPOILED[form](spoiled(matrices), tmp_path)
    with pytest.raises(InputError, match=r"[Dd]ocument|NULL"):
        vsearch.build_documents(given, offsets, tmp_path / "index")
    assert not (tmp_path / "index").exists() or not list((tmp_path / "index").rglob("*.json"))


def test_no_usable_documents_are_an_error(tmp_path):
    for given, offsets in (([None, np.empty((0, 4))], None), (np.full((3, 4), np.nan), [0, 1, 1, 3])):
        with pytest.raises(InputError, match=r"[23] documents have no usable vectors .*none are left"):
            vsearch.build_documents(given, offsets, tmp_path / "index", missing="skip")
    with pytest.raises(InputError, match="missing must be 'error' or 'skip', got 'drop'"):
        vsearch.build_documents([np.ones((2, 4))], None, tmp_path / "index", missing="drop")
