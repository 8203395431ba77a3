"""Rows are found as well in later runs as in bases."""

from __future__ import annotations

import numpy as np
import pytest

import vsearch

pytestmark = pytest.mark.filterwarnings("ignore:.*far from all partitions")


@pytest.mark.usefixtures("full_tuning")
def test_appended_rows_are_missed_no_more_often(tmp_path) -> None:
    """Queries near them: bounds that suit random directions are too narrow for these."""
    rng = np.random.default_rng(1)
    vectors = rng.permutation(vsearch.datasets.load("wordnet-10k").vectors)
    index = vsearch.build(vectors[:9000], tmp_path / "index", ids=np.arange(9000))
    for first in range(9000, 10_000, 100):
        index.append(vectors[first : first + 100], ids=np.arange(first, first + 100))
    queries = vectors[9000:] + 0.3 / np.sqrt(vectors.shape[1]) * rng.standard_normal(
        (1000, vectors.shape[1]), np.float32
    )
    nearest = np.asarray(index.search(queries, k=10, exact=True).ids)
    hits = (nearest[:, :, None] == np.asarray(index.search(queries, k=10).ids)[:, None, :]).any(axis=2)
    appended = nearest >= 9000
    assert appended.sum() > 1500
    assert hits[appended].mean() >= hits[~appended].mean()
