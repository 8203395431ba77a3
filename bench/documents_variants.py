"""Variants of an index of multi-vector documents: each is built, and its quality, size and time measured."""

from __future__ import annotations

import itertools
import json
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import vsearch
from bench.contest import console
from vsearch.multivector.queries import check_request
from vsearch.multivector.reduction import reduce_documents
from vsearch.multivector.search import search_documents
from vsearch.multivector.sources import open_documents
from vsearch.search.engine.stats import SearchStats
from vsearch.search.state.fetching import take_ids

K = 10
REPETITIONS = 5

Ranking = NDArray[np.int64]
Scorer = Callable[[NDArray[np.float32]], NDArray[np.float32]]


@dataclass(frozen=True, eq=False)
class Tokens:
    """The collection in memory."""

    name: str
    vectors: NDArray[np.float16]
    offsets: NDArray[np.int64]
    saliency: NDArray[np.float32]
    queries: list[NDArray[np.float32]]
    relevant: NDArray[np.int64]

    @property
    def documents(self) -> int:
        return len(self.offsets) - 1

    @property
    def float16_bytes(self) -> float:
        """Bytes per document."""
        return self.vectors.nbytes / self.documents

    @classmethod
    def load(cls, folder: Path) -> Tokens:
        vectors, edges = np.load(folder / "query_vectors.npy"), np.load(folder / "query_offsets.npy")
        queries = [vectors[a:b].astype(np.float32) for a, b in itertools.pairwise(edges)]
        doc_vectors, offsets, saliency = (
            np.load(folder / f"doc_{name}.npy") for name in ("vectors", "offsets", "saliency")
        )
        relevant = np.load(folder / "relevant.npy").astype(np.int64)
        return cls(folder.name, doc_vectors, offsets, saliency, queries, relevant)


@dataclass(frozen=True, eq=False)
class Row:
    """One row of the table.

    Attributes
    ----------
    gains : float64 (queries,)
        nDCG@10 of each query.
    overlap : float
        Fraction of the exact ten best among the ten best.
    bytes : float
        Per document, without the model.
    exhaustive, searched : float or None
        Milliseconds per query over all documents, and per ordinary search.
    exact : float or None
        Milliseconds of exact MaxSim on float32, interleaved with these.
    searched_ndcg, contained : float or None
        Quality of that search, and the fraction of the exact ten best among the reranked documents.
    """

    name: str
    group: str
    gains: NDArray[np.float64]
    recall: float
    overlap: float
    bytes: float
    exhaustive: float | None = None
    searched: float | None = None
    searched_ndcg: float | None = None
    contained: float | None = None
    exact: float | None = None
    parts: dict[str, float] = field(default_factory=dict)

    @property
    def ndcg(self) -> float:
        return float(self.gains.mean())


@dataclass(frozen=True)
class Stage:
    """Quality and time (milliseconds per query) of a search with this many candidates."""

    name: str
    candidates: int
    contained: float
    ndcg: float
    milliseconds: float


def gains(rankings: Ranking, relevant: NDArray[np.int64]) -> NDArray[np.float64]:
    """nDCG@10 of each query, which has one relevant document."""
    hit = rankings[:, :K] == relevant[:, None]
    return np.where(hit, 1 / np.log2(np.arange(K) + 2), 0).sum(axis=1)


def recall(rankings: Ranking, relevant: NDArray[np.int64]) -> float:
    """Fraction of queries whose document is among the ten best."""
    return float((rankings[:, :K] == relevant[:, None]).any(axis=1).mean())


def overlap(rankings: Sequence[Sequence[int]] | Ranking, exact: Ranking) -> float:
    """Fraction of the exact ten best among the ranked documents."""
    pairs = zip(rankings, exact[:, :K].tolist(), strict=True)
    return float(np.mean([len(set(map(int, a)) & set(b)) / K for a, b in pairs]))


def milliseconds(queries: Sequence[Any], *runs: Callable[[Any], object]) -> list[float]:
    """Processor time of all threads: for the median query, each the best of some repetitions.

    Several runs are interleaved, so that the drift of a shared machine affects all alike.
    """
    best = np.full((len(runs), len(queries)), np.inf)
    for run in runs:
        for query in queries[:10]:
            run(query)
    for _ in range(REPETITIONS):
        for place, run in enumerate(runs):
            for number, query in enumerate(queries):
                start = time.process_time()
                run(query)
                best[place, number] = min(best[place, number], time.process_time() - start)
    return [float(value) * 1e3 for value in np.median(best, axis=1)]


def exact_scorer(vectors: NDArray[np.floating[Any]], offsets: NDArray[np.int64]) -> Scorer:
    """MaxSim by one matrix product; float16 vectors are converted for every query."""

    def score(query: NDArray[np.float32]) -> NDArray[np.float32]:
        similar = query @ vectors.astype(np.float32, copy=False).T
        return np.asarray(np.maximum.reduceat(similar, offsets[:-1], axis=1).sum(axis=0))

    return score


def rank(tokens: Tokens, score: Scorer) -> Ranking:
    return np.stack([np.argsort(-score(query), kind="stable")[:K] for query in tokens.queries])


class Bench:
    """Collects the rows of the table."""

    def __init__(self, tokens: Tokens, scratch: Path) -> None:
        self.tokens, self.scratch = tokens, scratch
        self.rows: list[Row] = []
        self.stages: list[Stage] = []
        wide = exact_scorer(tokens.vectors.astype(np.float32), tokens.offsets)
        self.exact, self.wide = rank(tokens, wide), wide
        narrow = exact_scorer(tokens.vectors, tokens.offsets)
        self.by_floats("exact MaxSim, float16", "exact", wide, tokens.float16_bytes, timed=narrow)
        self.by_floats("exact MaxSim, float32 in memory", "exact", wide, 2 * tokens.float16_bytes, timed=wide)

    def add(self, row: Row) -> None:
        self.rows.append(row)
        times = f"{row.exhaustive or 0:8.2f} {row.searched or 0:8.2f} ms  {row.contained or 0:.3f}"
        console.print(f"{row.name:44s} {row.ndcg:.4f} {row.overlap:.3f} {row.bytes:9.0f} {times}")

    def by_floats(self, name: str, group: str, score: Scorer, size: float, timed: Scorer | None = None) -> None:
        """Uncompressed vectors."""
        tokens, ranking = self.tokens, rank(self.tokens, score)
        spent = None if timed is None else milliseconds(tokens.queries, timed)[0]
        quality = gains(ranking, tokens.relevant), recall(ranking, tokens.relevant), overlap(ranking, self.exact)
        self.add(Row(name, group, *quality, size, spent))

    def pooled(self) -> None:
        """One vector per document: the direction of the mean."""
        tokens = self.tokens
        flat = np.add.reduceat(tokens.vectors.astype(np.float32), tokens.offsets[:-1], axis=0)
        flat /= np.linalg.norm(flat, axis=1, keepdims=True)

        def score(query: NDArray[np.float32]) -> NDArray[np.float32]:
            return np.asarray(flat @ query.sum(axis=0))

        self.by_floats("one pooled vector, float16", "one vector, float16", score, 2.0 * flat.shape[1], timed=score)

    def reduced(self, name: str, group: str, saliency: NDArray[Any] | None, keep: float, pool: float | None) -> None:
        """Fewer vectors, float16."""
        with tempfile.TemporaryDirectory(dir=self.scratch) as folder:
            stored = open_documents(self.tokens.vectors, self.tokens.offsets, folder)
            documents, _ = reduce_documents(stored, saliency, keep, pool, Path(folder), lambda _done, _all: None)
            vectors, offsets = documents.read(0, len(documents))
            size = 2.0 * vectors.size / len(documents)
            self.by_floats(name, group, exact_scorer(vectors, offsets), size)

    def index(self, name: str, group: str, *, beside_exact: bool = False, **options: Any) -> None:
        """One variant of the index: all documents ranked by its codes, then its own search; optionally interleaved with exact MaxSim."""
        tokens = self.tokens
        with tempfile.TemporaryDirectory(dir=self.scratch) as folder:
            index = vsearch.build_documents(tokens.vectors, tokens.offsets, folder, **options)
            ranking = index.search_documents(tokens.queries, k=K, candidates="all").ids
            top_ids = index.search_documents(tokens.queries, k=K).ids
            runs = [
                lambda query: index.search_documents(query, k=K, candidates="all"),
                lambda query: index.search_documents(query, k=K),
                *([self.wide] if beside_exact else []),
            ]
            exhaustive, searched, *exact = milliseconds(tokens.queries, *runs)
            info = index.info()["documents"]
            quality = gains(ranking, tokens.relevant), recall(ranking, tokens.relevant), overlap(ranking, self.exact)
            self.add(
                Row(
                    name,
                    group,
                    *quality,
                    info["bytes_per_document"],
                    exhaustive,
                    searched,
                    float(gains(top_ids, tokens.relevant).mean()),
                    self._contained(index, None),
                    exact[0] if exact else None,
                    info["bytes_per_document_by_part"] | {"model, of all documents": float(info["model_bytes"])},
                )
            )

    def candidates(self, name: str, numbers: Sequence[int], **options: Any) -> None:
        """How many of the exact ten best are among the candidates, and what a search with this many takes."""
        tokens = self.tokens
        with tempfile.TemporaryDirectory(dir=self.scratch) as folder:
            index = vsearch.build_documents(tokens.vectors, tokens.offsets, folder, **options)
            for number in numbers:

                def ask(query: Any, number: int = number, index: vsearch.Index = index) -> Any:
                    return index.search_documents(query, k=K, candidates=number)

                value = float(gains(ask(tokens.queries).ids, tokens.relevant).mean())
                spent = milliseconds(tokens.queries, ask)[0]
                self.stages.append(Stage(name, number, self._contained(index, number), value, spent))
                console.print(str(self.stages[-1]))

    def _contained(self, index: vsearch.Index, candidates: int | None) -> float:
        """Fraction of the exact ten best among the reranked candidates."""
        part = index._document_part()  # noqa: SLF001  reranked candidates are not part of the results
        request = check_request(part.entry, K, candidates, exact=False, deadline=None)
        answer = search_documents(index.snapshot, part, self.tokens.queries, request, None, SearchStats())
        return overlap([take_ids(index.snapshot, rows).tolist() for rows in answer.candidates], self.exact)

    def fast_plaid(self, folder: Path, python: str) -> str | None:
        """Run the peer in an interpreter that has it; return None, or why it is absent."""
        with tempfile.TemporaryDirectory(dir=self.scratch) as out:
            command = [
                python,
                str(Path(__file__).with_name("plaid.py")),
                str(folder),
                f"{out}/index",
                str(min(REPETITIONS, 3)),
            ]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                last = (done.stderr.strip().splitlines() or ["killed by a signal"])[-1]
                return f"status {done.returncode}, {last}"
            reported = json.loads(done.stdout.strip().splitlines()[-1])
            # not counting the original vectors, which it keeps for small collections in order to retrain
            files = [path for path in Path(out).rglob("*") if path.is_file() and path.name != "embeddings.npy"]
            model = sum(path.stat().st_size for path in files if path.name == "centroids.npy")
            size = (sum(path.stat().st_size for path in files) - model) / self.tokens.documents
            relevant = self.tokens.relevant
            for name, one in reported["settings"].items():
                ids = np.array([(ids + [-1] * K)[:K] for ids in one["ids"]])
                quality = gains(ids, relevant), recall(ids, relevant), overlap(ids, self.exact)
                label = f"fast-plaid {reported['version']}, 2 bit, {name}"
                spent = one["milliseconds"]
                self.add(Row(label, "fast-plaid", *quality, size, None, spent, float(quality[0].mean())))
        return None
