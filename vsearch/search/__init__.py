"""The multi-stage query as pure functions: route -> mask -> scan -> refine -> rerank -> merge."""
