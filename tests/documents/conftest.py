from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pytest

import vsearch

DOCUMENTS, DIMENSIONS, TOPICS = 300, 32, 40


@dataclass(frozen=True)
class Collection:
    """Documents whose vectors scatter around topics, and queries drawn near the vectors of one document each."""

    vectors: np.ndarray
    offsets: np.ndarray
    saliency: np.ndarray
    attributes: pa.Table
    queries: list[np.ndarray]

    def document(self, number: int) -> np.ndarray:
        return self.vectors[self.offsets[number] : self.offsets[number + 1]]

    def matrices(self) -> list[np.ndarray]:
        return [self.document(number) for number in range(len(self.offsets) - 1)]

    def exact(self, query: np.ndarray) -> np.ndarray:
        return np.array([(query @ document.T).max(axis=1).sum() for document in self.matrices()])


def draw(documents: int = DOCUMENTS, dimensions: int = DIMENSIONS, seed: int = 0) -> Collection:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 60, documents)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    topics = rng.standard_normal((TOPICS, dimensions))
    vectors = topics[rng.integers(0, TOPICS, offsets[-1])] + 0.8 * rng.standard_normal((offsets[-1], dimensions))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    attributes = pa.table(
        {
            "year": pa.array(rng.integers(1990, 2030, documents)),
            "kind": pa.array([("report", "letter", None)[i % 3] for i in range(documents)]),
            "price": pa.array(rng.random(documents)),
        }
    )
    queries = []
    for _ in range(12):
        document = int(rng.integers(documents))
        inside = rng.integers(offsets[document], offsets[document + 1], int(rng.integers(1, 20)))
        query = vectors[inside] + 0.1 * rng.standard_normal((len(inside), dimensions)).astype(np.float32)
        queries.append(query.astype(np.float32))
    return Collection(vectors, offsets, rng.random(len(vectors)), attributes, queries)


@pytest.fixture(scope="session")
def collection() -> Collection:
    return draw()


@pytest.fixture(scope="session")
def index(collection: Collection, tmp_path_factory: pytest.TempPathFactory) -> vsearch.Index:
    folder = tmp_path_factory.mktemp("documents") / "index"
    return vsearch.build_documents(
        collection.vectors,
        collection.offsets,
        folder,
        attributes=collection.attributes,
        codebook=64,
        dimensions=256,
        store="float32",
    )
