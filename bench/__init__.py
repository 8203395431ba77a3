"""Measures vsearch beside its peers; imported by nothing else.

Importing this package sets the thread counts of the native libraries to one,
where the caller has not set them: OpenMP, OpenBLAS and Rayon read them once,
when they are loaded, and every ``python -m bench.x`` passes through here first.
:func:`bench.measure.threads` raises those that can be raised while a build runs.
"""

from __future__ import annotations

import os

NATIVE_THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "RAYON_NUM_THREADS",
    "LANCE_CPU_THREADS",
    "TOKIO_WORKER_THREADS",
)

for _name in NATIVE_THREADS:
    os.environ.setdefault(_name, "1")
