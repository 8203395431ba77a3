"""The MaxSim kernels as Python calls them: from the library compiled ahead of time, or compiled just in time."""

from __future__ import annotations

from vsearch.kernels.toolchain.compiling import LIBRARY

if LIBRARY is None:
    from vsearch.kernels.multivector.maxsim import (
        fill_tables,
        multiply,
        score_codes,
        score_residuals,
        score_wide_codes,
        score_wide_residuals,
        table_bytes,
    )
else:
    fill_tables = LIBRARY.function("multivector.maxsim.fill_tables")
    multiply = LIBRARY.function("multivector.maxsim.multiply")
    score_codes = LIBRARY.function("multivector.maxsim.score_codes")
    score_residuals = LIBRARY.function("multivector.maxsim.score_residuals")
    score_wide_codes = LIBRARY.function("multivector.maxsim.score_wide_codes")
    score_wide_residuals = LIBRARY.function("multivector.maxsim.score_wide_residuals")
    table_bytes = LIBRARY.function("multivector.maxsim.table_bytes")

__all__ = [
    "fill_tables",
    "multiply",
    "score_codes",
    "score_residuals",
    "score_wide_codes",
    "score_wide_residuals",
    "table_bytes",
]
