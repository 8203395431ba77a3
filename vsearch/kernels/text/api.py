"""The kernels of the text leg: compiled by Numba, or loaded from the precompiled library."""

from __future__ import annotations

from vsearch.kernels.toolchain.compiling import LIBRARY

if LIBRARY is None:
    from vsearch.kernels.text.phrases import match_phrase
    from vsearch.kernels.text.postings import (
        count_list,
        mark_list,
        measure_blocks,
        pack_blocks,
        pack_positions,
        unpack_list,
    )
    from vsearch.kernels.text.ranking import rank_rows
    from vsearch.kernels.text.rescoring import score_rows
    from vsearch.kernels.text.runs import rank_runs, score_runs
else:
    count_list = LIBRARY.function("text.postings.count_list")
    mark_list = LIBRARY.function("text.postings.mark_list")
    match_phrase = LIBRARY.function("text.phrases.match_phrase")
    measure_blocks = LIBRARY.function("text.postings.measure_blocks")
    pack_blocks = LIBRARY.function("text.postings.pack_blocks")
    pack_positions = LIBRARY.function("text.postings.pack_positions")
    rank_rows = LIBRARY.function("text.ranking.rank_rows")
    rank_runs = LIBRARY.function("text.runs.rank_runs")
    score_rows = LIBRARY.function("text.rescoring.score_rows")
    score_runs = LIBRARY.function("text.runs.score_runs")
    unpack_list = LIBRARY.function("text.postings.unpack_list")

__all__ = [
    "count_list",
    "mark_list",
    "match_phrase",
    "measure_blocks",
    "pack_blocks",
    "pack_positions",
    "rank_rows",
    "rank_runs",
    "score_rows",
    "score_runs",
    "unpack_list",
]
