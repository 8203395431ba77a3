"""Fuse two rankings of few rows: their candidates, ascending by row, then the best by fused scores.

Ranks are found by comparing all pairs, which takes less time than sorting for a few hundred rows. `vsearch.legs.fusing` has the same
for many rows.
"""

from __future__ import annotations

import numpy as np

from vsearch.kernels.legs.fields import MOST, PARTS, RRF, FusionField
from vsearch.kernels.toolchain.compiling import kernel, part
from vsearch.kernels.toolchain.views import ArrayField, view

TINY = np.finfo(np.float64).tiny

fusion_at = view(
    "Fusion",
    FusionField,
    {
        "found_rows": ArrayField("int64", (MOST,)),
        "found_scores": ArrayField("float32", (MOST,)),
        "order": ArrayField("int64", (MOST,)),
        "rows": ArrayField("int64", (MOST,)),
        "scores": ArrayField("float64", (PARTS, MOST)),
        "missing_places": ArrayField("int64", (PARTS, MOST)),
        "missing_scores": ArrayField("float32", (PARTS, MOST)),
        "missing_rows": ArrayField("int64", (PARTS, MOST)),
        "numbers": ArrayField("float64", (3,)),
        "ranks": ArrayField("int64", (PARTS, MOST)),
        "passed": ArrayField("int64", (MOST,)),
        "keys": ArrayField("float64", (MOST,)),
        "fused": ArrayField("float64", (MOST,)),
        "best": ArrayField("int64", (MOST,)),
        "best_scores": ArrayField("float32", (3, MOST)),
        "best_rows": ArrayField("int64", (3, MOST)),
    },
)


@part
def _rank(keys, count, ranks):
    """Count the larger keys of each, from 1: over all pairs, without branches, so that the loop is vectorized."""
    for i in range(count):
        key, rank = keys[i], np.int64(1)
        for j in range(count):
            rank += np.int64(keys[j] > key)
        ranks[i] = rank


@part
def _order(ranks, count, passed, order):
    """List the positions of ranks, ascending; of equal ranks, the first comes first."""
    for i in range(count):
        passed[i] = 0
    for i in range(count):
        rank = ranks[i] - 1
        order[rank + passed[rank]] = i
        passed[rank] += 1


@part
def _choose(keys, count, k, best):
    """List the positions of the k largest keys, best first; of equal keys, the first comes first."""
    size = np.int64(0)
    for i in range(count):
        key = keys[i]
        if size < k:
            size += 1
        elif not key > keys[best[k - 1]]:
            continue
        place = size - 1
        while place > 0 and keys[best[place - 1]] < key:
            best[place] = best[place - 1]
            place -= 1
        best[place] = i


@part
def _key(score):
    """Return a score that can be compared: what is not a number comes last."""
    return score if score == score else -np.inf  # noqa: PLR0124


@kernel
def unite(address):
    """List the rows of two rankings as candidates, with the scores they have, and which scores are missing.

    Parameters
    ----------
    address : int
        Address of a block of `FusionField`; up to `UNRANKED`, all after `FOUND_SCORES` is output.
    """
    call = fusion_at(address)
    near, count = call.near, call.near + call.ranked
    found_rows, values, order = call.found_rows, call.found_scores, call.order
    rows, scores, places, missing = call.rows, call.scores, call.missing_places, call.missing_rows
    for i in range(count):
        call.keys[i] = -np.float64(found_rows[i])
    _rank(call.keys, count, call.ranks[0])
    _order(call.ranks[0], count, call.passed, order)
    size = far = unranked = np.int64(0)
    i = 0
    while i < count:
        row = found_rows[order[i]]
        scores[0, size] = scores[1, size] = 0.0
        by_vector = by_leg = False
        while i < count and found_rows[order[i]] == row:
            at = order[i]
            if at < near:
                scores[0, size], by_vector = np.float64(values[at]), True
            else:
                scores[1, size], by_leg = np.float64(values[at]), True
            i += 1
        if not by_vector:
            places[0, far], missing[0, far] = size, row
            far += 1
        if not by_leg:
            places[1, unranked], missing[1, unranked] = size, row
            unranked += 1
        rows[size] = row
        size += 1
    call.count, call.far, call.unranked = size, far, unranked


@kernel
def fuse(address):
    """Rank candidates by both scores, fuse these, and choose the best candidates; of equal ones, the lower row comes first.

    Parameters
    ----------
    address : int
        Address of a block of `FusionField`, whose candidates have all scores, in `SCORES` or in `MISSING_SCORES`.
    """
    call = fusion_at(address)
    for i in range(call.far):
        call.scores[0, call.missing_places[0, i]] = np.float64(call.missing_scores[0, i])
    for i in range(call.unranked):
        call.scores[1, call.missing_places[1, i]] = np.float64(call.missing_scores[1, i])
    count, keys, fused, ranks = call.count, call.keys, call.fused, call.ranks
    by_vector, by_leg, numbers = call.scores[0], call.scores[1], call.numbers
    of_vectors, of_leg, constant = numbers[0], numbers[1], numbers[2]
    for i in range(count):
        keys[i] = _key(by_leg[i])
    _rank(keys, count, ranks[1])
    for i in range(count):
        ranks[1, i] = ranks[1, i] if by_leg[i] > 0.0 else np.int64(0)
        keys[i] = _key(-by_vector[i] if call.squared != 0 else by_vector[i])
    _rank(keys, count, ranks[0])
    if call.kind == RRF:
        for i in range(count):
            matched = 1.0 / (constant + np.float64(ranks[1, i])) if ranks[1, i] > 0 else 0.0
            fused[i] = of_vectors / (constant + np.float64(ranks[0, i])) + of_leg * matched
    else:
        low = high = keys[0] if count > 0 else 0.0
        highest = TINY
        for i in range(count):
            low, high, highest = min(low, keys[i]), max(high, keys[i]), max(highest, by_leg[i])
        for i in range(count):
            near = (keys[i] - low) / (high - low) if high > low else 1.0
            fused[i] = of_vectors * near + of_leg * by_leg[i] / highest
    for i in range(count):
        keys[i] = _key(fused[i])
    call.size = min(call.k, count)
    _choose(keys, count, call.size, call.best)
    scores, rows = call.best_scores, call.best_rows
    for i in range(call.size):
        place = call.best[i]
        rows[0, i], rows[1, i], rows[2, i] = call.rows[place], ranks[0, place], ranks[1, place]
        scores[0, i] = np.float32(fused[place])
        scores[1, i], scores[2, i] = np.float32(by_vector[place]), np.float32(by_leg[place])
    for i in range(call.size, call.k):
        rows[0, i], rows[1, i], rows[2, i] = -1, 0, 0
        scores[0, i] = scores[1, i] = scores[2, i] = np.float32(np.nan)
