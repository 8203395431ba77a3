"""The kernels of MaxSim for whoever calls them: compiled here, or out of the library."""

from __future__ import annotations

from vsearch.kernels.compiling import LIBRARY

if LIBRARY is None:
    from vsearch.kernels.maxsim import (
        fill_tables,
        multiply,
        score_codes,
        score_residuals,
        score_wide_codes,
        score_wide_residuals,
        table_bytes,
    )
else:
    fill_tables = LIBRARY.function("maxsim.fill_tables")
    multiply = LIBRARY.function("maxsim.multiply")
    score_codes = LIBRARY.function("maxsim.score_codes")
    score_residuals = LIBRARY.function("maxsim.score_residuals")
    score_wide_codes = LIBRARY.function("maxsim.score_wide_codes")
    score_wide_residuals = LIBRARY.function("maxsim.score_wide_residuals")
    table_bytes = LIBRARY.function("maxsim.table_bytes")

__all__ = [
    "fill_tables",
    "multiply",
    "score_codes",
    "score_residuals",
    "score_wide_codes",
    "score_wide_residuals",
    "table_bytes",
]
