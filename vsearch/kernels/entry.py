"""The fused kernels as Python calls them: out of the library that was compiled ahead of time, or compiled now."""

from __future__ import annotations

from vsearch.kernels.compiling import LIBRARY

if LIBRARY is None:
    from vsearch.kernels.query import finish, plan_query, scan_shard, search_shard
else:
    finish = LIBRARY.function("query.finish")
    plan_query = LIBRARY.function("query.plan_query")
    scan_shard = LIBRARY.function("query.scan_shard")
    search_shard = LIBRARY.function("query.search_shard")

__all__ = ["finish", "plan_query", "scan_shard", "search_shard"]
