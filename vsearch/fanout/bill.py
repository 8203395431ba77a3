"""Deprecated names for `vsearch.fanout.calls.bill`."""

from __future__ import annotations

from vsearch._deprecation import deprecated_names

__getattr__ = deprecated_names(
    __name__,
    {"Prices": "vsearch.Prices"} | {name: f"vsearch.fanout.calls.bill.{name}" for name in ("Bill", "Usage", "Usages")},
    since="0.1",
)
