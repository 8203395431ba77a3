"""Tests of searches for words, for every kind of open index."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from vsearch.errors import InputError
from vsearch.testing.collection import Opened


class WordContract:
    """Tests of a fixture ``opened``, an `Opened` whose text column is ``text``."""

    def test_words_are_found(self, opened: Opened) -> None:
        """By BM25, with filters, columns and pages; of equal scores, the lower row comes first on every kind of index."""
        index, rows = opened.index, opened.attributes.to_pylist()
        assert index.has_text
        texts = [row["text"] for row in rows]
        text_queries = ["digit3 of4", "+digit3 +of4", "of4 -digit3", "dig*", "text:of2", "no such word"]
        hits = index.search_text(text_queries, k=700, columns=["text"])
        conditions: tuple[Callable[[list[str]], bool], ...] = (
            lambda words: "digit3" in words or "of4" in words,
            lambda words: "digit3" in words and "of4" in words,
            lambda words: "of4" in words and "digit3" not in words,
            lambda words: len(words) > 1,
            lambda words: "of2" in words,
            lambda words: not words,
        )
        expected = [
            {i for i, text in enumerate(texts) if text is not None and matches(text.split())} for matches in conditions
        ]
        for ids, matching in zip(hits.ids.tolist(), expected, strict=True):
            assert {id_ for id_ in ids if id_ is not None} == {opened.ids[i] for i in matching}
        assert (np.diff(hits.scores[0][~np.isnan(hits.scores[0])]) <= 0).all()
        best = hits.ids[0, 0]
        assert set(texts[opened.ids.index(best)].split()) >= {"digit3", "of4"}
        assert hits.columns is not None
        assert hits.columns["text"][0].as_py() == texts[opened.ids.index(best)]
        page = index.search_text(text_queries, k=5, offset=3)
        assert page.ids.tolist() == hits.ids[:, 3:8].tolist()
        passing = index.search_text("digit3", k=100, where="number < 200").ids[0].tolist()
        assert {id_ for id_ in passing if id_ is not None} == {
            opened.ids[i] for i, text in enumerate(texts[:200]) if text is not None and "digit3" in text.split()
        }
        assert index.search_text([], k=3).ids.shape == (0, 3)
        awaited = asyncio.run(index.asearch_text("digit3", k=3))
        assert awaited.ids.tolist() == index.search_text("digit3", k=3).ids.tolist()
        by_leg = index.search_leg("text", "digit3", k=3)
        assert by_leg.ids.tolist() == awaited.ids.tolist()
        assert asyncio.run(index.asearch_leg("text", "digit3", k=3)).ids.tolist() == awaited.ids.tolist()

    def test_vectors_and_words_together(self, opened: Opened) -> None:
        index = opened.index
        words = ["digit3 of4"] * len(opened.queries)
        options: dict[str, Any] = {"where": "number < 500", "exact": True, "depth": 40}
        hits: Any = index.search(opened.queries, k=6, text=words, columns=["number"], **options)
        near = index.search(opened.queries, k=40, where="number < 500", exact=True)
        worded = index.search_text("digit3 of4", k=40, where="number < 500")
        for query in range(len(opened.queries)):
            by_vector = dict(zip(near.ids[query].tolist(), near.scores[query].tolist(), strict=True))
            by_text = dict(zip(worded.ids[0].tolist(), worded.scores[0].tolist(), strict=True))
            for place, id_ in enumerate(hits.ids[query].tolist()):
                assert id_ in by_vector or id_ in by_text
                if id_ in by_vector:
                    assert hits.vector_scores[query, place] == pytest.approx(by_vector[id_], rel=1e-5)
                if id_ in by_text:
                    assert hits.text_scores[query, place] == pytest.approx(by_text[id_], rel=1e-5)
                fused = 1 / (60 + hits.vector_ranks[query, place])
                fused += 1 / (60 + hits.text_ranks[query, place]) if hits.text_ranks[query, place] else 0
                assert hits.scores[query, place] == pytest.approx(fused, rel=1e-5)
        page = index.search(opened.queries, k=3, text=words, offset=2, **options)
        assert page.ids.tolist() == hits.ids[:, 2:5].tolist()
        weighted = index.search(opened.queries, k=6, text=words, fusion="weighted", weights=(0, 1), **options)
        assert weighted.ids[0].tolist() == worded.ids[0, :6].tolist()

    @pytest.mark.parametrize(
        "options",
        [
            {"text": "-digit3"},
            {"text": 3},
            {"text": ["a", "b"]},
            {"text": "a", "fusion": "sum"},
            {"text": "a", "weights": (0, 0)},
            {"text": "a", "depth": 3},
            {"text": "a", "min_score": 1.0},
            {"depth": 20},
            {"fusion": "rrf"},
            {"hybrid": True},
        ],
    )
    def test_unusable_words_are_refused(self, opened: Opened, options: dict[str, Any]) -> None:
        with pytest.raises(InputError):
            opened.index.search(opened.queries[0], **options)
