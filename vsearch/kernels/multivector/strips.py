"""Block sizes of the MaxSim kernels that their callers need."""

from __future__ import annotations

LANES = 32  # document vectors whose residual codes are looked up together
STRIP = 16  # query vectors whose maxima are kept in registers
TOGETHER = 2  # query vectors that share the loading and splitting of residual codes
