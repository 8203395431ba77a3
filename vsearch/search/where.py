"""Resolve a ``where`` to a mask of a snapshot, cached by its text and by its bound form."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, cast

from vsearch.search.engine.masks import MaskCache, restrict, words_of
from vsearch.search.engine.steps import evaluate_mask
from vsearch.search.vectors import count_mask

if TYPE_CHECKING:
    from vsearch.predicates import Bound, Where
    from vsearch.search.engine.masks import IndexMask
    from vsearch.search.engine.stats import SearchStats
    from vsearch.search.state.snapshot import Snapshot


def masks_of(snapshot: Snapshot) -> MaskCache:
    """Return the mask cache of a snapshot."""
    cache = snapshot.derived.get(__name__)
    return cast("MaskCache", cache if cache is not None else snapshot.derived.setdefault(__name__, MaskCache()))


def mask_of(snapshot: Snapshot, where: Where, stats: SearchStats) -> IndexMask | None:
    """Return the mask of a predicate; None if all rows match."""
    if where is None:  # the common case: nothing to look up
        stats.rows_masked = snapshot.live_count
        return None
    started = time.perf_counter()
    masks, words = masks_of(snapshot), words_of(where)
    mask = None if words is None else masks.find(words)
    if mask is None:
        mask = _make_mask(snapshot, where, stats)
        if mask is None:
            stats.rows_masked = snapshot.live_count
            return None
        if words is not None:
            masks.keep(words, mask)
    stats.add("mask", started)
    count_mask(mask, stats)
    return mask


def _make_mask(snapshot: Snapshot, where: Where, stats: SearchStats) -> IndexMask | None:
    if snapshot.unexpired is not None:  # the predicate is evaluated once, regardless of expiry
        full_mask = mask_of(snapshot.unexpired, where, stats)
        return None if full_mask is None else restrict(full_mask, snapshot)
    bound = bound_of(snapshot, where)
    if bound is None:
        return None
    mask, known = masks_of(snapshot).get(bound, lambda: evaluate_mask(snapshot, bound))
    if not known:
        stats.bytes_read += snapshot.rows
    return mask


def bound_of(snapshot: Snapshot, where: Where) -> Bound | None:
    """Parse and bind a predicate on the attributes of a snapshot; return None if all rows match.

    Raises
    ------
    PredicateError
        The predicate is invalid or does not match the attributes.
    """
    if where is None:
        return None
    from vsearch.predicates import bind, parse

    expression = parse(where)
    return None if expression is None else bind(expression, snapshot.schema)
