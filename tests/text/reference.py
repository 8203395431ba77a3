"""A plain BM25 by Lucene's formula, over dicts, that the text leg is compared with."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping

Rows = Mapping[int, Mapping[str, str | None]]


class Reference:
    """The rows of an index: texts by id and column; `terms` cuts a text into terms."""

    def __init__(self, rows: Rows, terms, weights=None, k1: float = 1.2, b: float = 0.75):
        names = list(weights or {"body": 1.0})
        self.weights = weights or {"body": 1.0}
        self.k1, self.b = k1, b
        self.counts = {name: {row: Counter(terms(texts[name] or "")) for row, texts in rows.items()} for name in names}
        self.lengths = {
            name: {row: count.total() for row, count in counts.items()} for name, counts in self.counts.items()
        }

    def gains(self, name: str, matches) -> dict[int, float]:
        """What rows gain in a column for a term, or with a callable for a prefix."""
        counts = self.counts[name]
        lengths = self.lengths[name]
        texts = sum(1 for length in lengths.values() if length)
        mean = sum(lengths.values()) / texts if texts else 1.0
        if callable(matches):
            found = {row: 1 for row, count in counts.items() if any(map(matches, count))}
        else:
            found = {row: count[matches] for row, count in counts.items() if count[matches]}
        idf = math.log(1 + (texts - len(found) + 0.5) / (len(found) + 0.5))
        gains = {}
        for row, count in found.items():
            length = mean if callable(matches) else lengths[row]
            gains[row] = self.weights[name] * idf * count / (count + self.k1 * (1 - self.b + self.b * length / mean))
        return gains

    def scores(self, terms: Iterable) -> dict[int, float]:
        """The scores of all rows that have any of some terms, in any column."""
        scores: dict[int, float] = {}
        for term in terms:
            for name in self.weights:
                for row, gain in self.gains(name, term).items():
                    scores[row] = scores.get(row, 0.0) + gain
        return scores

    def having(self, term) -> set[int]:
        """The rows that have a term in any column."""
        found = set()
        for name in self.weights:
            found |= set(self.gains(name, term))
        return found


def same(hits, scores: Mapping[int, float], k: int, query: int = 0) -> None:
    """Check that hits are the best k of the scores, whichever of equal ones."""
    ids = [int(row) for row in hits.ids[query] if row != -1]
    found = hits.scores[query][: len(ids)].tolist()
    assert len(ids) == min(k, len(scores)), (len(ids), len(scores))
    assert len(set(ids)) == len(ids)
    best = sorted(scores.values(), reverse=True)[:k]
    for row, score, expected in zip(ids, found, best, strict=True):
        assert abs(score - scores[row]) <= 1e-4 * max(1.0, scores[row]), (row, score, scores[row])
        assert abs(score - expected) <= 1e-4 * max(1.0, expected)
    assert found == sorted(found, reverse=True)
