"""PyLate's interface of an index, compared with MaxSim by loops; PyLate itself needs torch, so only one test needs it."""

from __future__ import annotations

from itertools import count

import numpy as np
import pytest

import vsearch
from tests.integrations.tensor import Tensor
from vsearch.integrations.pylate import VsearchIndex

NUMBER = count()
D = 16


def new_url():
    return f"memory://pylate-{next(NUMBER)}/i"


def make(documents=40, seed=0, least=3):
    rng = np.random.default_rng(seed)
    made = [rng.standard_normal((int(rng.integers(least, 9)), D)) for _ in range(documents)]
    return [(each / np.linalg.norm(each, axis=1, keepdims=True)).astype(np.float32) for each in made]


def maxsim(query, documents):
    return {id_: float((query @ document.T).max(axis=1).sum()) for id_, document in documents.items()}


def check(found, query, documents, k):
    scores = maxsim(query, documents)
    assert len(found) == min(k, len(documents))
    assert [one["score"] for one in found] == sorted((one["score"] for one in found), reverse=True)
    for one in found:
        assert one["score"] == pytest.approx(scores[one["id"]], abs=0.15)
    assert found[0]["score"] == pytest.approx(max(scores.values()), abs=0.15)


@pytest.fixture(scope="module")
def documents():
    return {f"doc {row}": each for row, each in enumerate(make())}


@pytest.fixture(scope="module")
def index(documents):
    made = VsearchIndex(
        new_url(), build_options={"codebook": 64, "residual_bits": 4, "dimensions": 64}, candidates="all"
    )
    assert made.index is None
    return made.add_documents(list(documents), list(documents.values()), batch_size=8)


def test_it_has_the_members_of_pylates_base():
    members = ("is_end_to_end_index", "add_documents", "remove_documents", "__call__", "get_documents_embeddings")
    assert all(hasattr(VsearchIndex, name) for name in members)
    assert VsearchIndex.is_end_to_end_index


def test_queries_of_every_form(index, documents):
    queries = make(3, seed=5)
    found = index(queries_embeddings=queries, k=5)
    for query, of_query in zip(queries, found, strict=True):
        check(of_query, query, documents, 5)
    same = np.stack([query[:3] for query in queries])
    expected = index(list(same), k=4)
    for form in (same, Tensor(same), [Tensor(query) for query in same], same.tolist()):
        assert index(form, k=4) == expected
    assert index(queries[0], k=5) == index(queries[0].tolist(), k=5) == found[:1]
    assert index([], k=5) == []


def test_subsets(index, documents):
    queries = make(2, seed=6)
    some = ["doc 3", "doc 17", "doc 30", "no"]
    for query, found in zip(queries, index(queries, k=10, subset=some), strict=True):
        check(found, query, {id_: documents[id_] for id_ in some[:3]}, 10)
    apart = index(queries, k=10, subset=[["doc 1"], ["doc 2", "doc 5"]])
    assert [{one["id"] for one in found} for found in apart] == [{"doc 1"}, {"doc 2", "doc 5"}]
    assert index(queries, subset=[]) == [[], []]
    assert index(queries, subset=[[], ["doc 5"]])[0] == []
    with pytest.raises(vsearch.InputError, match="a list for each"):
        index(queries, subset=[["doc 1"]])


def test_documents_are_added_replaced_and_removed(documents):
    url = new_url()
    index = VsearchIndex(url, build_options={"codebook": 64, "residual_bits": 4, "dimensions": 64}, candidates="all")
    with pytest.raises(vsearch.InputError, match="the index is empty"):
        index(make(1))
    names = list(documents)
    left = dict(documents)
    index.remove_documents(["nobody"])
    index.add_documents(names[:20], [documents[name] for name in names[:20]])
    index.add_documents(names[20:], [Tensor(documents[name]) for name in names[20:]])
    (left["doc 3"],) = make(1, seed=9)
    index.update_documents(["doc 3"], [left["doc 3"]])
    index.add_documents("doc 99", left.setdefault("doc 99", make(1, seed=10)[0]))
    index.remove_documents(["doc 5", "doc 25", "nobody"])
    del left["doc 5"], left["doc 25"]
    index.add_documents([], [])
    queries = make(3, seed=5)
    for opened in (index, VsearchIndex(url, candidates="all")):
        for query, found in zip(queries, opened(queries, k=100), strict=True):
            assert {one["id"] for one in found} == set(left)
            check(found, query, left, 100)
    again = VsearchIndex(url, override=True, build_options={"codebook": 16, "dimensions": 64})
    assert again.index is None
    again.add_documents(["only"], make(1, least=8))
    assert [one["id"] for one in again(queries[:1])[0]] == ["only"]


def test_unusable_input_is_refused(index):
    for ids, embeddings in ((["a"], []), (["a"], np.zeros(3)), (["a"], [np.zeros((2, D + 1))])):
        with pytest.raises(vsearch.InputError):
            index.add_documents(ids, embeddings)
    with pytest.raises(vsearch.InputError, match="no row has the id no"):
        index.get_documents_embeddings([["doc 1"], ["no"]])
    with pytest.raises(vsearch.InputError, match="the index is empty"):
        VsearchIndex(new_url()).get_documents_embeddings([["doc 1"]])


def test_vectors_of_documents(index, documents):
    asked = [["doc 3", "doc 0"], [], ["doc 39"]]
    for ids, found in zip(asked, index.get_documents_embeddings(asked), strict=True):
        for id_, vectors in zip(ids, found, strict=True):
            assert vectors.shape == documents[id_].shape
            assert (vectors * documents[id_]).sum(axis=1).min() > 0.9


@pytest.mark.filterwarnings("ignore")
def test_pylates_own_retriever_and_reranker_take_it(index, documents):
    retrieve = pytest.importorskip("pylate.retrieve", reason="PyLate is not installed")
    rank, torch = pytest.importorskip("pylate.rank"), pytest.importorskip("torch")
    queries = make(3, seed=5)
    retriever = retrieve.ColBERT(index=index)
    for asked in (queries, [torch.from_numpy(query) for query in queries]):
        for query, found in zip(queries, retriever.retrieve(queries_embeddings=asked, k=4, device="cpu"), strict=True):
            check(found, query, documents, 4)
    few = ["doc 3", "doc 7"]
    (found,) = retriever.retrieve(queries_embeddings=queries[:1], k=4, device="cpu", subset=few)
    assert {one["id"] for one in found} == set(few)
    names = [list(documents)[:10]] * 3
    vectors = index.get_documents_embeddings(names)
    tensors = [[torch.from_numpy(matrix) for matrix in matrices] for matrices in vectors]
    reranked = rank.rerank(names, [torch.from_numpy(query) for query in queries], tensors, device="cpu")
    for query, found in zip(queries, reranked, strict=True):
        check(found, query, {name: documents[name] for name in names[0]}, 10)
