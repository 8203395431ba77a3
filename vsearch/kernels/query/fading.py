"""Fade bounds: lower them by the number of matching rows in preceding partitions."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from vsearch.kernels.query.fields import RADIX
from vsearch.kernels.toolchain.compiling import part


class Fading(NamedTuple):
    """How bounds decrease with the number of matching rows in preceding partitions.

    The more partitions are nearer, the less likely a partition contains a neighbor, regardless of its radius. But rows
    unrelated to the query scatter as far as ever, so no bound decreases by more than `largest_decay` effective radii.

    Attributes
    ----------
    fades : float32 (partitions + 1,)
        Times `radius_decay`: the decrease of the radius factor, indexed by the number of preceding rows in units of
        ``1 / per_rank``.
    per_rank, radius_decay, largest_decay : float32
    norm : float32
        Norm of the query.
    squared : bool
        Whether scores are negated squared distances instead of inner products.
    radii, effective_radii, centroid_scores, upper_bounds : float32 (partitions,)
    """

    fades: Any
    per_rank: Any
    radius_decay: Any
    largest_decay: Any
    norm: Any
    squared: Any
    radii: Any
    effective_radii: Any
    centroid_scores: Any
    upper_bounds: Any


@part
def fade_bounds(fading, order, start, stop, match_counts):
    """Lower the bounds of visits `start` to `stop`.

    The order does not change with the bounds, which need not descend any more: a wide partition may precede a tight one
    that is nearer.

    Parameters
    ----------
    fading : Fading
        Its bounds are modified.
    order : int32 (partitions,)
        Visits before `start` are faded already.
    match_counts : int64 (partitions,)
    """
    (
        fades,
        per_rank,
        radius_decay,
        largest_decay,
        norm,
        squared,
        radii,
        effective_radii,
        centroid_scores,
        upper_bounds,
    ) = fading
    before = np.int64(0)
    for i in range(start):
        before += match_counts[order[i]]
    most = np.int64(fades.shape[0] - 1)
    for i in range(start, stop):
        partition = order[i]
        fade = radius_decay * fades[min(np.int64(np.float32(before) * per_rank), most)] * radii[partition]
        fade = min(fade, largest_decay * effective_radii[partition])
        if squared:
            fade *= np.float32(2.0) * np.sqrt(max(-centroid_scores[partition], np.float32(0.0)))
        else:
            fade *= norm
        upper_bounds[partition] -= fade
        before += match_counts[partition]


@part
def tail_reaches(fading, threshold, keys, before):
    """Return whether a partition of the tail may contain a row that scores `threshold`. O(partitions).

    Parameters
    ----------
    fading : Fading
    keys : uint32 (partitions,)
        From `order_head`.
    before : int
        Number of matching rows of the partitions in the head, by which the tail is faded as in `fade_bounds`.
    """
    (
        fades,
        per_rank,
        radius_decay,
        largest_decay,
        norm,
        squared,
        radii,
        effective_radii,
        centroid_scores,
        upper_bounds,
    ) = fading
    most = np.int64(fades.shape[0] - 1)
    faded = radius_decay * fades[min(np.int64(np.float32(before) * per_rank), most)]
    reached = np.int64(0)
    for p in range(upper_bounds.shape[0]):  # branch-free, so that it is vectorized
        by_rank, largest = faded * radii[p], largest_decay * effective_radii[p]
        fade = by_rank if by_rank < largest else largest  # noqa: FURB136
        bound = upper_bounds[p] - fade * (np.float32(2.0) * np.sqrt(np.abs(centroid_scores[p])) if squared else norm)
        reached |= np.int64(bound >= threshold) & np.int64(keys[p] < np.uint32(RADIX))
    return reached != 0
