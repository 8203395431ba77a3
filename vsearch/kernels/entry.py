"""The fused kernels as Python calls them: out of the library that was compiled ahead of time, or compiled now."""

from __future__ import annotations

from vsearch.kernels.compiling import LIBRARY

if LIBRARY is None:
    from vsearch.kernels.plan import plan_query
    from vsearch.kernels.query import (
        finish,
        list_rest,
        scan_nearest,
        scan_rest,
        search_batch,
        search_shard,
    )
else:
    finish = LIBRARY.function("query.finish")
    list_rest = LIBRARY.function("query.list_rest")
    plan_query = LIBRARY.function("plan.plan_query")
    scan_nearest = LIBRARY.function("query.scan_nearest")
    scan_rest = LIBRARY.function("query.scan_rest")
    search_batch = LIBRARY.function("query.search_batch")
    search_shard = LIBRARY.function("query.search_shard")

__all__ = ["finish", "list_rest", "plan_query", "scan_nearest", "scan_rest", "search_batch", "search_shard"]
