"""Benchmarks of vsearch and its peers; not imported by any other package.

``python -m bench.x`` imports this package first, which sets the thread counts of the native libraries to one unless the caller
has set them: OpenMP, OpenBLAS and Rayon read them once, when they are loaded. :func:`bench.measure.threads` raises those that
can be raised while a build runs.
"""

from __future__ import annotations

import os
import sys

NATIVE_THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "RAYON_NUM_THREADS",
    "LANCE_CPU_THREADS",
    "TOKIO_WORKER_THREADS",
)

if sys.argv[:1] == ["-m"]:  # set by Python while it locates the module to run
    for _name in NATIVE_THREADS:
        os.environ.setdefault(_name, "1")
