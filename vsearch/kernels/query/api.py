"""The fused kernels as Python calls them: from the library compiled ahead of time, or compiled just in time."""

from __future__ import annotations

from vsearch.kernels.toolchain.compiling import LIBRARY

if LIBRARY is None:
    from vsearch.kernels.query.batches import search_batch
    from vsearch.kernels.query.query import (
        finish,
        list_rest,
        plan_nearest,
        plan_query,
        plan_rest,
        prepare_scan,
        scan_nearest,
        scan_rest,
        search_runs,
        search_together,
    )
    from vsearch.kernels.query.rescoring import score_rows
else:
    finish = LIBRARY.function("query.query.finish")
    list_rest = LIBRARY.function("query.query.list_rest")
    plan_rest = LIBRARY.function("query.query.plan_rest")
    plan_nearest = LIBRARY.function("query.query.plan_nearest")
    plan_query = LIBRARY.function("query.query.plan_query")
    prepare_scan = LIBRARY.function("query.query.prepare_scan")
    scan_nearest = LIBRARY.function("query.query.scan_nearest")
    scan_rest = LIBRARY.function("query.query.scan_rest")
    search_batch = LIBRARY.function("query.batches.search_batch")
    search_runs = LIBRARY.function("query.query.search_runs")
    score_rows = LIBRARY.function("query.rescoring.score_rows")
    search_together = LIBRARY.function("query.query.search_together")

__all__ = [
    "finish",
    "list_rest",
    "plan_nearest",
    "plan_query",
    "plan_rest",
    "prepare_scan",
    "scan_nearest",
    "scan_rest",
    "score_rows",
    "search_batch",
    "search_runs",
    "search_together",
]
