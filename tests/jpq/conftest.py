from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import vsearch

ROWS, DIMENSIONS, QUERIES = 1200, 32, 900


@dataclass(frozen=True)
class Task:
    """Documents, and queries that are a fixed linear map of their document with noise: something to learn."""

    documents: np.ndarray
    queries: np.ndarray
    positives: np.ndarray


@pytest.fixture(autouse=True, scope="session")
def little_tuning() -> Iterator[None]:
    """A trained index is tuned on few queries, or that would take longer than its training."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vsearch.jpq.publish.TUNING_QUERIES", 64)
        patch.setattr("vsearch.jpq.publish.FOREIGN_QUERIES", 16)
        yield


@pytest.fixture(scope="session")
def task() -> Task:
    rng = np.random.default_rng(0)
    centers = rng.standard_normal((40, DIMENSIONS))
    documents = centers[rng.integers(0, 40, ROWS)] + 0.6 * rng.standard_normal((ROWS, DIMENSIONS))
    positives = rng.permutation(ROWS)[:QUERIES]
    scale = np.exp(0.8 * rng.standard_normal(DIMENSIONS))
    queries = documents[positives] * scale + 0.4 * rng.standard_normal((QUERIES, DIMENSIONS))
    return Task(documents.astype(np.float32), queries.astype(np.float32), positives)


@pytest.fixture(scope="session")
def built(task: Task, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("jpq") / "index"
    vsearch.build(task.documents, folder, quantizer=vsearch.PQ(8, 16), partitions=3, shards=2)
    return folder


@pytest.fixture
def index(built: Path, tmp_path: Path) -> vsearch.Index:
    """A private copy of an index, which may be trained."""
    shutil.copytree(built, tmp_path / "index")
    return vsearch.open(tmp_path / "index")
