"""Searches of an opened index as functions make them: every shard with a heap of its own, and the hits merged.

An index that is opened in one process searches all its shards with one heap. What functions find is compared with a
search shard by shard, which it equals bit by bit, and with the former only closely.
"""

from __future__ import annotations

import pytest

from vsearch.search import vectors
from vsearch.search.engine.steps import merge_hits, search_each_shard, stack_hits
from vsearch.search.state.snapshot import Snapshot


def one_by_one(snapshot, queries, request, mask, *, prepared):
    """`search_queries`, shard by shard."""
    found = search_each_shard(snapshot, queries, request, mask, prepared=prepared)
    return stack_hits([merge_hits(snapshot, hits, request.k) for hits in found], request.k)


def search_apart(patches: pytest.MonkeyPatch) -> None:
    """Let indexes be searched shard by shard until the patches are undone."""
    patches.setattr(vectors, "search_queries", one_by_one)
    patches.setattr(Snapshot, "fused", property(lambda _: False))
