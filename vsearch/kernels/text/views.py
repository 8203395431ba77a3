"""The views of a query on one run, and of a query of terms on all runs: dtypes and shapes of their arrays."""

from __future__ import annotations

from vsearch.kernels.text.fields import BLOCK, TOUCHED_WORDS, WINDOW, RankField, RunColumn, TermsField
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
        "candidates": ArrayField("int64", (WINDOW + 1,)),
        "block_lengths": ArrayField("int64", (BLOCK,)),
        "heap_scores": ArrayField("int64", ("k",)),
        "heap_rows": ArrayField("int64", ("k",)),
        "best_scores": ArrayField("float32", ("k",)),
        "extra_edges": ArrayField("int64", ("extras",)),
        "extra_rows": ArrayField("int64", ("extra_postings",)),
        "extra_gains": ArrayField("int64", ("extra_postings",)),
        "extra_places": ArrayField("int64", ("extras",)),
        "listed_rows": ArrayField("int64", ("listed",)),
        "listed_scores": ArrayField("int64", ("listed",)),
    },
)

#: The same block, whose addresses may be written.
rank_numbers_at = view("RankNumbers", RankField, {})

terms_at = view(
    "Terms",
    TermsField,
    {
        "run_table": ArrayField("int64", ("runs", len(RunColumn))),
        "table": ArrayField("int64", ("terms", "width")),
        "weights": ArrayField("float64", ("terms", "width")),
        "masks": ArrayField("int64", ("runs",)),
        "order": ArrayField("int64", ("terms",)),
        "largest": ArrayField("float64", (1,)),
        "scales": ArrayField("float64", (1,)),
        "listed_rows": ArrayField("int64", ("listed",)),
        "sums": ArrayField("int64", ("listed",)),
        "scores": ArrayField("float32", ("listed",)),
        "ids": ArrayField("int64", ("id_count",)),
    },
)

#: The same block, with addresses as numbers.
terms_numbers_at = view("TermsNumbers", TermsField, {})
