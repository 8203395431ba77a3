"""Make one ranking of the candidates of vectors and of a leg, each of which has both scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vsearch.checks import check_whole, is_number
from vsearch.errors import InputError
from vsearch.kernels.legs.fields import MOST
from vsearch.legs.workspace import fusion_workspace
from vsearch.search.fusion import CONSTANT

DEPTH = 100
"""Candidates of each part by default, if that is at least twice k; the same for every offset, so that pages do not overlap."""

DEEPEST = 10_000
"""Maximum number of candidates of each part."""

LEAST_WEIGHT, MOST_WEIGHT = 1e-6, 1e6

Scores = NDArray[np.float64]
Fusion = str | Callable[[Scores, Scores], Any]


@dataclass(frozen=True)
class FusionOptions:
    """How two rankings are fused.

    Attributes
    ----------
    fusion : {"rrf", "weighted"} or callable
    weights : tuple of float
        Weights of vectors and of the leg.
    depth : int
        Number of candidates of each ranking.
    """

    fusion: Fusion
    weights: tuple[float, float]
    depth: int

    @classmethod
    def of(cls, fusion: Any, weights: Any, depth: Any, k: int, offset: int) -> FusionOptions:
        """Check the arguments of a search for `k` hits after the first `offset`.

        Raises
        ------
        InputError
            An option is invalid, or the page ends below the depth to which rankings are fused.
        """
        if fusion is None and weights is None and depth is None and offset + k <= DEPTH:
            return _default(max(DEPTH, 2 * k))
        fusion = "rrf" if fusion is None else fusion
        if not callable(fusion) and not (isinstance(fusion, str) and fusion in {"rrf", "weighted"}):
            raise InputError(f"fusion must be 'rrf', 'weighted' or a function, got {fusion!r:.100}")
        if callable(fusion) and weights is not None:
            raise InputError(
                f"weights must be None if fusion is a function, which weighs scores itself, got {weights!r:.100}"
            )
        pair = (1.0, 1.0) if weights is None else weights
        if not (
            isinstance(pair, Sequence)
            and len(pair) == 2
            and all(is_number(weight) and 0 <= weight <= MOST_WEIGHT for weight in pair)
            and max(pair) >= LEAST_WEIGHT
        ):
            raise InputError(
                f"weights must be two numbers from 0 to {MOST_WEIGHT:g}, for vectors and for the other leg, one of them at least "
                f"{LEAST_WEIGHT:g}, got {pair!r:.100}"
            )
        last = offset + k
        if last > DEEPEST:
            raise InputError(f"offset + k must be at most {DEEPEST} if rankings are fused, got {last}")
        if depth is None:
            depth = min(max(DEPTH, 2 * k), DEEPEST)
            if last > depth:
                raise InputError(
                    f"offset + k must be at most {depth} unless depth is given, got {last}: pass the same depth for every page, "
                    f"from {last} to {DEEPEST}"
                )
        check_whole("depth", depth, DEEPEST)
        if depth < last:
            raise InputError(f"depth must be at least offset + k, {last}, got {depth}")
        return cls(fusion, (float(pair[0]), float(pair[1])), int(depth))


@lru_cache
def _default(depth: int) -> FusionOptions:
    return FusionOptions("rrf", (1.0, 1.0), depth)


@dataclass(frozen=True, eq=False)
class Candidates:
    """Rows found by at least one of the two parts.

    Attributes
    ----------
    rows : int64 (n,)
        Ascending.
    by_vector, by_leg : float64 (n,)
        Scores as users see them; 0 for a row that the leg does not match.
    """

    rows: NDArray[np.int64]
    by_vector: Scores
    by_leg: Scores


@dataclass(frozen=True, eq=False)
class Fused:
    """The best candidates: their positions, best first, fused scores, and ranks by vectors and by the leg from 1; 0 for none."""

    best: NDArray[np.int64]
    scores: Scores
    vector_ranks: NDArray[np.int64]
    leg_ranks: NDArray[np.int64]


def fuse(candidates: Candidates, options: FusionOptions, k: int, query: int, *, squared: bool) -> Fused:
    """Return the k best candidates of a query, of equal scores the lower row.

    Parameters
    ----------
    query : int
        Number of the query, for errors.
    squared : bool
        Whether scores of vectors are squared distances.

    Raises
    ------
    InputError
        A function did not return a number per row.
    """
    by_vector, by_leg, count = candidates.by_vector, candidates.by_leg, len(candidates.rows)
    if count <= MOST and not callable(options.fusion):
        workspace = fusion_workspace()
        workspace.rows[:count] = candidates.rows
        workspace.scores[0, :count], workspace.scores[1, :count] = by_vector, by_leg
        chosen = workspace.fuse(count, options.fusion, options.weights, min(k, count), squared=squared)
        places = workspace.best[:chosen].copy()
        ranks_of_both = workspace.ranks[:, places]
        return Fused(places, workspace.fused[places], ranks_of_both[0], ranks_of_both[1])
    similar = -by_vector if squared else by_vector
    ranks = _ranks(similar), np.where(by_leg > 0, _ranks(by_leg), 0)
    scores = _scores(options, by_vector, similar, by_leg, ranks, query)
    best = np.argsort(-scores, kind="stable")[:k]  # rows ascend
    return Fused(best, scores[best], ranks[0][best], ranks[1][best])


def _ranks(scores: Scores) -> NDArray[np.int64]:
    """Return the rank of each score, from 1; equal scores have equal ranks, so ranks do not depend on the order of rows."""
    negated = -scores
    return np.searchsorted(np.sort(negated), negated) + 1


def _scores(
    options: FusionOptions,
    by_vector: Scores,
    similar: Scores,
    by_leg: Scores,
    ranks: tuple[NDArray[np.int64], NDArray[np.int64]],
    query: int,
) -> Scores:
    of_vectors, of_leg = options.weights
    if options.fusion == "rrf":
        matched = np.where(ranks[1] > 0, 1 / (CONSTANT + ranks[1]), 0.0)
        return of_vectors / (CONSTANT + ranks[0]) + of_leg * matched
    if options.fusion == "weighted":
        low, high = similar.min(), similar.max()
        near = (similar - low) / (high - low) if high > low else np.ones(len(similar))
        return of_vectors * near + of_leg * by_leg / max(by_leg.max(), np.finfo(np.float64).tiny)
    assert callable(options.fusion)  # noqa: S101  checked
    returned = options.fusion(by_vector.copy(), by_leg.copy())  # copies, since the function may change them
    try:
        fused = np.asarray(returned, np.float64)
    except (TypeError, ValueError):
        fused = np.empty(0)
    if fused.shape != by_vector.shape or not (np.abs(fused) <= np.finfo(np.float32).max).all():
        raise InputError(
            f"fusion must return {len(by_vector)} finite numbers for query {query}, in the range of float32, got {returned!r:.100}"
        )
    return fused
