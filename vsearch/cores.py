"""Number of cores available to this process."""

from __future__ import annotations

import os


def available_cores() -> int:
    """Cores that the process may run on: fewer than the machine has under an affinity mask (`taskset`, containers)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
