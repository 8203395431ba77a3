"""How MaxSim's kernels divide their work: sizes that those who call them must know."""

from __future__ import annotations

LANES = 32  # document vectors whose residual codes are looked up together
STRIP = 16  # query vectors whose maxima are held in registers
TOGETHER = 2  # query vectors that share the loading and splitting of residual codes
