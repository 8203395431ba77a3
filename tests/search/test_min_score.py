"""A threshold removes hits from an answer and changes nothing else."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

import vsearch
from tests.indexes import METRICS

QUANTIZERS = {
    "osq, int8": {"bits": 1.0},
    "osq in two stages": {"bits": 4.0, "rerank": "float16"},
    "osq, estimates": {"bits": 2.0, "rerank": None},
    "pq": {"quantizer": vsearch.PQ(12, rotation=False)},
    "cells": {"quantizer": "osq-lloyd", "bits": 4.0},
}


def tight_clusters(rows, seed, noise=0.1):
    """Rows whose k nearest score far above all others, and the cluster of each: settings tuned on them reach nowhere else."""
    rng = np.random.default_rng(seed)
    centers = rng.normal(size=(40, 24))
    cluster = rng.integers(0, len(centers), rows)
    return (centers[cluster] + noise * rng.normal(size=(rows, 24))).astype(np.float32), cluster


@pytest.mark.slow
@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("quantizer", QUANTIZERS)
@pytest.mark.parametrize("metric", METRICS)
def test_the_same_hits_as_without_it(build_once, metric, quantizer, shards):
    if quantizer == "cells" and metric == "ip":
        pytest.skip("cells bound distances")
    vectors, cluster = tight_clusters(2500, 0)
    options = {"metric": metric, "shards": shards, "partitions": 60, **QUANTIZERS[quantizer]}
    index = build_once(
        ("min_score", metric, quantizer, shards), vectors, attributes=pa.table({"cluster": cluster}), **options
    )
    foreign = np.random.default_rng(1).normal(size=(4, 24)).astype(np.float32)
    queries = np.concatenate([vectors[:8], foreign])
    for where in (None, "cluster < 20", f"cluster <> {cluster[0]}"):
        for k in (1, 10, 300) if where is None else (10, 300):
            free = index.search(queries, k=k, where=where)
            for share in (0.02, 0.7, 0.98):
                bar = float(np.quantile(free.scores, share))
                good = free.scores <= bar if metric == "l2" else free.scores >= bar
                hits = index.search(queries, k=k, where=where, min_score=bar)
                np.testing.assert_array_equal(hits.ids, np.where(good, free.ids, -1))
                np.testing.assert_array_equal(hits.scores, np.where(good, free.scores, np.nan))
                one = index.search(queries[0], k=k, where=where, min_score=bar)
                np.testing.assert_array_equal(one.ids, hits.ids[:1])


def test_the_score_of_a_hit_is_not_above_itself(build_once):
    """A threshold is compared as float32, the type of the scores."""
    vectors, _ = tight_clusters(500, 2)
    index = build_once(("min_score", "bar"), vectors)
    hits = index.search(vectors[:5])
    for query, scores in zip(vectors, hits.scores, strict=False):
        for bar in (float(scores[3]), float(str(scores[3]))):
            assert (index.search(query, min_score=bar).ids >= 0).sum() >= 4


def test_no_threshold_above_one_is_reached_by_a_cosine(build_once):
    """Rounding puts the cosines of equal rows beside 1: what is compared is the score that is returned."""
    vectors, _ = tight_clusters(300, 2)
    index = build_once(("min_score", "copies"), np.repeat(vectors, 3, axis=0))
    above = float(np.nextafter(np.float32(1), np.float32(2)))
    for queries in (vectors, vectors[0]):
        assert (index.search(queries, k=3, min_score=above).ids == -1).all()
        assert index.search(queries, k=3, min_score=0.99).scores.max() <= 1
