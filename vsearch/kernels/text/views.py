"""The view of a query on one run: dtypes and shapes of the arrays in `RankField`."""

from __future__ import annotations

from vsearch.kernels.text.fields import BLOCK, TOUCHED_WORDS, WINDOW, RankField
from vsearch.kernels.toolchain.views import ArrayField, view

rank_at = view(
    "Rank",
    RankField,
    {
        "addresses": ArrayField("int64", ("columns",)),
        "norms": ArrayField("float64", ("columns", 2)),
        "table": ArrayField("int64", ("lists", 4)),
        "weights": ArrayField("float64", ("lists",)),
        "bits": ArrayField("uint64", ("bitmaps", "words")),
        "constants": ArrayField("int64", ("bitmaps",)),
        "mask": ArrayField("uint64", ("words",)),
        "cursors": ArrayField("int64", ("lists", 3)),
        "bounds": ArrayField("int64", ("lists",)),
        "block_rows": ArrayField("int64", ("lists", BLOCK)),
        "block_gains": ArrayField("int64", ("lists", BLOCK)),
        "sums": ArrayField("int64", (WINDOW,)),
        "touched": ArrayField("uint64", (TOUCHED_WORDS,)),
        "overlaps": ArrayField("int64", ("lists",)),
        "candidates": ArrayField("int64", (WINDOW,)),
        "heap_scores": ArrayField("int64", ("k",)),
        "heap_rows": ArrayField("int64", ("k",)),
        "scale": ArrayField("float64", (1,)),
        "best_scores": ArrayField("float32", ("k",)),
        "extra_edges": ArrayField("int64", ("extras",)),
        "extra_rows": ArrayField("int64", ("extra_postings",)),
        "extra_gains": ArrayField("int64", ("extra_postings",)),
        "extra_places": ArrayField("int64", ("extras",)),
        "listed_rows": ArrayField("int64", ("listed",)),
        "listed_scores": ArrayField("int64", ("listed",)),
    },
)
