"""Calling functions: the tree of calls, retries, what it cost and what is told of it."""
