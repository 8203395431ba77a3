"""The multi-level query as pure functions: route -> mask -> scan -> refine -> rerank -> merge."""
