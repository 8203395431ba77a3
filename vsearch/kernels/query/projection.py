"""Coordinates by which queries of high dimension are planned: inner products with a few directions, in 8-bit integers.

A matrix of all directions is larger than the caches. So a query is rotated by signs and Hadamard transforms (`hadamard`);
reranking and exact scores of centroids use the rotated query itself. Only the estimates use coordinates: first those along
the principal directions of the centroids, which route (ROUTED); then those along the directions that have bits in codes; and last the length of what lies
outside of these.

Functions take the views of a model and a call (see `views`).
"""

from __future__ import annotations

import numpy as np

from vsearch.kernels.query.centroids import encode_query, score_groups
from vsearch.kernels.scan.hadamard import turn_query, turn_wide_query
from vsearch.kernels.toolchain.compiling import part


@part
def turn_by_signs(model, call, query, rotated):
    """Rotate a query; in float64 if centroids lie so far out that float32 would lose the residuals."""
    if model.wide_rotation != 0:
        wide = call.wide_query
        for j in range(query.shape[0]):
            wide[j] = np.float64(query[j])
        turn_wide_query(model.signs, wide)
        for j in range(query.shape[0]):
            rotated[j] = np.float32(wide[j])
        return
    for j in range(query.shape[0]):
        rotated[j] = query[j]
    turn_query(model.signs, rotated)


@part
def project(model, call, square):
    """Compute the coordinates of the rotated query, whose squared norm is `square`. O(q d)."""
    rotated, coordinates = call.rotated, call.coordinates
    step, total = encode_query(rotated, call.query_codes)
    score_groups(
        model.projection_groups,
        model.projection_steps,
        model.projection_lows,
        step,
        total,
        call.query_codes,
        call.group_sums,
        coordinates[: model.projected],
    )
    outside = square
    for j in range(model.routed, model.projected):
        outside -= coordinates[j] * coordinates[j]
    coordinates[model.projected] = np.sqrt(max(outside, np.float32(0.0)))
