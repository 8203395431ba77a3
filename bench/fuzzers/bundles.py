"""Changed indexes with forged bundles, models or manifests: every operation succeeds correctly, or fails with a named error.

Checksums are valid, so readers themselves must validate everything that they pass to kernels, NumPy and Arrow.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from bench.fuzzers.changed import (
    DIMENSIONS,
    DOCUMENTS,
    KINDS,
    TEXT,
    WHERES,
    Beginning,
    beginning_of,
    names_of,
    table_of,
    vectors_of,
)
from bench.fuzzers.forging import forge
from bench.fuzzers.live import small_measures
from bench.fuzzers.live_model import mapped, open_here, remote
from bench.soak_findings import Finding, raw_error
from vsearch.api.index import Index
from vsearch.api.remote_index import RemoteIndex
from vsearch.errors import VsearchError
from vsearch.fanout.calls.invoker import Names
from vsearch.fanout.calls.retries import RetryPolicy
from vsearch.fanout.platforms.in_process import LocalInvoker
from vsearch.fanout.roles import newest, worker
from vsearch.fanout.wire.envelope import Envelope
from vsearch.live.optimizing import fold, optimize
from vsearch.storage import Store, verify


class Functions:
    """Functions in this process, over a store, that record unexpected errors."""

    def __init__(self, store: Store, unforeseen: list[str]) -> None:
        self.names, self._store = Names("f"), store
        self._local = LocalInvoker(self._make)
        self.index = RemoteIndex("test://f", self.names, self._local, Envelope())
        self._unforeseen = unforeseen

    def _make(self, function: str) -> worker.Worker:
        policy = RetryPolicy(first_wait=0.0001, longest_wait=0.0002)
        return worker.Worker.open(
            self.names.role(function), self._store, function, invoker=self._local, names=self.names, policy=policy
        )


@contextmanager
def listening(unforeseen: list[str]) -> Iterator[None]:
    """Record the tracebacks of unexpected errors, and look for the newest snapshot at every search."""

    def log(*_: Any, trace: str = "", **__: Any) -> None:
        if trace:
            unforeseen.append(trace)

    before = worker.log, newest.FRESH
    worker.log, newest.FRESH = log, 0.0  # type: ignore[assignment]
    try:
        yield
    finally:
        worker.log, newest.FRESH = before


def fuzz_bundles(seed: int, tries: int) -> Counter[str]:
    """Run a number of tries; return their outcomes.

    Raises
    ------
    Finding
    """
    fuzzer, counts = Fuzzer(None), Counter[str]()
    for number in range(tries):
        counts[fuzzer.attempt(Random(f"{seed} {number}"))] += 1
    return counts


class Fuzzer:
    """Forges one thing in a changed index in each try, and runs all operations on it."""

    def __init__(self, _: Path | None, kinds: Sequence[str] = (*KINDS, *DOCUMENTS)) -> None:
        self.tried, self.refusals = "", Counter[str]()
        self._kinds = kinds

    def attempt(self, rng: Random) -> str:
        """Run one try; return how it ended: right or refused.

        Raises
        ------
        Finding
        """
        kind, stage = rng.choice(self._kinds), rng.randrange(3)
        with small_measures():
            begun = beginning_of(kind)
            store = begun.copy(rng.choice((mapped, remote))(), stage)
            forged = [forge(rng, store)]
            self.tried = f"{kind} {stage}, {forged[0]}"
            trial = Trial(begun, stage, store, rng)
            try:
                return trial.run(self)
            except Finding as finding:
                raise Finding(finding.kind, f"{trial.doing}: {finding}") from finding
            except BaseException as error:
                problem = raw_error(error)
                raise Finding(problem.kind, f"{trial.doing}: {problem}") from error


class Trial:
    """One forged index."""

    def __init__(self, begun: Beginning, stage: int, store: Store, rng: Random) -> None:
        self._ids = begun.stages[stage][1]
        self.begun, self.store, self.rng, self.doing = begun, store, rng, "opening"
        self.refused: Counter[str] = Counter()
        self.unforeseen: list[str] = []
        self.documents = begun.kind in DOCUMENTS
        self.queries = np.random.default_rng(8).standard_normal((2, begun.dimensions)).astype(np.float32)

    def run(self, fuzzer: Fuzzer) -> str:
        """Open the index, read it, change it, and read it again."""
        self._try("verify", lambda: verify(self.store))
        index = self._try("open", lambda: open_here(self.store))
        with listening(self.unforeseen):
            self._functions(index)
        if index is None:
            fuzzer.refusals += self.refused
            return "refused"
        self._read(index)
        for name in self.rng.sample(sorted(CHANGES), 2):
            change = CHANGES[name]
            fresh = self._try("open again", lambda: open_here(self.store))
            if fresh is not None:
                self._try(name, lambda fresh=fresh, change=change: change(self, fresh))
                self._read(fresh, briefly=True)
        if self._try("follow", index.refresh):
            self._read(index, briefly=True)
        fuzzer.refusals += self.refused
        return "refused" if self.refused else "right"

    def _try(self, doing: str, act: Callable[[], Any]) -> Any:
        """The result of an operation; None if it is refused."""
        self.doing = doing
        try:
            return act()
        except VsearchError as error:
            self.refused[f"{doing}: {type(error).__name__}"] += 1
            if "Traceback" in str(error):
                raise
            return None

    def some(self, count: int = 4) -> Any:
        """Ids of some rows."""
        chosen = self.rng.sample(self._ids, count)
        return chosen if self.begun.kind in TEXT else np.array(chosen, np.int64)

    def _read(self, index: Index, *, briefly: bool = False) -> None:
        self._try("info", index.info)
        hits = self._try("search", lambda: index.search(self.queries, k=200, exact=True))
        if hits is not None:
            self._count(index, hits)
        where, exact, names = self.rng.choice(WHERES), self.rng.random() < 0.3, index.snapshot.schema.names
        reads: dict[str, Callable[[], Any]] = {
            f"search {where} {exact}": lambda: index.search(self.queries, k=200, where=where, exact=exact),
            "columns": lambda: index.search(self.queries, k=200, columns=names).to_arrow().validate(full=True),
            "page": lambda: index.search(self.queries, k=7, offset=9),
            "min_score": lambda: index.search(self.queries, k=50, min_score=1.0),
            "ids": lambda: index.search(self.queries, k=50, where={"id": {"$in": list(self.some())}}),
            "get": lambda: index.get(self.some()),
            "changes": lambda: index.changes(self.rng.randint(1, index.snapshot.manifest.snapshot)).to_dict(),
            "recall": lambda: index.recall(k=5, sample=9),
        }
        if self.documents:
            query = np.random.default_rng(3).standard_normal((4, DIMENSIONS)).astype(np.float32)
            reads |= {
                f"documents {where}": lambda: index.search_documents(query, k=120, where=where, columns=["name"]),
                "all documents": lambda: index.search_documents(query, k=9, candidates="all", matches=True),
                "exact documents": lambda: index.search_documents(query, k=9, exact=True),
            }
        chosen = self.rng.sample(sorted(reads), 2 if briefly else 7)
        for name in chosen:
            self._try(name, reads[name])

    def _count(self, index: Index, hits: Any) -> None:
        """An exact search without a filter finds all rows, best first."""
        none = None if hits.ids.dtype == object else -1
        hit_count = (hits.ids[0] != none).sum()
        if hit_count > min(200, len(index)) or (hit_count < min(200, len(index)) and _finite(index)):
            raise Finding("wrong", f"{hit_count} rows found, {len(index)} counted")
        scores = hits.scores[0, :hit_count]
        rising = index.snapshot.manifest.metric == "l2"
        sorted_ = (np.diff(scores) >= 0).all() if rising else (np.diff(scores) <= 0).all()
        if not np.isnan(scores).any() and not sorted_:
            raise Finding("wrong", f"scores are not sorted: {scores[:20]}")

    def _functions(self, index: Index | None) -> None:
        functions = Functions(self.store, self.unforeseen).index
        where = self.rng.choice((None, *WHERES))
        for mode in self.rng.sample(("alone", "flat", "tree"), 2):
            options: dict[str, Any] = {"k": 200, "where": where, "exact": self.rng.random() < 0.5}
            columns = ["name"] if self.rng.random() < 0.5 else []
            name = f"functions {mode} {options} {columns}"
            remote = self._try(
                name, lambda m=mode, o=options, c=columns: functions.search(self.queries, mode=m, columns=c, **o)
            )
            self._foreseen()
            if remote is not None and index is not None:
                local = self._try(f"{name} here", lambda o=options: index.search(self.queries, **o))
                self.doing = name
                if local is not None:
                    self._same(local, remote)
        self._try("functions get", lambda: functions.get(self.some()))
        self._try("functions info", functions.info)
        self._try("functions ids", lambda: functions.search(self.queries, where={"id": {"$in": list(self.some())}}))
        self._foreseen()

    def _foreseen(self) -> None:
        if self.unforeseen:
            raise Finding("raw", self.unforeseen[0][-1500:])

    def _same(self, local: Any, remote: Any) -> None:
        if local.ids.shape != remote.ids.shape or not np.array_equal(local.scores, remote.scores, equal_nan=True):
            raise Finding(
                "wrong",
                f"functions answer otherwise: {remote.ids!r} {remote.scores!r}, here {local.ids!r} {local.scores!r}"[
                    :1500
                ],
            )
        ties = (np.diff(local.scores, axis=1) == 0).any()
        if not ties and local.ids.tolist() != remote.ids.tolist():
            raise Finding("wrong", f"functions find others: {remote.ids!r}, here {local.ids!r}"[:1500])

    def new(self, count: int) -> tuple[Any, Any]:
        return vectors_of(self.begun.kind, count, self.rng.randrange(1000)), table_of(0, count)


def _finite(index: Index) -> bool:
    """Whether every row has a score."""
    kinds = {
        "factors": np.float16,
        "first_factors": np.float16,
        "rerank_scales": np.float16,
        "rerank_halves": np.float16,
    }
    for run in index.snapshot.shards:
        for name, array in vars(run.arrays).items():
            floats = array.view(kinds.get(name, array.dtype))
            if floats.dtype.kind == "f" and not np.isfinite(floats).all():
                return False
    return True


def _append(trial: Trial, index: Index) -> None:
    first = trial.rng.randrange(1000, 9000)
    vectors, table = trial.new(4)
    index.append(vectors, table, names_of(trial.begun.kind, range(first, first + 4)))


def _upsert(trial: Trial, index: Index) -> None:
    vectors, table = trial.new(4)
    index.upsert(vectors, table, trial.some())


def _optimize(_: Trial, index: Index) -> None:
    optimize(index.snapshot, force=True)
    index.refresh()


def _fold(_: Trial, index: Index) -> None:
    fold(index.snapshot, most=2)
    index.refresh()


CHANGES: Mapping[str, Callable[[Trial, Index], Any]] = {
    "append": _append,
    "upsert": _upsert,
    "delete": lambda trial, index: index.delete(trial.some()),
    "delete where": lambda trial, index: index.delete(where=trial.rng.choice(WHERES)),
    "update": lambda trial, index: index.update({"price": 0.5}, ids=trial.some()),
    "update where": lambda trial, index: index.update({"name": "x"}, where=trial.rng.choice(WHERES)),
    "add_column": lambda trial, index: index.add_column(f"new{trial.rng.randrange(99)}", [3, 3, 4, 4], trial.some()),
    "optimize": _optimize,
    "fold": _fold,
    "tune": lambda _, index: index.tune(0.9, k=3, sample=20),
    "restore": lambda trial, index: index.restore(snapshot=trial.rng.randint(1, index.snapshot.manifest.snapshot)),
}
