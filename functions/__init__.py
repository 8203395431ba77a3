"""Thin handlers for FaaS platforms: each hands its event to the host of its role."""

from __future__ import annotations

import os

# before NumPy comes: starting BLAS's threads costs a cold start 20 ms of processor, and no handler multiplies large matrices
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
