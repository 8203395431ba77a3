"""Fan-out: the tree of allocators, one processor per shard, the messages between them, and their cost."""

from __future__ import annotations

from vsearch._lazy import lazy_names

__getattr__ = lazy_names(__name__, {"vsearch.fanout.bill": ("bill",)})  # the old place of calls.bill
