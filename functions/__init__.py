"""Thin handlers for FaaS platforms: each hands its event to the host of its role."""

from __future__ import annotations

import os

# set before NumPy is imported: starting BLAS threads costs 20 ms of CPU time per cold start, and no handler multiplies large matrices
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
