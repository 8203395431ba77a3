"""Training of the PQ centroids and a linear adapter of the queries, without torch."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, Protocol, Self, TypeVar
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from vsearch.errors import InputError
from vsearch.jpq.checkpoint import fingerprint
from vsearch.jpq.float_adapter import ADAPTER_RATE, sharpness_of, train_float_adapter
from vsearch.jpq.loss import Lists
from vsearch.jpq.mining import list_batch, list_candidates, search_live
from vsearch.jpq.optimizer import AdamW
from vsearch.jpq.options import TrainOptions
from vsearch.jpq.pairs import Pairs, read_pairs
from vsearch.jpq.publish import publish
from vsearch.jpq.quality import Quality, measure
from vsearch.jpq.reassign import Source, delete_codes, open_documents, reassign_codes
from vsearch.jpq.refitting import refit_codes
from vsearch.jpq.scoring import Documents, Parameters, batch_loss, load_documents, rotate
from vsearch.search.state.snapshot import Snapshot
from vsearch.storage import discarded_on_failure, probe
from vsearch.storage.stores.scratch import scratch_folder
from vsearch.training.checkpoint import load_checkpoint, save_checkpoint
from vsearch.training.rates import schedule

CENTROID_RATE = 4e-3  # learning rate relative to the typical size of an entry
HELD_OUT, MOST_HELD_OUT = 0.1, 1000  # fraction and maximum number of queries held out for validation by default
MEASURED = 100  # length of the rankings that validation measures

Progress = Callable[[str, int, int], None]


class Searchable(Protocol):
    """The protocol of a trainable index, such as `vsearch.Index`."""

    def __init__(self, snapshot: Snapshot) -> None: ...

    @property
    def snapshot(self) -> Snapshot: ...


IndexT = TypeVar("IndexT", bound=Searchable)


@dataclass(eq=False)
class State:
    """The state of a training run at the end of an epoch.

    Attributes
    ----------
    epoch, step : int
        Completed so far.
    now, best : Parameters
    best_epoch : int
    sharpness : float
        Multiplier of the scores before the loss.
    optimizers : AdamW of the centroids and of the adapter
    history : list of dict
        Validation measures before training and after each epoch.
    """

    epoch: int
    step: int
    now: Parameters
    best: Parameters
    best_epoch: int
    sharpness: float
    optimizers: tuple[AdamW, AdamW]
    history: list[dict[str, float]]


def train(
    index: IndexT,
    queries: Any,
    positives: Any,
    *,
    validation: tuple[Any, Any] | None = None,
    loss: Literal["lambda", "pairwise", "softmax"] = "lambda",
    negatives: Literal["live", "static", "batch"] = "live",
    epochs: int = 4,
    adapter: Literal["linear", "none"] = "linear",
    centroids: bool = True,
    refit: bool = True,
    reassign: bool = True,
    documents: Any = None,
    document_ids: Any = None,
    batch: int = 256,
    depth: int = 100,
    learning_rate: float = 1.0,
    patience: int = 2,
    checkpoint: str | os.PathLike[str] | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> IndexT:
    """Train an index with PQ codes so that relevant rows rank first, and commit the result as a new snapshot.

    The PQ centroids and a linear adapter of the queries are trained. Without `documents`, codes are frozen. A search does the
    same work per row and per query as before, so its cost does not change.

    Parameters
    ----------
    index : Index
        Built with ``quantizer="pq"`` and no rerank codes.
    queries : array (m, d)
        Training queries.
    positives : array (m,) of ids, m sequences of ids, or a table (also a Parquet path) with columns query and id
        The relevant rows of each query.
    validation : (queries, positives), optional
        For selecting the best epoch and for early stopping; a tenth of the queries, at most 1,000, by default.
    loss : {"lambda", "pairwise", "softmax"}
        Pairs weighted by the change of the reciprocal rank if they swap; all pairs equal; cross-entropy.
    negatives : {"live", "static", "batch"}
        Results of searching the index in its current state and in its initial state; the other positives of the batch.
    epochs : int
        Maximum number of epochs.
    adapter : {"linear", "none"}
    centroids : bool
        Whether to train the centroids.
    refit : bool
        Whether to first train the adapter on the vectors themselves, and encode these with new centroids, with the most precision
        in the directions that matter to the queries; kept only if that ranks better. Then only the centroids are trained further.
        Requires `documents`, `adapter`, and the metric cosine or ip.
    reassign : bool
        Whether to encode the vectors again with the trained centroids; kept only if that ranks better. Requires `documents`.
    documents : array or path, optional
        The vectors that the index was built from, as in `vsearch.build`.
    document_ids : array, optional
        Their ids, if the index was built with ids.
    batch, depth : int
        Queries per step, and rows mined for each of them.
    learning_rate : float
        Multiple of the default.
    patience : int
        Epochs without improvement after which training stops.
    checkpoint : path, optional
        File to write after each epoch; if it exists, training resumes from it.
    seed : int
        The same input, options and seed give the same result on the same machine.
    progress : callable, optional
        Called with ``(stage, done, total)``; the stage names the epoch and the current nDCG@10.

    Returns
    -------
    Index
        Opened at the new snapshot. `info()["training"]` describes the training run.

    Raises
    ------
    InputError
        Pairs, options or the index are invalid; nothing was changed.
    ConflictError
        Another snapshot was committed in the meantime; nothing was changed.
    """
    options = TrainOptions(loss, negatives, epochs, adapter, centroids, batch, depth, learning_rate, patience, seed)
    for name, value in (("refit", refit), ("reassign", reassign)):
        if not isinstance(value, (bool, np.bool_)):
            raise InputError(f"{name} must be True or False, got {value!r}")
    session = Session.open(index.snapshot, queries, positives, validation, options, progress)
    store, writer = index.snapshot.store, uuid4().hex
    probe(store)
    with scratch_folder() as scratch:
        source = None
        if documents is not None and (refit or reassign):
            source = open_documents(session.documents, documents, document_ids, scratch)
        with discarded_on_failure(store, writer):
            fitted = session if source is None or not refit else session.refit(source, writer)
            state = fitted.run(checkpoint)
            facts = fitted.facts_of(state.best_epoch, state.history)
            facts |= {"refitted": fitted is not session, "reassigned": False}
            trained = fitted.documents.live(state.best)
            if source is not None and reassign:
                trained, facts["reassigned"] = reassign_codes(
                    fitted.documents, state.best, source, session.validation, writer
                )
    return type(index)(publish(trained, session.documents.snapshot, facts, session.training.queries, writer))


def export_adapter(index: Searchable) -> NDArray[np.float32]:
    """Return the linear adapter of an index's queries, float32 (d, d); the identity if none was trained.

    The index applies it by itself. Elsewhere, compute ``adapter @ query``, for cosine after normalization.
    """
    model, adapter = index.snapshot.model, start_parameters(index.snapshot).adapter
    rotation = model.quantizer.rotation
    return adapter.copy() if model.inverse_rotation is rotation else rotation.T @ (rotation @ adapter)


def start_parameters(snapshot: Snapshot) -> Parameters:
    """Return the current centroids (empty if the codes are not PQ codes) and adapter of an index."""
    model = snapshot.model
    identity = np.eye(model.dimensions, dtype=np.float32)
    centroids = getattr(model.quantizer, "centroids", np.empty((0, 0, 0), np.float32))
    return Parameters(centroids, identity if model.adapter is None else model.adapter)


def split_validation(pairs: Pairs, seed: int) -> tuple[Pairs, Pairs]:
    """Split queries into training and validation at random, determined by the seed."""
    order = np.random.default_rng([seed, 1]).permutation(len(pairs))
    count = max(1, min(round(HELD_OUT * len(pairs)), MOST_HELD_OUT))
    return pairs.take(np.sort(order[count:])), pairs.take(np.sort(order[:count]))


@dataclass(eq=False)
class Session:
    """One training run: its data, options and progress callback.

    Attributes
    ----------
    before : dict of str to float
        Validation measures before a refit, after which the adapter is fixed; empty without one.
    """

    documents: Documents
    training: Pairs
    validation: Pairs
    options: TrainOptions
    report: Progress
    before: dict[str, float] = field(default_factory=dict)

    @classmethod
    def open(
        cls,
        snapshot: Snapshot,
        queries: Any,
        positives: Any,
        validation: tuple[Any, Any] | None,
        options: TrainOptions,
        progress: Progress | None,
    ) -> Self:
        """Check all arguments, and read the codes of the index and the pairs."""
        documents = load_documents(snapshot)
        training = read_pairs(snapshot, queries, positives)
        if validation is None:
            training, validation_pairs = split_validation(training, options.seed)
        else:
            try:
                held_queries, held_positives = validation
            except (TypeError, ValueError):
                raise InputError("validation must be a pair of queries and their positives") from None
            validation_pairs = read_pairs(snapshot, held_queries, held_positives, "validation")
        return cls(documents, training, validation_pairs, options, progress or (lambda *_: None))

    def refit(self, source: Source, writer: str) -> Session:
        """Return a session that starts from an adapter trained on the vectors, and new codes; this one if that ranks worse."""
        documents, metric = self.documents, self.documents.snapshot.model.metric
        if metric == "l2" or self.options.adapter == "none":
            return self
        adapter = train_float_adapter(source, self.training, self.validation, self.options, self.report)
        fitted = refit_codes(documents, adapter, source, self.training.queries, writer)
        better = replace(self, documents=fitted, before=self.measure(documents.start()).means())
        if better.measure(fitted.start()).means()["ndcg@10"] > better.before["ndcg@10"]:
            return better
        delete_codes(documents.snapshot.store, fitted.snapshot.manifest, documents.snapshot.manifest)
        return self

    def run(self, checkpoint: str | os.PathLike[str] | None) -> State:
        """Train until the epochs are done or validation no longer improves."""
        described = asdict(self.options) | ({"before": self.before} if self.before else {})
        mark = fingerprint(self.documents, self.training, self.validation, described)
        checkpointed = None if checkpoint is None else load_checkpoint(checkpoint, mark)
        state = self.begin() if checkpointed is None else self.restore(checkpointed)
        static = self.mine_all() if self.options.negatives == "static" and not self.stops(state) else None
        while not self.stops(state):
            self.epoch(state, static)
            if checkpoint is not None:
                save_checkpoint(checkpoint, mark, state_to_plain(state))
        return state

    def begin(self) -> State:
        start = self.documents.start()
        quality = self.measure(start).means()
        return State(0, 0, start, start, 0, self.sharpness(start), self.optimizers(start), [quality])

    def optimizers(self, start: Parameters) -> tuple[AdamW, AdamW]:
        rate = self.options.learning_rate
        size = float(np.sqrt(np.mean(start.centroids.astype(np.float64) ** 2)))
        return (
            AdamW.of(start.centroids, rate * CENTROID_RATE * size),
            AdamW.of(start.adapter, rate * ADAPTER_RATE / len(start.adapter) ** 0.5),
        )

    def restore(self, plain: dict[str, Any]) -> State:
        start = self.documents.start()
        moments = []
        for optimizer, name in zip(self.optimizers(start), ("centroids", "adapter"), strict=True):
            optimizer.first, optimizer.second = plain[f"first.{name}"], plain[f"second.{name}"]
            moments.append(optimizer)
        return State(
            int(plain["epoch"]),
            int(plain["step"]),
            Parameters(plain["now.centroids"], plain["now.adapter"]),
            Parameters(plain["best.centroids"], plain["best.adapter"]),
            int(plain["best_epoch"]),
            float(plain["sharpness"]),
            (moments[0], moments[1]),
            list(plain["history"]),
        )

    def stops(self, state: State) -> bool:
        if self.before and not self.options.centroids:
            return True  # nothing is left to train
        return state.epoch >= self.options.epochs or state.epoch - state.best_epoch >= self.options.patience

    def sharpness(self, start: Parameters) -> float:
        """Return the multiplier that scales the spread of the scores within lists to `SPREAD`."""
        sample = self.training.take(np.arange(min(512, len(self.training))))
        lists = list_candidates(search_live(self.documents, start, sample.queries, self.options.depth), sample)
        rotated = rotate(self.documents, start, sample.queries)
        scores = self.documents.scores(start, rotated, np.maximum(lists.rows, 0))
        return sharpness_of(scores, lists)

    def mine_all(self) -> NDArray[np.int64]:
        """Search the untrained index for every training query: int64 (m, depth)."""
        return search_live(self.documents, self.documents.start(), self.training.queries, self.options.depth)

    def lists(
        self, parameters: Parameters, pairs: Pairs, chosen: NDArray[np.int64], static: NDArray[np.int64] | None
    ) -> Lists:
        """Return the candidates of a batch."""
        if self.options.negatives == "batch":
            return list_batch(self.documents, parameters, pairs)
        if static is not None:
            return list_candidates(static[chosen], pairs)
        return list_candidates(search_live(self.documents, parameters, pairs.queries, self.options.depth), pairs)

    def epoch(self, state: State, static: NDArray[np.int64] | None) -> None:
        """Run one pass over the training queries, then validate."""
        options, count = self.options, len(self.training)
        order = np.random.default_rng([options.seed, 2, state.epoch]).permutation(count)
        batches = max(1, count // options.batch)
        stage = f"epoch {state.epoch + 1} of {options.epochs}, nDCG@10 {state.history[-1]['ndcg@10']:.4f}"
        for number, chosen in enumerate(np.array_split(order, batches)):
            pairs = self.training.take(chosen)
            lists = self.lists(state.now, pairs, chosen, static)
            _, gradients = batch_loss(
                self.documents, state.now, pairs.queries, lists, loss=options.loss, sharpness=state.sharpness
            )
            state.step += 1
            share = schedule(state.step, options.epochs * batches)
            moved = state.now
            of_centroids, of_adapter = state.optimizers
            if options.centroids:
                moved = replace(
                    moved, centroids=of_centroids.update(moved.centroids, gradients.centroids, state.step, share)
                )
            if options.adapter == "linear" and not self.before:
                moved = replace(moved, adapter=of_adapter.update(moved.adapter, gradients.adapter, state.step, share))
            state.now = moved
            self.report(stage, number + 1, batches)
        state.epoch += 1
        state.history.append(self.measure(state.now).means())
        best = max(range(len(state.history)), key=lambda e: state.history[e]["ndcg@10"])
        if best == state.epoch:
            state.best, state.best_epoch = state.now, state.epoch

    def measure(self, parameters: Parameters) -> Quality:
        """Measure the quality of the live index on the validation queries."""
        results = search_live(self.documents, parameters, self.validation.queries, MEASURED)
        return measure(results, self.validation.padded())

    def facts_of(self, best_epoch: int, history: list[dict[str, float]]) -> dict[str, Any]:
        """Return the record of the training run for the manifest."""
        return {
            "from_snapshot": self.documents.snapshot.manifest.snapshot,
            "queries": len(self.training),
            "pairs": len(self.training.rows),
            "validation_queries": len(self.validation),
            "options": asdict(self.options),
            "best_epoch": best_epoch,
            "history": [_rounded(measures) for measures in [*filter(None, [self.before]), *history]],
        }


def _rounded(measures: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 6) for name, value in measures.items()}


def state_to_plain(state: State) -> dict[str, Any]:
    """Convert a state to arrays, numbers and lists."""
    plain: dict[str, Any] = {
        "epoch": state.epoch,
        "step": state.step,
        "best_epoch": state.best_epoch,
        "sharpness": state.sharpness,
        "history": state.history,
    }
    for name, optimizer in zip(("centroids", "adapter"), state.optimizers, strict=True):
        plain[f"now.{name}"], plain[f"best.{name}"] = getattr(state.now, name), getattr(state.best, name)
        plain[f"first.{name}"], plain[f"second.{name}"] = optimizer.first, optimizer.second
    return plain
