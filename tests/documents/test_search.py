from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

import vsearch
from vsearch.errors import CorruptIndexError, IndexExistsError, InputError, PredicateError
from vsearch.multivector import opening as document_part

WHERE = ("year < 2005", "kind = 'report' AND price > 0.4", "kind IS NULL", "year = 1993 OR price < 0.05", "year > 3000")


def matching(collection, where: str) -> np.ndarray:
    import duckdb

    documents = collection.attributes.append_column("number", pa.array(range(collection.attributes.num_rows)))
    with duckdb.connect() as connection:
        connection.register("documents", documents)
        return connection.sql(f"SELECT number FROM documents WHERE {where} ORDER BY number").fetchnumpy()["number"]


def decoded_scores(index: vsearch.Index, collection, query: np.ndarray) -> np.ndarray:
    """MaxSim on the stored vectors, by decoding every document; by id."""
    from vsearch.multivector.opening import decode_documents
    from vsearch.search.state.fetching import take_ids

    scores = np.empty(len(index))
    part = document_part.open_documents(index.snapshot)
    for documents in part.shards:
        rows = np.arange(documents.shard.rows)
        vectors, offsets = decode_documents(part, documents, rows)
        best = np.maximum.reduceat(vectors @ query.T, offsets[:-1], axis=0).sum(axis=1)
        scores[take_ids(index.snapshot, rows + documents.shard.first_row)] = best
    return scores


def test_all_candidates_are_maxsim_on_the_codes(index, collection) -> None:
    for query in collection.queries:
        hits = index.search_documents(query, k=300, candidates="all")
        expected = decoded_scores(index, collection, query)
        assert sorted(hits.ids[0].tolist()) == list(range(300))
        np.testing.assert_allclose(hits.scores[0], expected[hits.ids[0]], atol=0.02 * len(query))


def test_exact_is_maxsim_on_the_stored_vectors(index, collection) -> None:
    for query in collection.queries:
        hits = index.search_documents(query, k=20, candidates="all", exact=True)
        expected = collection.exact(query)
        np.testing.assert_allclose(hits.scores[0], expected[hits.ids[0]], rtol=1e-5)
        np.testing.assert_allclose(hits.scores[0], np.sort(expected)[::-1][:20], rtol=1e-5)


def test_candidates_hold_the_best(index, collection) -> None:
    found = total = 0
    for query in collection.queries:
        best = set(np.argsort(-collection.exact(query))[:10].tolist())
        found += len(best & set(index.search_documents(query, k=10, candidates=60, exact=True).ids[0].tolist()))
        total += 10
    assert found / total > 0.85  # vectors here are mostly noise, so that many documents are about as good


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("candidates", [1, 20, None, "all"])
def test_filters_are_exact(index, collection, where, candidates) -> None:
    allowed = set(matching(collection, where).tolist())
    hits = index.search_documents(collection.queries, k=15, where=where, candidates=candidates, columns=["year"])
    for ids, scores in zip(hits.ids, hits.scores, strict=True):
        back = ids[ids >= 0]
        assert len(back) == min(15, len(allowed))
        assert set(back.tolist()) <= allowed
        assert len(set(back.tolist())) == len(back)
        assert (np.diff(scores[: len(back)]) <= 0).all()
        assert np.isnan(scores[len(back) :]).all()
    assert hits.columns.num_rows == 15 * len(collection.queries)


def test_several_queries_are_each_one_alone(index, collection) -> None:
    together = index.search_documents(collection.queries, k=7)
    for number, query in enumerate(collection.queries):
        alone = index.search_documents(query, k=7)
        np.testing.assert_array_equal(together.ids[number], alone.ids[0])
        np.testing.assert_array_equal(together.scores[number], alone.scores[0])


@pytest.mark.parametrize(
    "options",
    [
        {"residual_bits": 1},
        {"residual_bits": 0},
        {"codebook": 300, "residual_bits": 4},
        {"residual_bits": 0, "binary": True, "codebook": 100},
        {"candidates": "lists"},
        {"candidates": "lists", "residual_bits": 0, "binary": True, "codebook": 100},
        {"shards": 3},
        {"shards": 3, "candidates": "lists"},
        {"pool": 2.5},
        {"keep": 0.4},
        {"keep": 0.6, "pool": 2},
    ],
    ids=str,
)
def test_every_form_of_index_answers(collection, tmp_path, options) -> None:
    given = {"codebook": 64, "dimensions": 128, "attributes": collection.attributes} | options
    if "keep" in options:
        given["saliency"] = collection.saliency
    index = vsearch.build_documents(collection.vectors, collection.offsets, tmp_path / "index", **given)
    again = vsearch.open(tmp_path / "index")
    info = again.info()["documents"]
    assert info["documents"] == 300
    assert info["vectors"] <= info["vectors_given"] == len(collection.vectors)
    for query in collection.queries[:4]:
        hits, same = (one.search_documents(query, k=300, candidates="all") for one in (index, again))
        np.testing.assert_array_equal(hits.ids, same.ids)
        assert sorted(hits.ids[0].tolist()) == list(range(300))
        if not options.get("binary"):
            expected = decoded_scores(index, collection, query)
            np.testing.assert_allclose(hits.scores[0], expected[hits.ids[0]], atol=0.02 * len(query))
        allowed = matching(collection, "year < 2005")
        filtered = again.search_documents(query, k=300, where="year < 2005")
        assert sorted(filtered.ids[0][filtered.ids[0] >= 0].tolist()) == allowed.tolist()
        few = again.search_documents(query, k=5, candidates=40)
        assert len(set(few.ids[0].tolist())) == 5
    assert vsearch.verify(tmp_path / "index").problems == ()


def test_matches_say_which_vectors_met(index, collection) -> None:
    query = collection.queries[0]
    hits = index.search_documents(query, k=5, matches=True, exact=True)
    (met,) = hits.matches
    np.testing.assert_allclose(met.scores.sum(axis=1), hits.scores[0], rtol=1e-5)
    for place, number in enumerate(hits.ids[0]):
        similar = query @ collection.document(number).T
        np.testing.assert_array_equal(met.positions[place], similar.argmax(axis=1))
    np.testing.assert_array_equal(met.places, np.arange(len(query)))


@pytest.mark.parametrize("options", [{"keep": 0.5}, {"pool": 2}, {"keep": 0.5, "pool": 2}], ids=str)
def test_matches_point_into_the_document_as_it_was_given(collection, tmp_path, options) -> None:
    index = vsearch.build_documents(
        collection.vectors,
        collection.offsets,
        tmp_path,
        saliency=collection.saliency,
        residual_bits=4,
        dimensions=64,
        **options,
    )
    query = np.concatenate(collection.queries)[:60]
    hits = index.search_documents(query, k=10, matches=True)
    met = np.empty_like(hits.matches[0].scores)
    for place, number in enumerate(hits.ids[0]):
        document = collection.document(number)
        assert (hits.matches[0].positions[place] < len(document)).all()
        met[place] = (query * document[hits.matches[0].positions[place]]).sum(axis=1)
    assert np.corrcoef(met.reshape(-1), hits.matches[0].scores.reshape(-1))[0, 1] > 0.7


def test_no_hit_has_no_match(index, collection) -> None:
    hits = index.search_documents(collection.queries[0], k=3, where="year > 3000", matches=True)
    assert (hits.matches[0].positions == -1).all()
    assert np.isnan(hits.matches[0].scores).all()


def test_part_of_a_query_is_used(index, collection) -> None:
    query = next(q for q in collection.queries if len(q) >= 6)
    saliency = np.arange(len(query))[::-1]
    half = -(-len(query) // 2)
    hits = index.search_documents(query, query_keep=0.5, query_saliency=saliency, matches=True)
    np.testing.assert_array_equal(hits.ids, index.search_documents(query[:half]).ids)
    np.testing.assert_array_equal(hits.matches[0].places, np.arange(half))


@pytest.mark.usefixtures("two_threads")
def test_the_same_seed_builds_the_same_index(collection, tmp_path) -> None:
    made = [
        vsearch.build_documents(
            collection.vectors, collection.offsets, tmp_path / name, codebook=32, dimensions=64, seed=5
        )
        for name in "ab"
    ]
    first, second = (index.search_documents(collection.queries) for index in made)
    np.testing.assert_array_equal(first.ids, second.ids)
    np.testing.assert_array_equal(first.scores, second.scores)


def test_a_snapshot_is_one_commit(collection, tmp_path) -> None:
    half = collection.offsets[:151]
    first = vsearch.build_documents(
        collection.vectors[: half[-1]], half, tmp_path, codebook=16, dimensions=64, ids=range(150)
    )
    before = first.search_documents(collection.queries[0], k=3)
    with pytest.raises(IndexExistsError):
        vsearch.build_documents(collection.vectors, collection.offsets, tmp_path)
    second = vsearch.build_documents(
        collection.vectors, collection.offsets, tmp_path, codebook=32, dimensions=64, overwrite=True
    )
    assert len(list((tmp_path / "manifest").iterdir())) == 2
    assert [len(first), len(second)] == [150, 300]
    again = vsearch.open(tmp_path, 1)
    np.testing.assert_array_equal(again.search_documents(collection.queries[0], k=3).ids, before.ids)
    vsearch.prune(tmp_path, keep=1, grace=0)
    assert vsearch.open(tmp_path).search_documents(collection.queries[0]).ids.shape == (1, 10)
    named = {entry.path for entry in vsearch.open(tmp_path).snapshot.manifest.model.values()}
    assert {f"model/{path.name}" for path in (tmp_path / "model").iterdir()} == named


@pytest.mark.parametrize("count", [1, 2, 5])
def test_few_documents(collection, tmp_path, count) -> None:
    offsets = collection.offsets[: count + 1]
    index = vsearch.build_documents(collection.vectors[: offsets[-1]], offsets, tmp_path / "index")
    hits = index.search_documents(collection.queries[0], k=10)
    assert sorted(hits.ids[0][:count].tolist()) == list(range(count))


def test_documents_all_alike(tmp_path) -> None:
    index = vsearch.build_documents([np.ones((3, 8), np.float32)] * 40, None, tmp_path / "index", codebook=4)
    hits = index.search_documents(np.ones((2, 8), np.float32), k=5)
    np.testing.assert_allclose(hits.scores, 16, rtol=1e-3)


def test_wide_queries_and_long_documents(tmp_path) -> None:
    rng = np.random.default_rng(0)
    documents = [rng.standard_normal((length, 16)).astype(np.float16) for length in (1, 31, 32, 33, 64, 700, 1100)]
    index = vsearch.build_documents(documents, None, tmp_path / "index", codebook=16, residual_bits=4)
    query = rng.standard_normal((70, 16)).astype(np.float32)
    hits = index.search_documents(query, k=7, candidates="all")
    exact = np.array([(query @ document.astype(np.float32).T).max(axis=1).sum() for document in documents])
    np.testing.assert_array_equal(hits.ids[0], np.argsort(-exact))


def test_mistakes_are_named(index, collection, tmp_path) -> None:
    query = collection.queries[0]
    for options, message in (
        ({"k": 0}, "k must be"),
        ({"candidates": 0}, "candidates must be .*0"),
        ({"candidates": "some"}, "candidates must be .*'some'"),
        ({"columns": ["nothing"]}, "nothing"),
        ({"timeout": 0}, "timeout must be"),
    ):
        with pytest.raises(InputError, match=message):
            index.search_documents(query, **options)
    with pytest.raises(PredicateError):
        index.search_documents(query, where="nothing = 1")
    plain = vsearch.build_documents(
        collection.vectors, collection.offsets, tmp_path / "plain", codebook=16, dimensions=64
    )
    with pytest.raises(InputError, match="stores no vectors"):
        plain.search_documents(query, exact=True)
    vectors = vsearch.build(collection.vectors, tmp_path / "vectors", bits=1)
    assert not vectors.has_documents
    with pytest.raises(InputError, match="single vectors"):
        vectors.search_documents(query)


def test_sizes_are_those_of_the_files(index, collection, tmp_path) -> None:
    info = index.info()
    documents = info["documents"]
    vectors = len(collection.vectors)
    assert documents["vectors"] == vectors
    parts = documents["bytes_per_document_by_part"]
    residual = document_part.open_documents(index.snapshot).token_codec.residual_bytes
    for part, least in (
        ("patch_codes", vectors),
        ("patch_residuals", residual * vectors),
        ("patch_factors", 2 * vectors),
    ):
        assert least <= parts[part] * 300 <= least + 4096
    assert documents["bytes_per_document"] == pytest.approx(sum(parts.values()))
    raw = vectors * 32 / 300
    assert documents["float16_bytes_per_document"] == pytest.approx(2 * raw)
    assert documents["ratio_to_float32"] == pytest.approx(4 * raw / documents["bytes_per_document"])
    on_disk = {path.name: path.stat().st_size for path in index_files(index)}
    named = sum(size for name, size in on_disk.items() if name.endswith(".arrow"))
    assert info["bytes"] == named


def index_files(index: vsearch.Index):
    from pathlib import Path

    root = Path(index.snapshot.store.url.removeprefix("file://"))
    return [path for path in root.rglob("*") if path.is_file()]


@pytest.mark.parametrize("kind", ["patch-codes", "patch-residuals", "patch-factors", "documents"])
def test_damage_is_named(collection, tmp_path, kind) -> None:
    vsearch.build_documents(collection.vectors, collection.offsets, tmp_path, codebook=64, dimensions=64)
    (path,) = (tmp_path / "segments").glob(f"*-{kind}.arrow")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 64
    path.write_bytes(data)
    with pytest.raises(CorruptIndexError, match=kind):
        vsearch.open(tmp_path).search_documents(collection.queries[0], candidates="all")
    assert [problem.path for problem in vsearch.verify(tmp_path).problems] == [f"segments/{path.name}"]


def test_codes_that_are_no_centroids_are_refused(collection, tmp_path, monkeypatch) -> None:
    index = vsearch.build_documents(collection.vectors, collection.offsets, tmp_path, codebook=64, dimensions=64)
    part = document_part.open_documents(index.snapshot)
    (documents,) = part.shards
    wrong = documents.codes.copy()
    wrong[5] = 200
    damaged = replace(part, shards=(replace(documents, codes=wrong),))
    monkeypatch.setitem(document_part._opened, index.snapshot, damaged)
    for _ in range(2):
        with pytest.raises(CorruptIndexError, match="not the number of one of"):
            index.search_documents(collection.queries[0], candidates="all")


def test_documents_are_fetched_by_ranges(collection, tmp_path, monkeypatch) -> None:
    from vsearch.storage.stores import folder as folders

    options = {"attributes": collection.attributes, "codebook": 64, "dimensions": 64, "shards": 2}
    local = vsearch.build_documents(collection.vectors, collection.offsets, tmp_path, **options)
    monkeypatch.setattr(folders.FolderStore, "memory_map", lambda *_: None)
    remote = vsearch.open(tmp_path)
    for query in collection.queries[:3]:
        near, far = (one.search_documents(query, k=5, candidates=10, where="year < 2010") for one in (local, remote))
        np.testing.assert_array_equal(near.ids, far.ids)
        np.testing.assert_array_equal(near.scores, far.scores)
