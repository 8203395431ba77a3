"""Vectors and words in one ranking, beside a plain fusion of all scores."""

from __future__ import annotations

import numpy as np
import pytest

import vsearch
from tests.text.conftest import WEIGHTS, make_rows, table, terms, vectors
from tests.text.reference import Reference
from vsearch import InputError

N, QUERIES, TEXTS = 400, vectors(4, seed=9), ["ak bk", "jt ir", "title:al am", "zz"]


@pytest.fixture(scope="module", params=["cosine", "ip", "l2"])
def built(request):
    rows = lengthened(make_rows(N, 8))
    index = vsearch.build(
        vectors(N, 3), f"memory://text/hybrid-{request.param}", table(rows), metric=request.param, rerank="float32",
        shards=2, partitions=6, text=WEIGHTS,
    )  # fmt: skip
    return index, Reference(rows, terms, WEIGHTS)


def lengthened(rows):
    """The texts with more words, a different number in each row, so that scores are not equal."""
    return {
        row: {name: f"{text or ''} {'filler ' * (5 + (row * 7) % N)}" for name, text in texts.items()}
        for row, texts in rows.items()
    }


def scores_of(index, reference, query, below=N):
    """Both scores of all rows below a number, by their plain definitions; 0 without the words."""
    base, point = vectors(N, 3)[:below].astype(np.float64), QUERIES[query].astype(np.float64)
    metric = index.info()["metric"]
    if metric == "l2":
        near = ((base - point) ** 2).sum(axis=1)
    else:
        near = base @ point
        near = near / np.linalg.norm(base, axis=1) / np.linalg.norm(point) if metric == "cosine" else near
    found: dict[int, float] = {}
    for word in TEXTS[query].split():
        name, _, term = word.rpartition(":")
        for column in [name] if name else WEIGHTS:
            for row, gain in reference.gains(column, term).items():
                found[row] = found.get(row, 0.0) + gain
    return near, np.array([found.get(row, 0.0) for row in range(below)])


def candidates(near, words, depth, metric):
    order = np.argsort(near if metric == "l2" else -near, kind="stable")[:depth]
    worded = np.argsort(-words, kind="stable")[:depth]
    return np.union1d(order, worded[words[worded] > 0])


def plain(near, words, rows, metric, fusion, weights):
    """Fused scores of candidates."""
    similar = (-near if metric == "l2" else near)[rows]
    words = words[rows]
    if fusion == "weighted":
        return weights[0] * (similar - similar.min()) / (similar.max() - similar.min()) + weights[1] * (
            words / words.max() if words.max() > 0 else words
        )
    rank = lambda scores: 1 + (scores[None, :] > scores[:, None]).sum(axis=1)  # noqa: E731
    return weights[0] / (60 + rank(similar)) + np.where(words > 0, weights[1] / (60 + rank(words)), 0)


@pytest.mark.parametrize("fusion", ["rrf", "weighted"])
@pytest.mark.parametrize(
    ("depth", "weights", "below"), [(100, (1.0, 1.0), N), (20, (0.3, 2.0), N), (300, (1, 0.5), 150)]
)
def test_fused_scores_are_those_of_the_candidates(built, fusion, depth, weights, below):
    index, reference = built
    metric = index.info()["metric"]
    hits = index.search(
        QUERIES, 10, f"number < {below}", exact=True, text=TEXTS, fusion=fusion, weights=weights, depth=depth
    )
    for query in range(len(TEXTS)):
        near, words = scores_of(index, reference, query, below)
        chosen = candidates(near, words, depth, metric)
        fused = plain(near, words, chosen, metric, fusion, weights)
        expected = np.sort(fused)[::-1][:10]
        np.testing.assert_allclose(hits.scores[query], expected, rtol=1e-4, atol=1e-5)
        ids = hits.ids[query]
        np.testing.assert_allclose(hits.vector_scores[query], near[ids], rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(hits.text_scores[query], words[ids], rtol=1e-4, atol=1e-6)
        assert ((hits.text_ranks[query] > 0) == (words[ids] > 0)).all()
        assert (hits.vector_ranks[query] >= 1).all()


def test_a_function_fuses(built):
    index, _ = built
    seen = []

    def fuse(by_vector, by_text):
        seen.append((by_vector.copy(), by_text.copy()))
        return by_text

    hits = index.search(QUERIES[0], 10, text=TEXTS[0], fusion=fuse)
    np.testing.assert_array_equal(hits.scores, hits.text_scores)
    np.testing.assert_array_equal(hits.scores, index.search_text(TEXTS[0], 10).scores)
    ((by_vector, by_text),) = seen
    assert by_vector.shape == by_text.shape
    wrongs = [lambda v, t: 1.0, lambda v, t: v * np.nan, lambda v, t: v[:-1], lambda v, t: ["a"] * len(v)]
    for wrong in (*wrongs, lambda v, t: None, lambda v, t: t + 1e300, lambda v, t: v[:, None]):
        with pytest.raises(InputError, match="finite numbers for query 0"):
            index.search(QUERIES[0], text="ak", fusion=wrong)

    def overwrite(by_vector, by_text):
        by_vector[:] = 0
        return by_text.sort() or by_text

    changed = index.search(QUERIES[0], 3, text=TEXTS[0], fusion=overwrite)
    same = index.search(QUERIES[0], N, text=TEXTS[0], depth=N, fusion=lambda v, t: v)
    for row, near, score in zip(changed.ids[0], changed.vector_scores[0], changed.text_scores[0], strict=True):
        (place,) = np.flatnonzero(same.ids[0] == row)
        assert (near, score) == (same.vector_scores[0, place], same.text_scores[0, place])


def test_pages_columns_and_tables(built):
    index, _ = built
    whole = index.search(QUERIES, 30, text=TEXTS, depth=200, columns=["number"], vectors=True)
    assert isinstance(whole, vsearch.HybridHits)
    for offset in (0, 7, 23):
        page = index.search(QUERIES, 7, text=TEXTS, depth=200, offset=offset)
        for name in ("ids", "scores", "vector_scores", "vector_ranks", "text_scores", "text_ranks"):
            np.testing.assert_array_equal(getattr(page, name), getattr(whole, name)[:, offset : offset + 7])
    assert whole.columns.column("number").to_pylist() == whole.ids.ravel().tolist()
    for fusion in ("rrf", "weighted"):
        first = index.search(QUERIES, 100, text=TEXTS, fusion=fusion, depth=100)
        for offset in range(0, 100, 10):  # the default depth does not depend on the page
            page = index.search(QUERIES, 10, text=TEXTS, fusion=fusion, offset=offset)
            np.testing.assert_array_equal(page.ids, first.ids[:, offset : offset + 10])
    with pytest.raises(
        InputError, match=r"offset \+ k must be at most 100 unless depth is given, got 101: .* from 101 to 10000"
    ):
        index.search(QUERIES, 10, text=TEXTS, offset=91)
    assert whole.vectors.shape == (4, 30, 8)
    shown = whole.to_arrow()
    assert shown.column_names[-4:] == ["vector_score", "vector_rank", "text_score", "text_rank"]
    assert shown.column("text_rank").to_pylist() == whole.text_ranks.ravel().tolist()
    turned = whole.choose(np.array([[29, -1]] * 4))
    np.testing.assert_array_equal(turned.text_scores[:, 0], whole.text_scores[:, 29])
    assert np.isnan(turned.vector_scores[:, 1]).all()


def test_few_matches_and_none(built):
    index, _ = built
    hits = index.search(QUERIES[0], 10, "number < 4", text="ak")
    assert sorted(hits.ids[0][:4].tolist()) == [0, 1, 2, 3]
    assert (hits.ids[0][4:] == -1).all()
    assert np.isnan(hits.scores[0][4:]).all()
    assert (index.search(QUERIES[0], 3, "number < 0", text="ak").ids == -1).all()


def test_after_changes_and_explained(built):
    index, _ = built
    changed = vsearch.open(index.snapshot.store.url)
    best = int(changed.search(QUERIES[0], 1, text="ak bk").ids[0, 0])
    changed.delete([best])
    changed.append(vectors(1, 77), table({N: {"title": "zebra", "body": None}}))
    assert best not in changed.search(QUERIES[0], 50, text="ak bk").ids[0]
    assert changed.search(vectors(1, 5), 1, text="zebra", weights=(0, 1)).ids.tolist() == [[N]]
    assert "rrf" in str(index.explain(QUERIES[0], 3, text="ak", fusion="rrf"))
    changed.restore(snapshot=1)


def test_wrong_uses_say_what_is_wrong(built):
    index, _ = built
    for options, reason in [
        ({"fusion": "rrf"}, "require text"),
        ({"depth": 5}, "require text"),
        ({"text": 3}, "a string, a dict of clauses, or a list"),
        ({"text": ["a", "b"]}, "one text for each of the 1 queries"),
        ({"text": "a", "fusion": "sum"}, "fusion must be"),
        ({"text": "a", "fusion": np.array(["rrf", "rrf"])}, "fusion must be"),
        ({"text": "a", "weights": (1e300, 1)}, "weights must be two numbers"),
        ({"text": "a", "weights": (0, 1e-300)}, "weights must be two numbers"),
        ({"text": "a", "weights": (1, float("nan"))}, "weights must be two numbers"),
        ({"text": "a", "weights": [1]}, "weights must be two numbers"),
        ({"text": "a", "weights": (0, 0)}, "weights must be two numbers"),
        ({"text": "a", "weights": (1, -1)}, "weights must be two numbers"),
        ({"text": "a", "weights": "ab"}, "weights must be two numbers"),
        ({"text": "a", "fusion": max, "weights": (1, 1)}, "weights must be None if fusion is a function"),
        ({"text": "a", "depth": 3}, "at least offset"),
        ({"text": "a", "depth": 10_001}, "depth must be"),
        ({"text": "a", "min_score": 0.5}, "min_score cannot be combined"),
        ({"text": '"a b"'}, "requires the positions of words"),
        ({"text": "-a"}, "only excludes words"),
    ]:
        with pytest.raises(InputError, match=reason):
            index.search(QUERIES[0], 10, **options)
