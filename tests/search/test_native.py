"""The fused kernels compared with a multi-stage search in NumPy, for every stage and rerank type."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vsearch
from vsearch.kernels.query.api import plan_query
from vsearch.kernels.query.fields import CallField, FloatField, ModelField
from vsearch.search.state.arguments import KernelArguments
from vsearch.search.state.fetching import reconstruct, take_ids
from vsearch.search.state.model import SearchSettings, prepare_queries
from vsearch.search.state.workspace import pack_model


def search_twin(index: Any, query: np.ndarray, k: int, allowed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All rows scored by what is stored, best first: what a search with wide settings must find."""
    snapshot = index._snapshot
    rotated = prepare_queries(snapshot.model, query[None, :])[0]
    stored = reconstruct(snapshot, np.arange(snapshot.manifest.rows))
    squared = snapshot.model.metric == "l2"
    scores = -np.sum((stored - rotated) ** 2, axis=1) if squared else stored @ rotated
    rows = np.flatnonzero(allowed)
    order = rows[np.lexsort((rows, -scores[rows]))][:k]
    return take_ids(snapshot, order), scores[order]


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["cosine", "ip", "l2"])
@pytest.mark.parametrize("rerank", ["int8", "float16", "float32"])
@pytest.mark.parametrize("bits", [1.0, 3.0])
def test_wide_settings_find_what_exhaustive_search_finds(tmp_path: Path, metric: str, rerank: str, bits: float) -> None:
    rng = np.random.default_rng(3)
    vectors = (rng.standard_normal((700, 37)) * np.linspace(2, 0.1, 37) + 0.3).astype(np.float32)
    index = vsearch.build(vectors, tmp_path / "index", metric=metric, rerank=rerank, bits=bits, partitions=9)
    index._snapshot.settings = type(index._snapshot.settings)(radius_factor=100.0, error_sigmas=50.0)
    for query in rng.standard_normal((5, 37)).astype(np.float32):
        hits = index.search(query, k=12)
        rows, scores = search_twin(index, query, 12, np.ones(700, bool))
        found = -hits.scores[0] if metric == "l2" else hits.scores[0]
        # under l2 norms are stored exactly, while the twin takes those of the reconstructed vectors
        relative = 1e-3 if rerank == "int8" else 2e-4  # a query is rotated in words there
        slack = {"int8": 0.3, "float16": 0.02, "float32": 2e-4}[rerank] if metric == "l2" else 2e-4
        np.testing.assert_allclose(found, scores, rtol=relative, atol=slack)
        assert len(set(hits.ids[0].tolist()) & set(rows.tolist())) >= 11


@pytest.mark.parametrize("rerank", ["int8", "float32"])
@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_rotation_and_centroids_are_as_small_as_the_answers_allow(tmp_path: Path, rerank: str, metric: str) -> None:
    vectors = np.random.default_rng(5).standard_normal((100, 8)).astype(np.float32)
    snapshot = vsearch.build(vectors, tmp_path / "index", metric=metric, rerank=rerank, partitions=3)._snapshot
    values = pack_model(snapshot.model, snapshot.radii, 100).values
    assert (values[ModelField.ROTATION] == 0) == (values[ModelField.ROTATION_GROUPS] != 0) == (rerank == "int8")
    halved = rerank == "int8" and metric == "cosine"  # then centroids are stored so
    assert (values[ModelField.CENTROIDS] == 0) == (values[ModelField.HALF_CENTROIDS] != 0) == halved


def test_centroids_beyond_float16_stay_floats(tmp_path: Path) -> None:
    vectors = np.random.default_rng(5).standard_normal((100, 8)).astype(np.float32) * np.float32(1e9)
    snapshot = vsearch.build(vectors, tmp_path / "index", metric="l2", rerank="int8", partitions=3)._snapshot
    assert snapshot.native.values[ModelField.HALF_CENTROIDS] == 0


@pytest.mark.slow
def test_plan_prepares_as_numpy_does(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    vectors = rng.standard_normal((500, 24)).astype(np.float32)
    for metric, rerank in product(("cosine", "ip", "l2"), ("int8", "float32", None)):
        index = vsearch.build(vectors, tmp_path / f"{metric}-{rerank}", metric=metric, rerank=rerank, partitions=7)
        snapshot = index._snapshot
        workspace = snapshot.workspace()
        workspace.begin(
            k=5,
            nprobe=3,
            exact=False,
            settings=SearchSettings(0.5, 2.0),
            match_counts=None,
            effective_radii=None,
            filtered=False,
        )
        query = rng.standard_normal(24).astype(np.float32)
        workspace.use_query(query, prepared=False)
        plan_query(snapshot.native.address, workspace.fields.address)
        rotated = prepare_queries(snapshot.model, query[None, :])[0]
        slack = 1e-4 * float(np.linalg.norm(rotated)) if rerank == "int8" else 1e-5  # of a rotation in words
        np.testing.assert_allclose(workspace.rotated, rotated, rtol=1e-5, atol=slack)
        if rerank is None:  # float tables are only made where they are needed
            np.testing.assert_allclose(
                workspace.tables, snapshot.model.quantizer.tables(rotated), rtol=1e-3, atol=slack
            )
        assert workspace.values[CallField.MIN_PROBES] >= 3
        assert workspace.values[CallField.VISITS] == workspace.values[CallField.MIN_PROBES]
        assert workspace.numbers[FloatField.FIRST_MARGIN] > 0


def test_fields_refuse_arrays_that_a_kernel_would_misread() -> None:
    fields = KernelArguments(3)
    with pytest.raises(ValueError, match="C-contiguous"):
        fields.point(1, np.zeros((4, 4), np.float32)[:, 1], np.float32)
    with pytest.raises(ValueError, match="float32"):
        fields.point(1, np.zeros(4), np.float32)
