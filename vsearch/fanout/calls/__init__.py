"""Calling functions: the tree of calls, retries, cost and telemetry."""
