"""Tune the search settings of an index of documents, which determine how its encodings are searched for candidates."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vsearch.multivector.fde import FixedEncoding
from vsearch.multivector.opening import decode_documents, open_documents
from vsearch.search.samples import FOREIGN_QUERIES, Sample, draw_foreign
from vsearch.search.state.model import SearchSettings, prepare_queries
from vsearch.search.state.snapshot import Snapshot
from vsearch.search.tuning import tune

CANDIDATE_RECALL, CANDIDATES = 0.98, 256
"""Recall, and the number of candidates for which it is reached, that settings are tuned to by default."""

QUERY_VECTORS = 16
SAMPLE_QUERIES = 64


def draw_queries(
    fde: FixedEncoding, vectors: NDArray[np.float32], offsets: NDArray[np.int64], rng: np.random.Generator
) -> NDArray[np.float32]:
    """Draw encoded queries for tuning, each made of some vectors of one document."""
    documents = rng.choice(len(offsets) - 1, min(SAMPLE_QUERIES, len(offsets) - 1), replace=False)
    encoded = []
    for document in documents.tolist():
        vectors_of_document = np.arange(offsets[document], offsets[document + 1])
        chosen = rng.choice(vectors_of_document, min(QUERY_VECTORS, len(vectors_of_document)), replace=False)
        encoded.append(fde.encode_query(np.ascontiguousarray(vectors[chosen])))
    return np.stack(encoded)


def tune_encodings(
    snapshot: Snapshot, queries: NDArray[np.float32], recall: float = CANDIDATE_RECALL, k: int = CANDIDATES
) -> SearchSettings:
    """Find settings that reach a recall for encoded queries float32 (m, D), and for queries from elsewhere in the space."""
    sample = Sample(prepare_queries(snapshot.model, queries), None)
    foreign = draw_foreign(snapshot, FOREIGN_QUERIES, snapshot.manifest.seed)
    return tune(snapshot, sample, recall, min(k, snapshot.live_count), foreign)[0]


def tune_documents(snapshot: Snapshot, recall: float = CANDIDATE_RECALL, k: int = CANDIDATES) -> SearchSettings:
    """Run `tune_encodings` for queries made of the stored codes of an index, which must hold documents."""
    index, rng = open_documents(snapshot), np.random.default_rng(snapshot.manifest.seed)
    live = snapshot.live_rows()
    rows = np.arange(snapshot.rows) if live is None else live
    chosen = np.sort(rng.choice(rows, min(SAMPLE_QUERIES, len(rows)), replace=False))
    queries = []
    for run, _, run_rows in snapshot.locate(chosen):
        queries.append(draw_queries(index.fde, *decode_documents(index, index.shards[run.number], run_rows), rng))
    return tune_encodings(snapshot, np.concatenate(queries), recall, k)
