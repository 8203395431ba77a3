"""Semantic search as that of sentence-transformers, compared with it where it is installed, and with products of matrices otherwise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import vsearch
from tests.indexes import clustered
from tests.integrations.tensor import Tensor
from vsearch.errors import InputError
from vsearch.integrations.sentence_transformers import semantic_search

CORPUS, QUERIES = clustered(600, 16), clustered(5, 16, seed=1)
EXACT = {"rerank": "float32"}


def expected(queries, corpus, k):
    units = [array / np.linalg.norm(array, axis=1, keepdims=True) for array in (queries, corpus)]
    scores = units[0] @ units[1].T
    return [[(int(row), line[row]) for row in np.argsort(-line)[:k]] for line in scores]


def check(found, true):
    assert [[hit["corpus_id"] for hit in hits] for hits in found] == [[row for row, _ in hits] for hits in true]
    for hits, scores in zip(found, true, strict=True):
        np.testing.assert_allclose([hit["score"] for hit in hits], [score for _, score in scores], atol=1e-5)


@pytest.mark.parametrize("form", [np.asarray, Tensor, np.ndarray.tolist, lambda a: [Tensor(row) for row in a]])
def test_embeddings_in_any_form_are_searched(form):
    found = semantic_search(form(QUERIES), form(CORPUS), 7, exact=True, build_options=EXACT)
    check(found, expected(QUERIES, CORPUS, 7))
    check(
        semantic_search(form(QUERIES[0]), CORPUS, 3, exact=True, build_options=EXACT), expected(QUERIES[:1], CORPUS, 3)
    )


def test_results_are_those_of_the_library_itself():
    util = pytest.importorskip("sentence_transformers.util", reason="sentence-transformers is not installed")
    import torch

    queries, corpus = torch.from_numpy(QUERIES), torch.from_numpy(CORPUS)
    true = util.semantic_search(queries, corpus, top_k=9)
    found = semantic_search(queries, corpus, top_k=9, exact=True, build_options=EXACT)
    check(found, [[(hit["corpus_id"], hit["score"]) for hit in hits] for hits in true])
    assert set(found[0][0]) == set(true[0][0])


def test_binary_embeddings_are_searched_by_their_bits():
    corpus, queries = np.packbits(CORPUS > 0, axis=1), np.packbits(QUERIES > 0, axis=1)
    options = {"metric": "hamming", "packed": True}
    found = semantic_search(queries, Tensor(corpus), 4, exact=True, build_options=options)
    distances = ((QUERIES > 0)[:, None] != (CORPUS > 0)[None]).sum(axis=2)
    assert [[hit["score"] for hit in hits] for hits in found] == np.sort(distances, axis=1)[:, :4].tolist()


def test_an_index_is_searched_with_filters_and_columns(tmp_path):
    index = vsearch.build(CORPUS, tmp_path / "i", {"n": np.arange(600)}, ids=[f"row {n}" for n in range(600)])
    for corpus in (index, tmp_path / "i", str(tmp_path / "i")):
        found = semantic_search(QUERIES, corpus, 3, "n < 2", columns=["n"])
        assert {(hit["corpus_id"], hit["n"]) for hits in found for hit in hits} == {("row 0", 0), ("row 1", 1)}
    with pytest.raises(InputError, match="build_options are for embeddings"):
        semantic_search(QUERIES, index, build_options={"metric": "ip"})


@pytest.mark.parametrize("top_k", [0, -1, 1.5, "3", 10_001, True])
def test_a_number_of_rows_is_checked(top_k):
    with pytest.raises(InputError, match="top_k"):
        semantic_search(QUERIES, CORPUS, top_k)


def test_no_files_are_left(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    semantic_search(QUERIES, CORPUS, 2)
    with pytest.raises(InputError, match="16"):
        semantic_search(QUERIES[:, :3], CORPUS, 2)
    assert not [path for path in Path(tmp_path).iterdir() if path.name.startswith("tmp")]
