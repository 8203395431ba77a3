"""Choose the number of regions whose partitions are scored, by the recall of sample queries.

A bound by the triangle inequality would exclude no region: with rows up to half a radius from their centroids, each may hold a
neighbor of any query. So the number is measured.
"""

from __future__ import annotations

from dataclasses import replace

from vsearch.kernels.query.fields import HEAD
from vsearch.search.engine.request import Answer
from vsearch.search.recall import measure_recall
from vsearch.search.samples import Sample
from vsearch.search.state.model import SearchSettings
from vsearch.search.state.snapshot import Snapshot

LOSS = 0.002
"""Recall that routing by regions may cost."""

LEAST_REGIONS = 8
GROWTH = 1.3  # factor between the numbers that are tried


def choose_regions(
    snapshot: Snapshot, sample: Sample, exact: Answer, settings: SearchSettings, recall: float
) -> int | None:
    """Return about the smallest number of regions with which a sample loses hardly any recall; None if it needs all.

    Parameters
    ----------
    exact : Answer
        The exact results of the sample.
    settings : SearchSettings
        Tuned without regions, with which `recall` was measured.
    """
    table = snapshot.model.region_table
    if table is None or sample.mask is not None or settings.familiar is None:
        return None
    regions = float(LEAST_REGIONS)
    most = min(HEAD, len(table.sizes) // 2)
    while regions <= most:
        candidate = replace(settings, near_regions=int(regions))
        if measure_recall(snapshot, sample, exact, candidate)[0] >= recall - LOSS:
            return int(regions)
        regions *= GROWTH
    return None
